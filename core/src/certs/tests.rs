use std::sync::atomic::Ordering;

use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::testing::{Behaviour, Leaf, TestAuthority, TestCa, identity};

const TTL: Duration = Duration::from_secs(3600);

/// A wall clock that follows tokio's, `ahead` of it.
fn wall(ahead: Duration) -> impl Fn() -> SystemTime + Clone + Send + Sync + 'static {
    let (base, start) = (clock::now(), Instant::now());
    move || base + ahead + start.elapsed()
}

struct Setup {
    authority: Arc<TestAuthority>,
    store: CertStore,
}

fn setup(ttl: Duration) -> Setup {
    setup_with(CertSettings::new(ttl).with_wall_clock(wall(Duration::ZERO)))
}

fn setup_with(settings: CertSettings) -> Setup {
    let authority = TestAuthority::new(TestCa::root("root"), wall(Duration::ZERO));
    let authority = Arc::new(authority);
    let store = CertStore::spawn(Arc::clone(&authority) as Arc<dyn Authority>, settings);
    Setup { authority, store }
}

impl Setup {
    fn issued(&self) -> u64 {
        self.store.metrics().issued.load(Ordering::Relaxed)
    }

    fn failed(&self) -> u64 {
        self.store.metrics().failed.load(Ordering::Relaxed)
    }
}

/// Polls on the paused clock, so it costs no real time.
async fn until(what: &str, limit: Duration, is_so: impl Fn() -> bool) {
    let polling = async {
        while !is_so() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(timeout(limit, polling).await.is_ok(), "not within {limit:?}: {what}");
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn one_signing_serves_everybody_who_waits() {
    let Setup { authority, store } = setup(TTL);
    let id = identity("shop", "cart");
    assert!(store.current(&id).is_none());
    let waits = (0..50).map(|_| store.certificate(&id));
    let all = futures::future::try_join_all(waits).await.unwrap();
    assert_eq!(authority.asked(), std::slice::from_ref(&id));
    assert!(all.iter().all(|certificate| Arc::ptr_eq(certificate, &all[0])));
    assert_eq!(all[0].identity(), &id);
    assert!(Arc::ptr_eq(&store.current(&id).unwrap(), &all[0]));
}

#[tokio::test(start_paused = true)]
async fn certificate_is_renewed_at_half_life_with_another_key() {
    let setup = setup(TTL);
    let id = identity("shop", "cart");
    setup.store.prefetch(&id);
    until("first", MINUTE, || setup.issued() == 1).await;
    let (first, start) = (setup.store.current(&id).unwrap(), Instant::now());
    until("second", TTL, || setup.issued() == 2).await;
    let share = start.elapsed().as_secs_f64() / TTL.as_secs_f64();
    assert!((0.44..=0.56).contains(&share), "renewed after {share} of its life");
    let second = setup.store.current(&id).unwrap();
    assert!(second.generation() > first.generation());
    assert_ne!(second.serial(), first.serial());
    assert_eq!(setup.store.metrics().renewals.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn lifetime_of_a_minute_is_never_interrupted() {
    let setup = setup(MINUTE);
    let id = identity("shop", "cart");
    setup.store.certificate(&id).await.unwrap();
    let start = Instant::now();
    while start.elapsed() < 20 * MINUTE {
        sleep(Duration::from_millis(500)).await;
        assert!(setup.store.current(&id).is_some(), "gap after {:?}", start.elapsed());
    }
    assert!((36..=48).contains(&setup.issued()), "{} signings in 20 minutes", setup.issued());
}

#[tokio::test(start_paused = true)]
async fn clock_far_ahead_makes_no_hot_loop() {
    // The CA signs for an hour; our clock is 59 min 55 s ahead, so each certificate seems to last 5 s.
    let ahead = TTL - Duration::from_secs(5);
    let setup = setup_with(CertSettings::new(TTL).with_wall_clock(wall(ahead)));
    let id = identity("shop", "cart");
    setup.store.prefetch(&id);
    sleep(10 * MINUTE).await;
    let asked = setup.authority.asked().len();
    assert!((55..=61).contains(&asked), "{asked} requests in 10 minutes");
    // Even further ahead, nothing is ever valid: that is a failure, with back-off and a reason.
    let setup = setup_with(CertSettings::new(TTL).with_wall_clock(wall(2 * TTL)));
    let error = setup.store.certificate(&id).await.unwrap_err().to_string();
    assert!(error.contains("time synchronisation"), "{error}");
    setup.store.prefetch(&id);
    sleep(10 * MINUTE).await;
    assert!(setup.authority.asked().len() < 15);
}

#[tokio::test(start_paused = true)]
async fn renewal_failures_back_off_and_keep_what_is_valid() {
    let setup = setup(TTL);
    let id = identity("shop", "cart");
    setup.store.prefetch(&id);
    until("issued", MINUTE, || setup.issued() == 1).await;
    let first = setup.store.current(&id).unwrap();
    setup.authority.set(Behaviour::Refuse("CA is ill".to_owned()));
    until("half-life", TTL, || setup.failed() == 1).await;
    let start = Instant::now();
    until("still held", 10 * MINUTE, || start.elapsed() > 9 * MINUTE).await;
    assert!(Arc::ptr_eq(&setup.store.current(&id).unwrap(), &first));
    // 0.5 + 1 + 2 + … + 128 s is 255 s; then every 150 s.
    assert!((9..=12).contains(&setup.failed()), "{} failures", setup.failed());
    let entries = setup.store.entries();
    assert!(entries[0].last_error.as_ref().unwrap().contains("CA is ill"));
    setup.authority.set(Behaviour::Sign);
    until("recovered", Duration::from_secs(151), || setup.issued() == 2).await;
    assert!(setup.store.entries()[0].last_error.is_none());
}

#[tokio::test(start_paused = true)]
async fn expired_certificate_is_never_handed_out() {
    let setup = setup(MINUTE);
    let id = identity("shop", "cart");
    setup.store.prefetch(&id);
    until("issued", MINUTE, || setup.issued() == 1).await;
    let end = setup.store.current(&id).unwrap().not_after();
    setup.authority.set(Behaviour::Refuse("CA is ill".to_owned()));
    let wall = wall(Duration::ZERO);
    until("expiry", 2 * MINUTE, || wall() > end).await;
    until("gone", Duration::from_secs(2), || setup.store.current(&id).is_none()).await;
    let error = setup.store.certificate(&id).await.unwrap_err().to_string();
    assert!(error.contains(id.as_str()) && error.contains("CA is ill"), "{error}");
    // The dump still shows it, as expired.
    assert!(setup.store.entries()[0].certificate.is_some());
    // While connections wait, the CA is asked at least every 4 s, however long it has failed.
    sleep(10 * MINUTE).await;
    setup.authority.set(Behaviour::Sign);
    setup.store.certificate(&id).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn waiter_gives_up_after_its_deadline_and_names_the_cause() {
    let setup = setup(TTL);
    let id = identity("shop", "cart");
    setup.authority.set(Behaviour::Hang);
    let start = Instant::now();
    let error = setup.store.certificate(&id).await.unwrap_err().to_string();
    assert_eq!(start.elapsed(), limits::CERT_WAIT_DEADLINE);
    assert!(error.contains(id.as_str()) && error.contains("not answered"), "{error}");
    setup.authority.set(Behaviour::Refuse("pod is not on this node".to_owned()));
    let error = setup.store.certificate(&id).await.unwrap_err().to_string();
    assert!(error.contains("pod is not on this node"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn hanging_signing_is_given_up_and_tried_again() {
    let setup = setup(TTL);
    let id = identity("shop", "cart");
    setup.authority.set(Behaviour::Hang);
    setup.store.prefetch(&id);
    until("given up", Duration::from_secs(11), || setup.failed() == 1).await;
    setup.authority.set(Behaviour::Sign);
    until("issued", Duration::from_secs(1), || setup.issued() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn every_prefetch_is_served_with_few_requests_at_a_time() {
    let setup = setup(TTL);
    let ids: Vec<_> = (0..300).map(|n| identity("shop", &format!("a{n}"))).collect();
    for id in &ids {
        setup.store.prefetch(id);
    }
    until("all issued", MINUTE, || setup.issued() == 300).await;
    assert!(ids.iter().all(|id| setup.store.current(id).is_some()));
    assert!(setup.authority.in_flight_max() <= limits::CERT_SIGNINGS_MAX);
    assert_eq!(setup.authority.asked().len(), 300);
}

#[tokio::test(start_paused = true)]
async fn connection_overtakes_prefetches() {
    let setup = setup(TTL);
    setup.authority.set(Behaviour::Hang);
    for n in 0..100 {
        setup.store.prefetch(&identity("shop", &format!("a{n}")));
    }
    until("busy", MINUTE, || setup.authority.asked().len() == 6).await;
    let id = identity("shop", "urgent");
    let waiting = tokio::spawn({
        let (store, id) = (setup.store.clone(), id.clone());
        async move { store.certificate(&id).await }
    });
    until("asked", Duration::from_secs(1), || setup.authority.asked().len() == 7).await;
    assert_eq!(setup.authority.asked()[6], id);
    // A prefetch that a connection comes to wait for overtakes the others, too.
    let asked = setup.authority.asked();
    let mut prefetched = (0..100).map(|n| identity("shop", &format!("a{n}")));
    let wanted = prefetched.find(|id| !asked.contains(id)).unwrap();
    let also = tokio::spawn({
        let (store, id) = (setup.store.clone(), wanted.clone());
        async move { store.certificate(&id).await }
    });
    until("asked", Duration::from_secs(1), || setup.authority.asked().contains(&wanted)).await;
    assert_eq!(setup.authority.in_flight_max(), limits::CERT_SIGNINGS_MAX);
    setup.authority.set(Behaviour::Sign);
    assert_eq!(waiting.await.unwrap().unwrap().identity(), &id);
    also.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn forgotten_identity_is_renewed_no_more() {
    let setup = setup(MINUTE);
    let id = identity("shop", "cart");
    setup.store.prefetch(&id);
    until("issued", MINUTE, || setup.issued() == 1).await;
    setup.store.forget(&id);
    assert!(setup.store.current(&id).is_none() && setup.store.entries().is_empty());
    sleep(60 * MINUTE).await;
    assert_eq!(setup.authority.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn forgetting_ends_a_signing_and_its_waiters() {
    let setup = setup(TTL);
    let id = identity("shop", "cart");
    setup.authority.set(Behaviour::Hang);
    let waiting = tokio::spawn({
        let (store, id) = (setup.store.clone(), id.clone());
        async move { store.certificate(&id).await }
    });
    until("asked", MINUTE, || setup.authority.asked().len() == 1).await;
    setup.store.forget(&id);
    assert!(matches!(waiting.await.unwrap(), Err(CertError::Forgotten(who)) if who == id));
    // Wanted again while the old signing is being aborted: a new one starts, and its result counts.
    setup.store.prefetch(&id);
    setup.authority.set(Behaviour::Sign);
    until("issued", Duration::from_secs(1), || setup.store.current(&id).is_some()).await;
    assert_eq!(setup.issued(), 1);
}

#[tokio::test(start_paused = true)]
async fn refused_identity_that_nobody_wants_any_more_is_dropped() {
    let setup = setup(TTL);
    setup.authority.set(Behaviour::Refuse("no such pod".to_owned()));
    let (stray, lasting) = (identity("shop", "stray"), identity("shop", "lasting"));
    setup.store.prefetch(&lasting);
    setup.store.certificate(&stray).await.unwrap_err();
    until("dropped", 5 * MINUTE, || setup.store.entries().len() == 1).await;
    assert_eq!(setup.store.entries()[0].identity, lasting);
}

#[tokio::test(start_paused = true)]
async fn number_of_identities_is_bounded() {
    let mut settings = CertSettings::new(TTL).with_wall_clock(wall(Duration::ZERO));
    settings.entries_max = 2;
    let setup = setup_with(settings);
    let ids: Vec<_> = (0..3).map(|n| identity("shop", &format!("a{n}"))).collect();
    setup.store.certificate(&ids[0]).await.unwrap();
    setup.store.certificate(&ids[1]).await.unwrap();
    let error = setup.store.certificate(&ids[2]).await.unwrap_err();
    assert!(matches!(error, CertError::Full { .. }));
    assert_eq!(setup.store.metrics().full.load(Ordering::Relaxed), 1);
    setup.store.forget(&ids[0]);
    setup.store.certificate(&ids[2]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn cancelled_waiter_leaves_nothing_behind() {
    let setup = setup(TTL);
    let id = identity("shop", "cart");
    setup.authority.set(Behaviour::Refuse("not yet".to_owned()));
    for _ in 0..10 {
        let _ = timeout(Duration::from_millis(10), setup.store.certificate(&id)).await;
    }
    until("dropped", 5 * MINUTE, || setup.store.entries().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn store_ends_with_its_last_clone() {
    let setup = setup(MINUTE);
    let id = identity("shop", "cart");
    let clone = setup.store.clone();
    clone.certificate(&id).await.unwrap();
    let stopped = setup.store.stopped.clone();
    let authority = Arc::clone(&setup.authority);
    drop(setup);
    clone.certificate(&id).await.unwrap();
    assert!(!stopped.is_cancelled());
    drop(clone);
    timeout(MINUTE, stopped.cancelled()).await.unwrap();
    sleep(60 * MINUTE).await;
    assert_eq!(authority.asked().len(), 1);
}

/// Signs for another key, or for another identity.
struct Impostor {
    ca: TestCa,
    is_key_wrong: bool,
}

impl Authority for Impostor {
    fn sign(
        &self,
        identity: &SpiffeId,
        _csr_pem: String,
        _ttl: Duration,
    ) -> BoxFuture<'_, Result<SignedChain, CertError>> {
        let chain = if self.is_key_wrong {
            self.ca.issue(&Leaf::of(identity)).chain
        } else {
            self.ca.issue(&Leaf::of(&crate::testing::identity("shop", "admin"))).chain
        };
        let signed = SignedChain { chain, roots: vec![self.ca.root_der()] };
        Box::pin(async move { Ok(signed) })
    }
}

#[tokio::test(start_paused = true)]
async fn certificate_for_another_key_or_identity_is_refused() {
    for (is_key_wrong, words) in [(true, "key"), (false, "shop/sa/admin")] {
        let authority = Arc::new(Impostor { ca: TestCa::root("root"), is_key_wrong });
        let store = CertStore::spawn(authority, CertSettings::new(TTL));
        let error = store.certificate(&identity("shop", "cart")).await.unwrap_err().to_string();
        assert!(error.contains("unusable") && error.contains(words), "{error}");
        assert!(store.current(&identity("shop", "cart")).is_none());
    }
}

/// Panics once.
struct Faulty(TestAuthority, AtomicU64);

impl Authority for Faulty {
    fn sign(
        &self,
        identity: &SpiffeId,
        csr_pem: String,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<SignedChain, CertError>> {
        assert!(self.1.fetch_add(1, Ordering::Relaxed) > 0, "first call");
        self.0.sign(identity, csr_pem, ttl)
    }
}

#[tokio::test(start_paused = true)]
async fn panic_in_one_signing_is_a_failure_like_others() {
    let authority = TestAuthority::new(TestCa::root("root"), wall(Duration::ZERO));
    let settings = CertSettings::new(TTL).with_wall_clock(wall(Duration::ZERO));
    let store = CertStore::spawn(Arc::new(Faulty(authority, AtomicU64::new(0))), settings);
    store.certificate(&identity("shop", "cart")).await.unwrap();
    assert_eq!(store.metrics().failed.load(Ordering::Relaxed), 1);
}
