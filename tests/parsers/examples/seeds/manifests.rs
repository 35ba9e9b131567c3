//! Manifests: what users write, and what they should not.

use crate::Seed;

const NAMESPACE: &str = "apiVersion: v1
kind: Namespace
metadata:
  name: demo
  labels: {istio.io/dataplane-mode: ambient}
";

const POD: &str = "apiVersion: v1
kind: Pod
metadata: {name: web, namespace: demo, labels: {app: web}}
spec:
  nodeName: node1
  serviceAccountName: web
  containers: [{name: web, ports: [{name: http, containerPort: 8080}]}]
status:
  podIPs: [{ip: 10.44.1.10}]
";

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: web, namespace: demo}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}, {port: 81, targetPort: 8081}]
";

const POLICY: &str = "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only-cart, namespace: demo}
spec:
  selector: {matchLabels: {app: web}}
  action: ALLOW
  rules:
  - from: [{source: {principals: [cluster.local/ns/demo/sa/cart], notIpBlocks: [10.0.0.0/8]}}]
    to: [{operation: {ports: ['8080']}}]
";

const ENTRY: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: demo}
spec:
  hosts: [api.example.com, '*.example.org']
  addresses: [192.0.2.7, 192.0.2.0/24]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: STATIC
  endpoints: [{address: 198.51.100.1, ports: {tls: 8443}}]
";

const WORKLOAD_ENTRY: &str = "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: demo, labels: {app: web}}
spec: {address: 198.51.100.9, serviceAccount: vm, weight: 3, network: n1, locality: r/z/s}
";

const ACCESS: &str = r#"apiVersion: v1
kind: Namespace
metadata: {name: demo, labels: {istio.io/use-waypoint: w}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: demo}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: w, namespace: demo, labels: {istio.io/waypoint-for: all}}
spec: {gatewayClassName: weft-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    extensionProviders:
    - name: ask
      envoyExtAuthzHttp: {service: ask.example.com, port: 80, headersToUpstreamOnAllow: ['x-*']}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: custom, namespace: demo}
spec:
  targetRefs: [{group: '', kind: Service, name: web}]
  action: CUSTOM
  provider: {name: ask}
  rules:
  - from: [{source: {requestPrincipals: ['*'], trustDomains: [cluster.local], remoteIpBlocks: [10.0.0.0/8]}}]
    to: [{operation: {hosts: ['*.example.com'], paths: ['/a/{*}'], notMethods: [GET]}}]
    when: [{key: 'request.headers[x-a]', values: ['*']}, {key: 'request.auth.presenter', values: [p]}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: jwt, namespace: demo}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: w}]
  jwtRules:
  - {issuer: i, jwks: '{"keys": []}', audiences: [a], outputClaimToHeaders: [{header: x-u, claim: a.b}]}
"#;
const WAYPOINT: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: w, namespace: demo, labels: {istio.io/waypoint-for: all}}
spec:
  gatewayClassName: weft-waypoint
  infrastructure: {labels: {a: b}}
  listeners:
  - {name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {namespaces: {from: Selector, selector: {matchExpressions: [{key: t, operator: In, values: [a]}]}}, kinds: [{kind: HTTPRoute}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weft-waypoint, labels: {istio.io/waypoint-for: service}}
spec: {controllerName: weft.io/waypoint-controller}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: demo, labels: {istio.io/use-waypoint: w, istio.io/use-waypoint-canary: v}, annotations: {istio.io/use-waypoint-canary-weight: '7'}}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: demo, labels: {app: web}}
spec: {nodeName: node1, containers: [{name: web, ports: [{name: http, containerPort: 8080}]}]}
status: {podIPs: [{ip: 10.44.1.10}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: at-waypoint, namespace: demo}
spec:
  targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: w}, {kind: Service, group: '', name: web}]
  rules: [{}]
";

const SLICE: &str = "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: demo, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [203.0.113.5], conditions: {ready: true}}]
ports: [{name: http, port: 8080}]
";

const PEER: &str = "apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: demo}
spec:
  selector: {matchLabels: {app: web}}
  mtls: {mode: STRICT}
  portLevelMtls: {8081: {mode: PERMISSIVE}}
";

const ROUTE: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: demo}
spec:
  parentRefs: [{group: '', kind: Service, name: web, port: 80}]
  rules:
  - matches: [{path: {type: RegularExpression, value: '/a/[0-9]+'}, headers: [{name: x-a, value: b}], method: GET}]
    filters: [{type: CORS, cors: {allowOrigins: ['https://*.example']}}]
    timeouts: {request: 10s}
    backendRefs: [{name: web, port: 80, weight: 95}, {name: none, port: 1, weight: 5}]
";

const GRPC: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: web-grpc, namespace: demo}
spec:
  parentRefs: [{group: '', kind: Service, name: web}]
  rules: [{matches: [{method: {service: demo.Shop, method: Buy}}], backendRefs: [{name: web, port: 81}]}]
";

const VIRTUAL: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: demo}
spec:
  hosts: [web]
  http:
  - match: [{uri: {prefix: /a}, headers: {x-a: {regex: 'a.*'}, '@request.auth.claims.sub': {exact: b}}, ignoreUriCase: true}]
    rewrite: {uriRegexRewrite: {match: '/a/([0-9]+)', rewrite: '/b/\\1'}}
    fault: {delay: {percentage: {value: 0.5}, fixedDelay: 100ms}, abort: {percentage: {value: 5}, grpcStatus: UNAVAILABLE}}
    retries: {attempts: 3, perTryTimeout: 2s, retryOn: '5xx,503,unavailable'}
    corsPolicy: {allowOrigins: [{prefix: 'https://'}], maxAge: 1h}
    mirror: {host: web}
    route: [{destination: {host: web, subset: v1}, weight: 95, headers: {request: {set: {x: y}}}}, {destination: {host: none}, weight: 5}]
  - redirect: {uri: /new, scheme: https}
  tls: [{match: [{sniHosts: [web.demo]}], route: [{destination: {host: web}}]}]
  tcp: [{match: [{port: 81, destinationSubnets: [10.0.0.0/8]}], route: [{destination: {host: web}}]}]
";

const RULE: &str = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: demo}
spec: {host: web, subsets: [{name: v1, labels: {version: v1}}], trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3}, loadBalancer: {simple: RANDOM}, portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE}}]}}
";

const TLS: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: web, namespace: demo}
spec:
  targetRefs: [{group: '', kind: Service, name: web, sectionName: http}, {group: networking.istio.io, kind: ServiceEntry, name: outside}]
  validation:
    hostname: web.example
    subjectAltNames: [{type: Hostname, hostname: '*.web.example'}, {type: URI, uri: 'spiffe://a/b'}]
    caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}, {group: '', kind: Secret, name: ca}]
";

const CA: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: ca, namespace: demo}
data:
  ca.crt: |
    -----BEGIN CERTIFICATE-----
    MIIBezCCASGgAwIBAgIUfeqTJIrDVKVtQJxKt6u8izusXs4wCgYIKoZIzj0EAwIw
    EjEQMA4GA1UEAwwHb3V0c2lkZTAgFw0yNjExMjEyMDIyMjlaGA8yMTI2MTAyODIw
    MjIyOVowEjEQMA4GA1UEAwwHb3V0c2lkZTBZMBMGByqGSM49AgEGCCqGSM49AwEH
    A0IABExJKITjckYR7TIjvpGnIXupFuQOQnjROMMIJVaJa1usyzHEMdg5fWFHWjKk
    48mRmvMJkMI0rEl3jFyHkCaIiWOjUzBRMB0GA1UdDgQWBBSJePcIp7XB6EbQ6RR8
    yf9LhPgr2DAfBgNVHSMEGDAWgBSJePcIp7XB6EbQ6RR8yf9LhPgr2DAPBgNVHRMB
    Af8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQDJYxfJuTt+EdxMOUFNCMDwP3+k
    yzIy7639aj2ScQ+hyQIgR4dcOiGwv0FtiD9SjHDk4V7Uk0LgdcF0dlOiSv1D1+U=
    -----END CERTIFICATE-----
";

const BY_SECRET: &str = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: demo}
spec: {host: web, trafficPolicy: {tls: {mode: SIMPLE, credentialName: ca}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: w, namespace: demo}
spec: {gatewayClassName: weft-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: demo, labels: {istio.io/use-waypoint: w}}
";

#[expect(clippy::too_many_lines, reason = "a table with a line or two a file")]
pub(crate) fn files() -> Vec<Seed> {
    let joined = |documents: &[&str]| documents.join("---\n");
    let policy = |from: &str, to: &str| {
        assert!(POLICY.contains(from), "{from}");
        POLICY.replace(from, to)
    };
    let secret = CA.replace("ConfigMap", "Secret").replace("data:", "stringData:");
    let bomb = (1..9).fold("a0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
        let aliases = vec![format!("*a{}", n - 1); 8].join(", ");
        format!("{text}a{n}: &a{n} [{aliases}]\n")
    });
    let list = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: demo}}\n\
                - {apiVersion: v1, kind: Pod, metadata: {name: '', namespace: demo}}\n- 7\n";
    let texts = [
        ("mesh", joined(&[NAMESPACE, POD, SERVICE, POLICY, PEER])),
        ("backends", joined(&[NAMESPACE, SERVICE, RULE])),
        ("backend-tls", joined(&[SERVICE, ENTRY, RULE, TLS, CA])),
        (
            "backend-tls-misspelt",
            joined(&[SERVICE, &TLS.replace("hostname: web", "host: web"), CA]),
        ),
        ("backend-tls-cut-short", joined(&[SERVICE, TLS, &CA.replace("-----END", "")])),
        ("secret", joined(&[SERVICE, BY_SECRET, &secret])),
        ("secret-cut-short", joined(&[SERVICE, BY_SECRET, secret.trim_end_matches("-----\n")])),
        ("secret-half-a-pair", joined(&[BY_SECRET, &secret.replace("ca.crt", "tls.crt")])),
        ("outside", joined(&[NAMESPACE, ENTRY, WORKLOAD_ENTRY, SLICE, SERVICE])),
        ("routes", joined(&[SERVICE, ROUTE, GRPC])),
        (
            "route-of-another-namespace",
            joined(&[SERVICE, &ROUTE.replace("namespace: demo}", "namespace: far}")]),
        ),
        ("route-expression-too-large", joined(&[SERVICE, &ROUTE.replace("[0-9]+", "a{999}{999}")])),
        ("route-misspelt", ROUTE.replace("headers:", "header:")),
        ("route-many-ports", joined(&[&SERVICE.replace("port: 81,", "port: 81, name: b,"), ROUTE])),
        ("virtual-service", joined(&[SERVICE, VIRTUAL, RULE])),
        ("virtual-service-and-route", joined(&[SERVICE, VIRTUAL, ROUTE])),
        (
            "virtual-service-delegates-to-itself",
            joined(&[
                SERVICE,
                &VIRTUAL.replace("redirect: {uri: /new, scheme: https}", "delegate: {name: web}"),
            ]),
        ),
        ("virtual-service-share-above-the-whole", VIRTUAL.replace("value: 5", "value: 500")),
        ("same-pod-twice", joined(&[POD, POD])),
        ("list", list.to_owned()),
        ("policy-cut-short", POLICY.chars().take(POLICY.len() - 30).collect()),
        ("policy-unknown-field", policy("ports:", "portz:")),
        ("policy-unknown-action", policy("ALLOW", "PERHAPS")),
        ("policy-block-33", policy("10.0.0.0/8", "10.0.0.0/33")),
        ("policy-port-65536", policy("8080", "65536")),
        ("policy-star-inside", policy("cluster.local/ns", "cluster.*/ns")),
        ("policy-empty-rule", policy("  - from:", "  - {}\n  - from:")),
        ("policy-name-missing", policy("name: only-cart, ", "")),
        ("waypoint", WAYPOINT.into()),
        ("access", ACCESS.into()),
        ("access-field-that-is-unknown", ACCESS.replace("audiences:", "audience:")),
        (
            "access-filter-of-envoy",
            ACCESS.replace("request.auth.presenter", "experimental.envoy.filters.x"),
        ),
        ("access-template-that-is-none", ACCESS.replace("/a/{*}", "/a{*}")),
        ("access-keys-that-are-none", ACCESS.replace("{\"keys\": []}", "[]")),
        (
            "access-mesh-that-is-no-yaml",
            ACCESS.replace("extensionProviders:", "extensionProviders: ["),
        ),
        (
            "policy-for-a-waypoint",
            policy("selector: {matchLabels: {app: web}}", "targetRefs: [{kind: Gateway, name: w}]"),
        ),
        ("policy-field-twice", policy("  action: ALLOW\n", "  action: ALLOW\n  action: DENY\n")),
        ("peer-port-zero", PEER.replace("8081", "0")),
        ("peer-unknown-mode", PEER.replace("STRICT", "LOOSE")),
        ("service-port-zero", SERVICE.replace("port: 80,", "port: 0,")),
        ("service-port-negative", SERVICE.replace("port: 80,", "port: -1,")),
        ("service-same-port-twice", SERVICE.replace("port: 81,", "port: 80,")),
        ("pod-address-no-address", POD.replace("10.44.1.10", "10.44.1.010")),
        ("pod-mapped-address", POD.replace("10.44.1.10", "'::ffff:10.44.1.10'")),
        ("pod-bad-namespace", POD.replace("namespace: demo", "namespace: De/mo")),
        ("entry-bad-host", ENTRY.replace("api.example.com", "api..example.com")),
        (
            "entry-hostname-endpoint",
            ENTRY.replace("198.51.100.1", "db.example.com").replace("STATIC", "DNS"),
        ),
        ("workload-entry-huge-weight", WORKLOAD_ENTRY.replace("weight: 3", "weight: 99999999999")),
        ("workload-entry-socket", WORKLOAD_ENTRY.replace("198.51.100.9", "unix:///x")),
        ("alias-bomb", format!("{bomb}{NAMESPACE}")),
        ("deep-nesting", format!("{NAMESPACE}x: {}", "[".repeat(5000))),
        ("merge-key", format!("{NAMESPACE}x: &x {{a: b}}\ny:\n  <<: *x\n")),
        ("tag", NAMESPACE.replace("name: demo", "name: !!binary ZGVtbw==")),
        ("number-as-name", NAMESPACE.replace("name: demo", "name: 007")),
        ("no-as-name", NAMESPACE.replace("name: demo", "name: no")),
        ("tabs", NAMESPACE.replace("  ", "\t")),
        ("byte-order-mark", format!("\u{feff}{NAMESPACE}")),
        ("nul", NAMESPACE.replace("demo", "de\0mo")),
        ("markers-only", "---\n---\n...\n---".to_owned()),
        ("scalar", "just text".to_owned()),
        ("empty", String::new()),
    ];
    texts.map(|(name, text)| (name, text.into_bytes())).into()
}
