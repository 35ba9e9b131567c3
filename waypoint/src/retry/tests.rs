//! Retries, faults and deadlines.

use std::time::Duration;

use prost::Message;
use rand::SeedableRng;
use rand::rngs::StdRng;
use weft_proto::route as proto;

use super::*;
use crate::route::{Fault, Request, Source};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn policy(on: &[RetryOn]) -> Retry {
    Retry { on: on.into(), grpc_codes: Box::default(), ..default_policy().clone() }
}

fn attempt(failure: Failure) -> Attempt {
    Attempt {
        failure,
        retries: 0,
        // The free one is spent, so that the policy decides.
        free_retries: 1,
        has_answered: false,
        is_replayable: true,
        time_left: None,
    }
}

fn status(status: u16) -> Failure {
    Failure::Response { status, grpc_status: None, is_rate_limited: false }
}

fn is_tried_again(policy: &Retry, attempt: Attempt) -> bool {
    let mut rng = StdRng::seed_from_u64(1);
    matches!(decide(policy, &attempt, &mut rng), Decision::Again { is_free: false, .. })
}

const RESET: Failure = Failure::Reset { was_sent: true };
const UNSENT: Failure = Failure::Reset { was_sent: false };
const FAILURES: [Failure; 5] =
    [Failure::ConnectFailed, Failure::Refused, RESET, UNSENT, Failure::TimedOut];

#[test]
fn conditions_cover_what_envoys_do() {
    use Failure::{ConnectFailed, Refused, TimedOut};
    let table: [(RetryOn, &[u16], &[Failure]); 9] = [
        (RetryOn::ServerError, &[500, 501, 502, 503, 504, 599], &FAILURES),
        (RetryOn::GatewayError, &[502, 503, 504], &FAILURES),
        (RetryOn::Reset, &[], &FAILURES),
        (RetryOn::ResetBeforeRequest, &[], &[ConnectFailed, UNSENT]),
        (RetryOn::ConnectFailure, &[], &[ConnectFailed]),
        (RetryOn::RefusedStream, &[], &[Refused]),
        (RetryOn::Conflict, &[409], &[]),
        (RetryOn::AttemptTimeout, &[], &[TimedOut]),
        (RetryOn::RateLimited, &[], &[]),
    ];
    for (on, statuses, failures) in table {
        let policy = policy(&[on]);
        for code in 100..600 {
            let is_covered = statuses.contains(&code) || (code == 599 && statuses.contains(&599));
            let is_covered = is_covered || (on == RetryOn::ServerError && code >= 500);
            assert_eq!(is_tried_again(&policy, attempt(status(code))), is_covered, "{on:?} {code}");
        }
        for failure in FAILURES {
            let is_covered = failures.contains(&failure);
            assert_eq!(is_tried_again(&policy, attempt(failure)), is_covered, "{on:?} {failure:?}");
        }
    }
}

#[test]
fn codes_are_retried_where_they_are_listed() {
    let policy =
        Retry { http_codes: Box::new([503, 418]), grpc_codes: Box::new([8]), ..policy(&[]) };
    let grpc =
        |code| Failure::Response { status: 200, grpc_status: Some(code), is_rate_limited: false };
    assert!(is_tried_again(&policy, attempt(status(418))));
    assert!(is_tried_again(&policy, attempt(grpc(8))));
    assert!(!is_tried_again(&policy, attempt(grpc(14))));
    assert!(!is_tried_again(&policy, attempt(status(200))));
}

#[test]
fn rate_limited_answers_are_tried_again_only_where_that_is_asked_for() {
    let limited = |status, grpc_status| {
        attempt(Failure::Response { status, grpc_status, is_rate_limited: true })
    };
    let without = Retry {
        http_codes: Box::new([429]),
        grpc_codes: Box::new([14]),
        ..policy(&[RetryOn::ServerError, RetryOn::GatewayError])
    };
    let with = policy(&[RetryOn::RateLimited]);
    for (status, grpc_status) in [(429, None), (503, None), (200, Some(14))] {
        assert!(!is_tried_again(&without, limited(status, grpc_status)), "{status}");
        assert!(is_tried_again(&with, limited(status, grpc_status)), "{status}");
        assert!(!is_tried_again(&with, attempt(self::status(status))), "{status}");
    }
}

#[test]
fn default_policy_is_istios() {
    let policy = default_policy();
    let retried = |failure| is_tried_again(policy, attempt(failure));
    assert_eq!(policy.retries, 2);
    assert!(retried(Failure::ConnectFailed) && retried(Failure::Refused));
    assert!(!retried(RESET) && !retried(Failure::TimedOut) && !retried(status(503)));
    for (code, is_retried) in [(1, true), (14, true), (4, false), (13, false), (0, false)] {
        let failure =
            Failure::Response { status: 200, grpc_status: Some(code), is_rate_limited: false };
        assert_eq!(retried(failure), is_retried, "{code}");
    }
    assert!(!is_tried_again(policy, Attempt { retries: 2, ..attempt(Failure::Refused) }));
}

#[test]
fn what_nobody_processed_is_tried_again_once_for_free() {
    let mut rng = StdRng::seed_from_u64(1);
    let none = Retry { retries: 0, ..policy(&[]) };
    let free = Decision::Again { after: Duration::ZERO, is_free: true };
    for failure in FAILURES {
        let first = Attempt { free_retries: 0, ..attempt(failure) };
        let is_untouched = matches!(failure, Failure::ConnectFailed | Failure::Refused);
        let expected = if is_untouched { free } else { Decision::GiveUp };
        assert_eq!(decide(&none, &first, &mut rng), expected, "{failure:?}");
        assert_eq!(decide(&none, &attempt(failure), &mut rng), Decision::GiveUp, "{failure:?}");
        // The body is gone: only where no connection was made it was not begun.
        let unrepeatable = Attempt { is_replayable: false, ..first };
        let is_unbegun = failure == Failure::ConnectFailed;
        let expected = if is_unbegun { free } else { Decision::GiveUp };
        assert_eq!(decide(&none, &unrepeatable, &mut rng), expected, "{failure:?}");
    }
}

#[test]
fn nothing_is_tried_again_once_the_client_has_an_answer() {
    let all = policy(&[RetryOn::ServerError]);
    let mut rng = StdRng::seed_from_u64(1);
    for failure in FAILURES.into_iter().chain([status(503)]) {
        let answered = Attempt { has_answered: true, free_retries: 0, ..attempt(failure) };
        assert_eq!(decide(&all, &answered, &mut rng), Decision::GiveUp);
    }
}

#[test]
fn waits_are_spread_over_all_of_the_back_off() {
    let mut rng = StdRng::seed_from_u64(1);
    let policy = Retry { retries: 10, ..policy(&[RetryOn::Reset]) };
    for (retries, longest) in [(0, 25), (1, 50), (2, 100), (4, 250), (9, 250)] {
        let attempt = Attempt { retries, ..attempt(RESET) };
        let mut waits: Vec<Duration> = (0..2_000)
            .map(|_| match decide(&policy, &attempt, &mut rng) {
                Decision::Again { after, .. } => after,
                Decision::GiveUp => panic!("gave up"),
            })
            .collect();
        waits.sort();
        let mean = waits.iter().sum::<Duration>() / 2_000;
        assert!(waits[1_999] <= MS(longest) && waits[0] < MS(longest) / 50);
        assert!(mean.abs_diff(MS(longest) / 2) < MS(longest) / 20, "{mean:?} of {longest}");
    }
}

#[test]
fn wait_that_outlasts_the_request_is_not_begun() {
    let policy = policy(&[RetryOn::Reset]);
    let late = Attempt { time_left: Some(Duration::ZERO), ..attempt(RESET) };
    assert!(!is_tried_again(&policy, late));
    assert!(is_tried_again(&policy, Attempt { time_left: Some(MS(30)), ..attempt(RESET) }));
}

/// `count` draws of probability `p`, within five standard deviations: one run in two million fails.
fn is_near(count: usize, of: usize, p: f64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let (count, of) = (count as f64, of as f64);
    (count - of * p).abs() <= 5.0 * (of * p * (1.0 - p)).sqrt()
}

/// As a table has it: a delay and an abort of so many millionths each.
fn fault(delayed: u32, aborted: u32) -> Fault {
    let share = |numerator| Some(proto::Fraction { numerator, denominator: 1_000_000 });
    let fault = proto::Fault {
        delay: Some(proto::Delay { share: share(delayed), delay_ms: 100 }),
        abort: Some(proto::Abort {
            share: share(aborted),
            answer: Some(proto::abort::Answer::HttpStatus(500)),
        }),
    };
    let direct = proto::DirectResponse { status: 200, ..Default::default() };
    let action = proto::HttpAction {
        filters: vec![proto::Filter { kind: Some(proto::filter::Kind::Fault(fault)) }],
        outcome: Some(proto::http_action::Outcome::Direct(direct)),
        ..Default::default()
    };
    let http = proto::HttpRoutes { rules: vec![proto::HttpRule::default()], actions: vec![action] };
    let set = proto::RouteSet { http: Some(http), ..Default::default() };
    let table = proto::RouteTable { sets: vec![set], ..Default::default() };
    let decoded = crate::route::decode("/", &table.encode_to_vec()).unwrap();
    let routes = decoded.table.select(80, None).unwrap().http.as_ref().unwrap();
    let headers = http::HeaderMap::new();
    let request = Request {
        method: "GET",
        scheme: "http",
        authority: "web",
        path: "/",
        query: "",
        headers: &headers,
        port: 80,
        source: Source::default(),
        claims: None,
    };
    routes.find(&request).unwrap().action.filters.fault
}

#[test]
fn faults_are_drawn_in_their_shares_and_independently() {
    let fault = fault(100_000, 50_000);
    let mut rng = StdRng::seed_from_u64(7);
    let draws: Vec<fault::Drawn> = (0..200_000).map(|_| fault::draw(&fault, &mut rng)).collect();
    let count = |is: fn(&&fault::Drawn) -> bool| draws.iter().filter(is).count();
    assert!(is_near(count(|it| it.delay.is_some()), 200_000, 0.1));
    assert!(is_near(count(|it| it.abort.is_some()), 200_000, 0.05));
    assert!(is_near(count(|it| it.abort.is_some() && it.delay.is_some()), 200_000, 0.005));
    assert_eq!(fault::draw(&Fault::default(), &mut rng), fault::Drawn::default());
}

#[test]
fn grpc_timeouts_are_read_strictly_and_written_in_eight_digits() {
    for (text, time) in [
        ("1H", Duration::from_secs(3_600)),
        ("2M", Duration::from_secs(120)),
        ("3S", Duration::from_secs(3)),
        ("100m", MS(100)),
        ("7u", Duration::from_micros(7)),
        ("99999999n", Duration::from_nanos(99_999_999)),
        ("0n", Duration::ZERO),
        ("99999999H", Duration::from_secs(99_999_999 * 3_600)),
    ] {
        assert_eq!(grpc_timeout::parse(text.as_bytes()), Some(time), "{text}");
        let written = grpc_timeout::format(time);
        assert_eq!(grpc_timeout::parse(written.as_bytes()), Some(time), "{written}");
    }
    for text in ["", "1", "m", "123456789m", "-1m", "1.5S", "1 m", "1s", "1ms", "+1m", "\u{661}m"] {
        assert_eq!(grpc_timeout::parse(text.as_bytes()), None, "{text}");
    }
    assert_eq!(grpc_timeout::format(Duration::from_nanos(123_456_789)), "123457u");
    assert_eq!(grpc_timeout::format(Duration::MAX), "99999999H");
}

#[test]
fn shorter_of_two_time_limits_holds() {
    let timeouts = Timeouts { request: Some(MS(300)), attempt: Some(MS(100)) };
    assert_eq!(time_limit(&timeouts, Some(MS(200))), Some(MS(200)));
    assert_eq!(time_limit(&timeouts, None), Some(MS(300)));
    assert_eq!(time_limit(&Timeouts::default(), Some(MS(900))), Some(MS(900)));
    assert_eq!(attempt_limit(&timeouts, Some(MS(40))), Some(MS(40)));
    assert_eq!(attempt_limit(&timeouts, None), Some(MS(100)));
    assert_eq!(attempt_limit(&Timeouts::default(), None), None);
}
