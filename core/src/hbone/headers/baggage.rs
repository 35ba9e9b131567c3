//! `baggage` (W3C Baggage): what a workload is called, for the other side's metrics and logs.
//!
//! It is a claim of the peer, and goes into telemetry only. Values are kept as they stand: those of the mesh are
//! Kubernetes names, which need no percent-encoding.

use std::fmt;

use crate::limits;

/// What owns a workload's pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkloadKind {
    /// A Deployment, or what behaves as one.
    Deployment,
    /// A CronJob.
    CronJob,
    /// A pod on its own.
    Pod,
    /// A Job.
    Job,
}

impl WorkloadKind {
    const ALL: [Self; 4] = [Self::Deployment, Self::CronJob, Self::Pod, Self::Job];

    fn key(self) -> &'static str {
        match self {
            Self::Deployment => "k8s.deployment.name",
            Self::CronJob => "k8s.cronjob.name",
            Self::Pod => "k8s.pod.name",
            Self::Job => "k8s.job.name",
        }
    }
}

/// A workload by kind and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkloadName {
    /// Kind.
    pub kind: WorkloadKind,
    /// Name.
    pub name: String,
}

/// What a workload says of itself. Absent is `None`, never an empty text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Baggage {
    /// `k8s.cluster.name`.
    pub cluster: Option<String>,
    /// `k8s.namespace.name`.
    pub namespace: Option<String>,
    /// `k8s.<kind>.name`.
    pub workload: Option<WorkloadName>,
    /// `service.name`: the canonical name.
    pub canonical_name: Option<String>,
    /// `service.version`: the canonical revision.
    pub canonical_revision: Option<String>,
    /// `cloud.region`.
    pub region: Option<String>,
    /// `cloud.availability_zone`.
    pub zone: Option<String>,
}

impl Baggage {
    /// Reads all `baggage` fields of a message. Members that are unknown or malformed are skipped, and of one key
    /// the last counts; a list beyond the bounds says nothing at all.
    pub fn parse<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut baggage = Self::default();
        let (mut bytes, mut members) = (0_usize, 0_usize);
        for field in fields {
            bytes = bytes.saturating_add(field.len());
            if bytes > limits::BAGGAGE_BYTES_MAX {
                return Self::default();
            }
            for member in field.split(|byte| *byte == b',') {
                members += 1;
                if members > limits::BAGGAGE_MEMBERS_MAX {
                    return Self::default();
                }
                baggage.take_member(member);
            }
        }
        baggage
    }

    fn take_member(&mut self, member: &[u8]) {
        // Properties after a semicolon qualify the value, and none is known.
        let plain = member.split(|byte| *byte == b';').next().unwrap_or_default();
        let Ok(plain) = str::from_utf8(plain) else {
            return;
        };
        let Some((key, value)) = plain.split_once('=') else {
            return;
        };
        let (key, value) = (key.trim_matches([' ', '\t']), value.trim_matches([' ', '\t']));
        if !is_value(value) {
            return;
        }
        if let Some(kind) = WorkloadKind::ALL.into_iter().find(|kind| kind.key() == key) {
            self.workload = Some(WorkloadName { kind, name: value.to_owned() });
        } else if let Some((_, slot)) =
            self.plain_mut().into_iter().find(|(known, _)| *known == key)
        {
            *slot = Some(value.to_owned());
        }
    }

    fn plain_mut(&mut self) -> [(&'static str, &mut Option<String>); 6] {
        [
            ("k8s.cluster.name", &mut self.cluster),
            ("k8s.namespace.name", &mut self.namespace),
            ("service.name", &mut self.canonical_name),
            ("service.version", &mut self.canonical_revision),
            ("cloud.region", &mut self.region),
            ("cloud.availability_zone", &mut self.zone),
        ]
    }
}

/// The header's value. A value that the header can't carry is left out.
impl fmt::Display for Baggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let workload = self.workload.as_ref().map(|it| (it.kind.key(), it.name.as_str()));
        let members = [
            self.cluster.as_deref().map(|value| ("k8s.cluster.name", value)),
            self.namespace.as_deref().map(|value| ("k8s.namespace.name", value)),
            workload,
            self.canonical_name.as_deref().map(|value| ("service.name", value)),
            self.canonical_revision.as_deref().map(|value| ("service.version", value)),
            self.region.as_deref().map(|value| ("cloud.region", value)),
            self.zone.as_deref().map(|value| ("cloud.availability_zone", value)),
        ];
        let sendable = members.into_iter().flatten().filter(|(_, value)| is_value(value));
        for (position, (key, value)) in sendable.enumerate() {
            let separator = if position == 0 { "" } else { "," };
            write!(f, "{separator}{key}={value}")?;
        }
        Ok(())
    }
}

/// W3C Baggage, section 3.3.1: printable ASCII without quote, comma, semicolon and backslash.
fn is_value(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= limits::BAGGAGE_VALUE_BYTES_MAX
        && value.bytes().all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Baggage {
        Baggage::parse([text.as_bytes()])
    }

    #[test]
    fn known_members_are_read_and_the_last_of_a_key_counts() {
        let baggage = parse(
            "k8s.cluster.name=c1, k8s.namespace.name = demo;prop=1 ,k8s.job.name=j,x=y,service.name=a,service.name=b,=,,",
        );
        assert_eq!(baggage.cluster.as_deref(), Some("c1"));
        assert_eq!(baggage.namespace.as_deref(), Some("demo"));
        assert_eq!(
            baggage.workload,
            Some(WorkloadName { kind: WorkloadKind::Job, name: "j".into() })
        );
        assert_eq!(baggage.canonical_name.as_deref(), Some("b"));
        assert_eq!(
            baggage.to_string(),
            "k8s.cluster.name=c1,k8s.namespace.name=demo,k8s.job.name=j,service.name=b"
        );
    }

    #[test]
    fn list_beyond_its_bounds_says_nothing() {
        assert_eq!(parse(&"service.name=a,".repeat(65)), Baggage::default());
        let padded = format!("service.name=a,x={}", "y".repeat(limits::BAGGAGE_BYTES_MAX));
        assert_eq!(parse(&padded), Baggage::default());
        let long = format!("service.name={}", "y".repeat(limits::BAGGAGE_VALUE_BYTES_MAX + 1));
        assert_eq!(parse(&long), Baggage::default());
    }

    #[test]
    fn value_that_the_header_cannot_carry_is_left_out() {
        let baggage = Baggage {
            cluster: Some("a,service.name=forged".into()),
            region: Some("r".into()),
            zone: Some("line\nbreak".into()),
            ..Baggage::default()
        };
        assert_eq!(baggage.to_string(), "cloud.region=r");
    }

    fn value() -> impl Strategy<Value = Option<String>> {
        proptest::option::of("[!#-+\\--:<-\\[\\]-~]{1,40}")
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let baggage = Baggage::parse([bytes.as_slice(), bytes.as_slice()]);
            prop_assert_eq!(parse(&baggage.to_string()), baggage);
        }

        #[test]
        fn encoded_baggage_reads_back(
            cluster in value(), namespace in value(), name in value(), canonical_name in value(), zone in value(),
        ) {
            let workload = name.map(|name| WorkloadName { kind: WorkloadKind::CronJob, name });
            let baggage = Baggage { cluster, namespace, workload, canonical_name, zone, ..Baggage::default() };
            prop_assert_eq!(parse(&baggage.to_string()), baggage);
        }
    }
}
