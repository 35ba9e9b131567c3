//! The program's way of a request, from a tunnel of a scripted proxy to a scripted application, over loopback.

mod answers;
mod app;
mod connections;
mod counting;
mod egress;
mod explaining;
mod floods;
pub(crate) mod frames;
mod guards;
mod http_one;
mod http_two;
mod labels;
mod origination;
mod rejudging;
mod routes;
mod server_names;
mod sessions;
mod smuggling;
mod tunnels;

use crate::testing as stage;
