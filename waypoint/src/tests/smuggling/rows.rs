//! The requests, by what is ambiguous in them.

/// What has to become of a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted {
    /// Nobody sees it, the client is answered one of these, and the connection ends.
    Refused(&'static [&'static str]),
    /// Nobody sees it whole, and the connection ends, with or without a refusal.
    Cut,
    /// Both origins see it, with this body, and with these headers (`None`: without it).
    One { body: &'static str, checks: &'static [(&'static str, Option<&'static str>)] },
}

pub(super) struct Row {
    pub(super) name: String,
    pub(super) sent: Vec<u8>,
    /// The client ends its side at once. Where it doesn't, the waypoint has to.
    pub(super) ends: bool,
    pub(super) wanted: Wanted,
}

const BAD: Wanted = Wanted::Refused(&["400"]);
const TOO_LARGE: Wanted = Wanted::Refused(&["431"]);
const ABC: Wanted = Wanted::One { body: "abc", checks: &[] };
const EMPTY: Wanted = Wanted::One { body: "", checks: &[] };
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
/// What the attacker hopes will be read as a request of its own.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: web\r\n\r\n";

pub(super) fn all() -> Vec<Row> {
    [
        lengths(),
        two_lengths(),
        codings(),
        chunks(),
        whole_chunks(),
        lines(),
        hosts(),
        connections(),
        upgrades(),
        methods(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const PLAIN: Wanted = Wanted::One {
    body: "",
    checks: &[("upgrade", None), ("http2-settings", None), ("connection", None), ("expect", None)],
};

fn row(name: impl Into<String>, sent: impl Into<Vec<u8>>, wanted: Wanted) -> Row {
    let ends = !matches!(wanted, Wanted::Refused(_));
    Row { name: name.into(), sent: sent.into(), ends, wanted }
}

fn post(headers: &str, body: &str) -> String {
    format!("POST /row HTTP/1.1\r\nHost: web\r\n{headers}\r\n{body}")
}

fn get(headers: &str) -> String {
    format!("GET /row HTTP/1.1\r\nHost: web\r\n{headers}\r\n")
}

/// RFC 9110, section 8.6, and RFC 9112, section 6.3.
fn lengths() -> Vec<Row> {
    [
        "+3",
        "-3",
        "003",
        "010",
        "0x3",
        "3 3",
        "3,",
        ",3",
        "3, 3",
        "3, 4",
        "3;",
        "3.0",
        "3e0",
        "3_0",
        "3\u{b}",
        "",
        "\"3\"",
        "\u{663}",
        "three",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551619",
        "99999999999999999999999999",
    ]
    .map(|length| {
        let sent = post(&format!("Content-Length: {length}\r\n"), &format!("abc{HIDDEN}"));
        row(format!("a length of {length:?}"), sent, BAD)
    })
    .into()
}

/// Both ways of saying it, or one twice.
fn two_lengths() -> Vec<Row> {
    let both = "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n";
    vec![
        row("CL.TE", post(both, &format!("0\r\n\r\n{HIDDEN}")), BAD),
        row(
            "TE.CL",
            post(
                "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
                &format!("24\r\n{HIDDEN}\r\n0\r\n\r\n"),
            ),
            BAD,
        ),
        row(
            "CL.0 with chunks",
            post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            BAD,
        ),
        row("one length twice", post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), BAD),
        row(
            "two lengths",
            post("Content-Length: 3\r\nContent-Length: 38\r\n", &format!("abc{HIDDEN}")),
            BAD,
        ),
        row(
            "two lengths in two cases",
            post("content-length: 0\r\nCONTENT-LENGTH: 3\r\n", "abc"),
            BAD,
        ),
        row("a length before a blank and a colon", post("Content-Length : 3\r\n", "abc"), BAD),
        row("a length with a blank in its name", post("Content Length: 3\r\n", "abc"), BAD),
        row("a length with blanks around it", post("Content-Length: \t 3 \t\r\n", "abc"), ABC),
        row(
            "a length that isn't one",
            post("Content_Length: 38\r\nContent-Length: 3\r\n", "abc"),
            ABC,
        ),
        row("a body that is too short", post("Content-Length: 30\r\n", "abc"), Wanted::Cut),
        row(
            "a length in HTTP/1.0",
            "POST /row HTTP/1.0\r\nHost: web\r\nContent-Length: 3\r\n\r\nabc",
            ABC,
        ),
    ]
}

/// RFC 9112, section 6.1.
fn codings() -> Vec<Row> {
    let mut rows: Vec<Row> = [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: 'chunked'",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: chunk",
        "Transfer-Encoding: cow",
        "Transfer-Encoding: identity",
        "Transfer-Encoding:",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding: \u{c}chunked",
        "Transfer-Encoding: \u{a0}chunked",
        "Transfer-Encoding: chunked\0",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "Transfer-Encoding\r\n: chunked",
        " Transfer-Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\r\n\rTransfer-Encoding: chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-encoding: chunked",
        "Tran\u{17f}fer-Encoding: chunked",
    ]
    .map(|line| {
        row(format!("{line:?}"), post(&format!("{line}\r\n"), &format!("0\r\n\r\n{HIDDEN}")), BAD)
    })
    .into();
    rows.extend([
        row("another case", post("tRANSFER-eNCODING: ChUnKeD\r\n", "3\r\nabc\r\n0\r\n\r\n"), ABC),
        row("a tab before it", post("Transfer-Encoding:\tchunked\r\n", "3\r\nabc\r\n0\r\n\r\n"), ABC),
        row("a coding that isn't one", post("Transfer_Encoding: chunked\r\nContent-Length: 3\r\n", "abc"), ABC),
        row(
            "chunks in HTTP/1.0",
            format!("POST /row HTTP/1.0\r\nHost: web\r\n{CHUNKED}\r\n0\r\n\r\n{HIDDEN}"),
            BAD,
        ),
        row(
            "chunks in HTTP/1.0 that stays open",
            format!("POST /row HTTP/1.0\r\nHost: web\r\nConnection: keep-alive\r\n{CHUNKED}\r\n0\r\n\r\n"),
            BAD,
        ),
    ]);
    rows
}

/// RFC 9112, section 7.1.
fn chunks() -> Vec<Row> {
    let bad = [
        ("a line feed alone behind a size", "3\nabc\r\n0\r\n\r\n"),
        ("a line feed alone behind data", "3\r\nabc\n0\r\n\r\n"),
        ("a line feed alone behind the last size", "3\r\nabc\r\n0\n\r\n"),
        ("a line feed alone in an extension", "3;\nabc\r\nabc\r\n0\r\n\r\n"),
        ("a return alone in an extension", "3;a=\rb\r\nabc\r\n0\r\n\r\n"),
        ("a NUL in an extension", "3;a=\0\r\nabc\r\n0\r\n\r\n"),
        ("no size", "\r\nabc\r\n0\r\n\r\n"),
        ("an extension without a size", ";a\r\n\r\n"),
        ("a blank for a size", " \r\n\r\n"),
        ("a blank before a size", " 3\r\nabc\r\n0\r\n\r\n"),
        ("a sign", "+3\r\nabc\r\n0\r\n\r\n"),
        ("a negative size", "-3\r\nabc\r\n0\r\n\r\n"),
        ("a prefix", "0x3\r\nabc\r\n0\r\n\r\n"),
        ("two sizes", "3 0\r\nabc\r\n0\r\n\r\n"),
        ("no number", "g\r\nabc\r\n0\r\n\r\n"),
        ("an underscore", "0_3\r\nabc\r\n0\r\n\r\n"),
        ("a size of 17 digits", "00000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("a size beyond what is counted", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("the largest size", "ffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
        ("the largest size but one", "fffffffffffffffe\r\nabc\r\n0\r\n\r\n"),
        ("more data than the size", "3\r\nabcd\r\n0\r\n\r\n"),
        ("less data than the size", "3\r\nab\r\n0\r\n\r\n"),
        ("a trailer that ends in a line feed alone", "3\r\nabc\r\n0\r\nX: y\n\r\n"),
        ("a trailer with a return in it", "3\r\nabc\r\n0\r\nX: y\rz\r\n\r\n"),
        ("a folded trailer", "3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n"),
    ];
    bad.map(|(name, body)| row(name, post(CHUNKED, &format!("{body}{HIDDEN}")), BAD)).into()
}

/// Bodies that have no end, or one that everybody finds.
fn whole_chunks() -> Vec<Row> {
    let forbidden = "Transfer-Encoding: chunked\r\nContent-Length: 5\r\nHost: evil\r\nAuthorization: a\r\nX-Forwarded-For: 1.2.3.4\r\n";
    vec![
        row("a request for a trailer", post(CHUNKED, &format!("0\r\n{HIDDEN}")), BAD),
        row(
            "an endless extension",
            post(CHUNKED, &format!("3;{}", "a".repeat(20_000))),
            Wanted::Cut,
        ),
        row(
            "endless trailers",
            post(CHUNKED, &format!("0\r\n{}", "X: y\r\n".repeat(20_000))),
            Wanted::Cut,
        ),
        row("no last chunk", post(CHUNKED, "3\r\nabc\r\n"), Wanted::Cut),
        row("no end behind the last chunk", post(CHUNKED, "3\r\nabc\r\n0\r\n"), Wanted::Cut),
        row("an end within a size", post(CHUNKED, "3\r\nabc\r\n1"), Wanted::Cut),
        row("an extension", post(CHUNKED, "3;a=b;c=\"d\"\r\nabc\r\n0;e\r\n\r\n"), ABC),
        row("blanks before an extension", post(CHUNKED, "3 ;a\r\nabc\r\n0\r\n\r\n"), ABC),
        row("zeros before sizes", post(CHUNKED, "0003\r\nabc\r\n000\r\n\r\n"), ABC),
        row(
            "capital digits",
            post(CHUNKED, "A\r\nabcabcabca\r\n0\r\n\r\n"),
            Wanted::One { body: "abcabcabca", checks: &[] },
        ),
        row("small chunks", post(CHUNKED, "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n"), ABC),
        row(
            "trailers that only heads may have",
            post(CHUNKED, &format!("3\r\nabc\r\n0\r\n{forbidden}\r\n")),
            Wanted::One {
                body: "abc",
                checks: &[
                    ("host", Some("web")),
                    ("authorization", None),
                    ("x-forwarded-for", None),
                ],
            },
        ),
        row(
            "a request for a chunk",
            post(CHUNKED, &format!("23\r\n{HIDDEN}\r\n0\r\n\r\n")),
            Wanted::One { body: HIDDEN, checks: &[] },
        ),
    ]
}

/// RFC 9112, sections 2.2, 3 and 5.
fn lines() -> Vec<Row> {
    let text: Vec<(&str, String)> = vec![
        ("line feeds alone", "GET /row HTTP/1.1\nHost: web\n\n".into()),
        ("returns alone", "GET /row HTTP/1.1\rHost: web\r\r\r\n\r\n".into()),
        (
            "a line feed alone behind the request line",
            "GET /row HTTP/1.1\nHost: web\r\n\r\n".into(),
        ),
        ("a line feed alone at the end", "GET /row HTTP/1.1\r\nHost: web\r\n\n".into()),
        ("an empty line before the request", "\r\nGET /row HTTP/1.1\r\nHost: web\r\n\r\n".into()),
        ("a blank before the request", " GET /row HTTP/1.1\r\nHost: web\r\n\r\n".into()),
        ("two blanks in the request line", "GET  /row HTTP/1.1\r\nHost: web\r\n\r\n".into()),
        ("a tab in the request line", "GET\t/row\tHTTP/1.1\r\nHost: web\r\n\r\n".into()),
        ("a blank in the target", "GET /row row HTTP/1.1\r\nHost: web\r\n\r\n".into()),
        ("a NUL in the target", "GET /row\0 HTTP/1.1\r\nHost: web\r\n\r\n".into()),
        ("a quote in the target", "GET /row\"<> HTTP/1.1\r\nHost: web\r\n\r\n".into()),
        ("two versions", "GET /row HTTP/1.1 HTTP/1.1\r\nHost: web\r\n\r\n".into()),
        ("a blank behind the version", "GET /row HTTP/1.1 \r\nHost: web\r\n\r\n".into()),
        ("HTTP/0.9", "GET /row\r\n\r\n".into()),
        ("HTTP/0.9, told", "GET /row HTTP/0.9\r\nHost: web\r\n\r\n".into()),
        ("HTTP/1.2", "GET /row HTTP/1.2\r\nHost: web\r\n\r\n".into()),
        ("HTTP/1.10", "GET /row HTTP/1.10\r\nHost: web\r\n\r\n".into()),
        ("HTTP/01.1", "GET /row HTTP/01.1\r\nHost: web\r\n\r\n".into()),
        ("HTTP/2.0", "GET /row HTTP/2.0\r\nHost: web\r\n\r\n".into()),
        ("http/1.1", "GET /row http/1.1\r\nHost: web\r\n\r\n".into()),
        ("no target", "GET HTTP/1.1\r\nHost: web\r\n\r\n".into()),
        ("a target that is no path", "GET row HTTP/1.1\r\nHost: web\r\n\r\n".into()),
        ("an asterisk for GET", "GET * HTTP/1.1\r\nHost: web\r\n\r\n".into()),
        ("a control character in the method", "G\u{1}T /row HTTP/1.1\r\nHost: web\r\n\r\n".into()),
        ("another scheme", "GET ftp://web/row HTTP/1.1\r\nHost: web\r\n\r\n".into()),
        ("a header without a colon", get("X-Nothing\r\n")),
        ("a header without a name", get(": x\r\n")),
        ("a header with a blank in its name", get("X Y: z\r\n")),
        ("a header with a NUL in its name", get("X\0Y: z\r\n")),
        ("a header with a NUL in its value", get("X: y\0z\r\n")),
        ("a header with a bell in its value", get("X: y\u{7}z\r\n")),
        ("a header with DEL in its value", get("X: y\u{7f}z\r\n")),
        ("a header with a return in its value", get("X: y\rz\r\n")),
        ("a folded header", get("X: y\r\n z\r\n")),
        ("a folded header of tabs", get("X: y\r\n\tz\r\n")),
        ("a name that isn't ASCII", get("X\u{e9}: y\r\n")),
        ("brackets in a name", get("X[]: y\r\n")),
    ];
    let mut rows: Vec<Row> = text.into_iter().map(|(name, sent)| row(name, sent, BAD)).collect();
    rows.extend([
        row("too many headers", get(&"X: y\r\n".repeat(200)), TOO_LARGE),
        row("far too many headers", get(&"X: y\r\n".repeat(2_000)), TOO_LARGE),
        row(
            "a header that is too long",
            get(&format!("X: {}\r\n", "y".repeat(100_000))),
            TOO_LARGE,
        ),
        row(
            "a target that is too long",
            format!("GET /{} HTTP/1.1\r\nHost: web\r\n\r\n", "a".repeat(100_000)),
            TOO_LARGE,
        ),
    ]);
    rows
}

/// RFC 9112, sections 3.2 and 3.3.
fn hosts() -> Vec<Row> {
    let with = |target: &str, hosts: &str| format!("GET {target} HTTP/1.1\r\n{hosts}\r\n");
    let web = Wanted::One { body: "", checks: &[("host", Some("web"))] };
    let mut rows: Vec<Row> = [
        "",
        "Host: \r\n",
        "Host:\r\n",
        "Host: web\r\nHost: web\r\n",
        "Host: web\r\nhost: evil\r\n",
        "Host: web, evil\r\n",
        "Host: web evil\r\n",
        "Host: user@web\r\n",
        "Host: web/path\r\n",
        "Host: web?query\r\n",
        "Host: web#part\r\n",
        "Host: web\\evil\r\n",
        "Host: web:80:80\r\n",
        "Host: web:port\r\n",
        "Host: http://web\r\n",
        "Host: [::1\r\n",
        "Host: web\r\n evil\r\n",
        "Host : web\r\n",
        "Host: <web>\r\n",
        "Host: w\u{e9}b\r\n",
        "Host: web:99999\r\n",
    ]
    .map(|hosts| row(format!("hosts {hosts:?}"), with("/row", hosts), BAD))
    .into();
    rows.extend([
        row("a whole URI of another host", with("http://evil/row", "Host: web\r\n"), BAD),
        row("a whole URI and no host", with("http://web/row", ""), BAD),
        row("a whole URI with a user", with("http://user@web/row", "Host: web\r\n"), BAD),
        row("a whole URI without a host", with("http:///row", "Host: web\r\n"), BAD),
        row("a whole URI with a backslash", with("http://web\\@evil/row", "Host: web\r\n"), BAD),
        row("no host in HTTP/1.0", "GET /row HTTP/1.0\r\n\r\n", BAD),
        row("a whole URI", with("http://web/row", "Host: web\r\n"), web),
        row("two slashes and a host", with("//evil/row", "Host: web\r\n"), web),
    ]);
    rows
}

/// RFC 9110, section 7.6.
fn connections() -> Vec<Row> {
    const KEPT: Wanted = Wanted::One {
        body: "abc",
        checks: &[
            ("host", Some("web")),
            ("authorization", Some("a")),
            ("cookie", Some("b")),
            ("x-forwarded-for", Some("10.0.0.1")),
            ("x-mine", None),
            ("connection", None),
        ],
    };
    let named = "Connection: close, Host, Content-Length, Authorization, Cookie, X-Forwarded-For, X-Mine\r\n\
        Authorization: a\r\nCookie: b\r\nX-Forwarded-For: 10.0.0.1\r\nX-Mine: c\r\nContent-Length: 3\r\n";
    vec![
        row("headers that Connection names", post(named, "abc"), KEPT),
        row(
            "a coding that Connection names",
            post(&format!("Connection: Transfer-Encoding\r\n{CHUNKED}"), "3\r\nabc\r\n0\r\n\r\n"),
            ABC,
        ),
    ]
}

/// RFC 9110, sections 7.8 and 10.1.
fn upgrades() -> Vec<Row> {
    let settings = "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n";
    vec![
        row(
            "h2c",
            get(&format!("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n{settings}")),
            PLAIN,
        ),
        row(
            "h2c in capitals",
            get(&format!("Connection: Upgrade\r\nUpgrade: H2C\r\n{settings}")),
            PLAIN,
        ),
        row(
            "h2c behind another",
            get(&format!("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n{settings}")),
            PLAIN,
        ),
        row(
            "h2c before another",
            get(&format!("Connection: Upgrade\r\nUpgrade: h2c,websocket\r\n{settings}")),
            PLAIN,
        ),
        row(
            "h2c with a version",
            get(&format!("Connection: Upgrade\r\nUpgrade: h2c/1\r\n{settings}")),
            PLAIN,
        ),
        row(
            "h2c twice",
            get(&format!("Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: h2c\r\n{settings}")),
            PLAIN,
        ),
        row("h2c without Connection", get(&format!("Upgrade: h2c\r\n{settings}")), PLAIN),
        row(
            "an upgrade that isn't agreed to, and a body",
            post("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n", "abc"),
            ABC,
        ),
        row(
            "a proxy's connection",
            get("Proxy-Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n"),
            Wanted::One { body: "", checks: &[("proxy-connection", None), ("keep-alive", None)] },
        ),
        row("an expectation without a body", get("Expect: 100-continue\r\n"), PLAIN),
        row("an expectation with blanks", get("Expect:  100-Continue \r\n"), PLAIN),
        row("an unknown expectation", get("Expect: nonsense\r\n"), PLAIN),
        row("two expectations", get("Expect: 100-continue\r\nExpect: 200-ok\r\n"), PLAIN),
        row(
            "codings that are accepted",
            get("TE: chunked, gzip;q=0.5\r\n"),
            Wanted::One { body: "", checks: &[("te", None)] },
        ),
    ]
}

/// RFC 9110, section 9.
fn methods() -> Vec<Row> {
    let with = |method: &str, body: &str| {
        format!("{method} /row HTTP/1.1\r\nHost: web\r\nContent-Length: 3\r\n\r\n{body}")
    };
    let mut rows: Vec<Row> =
        ["GET", "HEAD", "DELETE", "OPTIONS", "PATCH", "get", "PROPFIND", "X-NEW!"]
            .map(|method| row(format!("{method} with a body"), with(method, "abc"), ABC))
            .into();
    rows.extend([
        row(
            "GET with chunks",
            format!("GET /row HTTP/1.1\r\nHost: web\r\n{CHUNKED}\r\n3\r\nabc\r\n0\r\n\r\n"),
            ABC,
        ),
        row("OPTIONS of all", "OPTIONS * HTTP/1.1\r\nHost: web\r\n\r\n", EMPTY),
        row(
            "CONNECT and what is told beyond it",
            format!("CONNECT web:80 HTTP/1.1\r\nHost: web:80\r\n\r\n{HIDDEN}"),
            Wanted::Refused(&["405", "400"]),
        ),
    ]);
    rows
}
