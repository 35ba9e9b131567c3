//! Commands and flags.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "weft", version, about = "See into a Weft mesh", after_help = EXAMPLES)]
pub(crate) struct Args {
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "Examples:
  weft status                                  who is connected, in sync, and what was refused
  weft zc workload --address 127.0.0.1:15000   what a node's proxy knows of workloads
  weft zc all --file dump.json                 the same from a saved /config_dump
  weft waypoint explain web -n shop            why calls to a service go through a waypoint, or don't
  weft token --node node2 --state DIR          lets a second machine join";

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Who is connected to the controller, what it acknowledged, and what was refused and why
    #[command(visible_alias = "ps", after_help = STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// What a ztunnel knows and does (a stock one's as well)
    #[command(visible_alias = "zc", after_help = ZTUNNEL_EXAMPLES)]
    ZtunnelConfig(ZtunnelArgs),
    /// Waypoints: what there is, what they stand before, and why
    #[command(visible_alias = "wp", after_help = WAYPOINT_EXAMPLES)]
    Waypoint(WaypointArgs),
    /// A token that lets a node join, or a waypoint work
    #[command(after_help = TOKEN_EXAMPLES)]
    Token(TokenArgs),
    /// Versions of this program, the controller and the proxies
    Version(VersionArgs),
    /// A script that completes commands in your shell
    #[command(after_help = COMPLETION_EXAMPLES)]
    Completion {
        /// Which shell
        shell: Shell,
    },
}

const STATUS_EXAMPLES: &str = "Examples:
  weft status
  weft status --netns hub            the controller lives in a network namespace of its own
  weft status -o json | jq '.rejected'";

const ZTUNNEL_EXAMPLES: &str = "Examples:
  weft zc workload -n shop
  weft zc certificate --netns node1
  weft zc connections --raw --direction inbound
  weft zc all --file dump.json -o json";

const TOKEN_EXAMPLES: &str = "Examples:
  weft token --node node2 --state /var/lib/weft > join-token
  weft token --node node2 --admin-token-file admin-token --ttl 15m
  weft token --waypoint shop/waypoint --state /var/lib/weft > waypoint-token";

const WAYPOINT_EXAMPLES: &str = "Examples:
  weft waypoint list
  weft waypoint status waypoint -n shop
  weft waypoint explain web -n shop              step by step
  weft waypoint apply waypoint -n shop --folder ./mesh --enroll-namespace";

const LIST_EXAMPLES: &str = "Examples:
  weft waypoint list -n shop
  weft waypoint list -o json | jq '.[].bound'";

const ONE_EXAMPLES: &str = "Examples:
  weft waypoint status waypoint -n shop";

const EXPLAIN_EXAMPLES: &str = "Examples:
  weft waypoint explain web -n shop
  weft waypoint explain pod/web-1 -n shop        calls to the pod's own address";

const GENERATE_EXAMPLES: &str = "Examples:
  weft waypoint generate waypoint -n shop
  weft waypoint generate waypoint -n shop --for all --instance 10.44.1.9 --node node1";

const APPLY_EXAMPLES: &str = "Examples:
  weft waypoint apply waypoint -n shop --folder ./mesh
  weft waypoint apply waypoint -n shop --folder ./mesh --for all --enroll-namespace";

const DELETE_EXAMPLES: &str = "Examples:
  weft waypoint delete waypoint -n shop --folder ./mesh";

const COMPLETION_EXAMPLES: &str = "Examples:
  weft completion bash > /etc/bash_completion.d/weft
  source <(weft completion zsh)";

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

/// How to reach the controller.
#[derive(Debug, clap::Args)]
pub(crate) struct ControllerArgs {
    /// The controller's admin server
    #[arg(long, global = true, value_name = "HOST:PORT", default_value = "127.0.0.1:15014")]
    pub(crate) controller: String,
    /// Reach it from inside this network namespace: a name under /run/netns, or a path
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) netns: Option<String>,
}

/// `weft status`.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) controller: ControllerArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// `weft version`.
#[derive(Debug, clap::Args)]
pub(crate) struct VersionArgs {
    #[command(flatten)]
    pub(crate) controller: ControllerArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// Only this program's own
    #[arg(long)]
    pub(crate) client: bool,
}

/// `weft token`.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenArgs {
    #[command(flatten)]
    pub(crate) controller: ControllerArgs,
    /// The node that may join
    #[arg(long, value_name = "NAME", required_unless_present = "waypoint")]
    pub(crate) node: Option<String>,
    /// The waypoint that may work: its Gateway
    #[arg(long, value_name = "NAMESPACE/NAME", conflicts_with = "node")]
    pub(crate) waypoint: Option<String>,
    /// Under which its instances run, if their pods have several
    #[arg(long, value_name = "NAME", requires = "waypoint")]
    pub(crate) service_account: Option<String>,
    /// The controller's state folder, which holds the admin token
    #[arg(long, value_name = "DIR", required_unless_present = "admin_token_file")]
    pub(crate) state: Option<PathBuf>,
    /// The file of the admin token, if it lies elsewhere
    #[arg(long, value_name = "FILE", conflicts_with = "state")]
    pub(crate) admin_token_file: Option<PathBuf>,
    /// How long the token lasts (30m, 2h); the controller's own choice if absent
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) ttl: Option<Duration>,
}

fn duration(text: &str) -> Result<Duration, String> {
    weft_core::config::parse_duration(text)
        .filter(|duration| duration.as_secs() > 0)
        .ok_or_else(|| "expected a duration with its unit, such as 30m or 2h".to_owned())
}

/// `weft waypoint`.
#[derive(Debug, clap::Args)]
pub(crate) struct WaypointArgs {
    #[command(flatten)]
    pub(crate) controller: ControllerArgs,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: WaypointCommand,
}

/// What can be done with waypoints.
#[derive(Debug, Subcommand)]
pub(crate) enum WaypointCommand {
    /// All waypoints: class, whether they are ready, what they stand before
    #[command(visible_alias = "ls", after_help = LIST_EXAMPLES)]
    List {
        /// Only this namespace
        #[arg(short, long)]
        namespace: Option<String>,
        /// How to print
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// One waypoint: its conditions, and what it stands before
    #[command(after_help = ONE_EXAMPLES)]
    Status {
        /// Its Gateway's name
        name: String,
        /// Its namespace
        #[arg(short, long, default_value = "default")]
        namespace: String,
        /// How to print
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Why a service is bound to a waypoint or isn't, step by step
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain {
        /// A service's name; or serviceentry/NAME, pod/NAME, workloadentry/NAME
        object: String,
        /// Its namespace
        #[arg(short, long, default_value = "default")]
        namespace: String,
        /// How to print
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Print the YAML of a waypoint
    #[command(after_help = GENERATE_EXAMPLES)]
    Generate(WaypointShape),
    /// Write the YAML of a waypoint into the folder that the controller watches
    #[command(after_help = APPLY_EXAMPLES)]
    Apply {
        #[command(flatten)]
        shape: WaypointShape,
        /// The controller's --manifests
        #[arg(long, value_name = "DIR")]
        folder: PathBuf,
    },
    /// Remove what `apply` wrote
    #[command(after_help = DELETE_EXAMPLES)]
    Delete {
        /// Its Gateway's name
        name: String,
        /// Its namespace
        #[arg(short, long, default_value = "default")]
        namespace: String,
        /// The controller's --manifests
        #[arg(long, value_name = "DIR")]
        folder: PathBuf,
    },
}

/// What a waypoint is to be like.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct WaypointShape {
    /// Its Gateway's name
    #[arg(default_value = "waypoint")]
    pub(crate) name: String,
    /// Its namespace
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// What it stands before
    #[arg(long = "for", value_enum, default_value_t = Traffic::Service)]
    pub(crate) traffic: Traffic,
    /// Its class
    #[arg(long, default_value = "weft-waypoint")]
    pub(crate) class: String,
    /// Let objects of all namespaces use it, not its own alone
    #[arg(long)]
    pub(crate) all_namespaces: bool,
    /// Label the namespace, so that everything in it uses the waypoint
    #[arg(long)]
    pub(crate) enroll_namespace: bool,
    /// Address of an instance; may be repeated. Without any, declare the pods yourself
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) instance: Vec<std::net::IpAddr>,
    /// The node that the instances run on
    #[arg(long, value_name = "NAME", requires = "instance")]
    pub(crate) node: Option<String>,
}

/// What a waypoint stands before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Traffic {
    /// Services
    Service,
    /// Workloads that are addressed themselves
    Workload,
    /// Both
    All,
}

/// `weft ztunnel-config`.
#[derive(Debug, clap::Args)]
pub(crate) struct ZtunnelArgs {
    #[command(flatten)]
    pub(crate) source: DumpSource,
    /// How to print
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// Only this Kubernetes namespace
    #[arg(short, long, global = true, visible_alias = "workload-namespace")]
    pub(crate) namespace: Option<String>,
    /// What to show
    #[command(subcommand)]
    pub(crate) part: Part,
}

/// Where a dump comes from.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DumpSource {
    /// The proxy's admin server
    #[arg(long, global = true, value_name = "HOST:PORT", default_value = "127.0.0.1:15000")]
    pub(crate) address: String,
    /// Reach it from inside this network namespace: a name under /run/netns, or a path
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) netns: Option<String>,
    /// Read a saved /config_dump instead
    #[arg(long, global = true, value_name = "FILE", conflicts_with_all = ["address", "netns"])]
    pub(crate) file: Option<PathBuf>,
}

/// The parts of a dump.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum Part {
    /// Workloads of the mesh
    #[command(visible_aliases = ["workloads", "w"])]
    Workload {
        /// Only those of this node
        #[arg(long)]
        node: Option<String>,
    },
    /// Services of the mesh
    #[command(visible_aliases = ["services", "svc"])]
    Service,
    /// L4 policies
    #[command(visible_aliases = ["policies", "p"])]
    Policy,
    /// Certificates of the node's workloads
    #[command(visible_aliases = ["certificates", "cert"])]
    Certificate,
    /// Open connections of the node's pods
    #[command(visible_aliases = ["connection", "conn"])]
    Connections {
        /// Addresses as they are, without names
        #[arg(long)]
        raw: bool,
        /// Only one direction
        #[arg(long, value_enum)]
        direction: Option<Direction>,
    },
    /// Everything
    All,
}

/// Which way a connection crosses the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Direction {
    /// Into a pod
    Inbound,
    /// Out of a pod
    Outbound,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_are_taken_before_and_after_the_part() {
        for line in [
            "weft zc workload --netns node1 -n shop -o json",
            "weft ztunnel-config --netns node1 -n shop -o json workloads",
        ] {
            let args = Args::try_parse_from(line.split(' ')).unwrap();
            let Command::ZtunnelConfig(args) = args.command else { panic!("{line}") };
            assert_eq!(args.part, Part::Workload { node: None });
            assert_eq!(args.source.netns.as_deref(), Some("node1"));
            assert_eq!((args.namespace.as_deref(), args.output), (Some("shop"), Output::Json));
        }
    }

    #[test]
    fn waypoints_are_asked_for_wherever_the_controller_is() {
        for line in [
            "weft waypoint --netns hub explain pod/web -n shop -o json",
            "weft wp explain --netns hub pod/web -o json -n shop",
        ] {
            let args = Args::try_parse_from(line.split(' ')).unwrap();
            let Command::Waypoint(args) = args.command else { panic!("{line}") };
            assert_eq!(args.controller.netns.as_deref(), Some("hub"));
            let WaypointCommand::Explain { object, namespace, output } = args.command else {
                panic!("{line}")
            };
            assert_eq!(
                (object.as_str(), namespace.as_str(), output),
                ("pod/web", "shop", Output::Json)
            );
        }
        let parse = |line: &str| Args::try_parse_from(line.split(' '));
        assert!(parse("weft waypoint generate").is_ok());
        assert!(parse("weft waypoint apply wp -n shop").is_err());
        assert!(parse("weft waypoint apply wp -n shop --folder f --for all").is_ok());
        assert!(parse("weft waypoint generate wp --node n").is_err());
    }

    #[test]
    fn token_needs_to_know_where_the_admin_token_is() {
        let parse = |line: &str| Args::try_parse_from(line.split(' '));
        assert!(parse("weft token --node n --state /s").is_ok());
        assert!(parse("weft token --node n").is_err());
        assert!(parse("weft token --state /s").is_err());
        assert!(parse("weft token --waypoint a/b --state /s").is_ok());
        assert!(parse("weft token --waypoint a/b --node n --state /s").is_err());
        assert!(parse("weft token --node n --state /s --ttl 90").is_err());
        assert!(parse("weft token --node n --state /s --ttl 90s").is_ok());
    }
}
