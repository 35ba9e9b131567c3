//! What rules look at.

use std::net::IpAddr;

use http::HeaderMap;
use weft_core::identity::SpiffeId;

use super::Authenticated;

/// A connection that isn't HTTP, as rules see it.
#[derive(Debug, Clone, Copy)]
pub struct AccessConnection<'a> {
    /// From the verified certificate; nothing for callers without.
    pub source: Option<&'a SpiffeId>,
    /// Address of the caller.
    pub source_ip: IpAddr,
    /// Address that was called: the service's, or the pod's.
    pub destination_ip: IpAddr,
    /// The service's port.
    pub destination_port: u16,
    /// The name in the TLS handshake that it begins with.
    pub sni: Option<&'a str>,
}

/// A request, as rules see it. Borrowed from the HTTP engine, whichever that is.
#[derive(Debug, Clone, Copy)]
pub struct AccessRequest<'a> {
    /// From the verified certificate; nothing for callers without.
    pub source: Option<&'a SpiffeId>,
    /// Address of the caller.
    pub source_ip: IpAddr,
    /// Address of the client as trusted proxies name it; else the caller's.
    pub remote_ip: IpAddr,
    /// Address that was called: the service's, or the pod's.
    pub destination_ip: IpAddr,
    /// The service's port.
    pub destination_port: u16,
    /// In its own case.
    pub method: &'a str,
    /// `:authority` or `Host` as the client sent it, port included.
    pub host: &'a str,
    /// The normalised path, without the query.
    pub path: &'a str,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// The caller's verified token.
    pub authenticated: Option<&'a Authenticated>,
    /// The name in the TLS handshake that the connection began with.
    pub sni: Option<&'a str>,
}
