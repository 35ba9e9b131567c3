//! What is said to a query: pure, apart from the order of addresses, which is random.

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::op::{Edns, Message, Metadata, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use rand::seq::SliceRandom as _;
use weft_core::limits;

use super::names::{ClientView, NameTable, Resolved, resolve};
use super::wire;

/// How names are understood.
#[derive(Debug, Clone)]
pub struct Names {
    /// The cluster's domain, `cluster.local`.
    pub cluster_domain: Arc<str>,
    /// The namespace that wins where several have a host.
    pub preferred_namespace: Option<Arc<str>>,
    /// Whether AAAA queries are answered with addresses.
    pub ipv6: bool,
}

/// What is to be done with a query.
#[derive(Debug)]
pub enum Verdict {
    /// Say this.
    Reply(Box<Message>),
    /// Ask a name server.
    Forward {
        /// Whether the mesh knows the name, only not records of this type. Then "no such name" would be wrong,
        /// whoever says it.
        is_known: bool,
        /// Whether the name is below the cluster's domain.
        is_cluster_name: bool,
    },
}

/// Answers `query`, which has exactly one question.
pub fn answer(
    names: &Names,
    table: &dyn NameTable,
    client: &ClientView,
    query: &Message,
) -> Verdict {
    let Some(question) = query.queries.first() else {
        return Verdict::Reply(Box::new(respond(query, ResponseCode::FormErr)));
    };
    // RFC 6891, section 6.1.3.
    if query.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Verdict::Reply(Box::new(respond(query, ResponseCode::BADVERS)));
    }
    if question.query_class != DNSClass::IN {
        return Verdict::Reply(Box::new(respond(query, ResponseCode::Refused)));
    }
    let Some(host) = wire::host(&question.name) else {
        return Verdict::Forward { is_known: false, is_cluster_name: false };
    };
    let domain = &names.cluster_domain;
    let preferred = names.preferred_namespace.as_deref();
    let is_address = matches!(question.query_type, RecordType::A | RecordType::AAAA);
    match resolve(table, &host, client, domain, preferred) {
        Some(resolved) if is_address => {
            let mut response = respond(query, ResponseCode::NoError);
            response.metadata.authoritative = true;
            add_records(&mut response, &question.name, question.query_type, resolved, names.ipv6);
            Verdict::Reply(Box::new(response))
        }
        found => {
            let above = host.strip_suffix(&**domain);
            let is_cluster_name =
                above.is_some_and(|above| above.is_empty() || above.ends_with('.'));
            Verdict::Forward { is_known: found.is_some(), is_cluster_name }
        }
    }
}

/// An empty response to `query`.
pub(super) fn respond(query: &Message, code: ResponseCode) -> Message {
    let mut response = Message::response(query.metadata.id, query.metadata.op_code);
    response.metadata = Metadata::response_from_request(&query.metadata);
    response.metadata.recursion_available = true;
    response.metadata.response_code = code;
    response.queries.clone_from(&query.queries);
    response.edns = query.edns.as_ref().map(own_edns);
    response
}

/// What we say of ourselves to a client that speaks EDNS (RFC 6891, section 6.1.1: to nobody else).
pub(super) fn own_edns(client: &Edns) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(limits::DNS_UDP_BYTES_MAX);
    edns.set_dnssec_ok(client.flags().dnssec_ok);
    edns
}

fn add_records(
    response: &mut Message,
    asked: &Name,
    record_type: RecordType,
    resolved: Resolved,
    ipv6: bool,
) {
    let ttl = limits::DNS_TTL_SECONDS;
    let alias = resolved.alias.and_then(|alias| Name::from_ascii(format!("{alias}.")).ok());
    let owner = match alias {
        Some(alias) => {
            let target = RData::CNAME(CNAME(alias.clone()));
            response.add_answer(Record::from_rdata(asked.clone(), ttl, target));
            alias
        }
        None => asked.clone(),
    };
    let mut data: Vec<_> = resolved
        .addresses
        .into_iter()
        .filter_map(|address| match (address, record_type) {
            (IpAddr::V4(address), RecordType::A) => Some(RData::A(A(address))),
            (IpAddr::V6(address), RecordType::AAAA) if ipv6 => Some(RData::AAAA(AAAA(address))),
            _ => None,
        })
        .collect();
    // Clients take the first; with many endpoints, each gets another one.
    data.shuffle(&mut rand::rng());
    data.truncate(limits::DNS_ADDRESSES_MAX);
    for data in data {
        response.add_answer(Record::from_rdata(owner.clone(), ttl, data));
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{MessageType, OpCode, Query};

    use super::super::names::testing::{Table, client, service};
    use super::*;

    fn names() -> Names {
        Names { cluster_domain: "cluster.local".into(), preferred_namespace: None, ipv6: true }
    }

    fn query(name: &str, record_type: RecordType) -> Message {
        let mut query = Message::new(7, MessageType::Query, OpCode::Query);
        query.metadata.recursion_desired = true;
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
        query
    }

    fn table() -> Table {
        Table::default()
            .with("checkout.shop.svc.cluster.local", &["10.1.0.1", "fd00::1"])
            .with("v4.shop.svc.cluster.local", &["10.1.0.2"])
    }

    fn reply(query: &Message) -> Message {
        match answer(&names(), &table(), &client(), query) {
            Verdict::Reply(reply) => *reply,
            verdict @ Verdict::Forward { .. } => panic!("{verdict:?}"),
        }
    }

    fn shown(reply: &Message) -> Vec<String> {
        reply
            .answers
            .iter()
            .map(|record| format!("{} {} {}", record.name, record.ttl, record.data))
            .collect()
    }

    #[test]
    fn service_is_answered_with_authority_and_thirty_seconds() {
        let reply = reply(&query("checkout.shop.", RecordType::A));
        assert_eq!(shown(&reply), ["checkout.shop. 30 10.1.0.1"]);
        let metadata = reply.metadata;
        assert!(
            metadata.authoritative && metadata.recursion_available && metadata.recursion_desired
        );
        assert_eq!((metadata.id, metadata.message_type), (7, MessageType::Response));
        assert_eq!(reply.queries.len(), 1);
        assert!(reply.edns.is_none());
    }

    #[test]
    fn case_of_the_question_is_kept() {
        let reply = reply(&query("CheckOut.Shop.", RecordType::AAAA));
        assert_eq!(shown(&reply), ["CheckOut.Shop. 30 fd00::1"]);
    }

    #[test]
    fn name_with_a_search_domain_is_an_alias() {
        let reply = reply(&query("checkout.shop.shop.svc.cluster.local.", RecordType::A));
        assert_eq!(
            shown(&reply),
            [
                "checkout.shop.shop.svc.cluster.local. 30 checkout.shop.svc.cluster.local.",
                "checkout.shop.svc.cluster.local. 30 10.1.0.1"
            ]
        );
    }

    #[test]
    fn known_name_without_such_an_address_is_no_error_and_empty() {
        let reply = reply(&query("v4.shop.", RecordType::AAAA));
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
        assert!(reply.answers.is_empty() && reply.metadata.authoritative);
        let names = Names { ipv6: false, ..names() };
        let asked = query("checkout.shop.", RecordType::AAAA);
        let Verdict::Reply(reply) = answer(&names, &table(), &client(), &asked) else { panic!() };
        assert!(reply.answers.is_empty());
    }

    #[test]
    fn other_names_and_other_types_are_for_name_servers() {
        let verdict = |name: &str, record_type| match answer(
            &names(),
            &table(),
            &client(),
            &query(name, record_type),
        ) {
            Verdict::Forward { is_known, is_cluster_name } => (is_known, is_cluster_name),
            Verdict::Reply(reply) => panic!("{reply:?}"),
        };
        assert_eq!(verdict("example.com.", RecordType::A), (false, false));
        assert_eq!(verdict("nobody.shop.svc.cluster.local.", RecordType::A), (false, true));
        assert_eq!(verdict("notcluster.local.", RecordType::A), (false, false));
        assert_eq!(verdict("checkout.shop.", RecordType::HTTPS), (true, false));
        assert_eq!(verdict(".", RecordType::NS), (false, false));
    }

    #[test]
    fn edns_is_answered_with_ours_and_a_later_version_is_refused() {
        let mut asked = query("checkout.shop.", RecordType::A);
        let mut edns = Edns::new();
        edns.set_max_payload(4096).set_dnssec_ok(true);
        asked.set_edns(edns.clone());
        let answered = reply(&asked);
        let own = answered.edns.as_ref().unwrap();
        assert_eq!((own.max_payload(), own.flags().dnssec_ok), (limits::DNS_UDP_BYTES_MAX, true));
        edns.set_version(1);
        asked.set_edns(edns);
        assert_eq!(reply(&asked).metadata.response_code, ResponseCode::BADVERS);
    }

    #[test]
    fn other_classes_are_refused() {
        let mut asked = query("version.bind.", RecordType::TXT);
        asked.queries[0].set_query_class(DNSClass::CH);
        assert_eq!(reply(&asked).metadata.response_code, ResponseCode::Refused);
    }

    #[test]
    fn endpoints_come_in_any_order_and_are_bounded() {
        let endpoints: Vec<IpAddr> = (0..200).map(|n| IpAddr::from([10, 44, 1, n])).collect();
        let headless = service("shop", "db.shop.svc.cluster.local", &[]);
        let table = Table(vec![(headless, endpoints)]);
        let firsts: std::collections::HashSet<_> = (0..50)
            .map(|_| {
                let asked = query("db.", RecordType::A);
                let Verdict::Reply(reply) = answer(&names(), &table, &client(), &asked) else {
                    panic!()
                };
                assert_eq!(reply.answers.len(), limits::DNS_ADDRESSES_MAX);
                reply.answers[0].data.to_string()
            })
            .collect();
        assert!(firsts.len() > 1);
    }
}
