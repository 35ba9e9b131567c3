//! Flags of the commands that look into a waypoint.

use std::path::PathBuf;

use clap::Subcommand;

use super::{DumpSource, Output};

pub(super) const PROXY_EXAMPLES: &str = "Examples:
  weft pc routes waypoint -n shop --netns waypoint-1
  weft pc endpoints --service web
  weft pc policies --file dump.json -o json
  weft pc log waypoint --level http=debug --token-file admin-token";

pub(super) const ROUTE_EXAMPLES: &str = "Examples:
  weft route explain web checkout GET /stock -n shop --netns waypoint-1
  weft route explain shop/web-0 bank/payment:8080 POST /pay -H 'x-beta-user: true'
  weft route explain web checkout GET / -n shop --controller 127.0.0.1:15014";

/// `weft proxy-config`.
#[derive(Debug, clap::Args)]
pub(crate) struct ProxyArgs {
    #[command(flatten)]
    pub(crate) source: DumpSource,
    /// How to print
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// The waypoint's namespace
    #[arg(short, long, global = true)]
    pub(crate) namespace: Option<String>,
    /// What to show
    #[command(subcommand)]
    pub(crate) part: ProxyPart,
}

/// Which waypoint, and what of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct Shown {
    /// Its Gateway's name: another one's answer is refused
    pub(crate) waypoint: Option<String>,
    /// Only this service: its name or its host name
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
}

/// The parts of a waypoint's dump.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum ProxyPart {
    /// Rules of the bound services, in order of precedence
    #[command(visible_aliases = ["route", "r"])]
    Routes(Shown),
    /// What requests go to: balancing, breakers, counts
    #[command(visible_aliases = ["cluster", "c"])]
    Clusters(Shown),
    /// Endpoints: whether they take requests, and how many they have
    #[command(visible_aliases = ["endpoint", "ep"])]
    Endpoints(Shown),
    /// Who may do what: policies and issuers of tokens, without their contents
    #[command(visible_aliases = ["policy", "p"])]
    Policies(Shown),
    /// Log levels, shown or changed
    Log {
        /// Its Gateway's name: another one's answer is refused
        waypoint: Option<String>,
        /// New levels: debug, or http:debug,policy:trace
        #[arg(long, value_name = "LEVELS", conflicts_with = "reset")]
        level: Option<String>,
        /// Back to the levels that it began with
        #[arg(long)]
        reset: bool,
        /// The file of the token that changes need
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
    },
}

/// `weft route`.
#[derive(Debug, clap::Args)]
pub(crate) struct RouteArgs {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: RouteCommand,
}

/// What can be done with routes.
#[derive(Debug, Subcommand)]
pub(crate) enum RouteCommand {
    /// Which policy, rule, backends and endpoints a request meets, step by step; nothing is sent
    #[command(after_help = ROUTE_EXAMPLES)]
    Explain(ExplainArgs),
}

/// `weft route explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// Who calls: a pod, what owns it, or a service account; NAMESPACE/NAME or a name
    #[arg(value_name = "SRC")]
    pub(crate) source: String,
    /// What is called: NAMESPACE/NAME, a name or a host name; with :PORT, if it has several
    #[arg(value_name = "SVC")]
    pub(crate) service: String,
    /// The method
    #[arg(default_value = "GET")]
    pub(crate) method: String,
    /// Path and query
    #[arg(default_value = "/")]
    pub(crate) path: String,
    /// A header; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME:VALUE")]
    pub(crate) headers: Vec<String>,
    /// The server that a client of TLS asks for: explains a connection that passes, in place of a request
    #[arg(long, value_name = "NAME")]
    pub(crate) sni: Option<String>,
    /// The namespace of bare names
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// The waypoint's admin server
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:15000")]
    pub(crate) address: String,
    /// Reach it from inside this network namespace: a name under /run/netns, or a path
    #[arg(long, value_name = "NAME")]
    pub(crate) netns: Option<String>,
    /// Ask the controller's admin server too why the service is bound
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) controller: Option<String>,
    /// Reach the controller from inside this network namespace
    #[arg(long, value_name = "NAME", requires = "controller")]
    pub(crate) controller_netns: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}
