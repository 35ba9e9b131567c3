//! Nodes, pods and faults on one machine, without root.
//!
//! The demo, the tests and the bench all stand on this library. It enters its own user, network,
//! mount and pid namespaces ([`enter`]), builds a mesh of hosts inside them ([`Mesh`]) and starts
//! the shipped binaries there ([`process::Process`]).
//!
//! ```text
//!                 switch (a netns with a bridge)
//!        ┌──────────────┬──────────────┐
//!   control         node1            node2             10.43.0.100   10.43.0.1   10.43.0.2
//!   controller      agent, ztunnel   agent, ztunnel
//!                   ├─ pod           ├─ pod            10.44.1.10…   10.44.2.10…
//!                   └─ pod           └─ pod: a waypoint
//! ```
//!
//! Invariants:
//! * Nothing outlives the program: every process is in a pid namespace whose first process is the
//!   harness, every namespace and the default state folder live in mounts that end with it.
//! * The machine's own network is never touched: there is no path out of the namespaces.
//! * A step that can't be made fails and says what to check; nothing is skipped.
//! * Nothing waits without a deadline ([`poll`]).

pub mod capture;
pub mod config;
mod enter;
pub mod faults;
pub mod http;
mod launch;
pub mod manifests;
pub mod mesh;
pub mod metrics;
pub mod netns;
mod parts;
pub mod poll;
pub mod process;
pub mod runner;
pub mod waypoint;
mod wiring;

pub use enter::{Inside, enter};
pub use faults::{Fault, Host};
pub use manifests::{Manifests, PodState, ServiceSpec};
pub use mesh::{Mesh, MeshBuilder, Node, Pod, PodSpec};
pub use netns::Netns;
pub use parts::{ControllerSettings, ZtunnelSettings, is_redirected};
pub use process::{Launch, Process};
pub use waypoint::{WaypointSettings, WaypointSpec};
