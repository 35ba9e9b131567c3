//! From the name that a pod asks for to a service of the mesh. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use weft_core::limits;

/// The pod that asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientView {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its network; only virtual addresses of that network are of use to it.
    pub network: Arc<str>,
}

/// A service that bears a host name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedService {
    /// Its Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Its host name.
    pub host: Arc<str>,
    /// Whether it is the one meant where several namespaces have the host.
    pub canonical: bool,
    /// Whether only its own namespace may see it.
    pub private: bool,
    /// Its virtual addresses on the client's network.
    pub addresses: Vec<IpAddr>,
}

/// The services of the mesh by host name, as of one moment.
pub trait NameTable: Send + Sync {
    /// All services whose host is exactly `host`, which is in lower case and may begin with `*.`.
    fn services(&self, host: &str, client: &ClientView) -> Vec<NamedService>;
    /// Addresses of the healthy endpoints of a service that has no virtual address.
    fn endpoints(&self, service: &NamedService, client: &ClientView) -> Vec<IpAddr>;
}

/// What a name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolved {
    /// The name without the search domain that the client's resolver put behind it, if it did.
    pub(super) alias: Option<String>,
    /// Addresses of all families.
    pub(super) addresses: Vec<IpAddr>,
}

/// The service that `name` (lower case, no final dot) means to `client`.
///
/// Tried in turn: the name as it is and as a short name of the cluster; then the same without each search domain,
/// since a resolver with `ndots:5` asks for `example.com.shop.svc.cluster.local` before `example.com`.
pub(super) fn resolve(
    table: &dyn NameTable,
    name: &str,
    client: &ClientView,
    domain: &str,
    preferred_namespace: Option<&str>,
) -> Option<Resolved> {
    let searches = [
        format!(".{}.svc.{domain}", client.namespace),
        format!(".svc.{domain}"),
        format!(".{domain}"),
    ];
    let stripped = searches.iter().filter_map(|search| name.strip_suffix(search.as_str()));
    let bases = std::iter::once((name, false))
        .chain(stripped.filter(|base| !base.is_empty()).map(|base| (base, true)));
    bases
        .flat_map(|(base, is_stripped)| {
            expansions(base, &client.namespace, domain)
                .into_iter()
                .map(move |expanded| (expanded, is_stripped))
        })
        .flat_map(|(expanded, is_stripped)| {
            let alias = is_stripped.then(|| expanded.clone());
            with_parents(expanded).into_iter().map(move |host| (host, alias.clone()))
        })
        .take(limits::DNS_LOOKUPS_MAX)
        .find_map(|(host, alias)| {
            let service = choose(table.services(&host, client), client, preferred_namespace)?;
            let addresses = addresses(table, service, client, domain)?;
            Some(Resolved { alias, addresses })
        })
}

/// The full names that a name may be short for, the likeliest first.
fn expansions(name: &str, namespace: &str, domain: &str) -> Vec<String> {
    let labels = name.split('.').count();
    let is_service_name = name.rsplit('.').next() == Some("svc");
    let mut expanded = vec![name.to_owned()];
    match labels {
        1 => expanded.push(format!("{name}.{namespace}.svc.{domain}")),
        2 => {
            expanded.push(format!("{name}.svc.{domain}"));
            expanded.push(format!("{name}.{namespace}.svc.{domain}"));
        }
        3 => {
            if is_service_name {
                expanded.push(format!("{name}.{domain}"));
            }
            expanded.push(format!("{name}.svc.{domain}"));
        }
        4 if is_service_name => expanded.push(format!("{name}.{domain}")),
        _ => {}
    }
    expanded
}

/// The name, then the wildcards that cover it, the closest first.
fn with_parents(name: String) -> Vec<String> {
    let mut hosts = vec![];
    let mut rest = name.as_str();
    while let Some((_, parent)) = rest.split_once('.') {
        hosts.push(format!("*.{parent}"));
        rest = parent;
    }
    hosts.insert(0, name);
    hosts
}

/// Among services of one host: the client's own namespace, the preferred one, the canonical one, any.
fn choose(
    services: Vec<NamedService>,
    client: &ClientView,
    preferred_namespace: Option<&str>,
) -> Option<NamedService> {
    services
        .into_iter()
        .filter(|service| !service.private || service.namespace == client.namespace)
        .min_by_key(|service| {
            let is_preferred = preferred_namespace == Some(&*service.namespace);
            (service.namespace != client.namespace, !is_preferred, !service.canonical)
        })
}

/// `None` if the mesh has nothing to say: a service without an address of its own outside the cluster's names is
/// one that public name servers know (a ServiceEntry with `resolution: DNS`, say).
fn addresses(
    table: &dyn NameTable,
    service: NamedService,
    client: &ClientView,
    domain: &str,
) -> Option<Vec<IpAddr>> {
    if !service.addresses.is_empty() {
        return Some(service.addresses);
    }
    let is_headless = service.host.strip_suffix(domain).is_some_and(|rest| rest.ends_with(".svc."));
    is_headless.then(|| table.endpoints(&service, client))
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// A table by hand.
    #[derive(Default)]
    pub(in super::super) struct Table(pub(in super::super) Vec<(NamedService, Vec<IpAddr>)>);

    impl Table {
        pub(in super::super) fn with(mut self, host: &str, addresses: &[&str]) -> Self {
            let namespace = host.split('.').nth(1).unwrap_or_default();
            self.0.push((service(namespace, host, addresses), vec![]));
            self
        }
    }

    pub(in super::super) fn service(
        namespace: &str,
        host: &str,
        addresses: &[&str],
    ) -> NamedService {
        NamedService {
            namespace: namespace.into(),
            host: host.into(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            ..NamedService::default()
        }
    }

    pub(in super::super) fn client() -> ClientView {
        ClientView { namespace: "shop".into(), network: "".into() }
    }

    impl NameTable for Table {
        fn services(&self, host: &str, _client: &ClientView) -> Vec<NamedService> {
            self.0
                .iter()
                .map(|(service, _)| service)
                .filter(|s| &*s.host == host)
                .cloned()
                .collect()
        }
        fn endpoints(&self, service: &NamedService, _client: &ClientView) -> Vec<IpAddr> {
            self.0
                .iter()
                .find(|(of, _)| of == service)
                .map(|(_, of)| of.clone())
                .unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{Table, client, service};
    use super::*;

    const CHECKOUT: &str = "checkout.shop.svc.cluster.local";

    fn found(table: &Table, name: &str) -> Option<(Option<String>, String)> {
        let resolved = resolve(table, name, &client(), "cluster.local", None)?;
        let address = resolved.addresses.first().map_or_else(String::new, ToString::to_string);
        Some((resolved.alias, address))
    }

    #[test]
    fn every_usual_spelling_finds_the_service() {
        let table = Table::default().with(CHECKOUT, &["10.1.0.1"]);
        for (name, alias) in [
            (CHECKOUT, None),
            ("checkout.shop.svc", None),
            ("checkout.shop", None),
            ("checkout", None),
            ("checkout.shop.svc.cluster.local.shop.svc.cluster.local", Some(CHECKOUT)),
            ("checkout.shop.shop.svc.cluster.local", Some(CHECKOUT)),
            ("checkout.shop.svc.svc.cluster.local", Some(CHECKOUT)),
            ("checkout.shop.cluster.local", Some(CHECKOUT)),
        ] {
            let expected = Some((alias.map(str::to_owned), "10.1.0.1".to_owned()));
            assert_eq!(found(&table, name), expected, "{name}");
        }
    }

    #[test]
    fn two_labels_mean_service_and_namespace_before_anything_else() {
        let table = Table::default()
            .with("a.b.svc.cluster.local", &["10.1.0.1"])
            .with("a.b.shop.svc.cluster.local", &["10.1.0.2"]);
        assert_eq!(found(&table, "a.b"), Some((None, "10.1.0.1".into())));
    }

    #[test]
    fn strangers_and_other_namespaces_short_names_are_not_found() {
        let table = Table::default().with("payment.bank.svc.cluster.local", &["10.1.0.1"]);
        for name in
            ["payment", "example.com", "bank", "svc.cluster.local", "x.payment.bank", "local", "."]
        {
            assert_eq!(found(&table, name), None, "{name}");
        }
        assert!(found(&table, "payment.bank").is_some());
    }

    #[test]
    fn wildcard_covers_names_below_it_and_the_closest_wins() {
        let table = Table::default()
            .with("*.example.com", &["10.1.0.1"])
            .with("*.a.example.com", &["10.1.0.2"])
            .with("b.a.example.com", &["10.1.0.3"]);
        assert_eq!(found(&table, "x.example.com"), Some((None, "10.1.0.1".into())));
        assert_eq!(found(&table, "x.y.example.com"), Some((None, "10.1.0.1".into())));
        assert_eq!(found(&table, "x.a.example.com"), Some((None, "10.1.0.2".into())));
        assert_eq!(found(&table, "b.a.example.com"), Some((None, "10.1.0.3".into())));
        assert_eq!(found(&table, "example.com"), None);
        let alias = Some("x.example.com".to_owned());
        let name = "x.example.com.shop.svc.cluster.local";
        assert_eq!(found(&table, name), Some((alias, "10.1.0.1".into())));
    }

    #[test]
    fn own_namespace_then_preferred_then_canonical_is_chosen() {
        let host = "db.example.com";
        let of = |namespace: &str, canonical| NamedService {
            canonical,
            ..service(namespace, host, &["10.1.0.1"])
        };
        let all = vec![of("a", false), of("b", true), of("c", false), of("shop", false)];
        let chosen = |services: &[NamedService], preferred| {
            choose(services.to_vec(), &client(), preferred).map(|s| s.namespace.to_string())
        };
        assert_eq!(chosen(&all, Some("c")), Some("shop".into()));
        assert_eq!(chosen(&all[..3], Some("c")), Some("c".into()));
        assert_eq!(chosen(&all[..3], None), Some("b".into()));
        assert_eq!(chosen(&all[..1], None), Some("a".into()));
        let private = NamedService { private: true, ..of("b", true) };
        assert_eq!(chosen(std::slice::from_ref(&private), None), None);
        assert_eq!(chosen(&[private, of("a", false)], None), Some("a".into()));
    }

    #[test]
    fn headless_service_is_its_endpoints_and_external_one_is_left_to_name_servers() {
        let endpoints = vec!["10.44.1.10".parse().unwrap(), "10.44.2.10".parse().unwrap()];
        let headless = service("shop", "db.shop.svc.cluster.local", &[]);
        let external = service("shop", "api.example.com", &[]);
        let table = Table(vec![(headless, endpoints.clone()), (external, endpoints.clone())]);
        let resolved = resolve(&table, "db", &client(), "cluster.local", None).unwrap();
        assert_eq!(resolved.addresses, endpoints);
        assert_eq!(found(&table, "api.example.com"), None);
    }

    #[test]
    fn deep_names_cost_a_bounded_number_of_lookups() {
        struct Counting(std::sync::atomic::AtomicUsize);
        impl NameTable for Counting {
            fn services(&self, _host: &str, _client: &ClientView) -> Vec<NamedService> {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                vec![]
            }
            fn endpoints(&self, _: &NamedService, _: &ClientView) -> Vec<IpAddr> {
                vec![]
            }
        }
        let table = Counting(Default::default());
        let name = format!("{}shop.svc.cluster.local", "a.".repeat(100));
        assert!(resolve(&table, &name, &client(), "cluster.local", None).is_none());
        assert!(table.0.into_inner() <= limits::DNS_LOOKUPS_MAX);
    }
}
