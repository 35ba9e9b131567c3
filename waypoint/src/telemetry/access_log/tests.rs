use std::io::Write;

use parking_lot::Mutex;
use serde_json::json;

use super::*;
use crate::telemetry::flags::ResponseFlags;
use crate::telemetry::record::tests::Owned;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn written(run: impl FnOnce(&LogLines)) -> String {
    let sink = Sink::default();
    let (lines, guard) = LogLines::start(sink.clone()).unwrap();
    run(&lines);
    drop(guard);
    String::from_utf8(sink.0.lock().clone()).unwrap()
}

fn line(format: &str, record: &RequestRecord<'_>) -> String {
    let mut out = String::new();
    Layout::text(format).unwrap().write(&mut out, &record.into());
    out
}

#[test]
fn default_text_is_istios_line() {
    let log = AccessLog::new(Arc::new(Layout::text("").unwrap()));
    let text = written(|lines| log.request(&Owned::new().request(), lines));
    assert_eq!(
        text,
        concat!(
            "[2024-02-29T23:59:59.042Z] \"GET /stock?id=7 HTTP/1.1\" 200 - via_upstream - \"-\" 120 2048 8 7 ",
            "\"10.9.9.9\" \"curl/8\" \"0f1e\" \"checkout.shop:8080\" \"10.44.2.10:8080\" ",
            "inbound-vip|8080|http|checkout.shop.svc.cluster.local 10.44.2.2:40000 10.96.0.7:8080 ",
            "10.44.1.10:33772 - default\n"
        )
    );
}

#[test]
fn connection_has_a_line_without_http() {
    let log = AccessLog::new(Arc::new(Layout::text("").unwrap()));
    let owned = Owned::new();
    let record = ConnectionRecord { stream: owned.stream(), is_denied: false };
    let text = written(|lines| log.connection(&record, lines));
    assert!(text.starts_with("[2024-02-29T23:59:59.042Z] \"- - -\" 0 - via_upstream"), "{text}");
}

#[test]
fn commands_show_what_they_are_named_after() {
    let owned = Owned::new();
    let mut record = owned.request();
    record.stream.flags =
        ResponseFlags::UPSTREAM_CONNECTION_FAILURE.with(ResponseFlags::RETRY_EXCEEDED);
    record.http.grpc_status = Some(14);
    record.stream.upstream.attempts = 3;
    for (format, text) in [
        ("%REQ(X-MISSING?X-TENANT)%|%REQ(x-tenant):2%", "blue|bl"),
        ("%TRAILER(GRPC-STATUS)% %RESP(:STATUS)%", "0 200"),
        ("%REQ_WITHOUT_QUERY(:PATH)%", "/stock"),
        (
            "%RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%",
            "UF,URX UpstreamConnectionFailure,UpstreamRetryLimitExceeded",
        ),
        (
            "%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS(NUMBER)%",
            "Unavailable UNAVAILABLE 14",
        ),
        ("%START_TIME(%s.%3f)% 100%%", "1709251199.042 100%"),
        (
            "%UPSTREAM_REQUEST_ATTEMPT_COUNT% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_PORT%",
            "3 10.44.1.10 8080",
        ),
        ("%DOWNSTREAM_PEER_URI_SAN%", "spiffe://cluster.local/ns/shop/sa/web"),
        ("%REQUEST_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION%", "1 8 0"),
        ("%TRACE_ID% %CONNECTION_ID%", "4bf92f3577b34da6a3ce929d0e0e4736 3"),
    ] {
        assert_eq!(line(format, &record), format!("{text}\n"));
    }
}

#[test]
fn what_isnt_known_is_refused_by_its_name() {
    let refused = |format| Layout::text(format).unwrap_err().to_string();
    assert!(refused("%DYNAMIC_METADATA(a:b)%").contains("%DYNAMIC_METADATA%"));
    assert!(refused("%ENVIRONMENT(HOME)%").contains("%ENVIRONMENT%"));
    assert!(refused("%REQ(a b)%").contains("%REQ(a b)%"));
    assert!(refused("%REQ%").contains("%REQ()%"));
    assert!(refused("%PROTOCOL(x)%").contains("%PROTOCOL(x)%"));
    assert!(refused("%START_TIME(%Q)%").contains("%START_TIME(%Q)%"));
    for format in ["100% sure", "%REQ(", "%REQ(a", "%REQ(a):x%", "%PROTOCOL"] {
        assert!(matches!(Layout::text(format), Err(FormatError::Open(_))), "{format}");
    }
    assert_eq!(Layout::text(&"x".repeat(1 << 20)), Err(FormatError::TooLarge));
}

#[test]
fn commands_that_the_controller_lets_through_are_those_that_are_known() {
    use weft_proto::contract::telemetry::COMMANDS;
    for name in command::Plain::NAMES {
        assert!(COMMANDS.contains(name), "{name} is refused by the controller");
    }
    for name in COMMANDS {
        let plain = format!("%{name}%");
        let known = Layout::text(&plain).is_ok() || Layout::text(&format!("%{name}(X-A)%")).is_ok();
        assert!(known, "{name} is not known");
    }
}

#[test]
fn json_keeps_types_and_nesting() {
    let format = json!({
        "code": "%RESPONSE_CODE%", "missing": "%REQ(X-NONE)%", "mesh": {"method": "%REQ(:METHOD)%"},
        "both": "%PROTOCOL% %DURATION%", "version": 1, "quoted\"key": "a\"b"
    });
    let layout = Layout::json(format.as_object()).unwrap();
    let log = AccessLog::new(Arc::new(layout));
    let text = written(|lines| log.request(&Owned::new().request(), lines));
    let read: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        read,
        json!({
            "code": 200, "missing": null, "mesh": {"method": "GET"}, "both": "HTTP/1.1 8",
            "version": 1, "quoted\"key": "a\"b"
        })
    );
    let list = json!({"a": ["%PROTOCOL%"]});
    assert_eq!(Layout::json(list.as_object()), Err(FormatError::Json("a".into())));
}

#[test]
fn default_json_has_istios_keys() {
    let mut out = String::new();
    Layout::json(None).unwrap().write(&mut out, &(&Owned::new().request()).into());
    let read: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(read.as_object().unwrap().len(), 24);
    assert_eq!(read["upstream_service_time"], "7");
    assert_eq!(read["duration"], 8);
    assert_eq!(read["response_flags"], "-");
    assert_eq!(read["authority"], "checkout.shop:8080");
}

#[test]
fn no_value_forges_a_line_or_a_field() {
    let mut owned = Owned::new();
    let evil = http::HeaderValue::from_bytes(b"x\" 200 - \xff\t\"").unwrap();
    owned.request.insert("user-agent", evil);
    let mut record = owned.request();
    record.http.path = "/a\nb\"c";
    record.stream.downstream.server_name = "a\r\nb";
    let text = line("\"%REQ(USER-AGENT)%\" %REQ(:PATH)% %REQUESTED_SERVER_NAME%", &record);
    assert_eq!(text, "\"x\\\" 200 - \\xff\\t\\\"\" /a\\nb\\\"c a\\r\\nb\n");
    let format = json!({"agent": "%REQ(USER-AGENT)%", "both": "%REQ(:PATH)% %REQ(USER-AGENT)%"});
    let mut out = String::new();
    Layout::json(format.as_object()).unwrap().write(&mut out, &(&record).into());
    assert_eq!(out.lines().count(), 1);
    let read: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(read["agent"], "x\" 200 - \u{fffd}\t\"");
}

#[test]
fn overlong_line_is_cut_and_stays_one_line() {
    let mut owned = Owned::new();
    owned.request.insert("x-long", "ä".repeat(8000).as_bytes().try_into().unwrap());
    let record = owned.request();
    let text = line(&"%REQ(X-LONG)%".repeat(8), &record);
    assert!(text.len() <= limits::ACCESS_LINE_BYTES_MAX && text.lines().count() == 1);
    let fields = (0..8).map(|n| (n.to_string(), "%REQ(X-LONG)%".into())).collect();
    let mut out = String::new();
    Layout::json(Some(&fields)).unwrap().write(&mut out, &(&record).into());
    assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok());
}

fn allows(expression: &str, record: &RequestRecord<'_>) -> bool {
    Filter::new(expression).unwrap().allows(&record.into())
}

#[test]
fn filter_sees_the_attributes_that_istio_documents() {
    let owned = Owned::new();
    let mut record = owned.request();
    record.http.status = 503;
    record.stream.flags = ResponseFlags::NO_HEALTHY_UPSTREAM;
    for (expression, verdict) in [
        ("response.code >= 400", true),
        ("response.code == 200", false),
        ("response.flags == 2", true),
        ("has(response.grpc_status)", false),
        ("!has(response.code) || response.code >= 500", true),
        ("request.path.startsWith('/stock') && request.method == 'GET'", true),
        ("request.url_path == '/stock' && request.query == 'id=7'", true),
        ("request.host == 'checkout.shop:8080'", true),
        ("request.headers['x-tenant'] in ['blue', 'green']", true),
        ("'x-none' in request.headers", false),
        ("connection.mtls", true),
        ("source.principal.endsWith('/sa/web') && source.namespace == 'shop'", true),
        ("destination.service == 'checkout.shop.svc.cluster.local'", true),
        ("request.useragent.matches('^curl/[0-9]+$')", true),
        ("['a', 'blue'].exists(t, t == request.headers['x-tenant'])", true),
        ("upstream.port == 8080 && xds.route_name == 'default'", true),
        ("request.protocol == 'HTTP/1.1'", true),
    ] {
        assert_eq!(allows(expression, &record), verdict, "{expression}");
    }
}

#[test]
fn filter_that_fails_or_is_no_verdict_writes_nothing() {
    let owned = Owned::new();
    let record = owned.request();
    for expression in
        ["request.headers['x-none'] == 'a'", "response.code", "response.code + 'a' == 'b'"]
    {
        assert!(!allows(expression, &record), "{expression}");
    }
    let filter = Some(Arc::new(Filter::new("response.code >= 400").unwrap()));
    let log = AccessLog { filter, ..AccessLog::new(Arc::new(Layout::text("").unwrap())) };
    assert_eq!(written(|lines| log.request(&record, lines)), "");
}

#[test]
fn filter_that_cant_be_understood_is_refused_with_what_is_wrong() {
    let refused = |text: &str| Filter::new(text).unwrap_err();
    assert_eq!(refused("response.cod > 1"), FilterError::Attribute("response.cod".into()));
    assert_eq!(refused("metadata.x == 1"), FilterError::Attribute("metadata".into()));
    assert_eq!(
        refused("duration('1s') > duration('2s')"),
        FilterError::Function("duration".into())
    );
    assert!(matches!(refused("response.code >"), FilterError::Syntax(_)));
    for deep in ["(", "!", "[", "-", "{1:", "true?1:"] {
        assert!(
            matches!(refused(&deep.repeat(4000 / deep.len())), FilterError::TooLarge),
            "{deep}"
        );
    }
    let chain = |operator: &str| format!("{}1", format!("1{operator}").repeat(1300));
    assert_eq!(refused(&chain("+")), FilterError::TooLarge);
    assert_eq!(
        refused(&format!("({})", "response.code.x".replace(".x", &".x".repeat(500)))),
        FilterError::TooLarge
    );
    let many: Vec<_> = (0..30).map(|n| format!("response.code == {n}")).collect();
    assert!(Filter::new(&many.join(" || ")).is_ok());
    assert_eq!(refused(&"a".repeat(5000)), FilterError::TooLarge);
}

#[test]
fn deep_expression_takes_no_more_stack_than_there_is() {
    let owned = Owned::new();
    const KINDS: [(&str, &str); 19] = [
        ("(", ")"),
        ("[", "]"),
        ("!", ""),
        ("-", ""),
        ("{1:", "}"),
        ("true?1:", ""),
        ("true?(", "):1"),
        ("1-(", ")"),
        ("-(", ")"),
        ("!(", ")"),
        ("[(", ")]"),
        ("{1:(", ")}"),
        ("size(", ")"),
        ("'a'.contains(", ")"),
        ("request[", "]"),
        ("1||(", ")"),
        ("1 in [", "]"),
        ("[1].exists(x,", ")"),
        ("1+", ""),
    ];
    for (open, close) in KINDS {
        for depth in [1, 10, 20, 24, 30, 40, 48, 60, 120, 250] {
            let expression = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            if let Ok(filter) = Filter::new(&expression) {
                let _verdict = filter.allows(&(&owned.request()).into());
            }
        }
    }
}

#[test]
fn share_of_none_writes_nothing() {
    let log =
        AccessLog { share: Share::NONE, ..AccessLog::new(Arc::new(Layout::text("").unwrap())) };
    assert_eq!(written(|lines| log.request(&Owned::new().request(), lines)), "");
}
