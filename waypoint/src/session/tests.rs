//! What clients are told, and what they may say.

use http::header::COOKIE;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const NOW: Duration = Duration::from_millis(1_700_000_000_123);

fn cookie() -> Session {
    Session {
        scope: Scope::of("HTTPRoute shop/web 0"),
        carrier: Carrier::Cookie(SessionCookie {
            name: "sid".into(),
            path: None,
            is_permanent: false,
            attributes: Box::new(["SameSite=Strict".into()]),
        }),
        absolute: None,
        idle: None,
    }
}

fn header() -> Session {
    Session { carrier: Carrier::Header(HeaderName::from_static("x-session")), ..cookie() }
}

fn tag(uid: &str) -> EndpointTag {
    EndpointTag::of("shop/web", uid)
}

/// What a client sends that was told so.
fn sent(told: &(HeaderName, HeaderValue)) -> HeaderMap {
    let (name, value) = told;
    let mut headers = HeaderMap::new();
    if name == SET_COOKIE {
        let pair = value.to_str().unwrap().split(';').next().unwrap();
        headers.insert(COOKIE, format!("a=b; {pair}; c=d").parse().unwrap());
    } else {
        headers.insert(name, value.clone());
    }
    headers
}

#[test]
fn client_that_repeats_what_it_was_told_asks_for_the_same_endpoint() {
    for session in [cookie(), header()] {
        let told = session.answer(None, tag("a"), "/", NOW).unwrap();
        let asked = session.asked(&sent(&told), NOW + SECOND).unwrap();
        assert_eq!(asked.endpoint, tag("a"));
        // It need not be told again, unless another endpoint took its request.
        assert_eq!(session.answer(Some(&asked), tag("a"), "/", NOW), None);
        assert!(session.answer(Some(&asked), tag("b"), "/", NOW).is_some());
    }
}

#[test]
fn values_name_nobody_and_are_the_same_everywhere() {
    let (_, value) = header().answer(None, tag("Kubernetes//Pod/shop/web-1"), "/", NOW).unwrap();
    let bytes = {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(&value).unwrap()
    };
    for text in ["web", "shop", "Pod"] {
        assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
    }
    // A replica, a restart, another version: the digest is part of the contract.
    assert_eq!(value, "Fxn34MhLzokh_p-y2ysH-G6IGDKsM6w_AAABi8_laHsAAAGLz-Voew",);
    assert_ne!(EndpointTag::of("shop/web", "a"), EndpointTag::of("shop/other", "a"));
    assert_ne!(EndpointTag::of("shop/web", "a"), EndpointTag::of("shop", "web/a"));
}

#[test]
fn values_of_other_scopes_and_nonsense_are_no_sessions() {
    let session = cookie();
    let other = Session { scope: Scope::of("HTTPRoute shop/web 1"), ..cookie() };
    let told = session.answer(None, tag("a"), "/", NOW).unwrap();
    assert_eq!(other.asked(&sent(&told), NOW), None);
    let whole = told.1.to_str().unwrap().split(';').next().unwrap().to_owned();
    let mut cut = whole.clone();
    cut.pop();
    for text in ["sid=", "sid=x", &cut, &format!("{whole}A"), "other=x"] {
        let headers = HeaderMap::from_iter([(COOKIE, text.parse().unwrap())]);
        assert_eq!(session.asked(&headers, NOW), None, "{text}");
    }
    // The right one of several is found.
    let both = format!("sid=10.0.0.1:80; {whole}");
    let headers = HeaderMap::from_iter([(COOKIE, both.parse().unwrap())]);
    assert_eq!(session.asked(&headers, NOW).unwrap().endpoint, tag("a"));
}

#[test]
fn sessions_end_by_age_and_by_idleness() {
    let session = Session { absolute: Some(60 * SECOND), idle: Some(10 * SECOND), ..cookie() };
    let mut told = session.answer(None, tag("a"), "/", NOW).unwrap();
    assert_eq!(session.asked(&sent(&told), NOW + 10 * SECOND), None);
    // Each answer says that it was used; its beginning stays.
    for at in (9..60).step_by(9) {
        let now = NOW + at * SECOND;
        let asked = session.asked(&sent(&told), now).unwrap();
        assert_eq!(asked.began, NOW);
        told = session.answer(Some(&asked), tag("a"), "/", now).unwrap();
    }
    assert_eq!(session.asked(&sent(&told), NOW + 60 * SECOND), None);
}

#[test]
fn cookies_have_the_path_of_the_rule_and_stay_as_long_as_is_said() {
    let told = |session: &Session, asked: Option<&Token>, now| {
        let (_, value) = session.answer(asked, tag("a"), "/shop", now).unwrap();
        let text = value.to_str().unwrap().to_owned();
        text.split_once("; ").unwrap().1.to_owned()
    };
    assert_eq!(told(&cookie(), None, NOW), "Path=/shop; HttpOnly; SameSite=Strict");
    let Carrier::Cookie(own) = cookie().carrier else { unreachable!() };
    let permanent = Carrier::Cookie(SessionCookie {
        is_permanent: true,
        path: Some("/own".into()),
        attributes: Box::default(),
        ..own
    });
    let session = Session {
        carrier: permanent,
        absolute: Some(60 * SECOND),
        idle: Some(30 * SECOND),
        ..cookie()
    };
    assert_eq!(told(&session, None, NOW), "Path=/own; Max-Age=60; HttpOnly");
    // Told anew, it lasts as long as the session still may.
    let token = Token { endpoint: tag("a"), began: NOW, used: NOW };
    assert_eq!(told(&session, Some(&token), NOW + 20 * SECOND), "Path=/own; Max-Age=40; HttpOnly");
}
