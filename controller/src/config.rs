//! What the operator sets: arguments and environment, parsed once into [`Config`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use weft_core::identity::{IdentityError, TrustDomain};
use weft_proto::contract::{DEFAULT_CLUSTER_ID, DEFAULT_TRUST_DOMAIN, SYSTEM_NAMESPACE};

use crate::serving_limits::{LEAF_TTL_MAX, LEAF_TTL_MIN};
use crate::tokens::DEFAULT_ISSUER;

const EXAMPLES: &str = "\
Examples:
  weft-controller --manifests ./mesh --state ./state
      Serves the objects of ./mesh on port 15012. Keys and the root are made in ./state on the first start.

  weft-controller --manifests ./mesh --state ./state --advertise mesh.example --advertise 10.0.0.5
      Nodes reach the controller by that name or that address.

  weft-controller token --state ./state --node node1
      Prints the line with which node1 joins within the next hour.";

/// The mesh's controller: workloads, policies and certificates for its nodes.
#[derive(Debug, Parser)]
#[command(name = "weft-controller", version, after_long_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; `run` if absent.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Of `run`.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What the controller can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the mesh (what happens without a subcommand)
    Run(Box<RunArgs>),
    /// Print a join token for a node
    Token(TokenArgs),
}

/// Arguments of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Folder of Kubernetes YAML that describes the mesh; watched for changes
    #[arg(long, value_name = "DIR", env = "WEFT_MANIFESTS", default_value = "/etc/weft/manifests")]
    pub manifests: PathBuf,
    /// Folder for keys and roots; only its owner may have access
    #[arg(long, value_name = "DIR", env = "WEFT_STATE", default_value = "/var/lib/weft")]
    pub state: PathBuf,
    /// Where nodes connect: discovery, certificates, joining
    #[arg(long, value_name = "ADDR", env = "WEFT_LISTEN", default_value = "0.0.0.0:15012")]
    pub listen: SocketAddr,
    /// Where status and metrics are served; loopback only
    #[arg(long, value_name = "ADDR", env = "WEFT_ADMIN", default_value = "127.0.0.1:15014")]
    pub admin: SocketAddr,
    /// Trust domain of the identities that are issued
    #[arg(long, env = "TRUST_DOMAIN", default_value = DEFAULT_TRUST_DOMAIN)]
    pub trust_domain: String,
    /// Name of the cluster in resource names
    #[arg(long, env = "CLUSTER_ID", default_value = DEFAULT_CLUSTER_ID)]
    pub cluster_id: String,
    /// The mesh's own namespace, and the root of mesh-wide policy
    #[arg(long, env = "ROOT_NAMESPACE", default_value = SYSTEM_NAMESPACE)]
    pub root_namespace: String,
    /// Longest validity of a certificate, and that of those whose request names none, as 24h or 90m
    #[arg(long, env = "DEFAULT_WORKLOAD_CERT_TTL", default_value = "24h", value_parser = parse_duration)]
    pub cert_ttl: Duration,
    /// Folder with ca-cert.pem, ca-key.pem, root-cert.pem and cert-chain.pem, instead of a self-signed root
    #[arg(long, value_name = "DIR", env = "WEFT_CA_DIR")]
    pub ca_dir: Option<PathBuf>,
    /// Name or address by which nodes reach the controller; may be repeated
    #[arg(long, value_name = "NAME", env = "WEFT_ADVERTISE", value_delimiter = ',')]
    pub advertise: Vec<String>,
    /// What workloads accept where no PeerAuthentication says otherwise
    #[arg(long, value_enum, env = "WEFT_DEFAULT_MTLS", default_value = "permissive")]
    pub default_mtls: DefaultMtls,
    /// Whether calls may go round a waypoint, where neither the service nor its namespace says so
    #[arg(long, value_enum, env = "WEFT_WAYPOINT_ENFORCEMENT", default_value = "automatic")]
    pub waypoint_enforcement: WaypointEnforcement,
    /// Issuer named in the tokens of nodes
    #[arg(long, env = "WEFT_TOKEN_ISSUER", default_value = DEFAULT_ISSUER)]
    pub token_issuer: String,
    /// What is logged, as `info` or `info,weft_controller::xds=debug`
    #[arg(long, value_name = "LEVELS", env = "WEFT_LOG", default_value = "info")]
    pub log: String,
    /// How it is logged
    #[arg(long, value_enum, env = "LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// Arguments of `token`.
#[derive(Debug, Clone, Args)]
pub struct TokenArgs {
    /// State folder of the controller
    #[arg(long, value_name = "DIR", env = "WEFT_STATE", default_value = "/var/lib/weft")]
    pub state: PathBuf,
    /// Node that may join
    #[arg(long)]
    pub node: String,
    /// How long the token is valid
    #[arg(long, default_value = "1h", value_parser = parse_duration)]
    pub ttl: Duration,
    /// The controller's --ca-dir, if it has one
    #[arg(long, value_name = "DIR", env = "WEFT_CA_DIR")]
    pub ca_dir: Option<PathBuf>,
    /// The controller's --token-issuer
    #[arg(long, env = "WEFT_TOKEN_ISSUER", default_value = DEFAULT_ISSUER)]
    pub token_issuer: String,
    /// The controller's --root-namespace
    #[arg(long, env = "ROOT_NAMESPACE", default_value = SYSTEM_NAMESPACE)]
    pub root_namespace: String,
}

/// Mutual TLS where no object speaks of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DefaultMtls {
    /// Plaintext is accepted too, as in Istio: enrolling must not cut off callers.
    Permissive,
    /// Only mutual TLS.
    Strict,
}

/// Calls that go round a waypoint, where no object speaks of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WaypointEnforcement {
    /// Refused as soon as a security policy applies at the waypoint.
    Automatic,
    /// Refused.
    Enforced,
    /// Let in, as in Istio.
    Permissive,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[value(alias = "plain")]
    Text,
    /// For machines.
    Json,
}

impl From<LogFormat> for weft_core::telemetry::LogFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

/// Why the settings don't hold.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No trust domain.
    #[error("--trust-domain: {0}")]
    TrustDomain(IdentityError),
    /// The validity is outside its bounds.
    #[error("--cert-ttl is at least 1 minute and at most 90 days")]
    CertTtl,
    /// The admin server would be reachable from outside.
    #[error("--admin {0} is not a loopback address; status and metrics are for this machine only")]
    AdminAddress(SocketAddr),
    /// An advertised name is neither a DNS name nor an address.
    #[error("--advertise {0:?} is neither a host name nor an IP address (no port, no scheme)")]
    Advertise(String),
}

/// The settings, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of objects.
    pub manifests: PathBuf,
    /// Folder of keys.
    pub state: PathBuf,
    /// Where nodes connect.
    pub listen: SocketAddr,
    /// Where status and metrics are served.
    pub admin: SocketAddr,
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// The cluster.
    pub cluster_id: String,
    /// The mesh's own namespace.
    pub root_namespace: String,
    /// Default validity of leaves.
    pub cert_ttl: Duration,
    /// Plugged-in authority.
    pub ca_dir: Option<PathBuf>,
    /// Names and addresses of the controller.
    pub advertise: Vec<String>,
    /// Mutual TLS where no object speaks of it.
    pub default_mtls: DefaultMtls,
    /// Calls that go round a waypoint.
    pub waypoint_enforcement: WaypointEnforcement,
    /// Issuer of tokens.
    pub token_issuer: String,
}

impl TryFrom<RunArgs> for Config {
    type Error = ConfigError;

    fn try_from(args: RunArgs) -> Result<Self, ConfigError> {
        if !(LEAF_TTL_MIN..=LEAF_TTL_MAX).contains(&args.cert_ttl) {
            return Err(ConfigError::CertTtl);
        }
        if !args.admin.ip().is_loopback() {
            return Err(ConfigError::AdminAddress(args.admin));
        }
        let mut advertise = default_names(&args.root_namespace);
        for name in args.advertise {
            if rustls_pki_types::ServerName::try_from(name.as_str()).is_err() {
                return Err(ConfigError::Advertise(name));
            }
            if !advertise.contains(&name) {
                advertise.push(name);
            }
        }
        Ok(Self {
            manifests: args.manifests,
            state: args.state,
            listen: args.listen,
            admin: args.admin,
            trust_domain: args.trust_domain.parse().map_err(ConfigError::TrustDomain)?,
            cluster_id: args.cluster_id,
            root_namespace: args.root_namespace,
            cert_ttl: args.cert_ttl,
            ca_dir: args.ca_dir,
            advertise,
            default_mtls: args.default_mtls,
            waypoint_enforcement: args.waypoint_enforcement,
            token_issuer: args.token_issuer,
        })
    }
}

/// By these names every controller is known: the first is where stock proxies look.
fn default_names(root_namespace: &str) -> Vec<String> {
    let stock = format!("istiod.{root_namespace}.svc");
    [&stock, "weft-controller", "localhost", "127.0.0.1"].map(ToOwned::to_owned).to_vec()
}

/// Reads `90s`, `15m`, `24h`, `30d`; a bare number would leave its unit to guessing.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration; write 90s, 15m, 24h or 30d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text.trim_end_matches(unit).parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(args: &[&str]) -> Result<Config, String> {
        let args = [&["weft-controller"], args].concat();
        let cli = Cli::try_parse_from(args).map_err(|error| error.to_string())?;
        Config::try_from(cli.run).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_hold_and_names_include_the_stock_one() {
        Cli::command().debug_assert();
        let config = parse(&["--advertise", "10.0.0.5,mesh.example"]).unwrap();
        assert_eq!(config.listen.port(), weft_proto::contract::port::CONTROLLER);
        assert_eq!(config.admin.port(), weft_proto::contract::port::CONTROLLER_ADMIN);
        for name in ["istiod.istio-system.svc", "localhost", "10.0.0.5", "mesh.example"] {
            assert!(config.advertise.iter().any(|known| known == name), "{name}");
        }
    }

    #[test]
    fn settings_that_cannot_hold_are_refused_by_name() {
        for (args, word) in [
            (["--cert-ttl", "59s"], "--cert-ttl"),
            (["--cert-ttl", "91d"], "--cert-ttl"),
            (["--cert-ttl", "60"], "60"),
            (["--admin", "0.0.0.0:15014"], "loopback"),
            (["--advertise", "https://x:1"], "--advertise"),
            (["--trust-domain", "Not/One"], "--trust-domain"),
        ] {
            let refusal = parse(&args).unwrap_err();
            assert!(refusal.contains(word), "{args:?}: {refusal}");
        }
    }

    #[test]
    fn subcommands_stand_beside_the_default() {
        let cli = Cli::try_parse_from(["weft-controller", "token", "--node", "n1"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Token(args)) if args.node == "n1"));
        let cli = Cli::try_parse_from(["weft-controller", "run", "--cert-ttl", "1m"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Run(args)) if args.cert_ttl.as_secs() == 60));
    }
}
