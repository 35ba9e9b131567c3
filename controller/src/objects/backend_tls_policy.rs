//! TLS that a waypoint speaks to a service's endpoints (the Gateway API's BackendTLSPolicy).
//!
//! One that can't be read is kept with what it is attached to: connections fail there, for whoever wrote it wants none
//! without TLS.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::Pool;
use super::fields::{self, AllHosts, FieldError, Given};
use super::meta::Meta;
use super::route::{check_count, check_length};
use super::target::{PolicyTarget, RawTarget, TargetKind};

/// TLS to the endpoints of services.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendTlsPolicy {
    /// Name, labels and so on.
    pub meta: Meta,
    /// What it is attached to.
    pub targets: Box<[TlsTarget]>,
    /// Who endpoints have to be. Nothing: it couldn't be read and no earlier version is known, so connections fail.
    pub validation: Option<TlsValidation>,
    /// Fields that have no effect.
    pub ignored: Box<[String]>,
}

/// A service or a service entry, or a port of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsTarget {
    /// The service.
    pub object: PolicyTarget,
    /// The port's name; nothing: all ports that no policy names.
    pub section: Option<Arc<str>>,
}

/// Who an endpoint has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsValidation {
    /// Whose certificates count.
    pub trust: TlsTrust,
    /// What is asked for, and whom the certificate has to be for if there are no other names.
    pub hostname: Arc<str>,
    /// The certificate has to be for one of these: host names, also behind `*.`, and URIs.
    pub alt_names: Box<[Arc<str>]>,
}

/// Whose certificates count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsTrust {
    /// Those that the waypoint's system trusts.
    System,
    /// These; never empty.
    Refs(Box<[CaRef]>),
}

/// Where certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaRef {
    /// Group and kind, if it is no ConfigMap: it leads nowhere.
    pub foreign: Option<Box<str>>,
    /// Its name, in the policy's namespace.
    pub name: Arc<str>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawBackendTlsPolicy {
    target_refs: Vec<Given<RawTlsTarget>>,
    validation: RawValidation,
    #[serde(default, deserialize_with = "fields::or_default")]
    options: BTreeMap<String, IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawTlsTarget {
    #[serde(default)]
    group: String,
    kind: String,
    name: String,
    #[serde(default, deserialize_with = "fields::or_default")]
    section_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawValidation {
    #[serde(default, deserialize_with = "fields::or_default")]
    ca_certificate_refs: Vec<Given<RawCaRef>>,
    #[serde(default, rename = "wellKnownCACertificates", deserialize_with = "fields::or_default")]
    well_known: String,
    hostname: String,
    #[serde(default, deserialize_with = "fields::or_default")]
    subject_alt_names: Vec<Given<RawAltName>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCaRef {
    #[serde(default)]
    group: String,
    kind: String,
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAltName {
    r#type: AltNameType,
    #[serde(default, deserialize_with = "fields::or_default")]
    hostname: String,
    #[serde(default, deserialize_with = "fields::or_default")]
    uri: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum AltNameType {
    Hostname,
    #[serde(rename = "URI")]
    Uri,
}

/// As much of one that can't be read as can be told.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawTlsReach {
    #[serde(default)]
    target_refs: Value,
}

pub(super) fn backend_tls_policy(
    meta: Meta,
    raw: &RawBackendTlsPolicy,
    pool: &mut Pool,
) -> Result<BackendTlsPolicy, FieldError> {
    let targets = targets(&raw.target_refs, &meta, pool)?;
    let validation = raw.validation.build(pool)?;
    check_count(raw.options.len(), 16, "spec.options")?;
    let ignored = (!raw.options.is_empty()).then(|| "spec.options".to_owned());
    Ok(BackendTlsPolicy {
        meta,
        targets,
        validation: Some(validation),
        ignored: ignored.into_iter().collect(),
    })
}

fn targets(
    raw: &[Given<RawTlsTarget>],
    meta: &Meta,
    pool: &mut Pool,
) -> Result<Box<[TlsTarget]>, FieldError> {
    const FIELD: &str = "spec.targetRefs";
    if raw.is_empty() {
        return Err(FieldError::new(FIELD, "is empty"));
    }
    check_count(raw.len(), 16, FIELD)?;
    let mut built: Vec<TlsTarget> = Vec::with_capacity(raw.len());
    for (at, Given(raw)) in raw.iter().enumerate() {
        let field = format!("{FIELD}[{at}]");
        let target = raw.build(&field, meta, pool)?;
        let mut same = built.iter().filter(|it| it.object == target.object);
        if same.any(|it| it.section.is_none() || [&None, &it.section].contains(&&target.section)) {
            let reason = "is attached to twice; two references to it have to name two sections";
            return Err(FieldError::new(field, reason));
        }
        built.push(target);
    }
    Ok(built.into())
}

impl RawTlsTarget {
    fn build(&self, field: &str, meta: &Meta, pool: &mut Pool) -> Result<TlsTarget, FieldError> {
        let object = RawTarget::of(&self.group, &self.kind, &self.name).build(field, meta, pool)?;
        if !matches!(object.kind, TargetKind::Service | TargetKind::ServiceEntry) {
            let reason = format!("{:?} is neither Service nor ServiceEntry", self.kind);
            return Err(FieldError::new(format!("{field}.kind"), reason));
        }
        let section = Some(&self.section_name).filter(|name| !name.is_empty());
        if section.is_some_and(|name| !fields::is_dns_subdomain(name)) {
            let reason = format!("{:?} is no port's name", self.section_name);
            return Err(FieldError::new(format!("{field}.sectionName"), reason));
        }
        Ok(TlsTarget { object, section: section.map(|name| pool.text(name)) })
    }
}

impl RawValidation {
    fn build(&self, pool: &mut Pool) -> Result<TlsValidation, FieldError> {
        const FIELD: &str = "spec.validation";
        let wrong =
            |name: &str, reason: String| Err(FieldError::new(format!("{FIELD}.{name}"), reason));
        check_count(self.ca_certificate_refs.len(), 8, "spec.validation.caCertificateRefs")?;
        let trust = match (&*self.well_known, self.ca_certificate_refs.as_slice()) {
            ("", []) => {
                let reason = "is missing, and wellKnownCACertificates too".to_owned();
                return wrong("caCertificateRefs", reason);
            }
            ("", refs) => TlsTrust::Refs(self::refs(refs, pool)?),
            ("System", []) => TlsTrust::System,
            ("System", _) => {
                let reason = "can't be given together with caCertificateRefs".to_owned();
                return wrong("wellKnownCACertificates", reason);
            }
            (other, _) => {
                let reason = format!("{other:?} is not System");
                return wrong("wellKnownCACertificates", reason);
            }
        };
        let hostname = self.hostname.to_ascii_lowercase();
        if !fields::is_dns_subdomain(&hostname) || hostname.parse::<IpAddr>().is_ok() {
            return wrong("hostname", format!("{:?} is no host's name", self.hostname));
        }
        check_count(self.subject_alt_names.len(), 5, "spec.validation.subjectAltNames")?;
        let alt_names = self.subject_alt_names.iter().enumerate().map(|(at, Given(raw))| {
            Ok(pool.text(&raw.text(&format!("{FIELD}.subjectAltNames[{at}]"))?))
        });
        let alt_names = alt_names.collect::<Result<_, FieldError>>()?;
        Ok(TlsValidation { trust, hostname: pool.text(&hostname), alt_names })
    }
}

/// Another kind costs the policy its effect, not its place: connections fail.
fn refs(raw: &[Given<RawCaRef>], pool: &mut Pool) -> Result<Box<[CaRef]>, FieldError> {
    let refs = raw.iter().enumerate().map(|(at, Given(raw))| {
        let field = format!("spec.validation.caCertificateRefs[{at}]");
        check_length(&raw.group, &format!("{field}.group"))?;
        check_length(&raw.kind, &format!("{field}.kind"))?;
        if !fields::is_dns_subdomain(&raw.name) {
            let reason = format!("{:?} is no object's name", raw.name);
            return Err(FieldError::new(format!("{field}.name"), reason));
        }
        let is_config_map = raw.group.is_empty() && raw.kind == "ConfigMap";
        let foreign = (!is_config_map).then(|| format!("{}/{}", raw.group, raw.kind).into());
        Ok(CaRef { foreign, name: pool.text(&raw.name) })
    });
    refs.collect()
}

impl RawAltName {
    fn text(&self, field: &str) -> Result<String, FieldError> {
        let (name, text, other) = match self.r#type {
            AltNameType::Hostname => ("hostname", &self.hostname, ("uri", &self.uri)),
            AltNameType::Uri => ("uri", &self.uri, ("hostname", &self.hostname)),
        };
        if !other.1.is_empty() {
            let reason = "is given, and the type is another";
            return Err(FieldError::new(format!("{field}.{}", other.0), reason));
        }
        let field = format!("{field}.{name}");
        check_length(text, &field)?;
        if self.r#type == AltNameType::Hostname {
            return fields::host_pattern(text, &field, AllHosts::Refused);
        }
        let scheme = text.split_once("://").map(|(scheme, _)| scheme);
        match scheme.is_some_and(|it| !it.is_empty() && !it.contains(['/', ':', '?', '#'])) {
            true => Ok(text.clone()),
            false => Err(FieldError::new(field, format!("{text:?} is no URI with its scheme"))),
        }
    }
}

/// What stands in for one that can't be read; nothing if nobody can tell what it is attached to.
pub(super) fn unreadable(
    meta: Meta,
    reach: &RawTlsReach,
    pool: &mut Pool,
) -> Option<BackendTlsPolicy> {
    let list = match &reach.target_refs {
        Value::Array(list) => list.as_slice(),
        other => std::slice::from_ref(other),
    };
    let mut guess = |value: &Value| {
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        let kind = match text("kind") {
            "Service" => TargetKind::Service,
            "ServiceEntry" => TargetKind::ServiceEntry,
            _ => return None,
        };
        let section = Some(text("sectionName")).filter(|it| !it.is_empty());
        let section = section.map(|it| pool.text(it));
        Some(TlsTarget { object: PolicyTarget { kind, name: pool.text(text("name")) }, section })
    };
    let targets: Box<[TlsTarget]> = list.iter().take(16).filter_map(&mut guess).collect();
    (!targets.is_empty()).then(|| BackendTlsPolicy {
        meta,
        targets,
        validation: None,
        ignored: Box::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Kind, Object, read};

    fn policy(spec: &str) -> Result<Arc<BackendTlsPolicy>, String> {
        let text = format!(
            "apiVersion: gateway.networking.k8s.io/v1alpha3\nkind: BackendTLSPolicy\nmetadata: {{name: a, namespace: shop}}\nspec: {spec}\n"
        );
        match read(Kind::BackendTLSPolicy, &text, &mut Pool::default()) {
            Ok(Object::BackendTlsPolicy(policy)) => Ok(policy),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    const TARGETS: &str = "targetRefs: [{group: '', kind: Service, name: web}]";

    #[test]
    fn every_field_is_read() {
        let found = policy(
            "{targetRefs: [{group: '', kind: Service, name: web, sectionName: a}, {group: '', kind: Service, name: web, sectionName: b}, \
             {group: networking.istio.io, kind: ServiceEntry, name: bank}], options: {a.example/b: c}, \
             validation: {hostname: Web.example, caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}, {group: x, kind: Y, name: z}], \
             subjectAltNames: [{type: Hostname, hostname: '*.A.example'}, {type: URI, uri: 'spiffe://a/B'}]}}",
        )
        .unwrap();
        let targets: Vec<_> = found
            .targets
            .iter()
            .map(|it| (it.object.kind, &*it.object.name, it.section.as_deref()))
            .collect();
        let service = TargetKind::Service;
        let expected = [
            (service, "web", Some("a")),
            (service, "web", Some("b")),
            (TargetKind::ServiceEntry, "bank", None),
        ];
        assert_eq!(targets, expected);
        let validation = found.validation.as_ref().unwrap();
        assert_eq!(&*validation.hostname, "web.example");
        let names: Vec<_> = validation.alt_names.iter().map(|it| &**it).collect();
        assert_eq!(names, ["*.a.example", "spiffe://a/B"]);
        let TlsTrust::Refs(refs) = &validation.trust else { panic!("{validation:?}") };
        let refs: Vec<_> = refs.iter().map(|it| (&*it.name, it.foreign.as_deref())).collect();
        assert_eq!(refs, [("ca", None), ("z", Some("x/Y"))]);
        assert_eq!(*found.ignored, ["spec.options"]);
    }

    #[test]
    fn what_is_not_clear_is_refused_by_its_field() {
        let valid = "hostname: a, wellKnownCACertificates: System";
        let wrong = |validation: &str| format!("{{{TARGETS}, validation: {{{validation}}}}}");
        let target =
            |targets: &str| format!("{{targetRefs: [{targets}], validation: {{{valid}}}}}");
        let web = "{group: '', kind: Service, name: web}";
        let port = "{group: '', kind: Service, name: web, sectionName: a}";
        let refs = "caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]";
        assert!(policy(&wrong(valid)).is_ok());
        for (spec, field) in [
            (target(""), "spec.targetRefs"),
            (target(&format!("{web}, {web}")), "spec.targetRefs[1]"),
            (target(&format!("{web}, {port}")), "spec.targetRefs[1]"),
            (target(&format!("{port}, {web}")), "spec.targetRefs[1]"),
            (target(&format!("{port}, {port}")), "spec.targetRefs[1]"),
            (
                target("{group: gateway.networking.k8s.io, kind: Gateway, name: w}"),
                "spec.targetRefs[0].kind",
            ),
            (target("{group: apps, kind: Service, name: w}"), "spec.targetRefs[0].group"),
            (
                target("{kind: Service, name: w, sectionName: 'a b'}"),
                "spec.targetRefs[0].sectionName",
            ),
            (target("{kind: Service, name: w, port: 80}"), "port"),
            (wrong("hostname: a"), "spec.validation.caCertificateRefs"),
            (wrong(&format!("{valid}, {refs}")), "spec.validation.wellKnownCACertificates"),
            (
                wrong("hostname: a, wellKnownCACertificates: Other"),
                "spec.validation.wellKnownCACertificates",
            ),
            (wrong(&format!("hostname: 10.0.0.1, {refs}")), "spec.validation.hostname"),
            (wrong(&format!("hostname: '*.a', {refs}")), "spec.validation.hostname"),
            (wrong(refs), "hostname"),
            (
                wrong(&format!("{valid}, subjectAltNames: [{{type: URI, uri: a}}]")),
                "subjectAltNames[0].uri",
            ),
            (
                wrong(&format!("{valid}, subjectAltNames: [{{type: URI, hostname: a}}]")),
                "subjectAltNames[0].hostname",
            ),
            (
                wrong(&format!("{valid}, subjectAltNames: [{{type: Hostname}}]")),
                "subjectAltNames[0].hostname",
            ),
            (wrong(&format!("{valid}, more: 1")), "more"),
        ] {
            let error = policy(&spec).unwrap_err();
            assert!(error.contains(field), "{spec}: {error}");
        }
    }
}
