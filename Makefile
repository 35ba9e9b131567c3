# Everything that people and CI call. Each target installs what is missing first.
#
#   make demo        a mesh of two nodes on this machine, proved claim by claim (KEEP=1: stays up)
#   make test        all tests
#   make test-fast   those that need no namespaces
#   make bench       the mesh beside plain TCP (ARGS="--peer PATH": beside another ztunnel, too)
#   make lint        format, lints, direction of dependencies, licences

CARGO ?= cargo
# One profile for demo and tests, so that a dependency is built once.
PROFILE := --release --locked
BIN := $(or $(CARGO_TARGET_DIR),target)/release
DIST := $(or $(CARGO_TARGET_DIR),target)/dist
# Where rustup puts cargo; a shell that hasn't been opened anew doesn't know it yet.
export PATH := $(PATH):$(HOME)/.cargo/bin
# Logs of failed tests: the namespaces that made them are gone by then.
export WEFT_TEST_LOGS ?= $(abspath $(or $(CARGO_TARGET_DIR),target))/test-logs

.PHONY: setup build demo test test-fast bench lint

setup:
	@scripts/setup.sh

build: setup
	$(CARGO) build $(PROFILE) --workspace --bins

demo: build
	@KEEP='$(KEEP)' $(BIN)/demo $(ARGS)

test: build
	$(CARGO) test $(PROFILE) --workspace --no-fail-fast

test-fast: setup
	$(CARGO) test $(PROFILE) --workspace --exclude weft-tests --no-fail-fast
	$(CARGO) test $(PROFILE) --package weft-tests --lib --bins --no-fail-fast

# In the profile of what is shipped.
bench: setup
	$(CARGO) build --profile dist --locked --workspace --bins
	@$(DIST)/weft-bench $(ARGS)

# In the profile of the build, so that the C libraries are compiled once.
lint: setup
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(PROFILE) --workspace --all-targets -- --deny warnings
	scripts/check-dependencies.sh
	scripts/check-licences.sh
