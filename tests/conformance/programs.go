//go:build programs

// Package conformance names the programs that the tests run, so that go.mod and go.sum pin all that they are built of. The
// tests build each by its path; nothing here is ours.
package conformance

import (
	_ "github.com/summerwind/h2spec/cmd/h2spec"
	_ "google.golang.org/grpc/interop/client"
	_ "google.golang.org/grpc/interop/server"
)
