//! The program's way of a request, from a tunnel of a scripted proxy to a scripted application, over loopback.

mod app;
mod guards;
mod http_one;
mod http_two;
mod routes;
mod stage;
mod tunnels;
