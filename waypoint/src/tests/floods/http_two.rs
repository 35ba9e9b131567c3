//! Floods of HTTP/2 frames (CVE-2023-44487, CVE-2024-27316 and their kin).

use futures::future::join;
use tokio::io::AsyncWriteExt;

use super::{neighbour_is_served, within_bounds};
use crate::limits;
use crate::tests::frames::{
    Attacker, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, length, literal, request,
};

/// RFC 9113, section 7.
const ENHANCE_YOUR_CALM: Option<u8> = Some(11);
/// As many as keep a debug build busy for about a second.
const MANY: usize = 100_000;

/// The numbers that clients give to streams.
fn stream(number: usize) -> u32 {
    u32::try_from(number).unwrap() * 2 + 1
}

#[test]
fn rapid_resets_end_the_connection() {
    within_bounds(async |stage, app| {
        let attacker = Attacker::new(stage).await;
        let block = request("GET", "/reset");
        let flood = attacker.flood(|sent| {
            // Some at once, as they come in one packet.
            let pairs = (0..50).flat_map(|number| {
                let stream = stream(sent * 50 + number);
                let open = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
                [open, frame(RST_STREAM, 0, stream, &CANCEL)].concat()
            });
            (sent < MANY).then(|| pairs.collect())
        });
        let (ended, ()) = join(flood, neighbour_is_served(stage, 5)).await;
        assert_eq!(ended.reason, ENHANCE_YOUR_CALM, "{ended:?}");
        // What was on its way when the end came.
        assert!(ended.sent < 3_000, "{ended:?}");
        assert!(app.count() < 1_000, "{} requests reached the application", app.count());
    });
}

#[test]
fn endless_headers_end_the_connection() {
    for size in [0, 1, 1_000, 16_000] {
        within_bounds(async |stage, app| {
            let mut attacker = Attacker::new(stage).await;
            let before = app.count();
            attacker.send(&frame(HEADERS, END_STREAM, 1, &request("GET", "/endless"))).await;
            let part = literal("x", &"y".repeat(size));
            let more = frame(CONTINUATION, 0, 1, if size == 0 { &[] } else { &part });
            let more = more.repeat(20_000 / more.len() + 1);
            let flood = attacker.flood(|sent| (sent < MANY).then(|| more.clone()));
            let (ended, ()) = join(flood, neighbour_is_served(stage, 1)).await;
            // What was on its way when the end came, and 64 KiB that are read of it.
            assert!(ended.sent * more.len() < 4 << 20, "{size}: {ended:?}");
            assert!(ended.reason.is_some(), "{size}: {ended:?}");
            assert_eq!(app.count(), before + 1, "{size}: only the neighbour's");
        });
    }
}

#[test]
fn header_list_beyond_its_bound_is_answered_431() {
    within_bounds(async |stage, app| {
        let before = app.count();
        let mut attacker = Attacker::new(stage).await;
        // Small ones of a name that others join before they count (CVE-2026-47774): decoded 39 bytes each.
        let mut crumbs = request("GET", "/crumbs");
        (0..1_600).for_each(|_| crumbs.extend([0x0f, 0x11, 1, b'a']));
        attacker.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &crumbs)).await;
        let came = attacker.read.until(HEADERS).await.expect("an answer");
        // `:status` by its name's index, and by Huffman's code.
        assert_eq!(came.payload, [0x48, 0x83, 0x69, 0x90, 0xff], "431");
        // The connection goes on.
        let good = frame(HEADERS, END_HEADERS | END_STREAM, 3, &request("GET", "/"));
        attacker.send(&good).await;
        let came = attacker.read.until(HEADERS).await.expect("an answer");
        assert_eq!((came.stream, app.count()), (3, before + 1));
    });
}

#[test]
fn header_list_far_beyond_its_bound_ends_the_connection() {
    // One entry of 4,000 bytes in the dynamic table, then references to it, a byte each (RFC 7541, section 6): 48 MB.
    let mut bomb = request("GET", "/bomb");
    bomb.push(0x40);
    bomb.extend([length(1), b"x".to_vec(), length(4_000), vec![b'y'; 4_000]].concat());
    bomb.extend([0xbe; 12_000]);
    within_bounds(async |stage, app| {
        let before = app.count();
        let mut attacker = Attacker::new(stage).await;
        attacker.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb)).await;
        assert_eq!(attacker.read.until_goaway().await, ENHANCE_YOUR_CALM);
        assert_eq!(app.count(), before);
    });
}

#[test]
fn control_frames_that_ask_for_answers_are_answered_at_the_askers_pace() {
    for (kind, payload) in [(SETTINGS, &[][..]), (PING, &[1; 8])] {
        for reads in [true, false] {
            within_bounds(async |stage, _| {
                let Attacker { mut write, mut read } = Attacker::new(stage).await;
                let more = frame(kind, 0, 0, payload).repeat(100);
                let writing = async {
                    for _ in 0..MANY / 100 {
                        if write.write_all(&more).await.is_err() {
                            return;
                        }
                    }
                };
                let reading = async {
                    while reads && read.next().await.is_some() {}
                    std::future::pending::<()>().await;
                };
                // Who doesn't read the answers may be read no further: then it is the neighbour alone who gets to an end.
                let served = async {
                    if reads {
                        join(writing, neighbour_is_served(stage, 10)).await;
                        return;
                    }
                    tokio::select! {
                        ((), ()) = join(writing, std::future::pending()) => {}
                        () = neighbour_is_served(stage, 20) => {}
                    }
                };
                tokio::select! {
                    () = served => {}
                    () = reading => {}
                }
            });
        }
    }
}

#[test]
fn frames_that_say_nothing_are_borne_or_end_the_connection() {
    let update = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
    let priority = frame(PRIORITY, 0, 7, &[0, 0, 0, 0, 1]);
    let unknown = frame(0xbe, 0, 0, &[1; 64]);
    for more in [update, priority, unknown] {
        within_bounds(async |stage, _| {
            let Attacker { mut write, .. } = Attacker::new(stage).await;
            let many = more.repeat(100);
            let writing = async {
                for _ in 0..MANY / 100 {
                    if write.write_all(&many).await.is_err() {
                        return;
                    }
                }
            };
            join(writing, neighbour_is_served(stage, 5)).await;
        });
    }
}

#[test]
fn empty_data_ends_the_connection() {
    within_bounds(async |stage, _| {
        let mut attacker = Attacker::new(stage).await;
        attacker.send(&frame(HEADERS, END_HEADERS, 1, &request("POST", "/empty"))).await;
        let more = frame(DATA, 0, 1, &[]).repeat(50);
        let flood = attacker.flood(|sent| (sent < MANY).then(|| more.clone()));
        let (ended, ()) = join(flood, neighbour_is_served(stage, 1)).await;
        assert_eq!(ended.reason, ENHANCE_YOUR_CALM, "{ended:?}");
        assert!(ended.sent < 10_000, "{ended:?}");
    });
}

#[test]
fn streams_beyond_their_bound_are_refused() {
    within_bounds(async |stage, app| {
        let mut attacker = Attacker::new(stage).await;
        let open = request("POST", "/open");
        let most = usize::try_from(limits::HTTP2_STREAMS_MAX).unwrap();
        let mut sent = Vec::new();
        for number in 0..most + 1 {
            sent.extend(frame(HEADERS, END_HEADERS, stream(number), &open));
        }
        attacker.send(&sent).await;
        let refused = attacker.read.until(RST_STREAM).await.expect("a refusal");
        assert_eq!((refused.stream, &refused.payload[..]), (stream(most), &[0, 0, 0, 7][..]));
        assert_eq!(app.count(), 1, "bodies are waited for");
    });
}
