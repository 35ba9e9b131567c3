//! Secrets that destination rules name.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use prost::Message;
use rcgen::{CertificateParams, KeyPair};
use weft_proto::contract::backend::CREDENTIALS_MAX;
use weft_proto::contract::type_url;
use weft_proto::route as proto;

use crate::objects::ObjectChange;
use crate::translate::Translator;

use super::{WEB, added, decoded, gateway, message, objects, waypoint, with};

const CA: &str = include_str!("../../objects/ca.test.pem");

/// PEM of a certificate and of its key, the same for all tests.
static PAIR: LazyLock<[String; 2]> = LazyLock::new(|| {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["client.example".to_owned()]).unwrap();
    let chain = params.self_signed(&key).unwrap().pem();
    [chain.replace("\r\n", "\n"), key.serialize_pem()]
});

const SERVICES: &str = r"
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, labels: {istio.io/use-waypoint: w}}
spec: {ports: [{name: http, port: 80}, {name: tls, port: 443}]}
---
apiVersion: v1
kind: Service
metadata: {name: free, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
---
";

/// Of a Secret: the entries of these names, each what Istio looks for there.
pub(super) fn data(entries: &[&str]) -> String {
    let [chain, key] = &*PAIR;
    let value = |entry: &str| match entry {
        "tls.crt" | "cert" => chain.clone(),
        "tls.key" | "key" => key.clone(),
        _ => CA.to_owned(),
    };
    let entries = entries.iter().map(|entry| format!("{entry}: {:?}", value(entry)));
    format!("stringData: {{{}}}\n", entries.collect::<Vec<_>>().join(", "))
}

fn secret(namespace: &str, name: &str, entries: &[&str]) -> String {
    let data = data(entries);
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\n{data}---\n"
    )
}

const WHOLE: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];

fn rule(host: &str, policy: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {host}, namespace: shop}}\nspec: {{host: {host}, {policy}}}\n---\n"
    )
}

fn tls(mode: &str, credential: &str) -> String {
    rule("web", &format!("trafficPolicy: {{tls: {{mode: {mode}, credentialName: {credential}}}}}"))
}

/// The services with their waypoint.
fn world(parts: &[&str]) -> Translator {
    let own = waypoint("shop", "w", "", "Same");
    with(SERVICES, &[&[&*own], parts].concat())
}

/// What is sent about Secrets, and to whom.
fn sent(translator: &Translator) -> BTreeMap<String, (proto::ServiceCredentials, Vec<String>)> {
    let all =
        translator.audiences().into_iter().filter(|((of, _), _)| *of == type_url::CREDENTIALS);
    let sent = all.map(|((_, name), (bytes, audience))| {
        let message = proto::ServiceCredentials::decode(bytes).unwrap();
        assert_eq!(format!("{}/{}", message.namespace, message.hostname), *name);
        (name.to_string(), (message, audience.iter().map(ToString::to_string).collect()))
    });
    sent.collect()
}

fn only(translator: &Translator) -> BTreeMap<String, proto::Credential> {
    sent(translator).remove(WEB).map(|(message, _)| message.secrets).unwrap_or_default()
}

fn settings(translator: &Translator) -> proto::UpstreamTls {
    decoded(translator).backends[WEB].settings.clone().unwrap().tls.unwrap()
}

fn status(translator: &Translator) -> String {
    message(translator, "DestinationRule shop/web")
}

#[test]
fn secret_goes_to_the_waypoint_that_needs_it_and_to_nobody_else() {
    let whole = secret("shop", "bank", &WHOLE);
    let other = waypoint("shop", "other", "", "Same");
    let translator = world(&[&whole, &other, &tls("MUTUAL", "bank")]);
    let (message, audience) = sent(&translator).remove(WEB).unwrap();
    assert_eq!(audience, ["shop/w"]);
    let [chain, _] = &*PAIR;
    let found = &message.secrets["shop/bank"];
    assert_eq!((&found.chain_pem, &*found.ca_pem, &*found.revoked_pem), (chain, CA, ""));
    assert!(found.key_pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    let tls = settings(&translator);
    assert_eq!((&*tls.credential, &*tls.unavailable), ("shop/bank", ""));
    assert!(status(&translator).contains("ResolvedRefs=true/ResolvedRefs"));
    // Nothing else that is sent has it.
    let needle: String = found.key_pem.lines().nth(1).unwrap().chars().take(24).collect();
    for ((of, name), bytes) in translator.resources() {
        let has = String::from_utf8_lossy(&bytes).contains(&needle);
        assert_eq!(has, of == type_url::CREDENTIALS, "{name}");
    }
    let shown = format!("{translator:?} {:?} {message:?}", translator.statuses());
    assert!(!shown.contains(&needle));
}

#[test]
fn key_is_sent_only_where_the_client_proves_who_it_is() {
    let whole = secret("shop", "bank", &WHOLE);
    let found = only(&world(&[&whole, &tls("SIMPLE", "bank")])).remove("shop/bank").unwrap();
    assert_eq!((&*found.chain_pem, &*found.key_pem, &*found.ca_pem), ("", "", CA));
    let both = rule(
        "web",
        "trafficPolicy: {tls: {mode: SIMPLE, credentialName: bank}, portLevelSettings: \
         [{port: {number: 443}, tls: {mode: MUTUAL, credentialName: 'kubernetes://bank'}}]}",
    );
    let found = only(&world(&[&whole, &both]));
    assert!(found.len() == 1 && !found["shop/bank"].key_pem.is_empty());
}

#[test]
fn secret_beside_says_whom_to_trust() {
    let pair = secret("shop", "bank", &["cert", "key"]);
    let beside = secret("shop", "bank-cacert", &["cacert"]);
    let found = only(&world(&[&pair, &beside, &tls("MUTUAL", "bank")])).remove("shop/bank");
    let found = found.unwrap();
    assert!(!found.key_pem.is_empty() && found.ca_pem == CA);
    // One that has nobody to trust isn't passed over.
    let wrong = secret("shop", "bank-cacert", &["tls.crt", "tls.key"]);
    let whole = secret("shop", "bank", &WHOLE);
    assert!(only(&world(&[&whole, &wrong, &tls("SIMPLE", "bank")])).is_empty());
    // For SIMPLE it is enough.
    let alone = world(&[&beside, &tls("SIMPLE", "bank")]);
    assert_eq!(only(&alone)["shop/bank"].ca_pem, CA);
}

#[test]
fn secret_that_can_not_be_had_lets_connections_fail_and_is_named() {
    let whole = secret("shop", "bank", &WHOLE);
    let foreign = secret("bank", "bank", &WHOLE);
    let pair = secret("shop", "bank", &["tls.crt", "tls.key"]);
    let ca = secret("shop", "bank", &["ca.crt"]);
    for (secret, rule, reason, words) in [
        ("", tls("MUTUAL", "bank"), "SecretNotFound", "there is no Secret shop/bank"),
        (&*foreign, tls("MUTUAL", "bank"), "SecretNotFound", "there is no Secret shop/bank"),
        (&foreign, tls("MUTUAL", "bank/bank"), "RefNotPermitted", "another namespace"),
        (&whole, tls("SIMPLE", "'configmap://bank'"), "RefNotPermitted", "another namespace"),
        (&ca, tls("MUTUAL", "bank"), "InvalidSecret", "Secret shop/bank has no tls.crt"),
        (&pair, tls("MUTUAL", "bank"), "InvalidSecret", "Secret shop/bank has no ca.crt"),
    ] {
        let translator = world(&[secret, &rule]);
        assert!(only(&translator).is_empty(), "{words}");
        let unavailable = settings(&translator).unavailable;
        assert!(unavailable.contains(words), "{unavailable}");
        let told = status(&translator);
        let wanted =
            format!("ResolvedRefs=false/{reason} [\"spec.trafficPolicy.tls.credentialName\"]");
        assert!(told.contains(&wanted) && told.contains(words), "{told}");
    }
    // Nobody is verified, so nobody has to be trusted.
    let lax =
        "trafficPolicy: {tls: {mode: MUTUAL, credentialName: bank, insecureSkipVerify: true}}";
    assert_eq!(settings(&world(&[&pair, &rule("web", lax)])).unavailable, "");
}

#[test]
fn nobody_has_secrets_for_services_without_a_waypoint() {
    let whole = secret("shop", "bank", &WHOLE);
    let free = rule("free", "trafficPolicy: {tls: {mode: MUTUAL, credentialName: bank}}");
    let translator = world(&[&whole, &free]);
    assert!(sent(&translator).is_empty());
    let told = message(&translator, "DestinationRule shop/free");
    assert!(told.contains("ResolvedRefs=false/NoWaypoint"), "{told}");
    let found = &decoded(&translator).backends["shop/free.shop.svc.cluster.local"];
    assert!(!found.settings.clone().unwrap().tls.unwrap().unavailable.is_empty());
}

#[test]
fn secrets_are_those_of_the_waypoint_s_namespace() {
    let service = SERVICES.replace(
        "use-waypoint: w}",
        "use-waypoint: w, istio.io/use-waypoint-namespace: egress, istio.io/use-waypoint-canary: w, istio.io/use-waypoint-canary-namespace: shop}",
    );
    let parts = [
        waypoint("egress", "w", "", "All"),
        gateway("shop", "w", "", "All"),
        secret("shop", "bank", &["ca.crt"]),
        secret("egress", "bank", &WHOLE),
        tls("MUTUAL", "bank"),
    ];
    let translator = with(&service, &parts);
    let (message, audience) = sent(&translator).remove(WEB).unwrap();
    assert_eq!(audience, ["egress/w"]);
    assert_eq!(message.secrets.keys().collect::<Vec<_>>(), ["egress/bank"]);
    let routes = translator
        .audiences()
        .into_iter()
        .find(|((of, name), _)| *of == type_url::ROUTE_TABLE && **name == *WEB);
    let (_, (_, routes)) = routes.unwrap();
    assert!(routes.iter().any(|it| **it == *"egress/w"), "{routes:?}");
}

#[test]
fn change_of_a_secret_reaches_the_services_that_need_it() {
    let mut translator = world(&[&secret("shop", "bank", &["ca.crt"]), &tls("SIMPLE", "bank")]);
    let more = secret("shop", "bank", &["ca.crt"]).replace("ca.crt: ", "cacert: \"\", ca.crt: ");
    assert!(translator.apply(added(objects(&more))).is_empty(), "the same as before");
    let twice = secret("shop", "bank-cacert", &["ca.crt"]);
    let twice = twice.replace(
        "END CERTIFICATE-----\\n\"",
        &format!("END CERTIFICATE-----\\n{}\"", CA.replace('\n', "\\n")),
    );
    let changes = translator.apply(added(objects(&twice)));
    let urls: Vec<_> = changes.iter().map(|it| it.type_url).collect();
    assert_eq!(urls, [type_url::CREDENTIALS]);
    assert_eq!(only(&translator)["shop/bank"].ca_pem, CA.repeat(2));
    // Another one concerns nobody.
    let other = secret("shop", "other", &WHOLE);
    assert!(translator.apply(added(objects(&other))).is_empty());
    let mut gone = added(objects(&(twice + &more)));
    gone.iter_mut().for_each(|it: &mut ObjectChange| it.object = None);
    translator.apply(gone);
    assert!(only(&translator).is_empty());
    assert!(settings(&translator).unavailable.contains("no Secret shop/bank"));
}

#[test]
fn secrets_beyond_the_bound_let_their_connections_fail() {
    let count = CREDENTIALS_MAX + 1;
    let secrets: String =
        (0..count).map(|at| secret("shop", &format!("s{at:03}"), &["ca.crt"])).collect();
    let subsets = (0..count).map(|at| {
        format!(
            "{{name: s{at}, trafficPolicy: {{tls: {{mode: SIMPLE, credentialName: s{at:03}}}}}}}"
        )
    });
    let subsets = subsets.collect::<Vec<_>>().join(", ");
    let translator = world(&[&secrets, &rule("web", &format!("subsets: [{subsets}]"))]);
    assert_eq!(only(&translator).len(), CREDENTIALS_MAX);
    let found = &decoded(&translator).backends[WEB];
    let of = |at: usize| {
        let subset = &found.subsets[&format!("s{at}")];
        subset.settings.clone().unwrap().tls.unwrap().unavailable
    };
    assert_eq!(of(count - 2), "");
    assert!(of(count - 1).contains("too many"));
    assert!(status(&translator).contains("ResolvedRefs=false/TooManySecrets"));
}
