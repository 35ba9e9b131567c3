//! The compiled table of one service, and which of its sets counts.

use std::collections::HashMap;

use super::connection::ConnectionRoutes;
use super::rules::HttpRoutes;

/// What becomes of the requests and connections of one service.
#[derive(Debug)]
pub struct Table {
    /// The service's namespace.
    pub namespace: Box<str>,
    /// The service's host name.
    pub hostname: Box<str>,
    sets: Box<[RouteSet]>,
    /// Places of sets for everybody, in order.
    common: Box<[usize]>,
    /// Places of sets by the caller's namespace, in order.
    of_namespace: HashMap<Box<str>, Box<[usize]>>,
}

/// The routes of some ports for some callers.
#[derive(Debug, Default)]
pub struct RouteSet {
    /// Empty: all.
    pub ports: Box<[u16]>,
    /// Empty: everybody.
    pub source_namespaces: Box<[Box<str>]>,
    /// `None`: HTTP is a connection like others, and goes by `tcp`.
    pub http: Option<HttpRoutes>,
    /// `None`: as `tcp`.
    pub tls: Option<ConnectionRoutes>,
    /// `None`: connections go to the service itself.
    pub tcp: Option<ConnectionRoutes>,
}

impl Table {
    pub(super) fn new(namespace: &str, hostname: &str, sets: Vec<RouteSet>) -> Self {
        let mut common = Vec::new();
        let mut of_namespace: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        for (at, set) in sets.iter().enumerate() {
            if set.source_namespaces.is_empty() {
                common.push(at);
            }
            for namespace in &set.source_namespaces {
                of_namespace.entry(namespace.clone()).or_default().push(at);
            }
        }
        Self {
            namespace: namespace.into(),
            hostname: hostname.into(),
            sets: sets.into(),
            common: common.into(),
            of_namespace: of_namespace.into_iter().map(|(of, sets)| (of, sets.into())).collect(),
        }
    }

    /// The set that counts for a port and a caller's namespace. `None`: requests go to the service itself.
    pub fn select(&self, port: u16, namespace: Option<&str>) -> Option<&RouteSet> {
        let first = |places: &[usize]| {
            let mut places = places.iter().copied();
            places.find(|at| self.sets.get(*at).is_some_and(|set| set.covers(port)))
        };
        let own = namespace.and_then(|namespace| self.of_namespace.get(namespace));
        let own = own.and_then(|places| first(places));
        let common = first(&self.common);
        let place = own.into_iter().chain(common).min()?;
        self.sets.get(place)
    }

    /// All sets, in order.
    pub fn sets(&self) -> &[RouteSet] {
        &self.sets
    }
}

impl RouteSet {
    fn covers(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.contains(&port)
    }
}
