//! The command line of the node agent.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::sync::watch;
use tracing::info;
use weft_cni::agent::{Agent, Links};
use weft_cni::cleanup::cleanup;
use weft_cni::feed::{self, FeedSettings};
use weft_cni::member::{Member, MemberSettings};
use weft_cni::netns::NetnsFolder;
use weft_cni::reconciler::Reconciler;
use weft_cni::redirect::KernelRedirect;
use weft_cni::state::{self, PodsFile, StateDir};
use weft_cni::status::{Discovery, Status, render};
use weft_cni::zds;
use weft_core::signals::Signals;
use weft_core::telemetry::{LogFormat, LogSettings};
use weft_core::zds::SeqpacketListener;
use weft_core::{clock, program};
use weft_proto::contract::ZDS_SOCKET;

/// The node agent: joins its node to the mesh, redirects its pods' traffic and tells ztunnel about them.
#[derive(Parser)]
#[command(name = "weft-cni", version, about, after_help = EXAMPLE)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLE: &str = "\
Example:
  weft token --node node1 --state /var/lib/weft > join-token     # where the controller runs
  weft-cni agent --node node1 --controller 192.0.2.10:15012 \\
      --join-token-file join-token --state /var/lib/weft-cni
  weft-cni status --state /var/lib/weft-cni

The join token is needed once; later starts use what is in the state folder. Stopping the agent leaves pods in the
mesh; `weft-cni cleanup` takes them out.";

#[derive(Subcommand)]
enum Command {
    /// Runs the agent until SIGTERM. Pods stay in the mesh when it stops.
    #[command(after_help = EXAMPLE)]
    Agent(Box<AgentArgs>),
    /// Shows what the agent last said of itself: pods, reasons, connected ztunnels.
    Status {
        #[command(flatten)]
        place: Place,
        /// The whole status as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Takes every pod of this node out of the mesh. The agent must be stopped.
    Cleanup {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        namespaces: Namespaces,
    },
}

#[derive(Args)]
struct AgentArgs {
    /// This node's name, as pods name it in spec.nodeName.
    #[arg(long)]
    node: String,
    /// The controller's address, HOST:PORT.
    #[arg(long, value_name = "HOST:PORT")]
    controller: String,
    /// The name that the controller's certificate must hold, if it is not the host above.
    #[arg(long, value_name = "NAME")]
    controller_name: Option<String>,
    /// File with the join token; needed until the node has joined.
    #[arg(long, value_name = "FILE")]
    join_token_file: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    namespaces: Namespaces,
    /// Where ztunnel connects.
    #[arg(long, value_name = "PATH", default_value = ZDS_SOCKET)]
    zds_socket: PathBuf,
    /// Log levels: `info`, or `info,weft_cni=debug`.
    #[arg(long, default_value = "info")]
    log: String,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t)]
    log_format: LogLines,
}

#[derive(Args)]
struct Place {
    /// Folder of the agent's state: credentials, known pods, status.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/weft-cni")]
    state: PathBuf,
}

#[derive(Args)]
struct Namespaces {
    /// Folder in which pods' network namespaces are named.
    #[arg(long, value_name = "DIR", default_value = "/run/netns")]
    netns_dir: PathBuf,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum LogLines {
    #[default]
    Text,
    Json,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Agent(args) => Box::pin(agent(*args)).await,
        Command::Status { place, json } => show_status(&place.state, json),
        Command::Cleanup { place, namespaces } => {
            undo_all(&place.state, namespaces.netns_dir).await
        }
    };
    program::ended("weft-cni", done)
}

async fn agent(args: AgentArgs) -> anyhow::Result<()> {
    let format = match args.log_format {
        LogLines::Text => LogFormat::Text,
        LogLines::Json => LogFormat::Json,
    };
    let (_, _guard) = weft_core::telemetry::init(&LogSettings { levels: args.log, format })?;
    let state = Arc::new(StateDir::open(&args.place.state)?);
    let settings = MemberSettings {
        node: args.node.clone(),
        controller: args.controller,
        controller_name: args.controller_name,
        join_token_file: args.join_token_file,
    };
    let member = Member::new(settings, state.clone())?;
    let earlier = earlier_pods(&state, &args.node)?;
    let reconciler = Reconciler::new(args.node.clone(), earlier.wanted);

    let folder = NetnsFolder::new(args.namespaces.netns_dir)?;
    let redirect = Arc::new(KernelRedirect::new(folder));
    let (announced, announced_rx) = watch::channel(None);
    let (connections, connections_rx) = watch::channel(zds::Connections::new());
    let (discovery, discovery_rx) = watch::channel(Discovery::default());
    let feed = FeedSettings {
        node: args.node.clone(),
        control: member.control_settings(),
        token: state.path_of(state::AGENT_TOKEN),
        membership: member.subscribe(),
    };
    let links = Links {
        wanted: reconciler.subscribe(),
        membership: member.subscribe(),
        discovery: discovery_rx,
        connections: connections_rx,
        announced,
    };
    let listener = listen(&args.zds_socket)?;
    info!(node = args.node, socket = %args.zds_socket.display(), "the node agent is up");
    let proxies = zds::serve(listener, redirect.clone(), announced_rx, connections);
    let agent = Agent::new(args.node, redirect, state, links, earlier.enrolled);

    let mut signals = Signals::new()?;
    tokio::select! {
        done = agent.run(async move { signals.next().await }) => done?,
        () = proxies => bail!("the ZDS server ended"),
        never = member.keep_fresh() => match never {},
        never = feed::run(feed, reconciler, discovery) => match never {},
    }
    info!("stopped; pods stay in the mesh");
    Ok(())
}

/// What an earlier run knew. A file that can't be read stops the start: going on without it could leave redirections
/// that nobody undoes.
fn earlier_pods(state: &StateDir, node: &str) -> anyhow::Result<PodsFile> {
    let earlier: PodsFile = state
        .read_json(state::PODS)
        .context("remove it if the node has no pods in the mesh, or was restarted since")?
        .unwrap_or_else(|| PodsFile { node: node.to_owned(), ..PodsFile::default() });
    if earlier.node != node {
        bail!("the state folder belongs to node {:?}: use another, or remove it", earlier.node);
    }
    Ok(earlier)
}

fn listen(socket: &Path) -> anyhow::Result<SeqpacketListener> {
    if let Some(folder) = socket.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    SeqpacketListener::bind(socket).with_context(|| format!("listening at {}", socket.display()))
}

fn show_status(state: &Path, json: bool) -> anyhow::Result<()> {
    let path = state.join(state::STATUS);
    let status: Option<Status> = state::read_json_file(&path)?;
    let Some(status) = status else {
        bail!("{} is missing: has an agent run with this state folder?", path.display());
    };
    let text = if json {
        serde_json::to_string_pretty(&status)? + "\n"
    } else {
        render(&status, clock::unix_seconds())
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

async fn undo_all(state: &Path, netns_dir: PathBuf) -> anyhow::Result<()> {
    let state = StateDir::open(state)?;
    let redirect = KernelRedirect::new(NetnsFolder::new(netns_dir)?);
    let results = cleanup(&state, &redirect).await?;
    let mut out = std::io::stdout().lock();
    let mut failures = 0;
    for (uid, result) in results {
        match result {
            Ok(()) => writeln!(out, "{uid}: out of the mesh")?,
            Err(error) => {
                failures += 1;
                writeln!(out, "{uid}: {error}")?;
            }
        }
    }
    if failures > 0 {
        bail!("{failures} pods are still redirected; mend the cause and run this again");
    }
    Ok(())
}
