//! What name servers said, for as long as they allow.

use std::collections::HashMap;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use tokio::time::Instant;
use weft_core::limits;

/// Everything in a query that changes its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    name: Name,
    record_type: RecordType,
    class: DNSClass,
    dnssec_ok: bool,
    checking_disabled: bool,
}

impl Key {
    pub(super) fn of(query: &Message) -> Option<Self> {
        let question = query.queries.first()?;
        Some(Self {
            name: question.name.to_lowercase(),
            record_type: question.query_type,
            class: question.query_class,
            dnssec_ok: query.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok),
            checking_disabled: query.metadata.checking_disabled,
        })
    }
}

/// Answers of one pod's name servers.
#[derive(Debug, Default)]
pub(super) struct Cache(HashMap<Key, Entry>);

#[derive(Debug)]
struct Entry {
    response: Message,
    stored_at: Instant,
    expires_at: Instant,
}

impl Cache {
    /// A remembered response, its times to live reduced by its age.
    pub(super) fn get(&self, key: &Key) -> Option<Message> {
        let entry = self.0.get(key)?;
        let now = Instant::now();
        if now >= entry.expires_at {
            return None;
        }
        let age = u32::try_from(now.duration_since(entry.stored_at).as_secs()).unwrap_or(u32::MAX);
        let mut response = entry.response.clone();
        let Message { answers, authorities, additionals, .. } = &mut response;
        for record in answers.iter_mut().chain(authorities).chain(additionals) {
            record.ttl = record.ttl.saturating_sub(age);
        }
        Some(response)
    }

    pub(super) fn put(&mut self, key: Key, response: &Message) {
        let Some(ttl) = time_to_live(response) else {
            return;
        };
        let now = Instant::now();
        if self.0.len() >= limits::DNS_CACHE_ENTRIES_MAX && !self.0.contains_key(&key) {
            self.0.retain(|_, entry| entry.expires_at > now);
        }
        if self.0.len() >= limits::DNS_CACHE_ENTRIES_MAX && !self.0.contains_key(&key) {
            // Which one goes hardly matters: the map's order is random, and the pod asks for too many names anyway.
            if let Some(victim) = self.0.keys().next().cloned() {
                self.0.remove(&victim);
            }
        }
        let entry = Entry { response: response.clone(), stored_at: now, expires_at: now + ttl };
        self.0.insert(key, entry);
    }
}

/// How long a response may be remembered; `None` for not at all. A name or a record that doesn't exist is
/// remembered as its zone's SOA says (RFC 2308, section 5), and not at all without one.
fn time_to_live(response: &Message) -> Option<Duration> {
    let negative = match response.metadata.response_code {
        ResponseCode::NoError => {
            !response.answers.iter().any(|record| !matches!(record.data, RData::CNAME(_)))
        }
        ResponseCode::NXDomain => true,
        _ => return None,
    };
    let shortest = response.answers.iter().map(|record| record.ttl).min();
    let seconds = if negative {
        let soa = response.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
            _ => None,
        });
        soa?.min(shortest.unwrap_or(u32::MAX))
    } else {
        shortest?
    };
    let ttl = Duration::from_secs(seconds.into()).min(limits::DNS_CACHE_TTL_MAX);
    (!ttl.is_zero() && !response.metadata.truncation).then_some(ttl)
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{MessageType, OpCode, Query};
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, SOA};

    use super::*;

    fn query(name: &str) -> Message {
        let mut query = Message::new(1, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        query
    }

    fn response(name: &str, ttl: u32) -> Message {
        let mut response = query(name);
        let data = RData::A(A([192, 0, 2, 1].into()));
        response.add_answer(Record::from_rdata(Name::from_ascii(name).unwrap(), ttl, data));
        response
    }

    fn key(name: &str) -> Key {
        Key::of(&query(name)).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn answer_is_remembered_for_its_time_and_ages() {
        let mut cache = Cache::default();
        cache.put(key("a."), &response("a.", 60));
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(cache.get(&key("A.")).unwrap().answers[0].ttl, 40);
        tokio::time::advance(Duration::from_secs(40)).await;
        assert!(cache.get(&key("a.")).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn long_times_are_cut_and_zero_is_not_remembered() {
        let mut cache = Cache::default();
        cache.put(key("a."), &response("a.", 86_400));
        cache.put(key("b."), &response("b.", 0));
        assert!(cache.get(&key("b.")).is_none());
        tokio::time::advance(limits::DNS_CACHE_TTL_MAX).await;
        assert!(cache.get(&key("a.")).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn absence_is_remembered_as_the_zone_says() {
        let mut cache = Cache::default();
        let mut absent = query("a.");
        absent.metadata.response_code = ResponseCode::NXDomain;
        cache.put(key("a."), &absent);
        assert!(cache.get(&key("a.")).is_none(), "without a SOA it isn't remembered");
        let zone = Name::from_ascii("example.").unwrap();
        let soa = SOA::new(zone.clone(), zone.clone(), 1, 1, 1, 1, 30);
        absent.add_authority(Record::from_rdata(zone, 3600, RData::SOA(soa)));
        cache.put(key("a."), &absent);
        tokio::time::advance(Duration::from_secs(29)).await;
        assert!(cache.get(&key("a.")).is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(cache.get(&key("a.")).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_never_remembered_and_the_size_is_bounded() {
        let mut cache = Cache::default();
        let mut failed = query("a.");
        failed.metadata.response_code = ResponseCode::ServFail;
        cache.put(key("a."), &failed);
        assert!(cache.get(&key("a.")).is_none());
        for n in 0..2 * limits::DNS_CACHE_ENTRIES_MAX {
            let name = format!("n{n}.");
            cache.put(key(&name), &response(&name, 60));
        }
        assert_eq!(cache.0.len(), limits::DNS_CACHE_ENTRIES_MAX);
    }
}
