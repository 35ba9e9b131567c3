use std::os::fd::AsRawFd as _;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use proptest::prelude::*;

use super::*;

fn descriptor() -> OwnedFd {
    std::fs::File::open("/dev/null").unwrap().into()
}

fn uid(text: &str) -> PodUid {
    text.parse().unwrap()
}

fn identity() -> PodIdentity {
    PodIdentity { name: "a".into(), namespace: "shop".into(), service_account: "cart".into() }
}

async fn pair() -> (AsyncSeqpacket, AsyncSeqpacket, SeqpacketListener, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zds.sock");
    let listener = SeqpacketListener::bind(&path).unwrap();
    let client = AsyncSeqpacket::connect(&path).unwrap();
    let server = listener.accept().await.unwrap();
    (client, server, listener, folder)
}

#[tokio::test]
async fn namespace_travels_with_its_packet_and_is_close_on_exec() {
    let (proxy, agent, _listener, _folder) = pair().await;
    let add = Request::Add { uid: uid("u1"), identity: Some(identity()), netns: descriptor() };
    let (packet, netns) = add.encode().unwrap();
    agent.send(&packet, netns).await.unwrap();
    let (packet, descriptors) = proxy.recv().await.unwrap();
    let Request::Add { uid: read, identity: who, netns } =
        Request::decode(&packet, descriptors).unwrap()
    else {
        panic!("another kind")
    };
    assert_eq!((read, who), (uid("u1"), Some(identity())));
    let flags = fcntl(&netns, FcntlArg::F_GETFD).unwrap();
    assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
    proxy.send(&Answer::Failed("no".into()).encode(), None).await.unwrap();
    let (packet, descriptors) = agent.recv().await.unwrap();
    assert_eq!(Answer::decode(&packet, descriptors).unwrap(), Answer::Failed("no".into()));
}

#[tokio::test]
async fn packet_over_the_limit_is_not_sent_and_one_that_arrives_is_an_error() {
    let (proxy, agent, _listener, _folder) = pair().await;
    let long = vec![1; ZDS_PACKET_MAX + 1];
    assert!(matches!(agent.send(&long, None).await, Err(ZdsError::TooLong { bytes: 1025 })));
    // A peer without our check.
    nix::sys::socket::send(agent.as_fd().as_raw_fd(), &long, nix::sys::socket::MsgFlags::empty())
        .unwrap();
    assert!(matches!(proxy.recv().await, Err(ZdsError::Truncated)));
    agent.send(&vec![1; ZDS_PACKET_MAX], None).await.unwrap();
    assert_eq!(proxy.recv().await.unwrap().0.len(), ZDS_PACKET_MAX);
}

#[tokio::test]
async fn too_many_descriptors_are_an_error_and_none_leaks() {
    let (proxy, agent, _listener, _folder) = pair().await;
    let extra: Vec<_> = (0..8).map(|_| descriptor()).collect();
    let raw: Vec<_> = extra.iter().map(|extra| extra.as_raw_fd()).collect();
    let parts = [std::io::IoSlice::new(b"x")];
    let rights = [nix::sys::socket::ControlMessage::ScmRights(&raw)];
    nix::sys::socket::sendmsg::<()>(
        agent.as_fd().as_raw_fd(),
        &parts,
        &rights,
        nix::sys::socket::MsgFlags::empty(),
        None,
    )
    .unwrap();
    let inode = |fd: &OwnedFd| nix::sys::stat::fstat(fd).unwrap().st_ino;
    let wanted = inode(&extra[0]);
    let open_now = || {
        let entries = std::fs::read_dir("/proc/self/fd").unwrap();
        let paths = entries.filter_map(|entry| std::fs::metadata(entry.unwrap().path()).ok());
        paths.filter(|meta| std::os::unix::fs::MetadataExt::ino(meta) == wanted).count()
    };
    let before = open_now();
    assert!(matches!(proxy.recv().await, Err(ZdsError::Truncated)));
    assert_eq!(open_now(), before);
}

#[tokio::test]
async fn end_of_the_connection_is_told_apart_and_no_empty_packet_is_sent() {
    let (proxy, agent, _listener, _folder) = pair().await;
    assert!(matches!(agent.send(b"", None).await, Err(ZdsError::Malformed(_))));
    assert_eq!(proxy.peer_pid(), Some(std::process::id()));
    drop(agent);
    assert!(matches!(proxy.recv().await, Err(ZdsError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn peer_that_takes_nothing_runs_into_the_deadline() {
    let (_proxy, agent, _listener, _folder) = pair().await;
    let full = async {
        loop {
            if let Err(error) = agent.send(&[1; ZDS_PACKET_MAX], None).await {
                return error;
            }
        }
    };
    assert!(matches!(full.await, ZdsError::Deadline));
}

#[tokio::test]
async fn listener_replaces_a_socket_that_was_left_behind_and_removes_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zds.sock");
    let earlier = SeqpacketListener::bind(&path).unwrap();
    let listener = SeqpacketListener::bind(&path).unwrap();
    drop(earlier);
    AsyncSeqpacket::connect(&path).unwrap();
    listener.accept().await.unwrap();
    drop(listener);
    assert!(!path.exists());
}

#[test]
fn field_numbers_are_those_of_stock_peers() {
    let netns = descriptor();
    let add = Request::Add { uid: uid("u"), identity: None, netns };
    assert_eq!(add.encode().unwrap().0, [0x0a, 3, 0x0a, 1, b'u']);
    assert_eq!(Request::Keep { uid: uid("u") }.encode().unwrap().0, [0x2a, 3, 0x0a, 1, b'u']);
    assert_eq!(Request::Del { uid: uid("u") }.encode().unwrap().0, [0x12, 3, 0x12, 1, b'u']);
    assert_eq!(Request::SnapshotSent.encode().unwrap().0, [0x1a, 0]);
    assert_eq!(encode_hello(), [8, 1]);
    assert_eq!(Answer::Done.encode(), [0x0a, 0]);
}

#[test]
fn descriptor_count_must_fit_the_message() {
    let request = Request::Add { uid: uid("u"), identity: None, netns: descriptor() };
    let (add, _) = request.encode().unwrap();
    assert!(Request::decode(&add, vec![]).is_err());
    assert!(Request::decode(&add, vec![descriptor()]).is_ok());
    assert!(Request::decode(&add, vec![descriptor(), descriptor()]).is_err());
    let del = Request::Del { uid: uid("u") };
    let (del, _) = del.encode().unwrap();
    assert!(Request::decode(&del, vec![descriptor()]).is_err());
    assert!(Answer::decode(&Answer::Done.encode(), vec![descriptor()]).is_err());
    assert!(decode_hello(&encode_hello(), vec![descriptor()]).is_err());
}

#[test]
fn longest_names_fit_a_packet_and_a_long_reason_is_cut() {
    let identity = PodIdentity {
        name: "n".repeat(253),
        namespace: "n".repeat(63),
        service_account: "s".repeat(253),
    };
    let uid = uid(&"u".repeat(limits::ZDS_UID_BYTES_MAX));
    let add = Request::Add { uid, identity: Some(identity), netns: descriptor() };
    assert!(add.encode().is_ok());
    let answer = Answer::Failed("é".repeat(2000)).encode();
    assert!(answer.len() <= ZDS_PACKET_MAX);
    assert!(matches!(Answer::decode(&answer, vec![]).unwrap(), Answer::Failed(_)));
}

#[test]
fn unknown_kinds_and_versions_are_refused() {
    assert!(Request::decode(&[], vec![]).is_err());
    assert!(Request::decode(&[0x32, 0], vec![]).is_err());
    assert!(Answer::decode(&[0x12, 0], vec![]).is_err());
    assert!(decode_hello(&[8, 0], vec![]).is_err());
    assert_eq!(decode_hello(&[8, 2], vec![]).unwrap(), 2);
}

proptest! {
    #[test]
    fn no_packet_panics_and_what_decodes_encodes_to_the_same_meaning(
        packet in proptest::collection::vec(any::<u8>(), 0..ZDS_PACKET_MAX),
        with_descriptor: bool,
    ) {
        let descriptors = || if with_descriptor { vec![descriptor()] } else { vec![] };
        let _ = decode_hello(&packet, descriptors());
        if let Ok(answer) = Answer::decode(&packet, descriptors()) {
            prop_assert_eq!(Answer::decode(&answer.encode(), vec![]).unwrap(), answer);
        }
        if let Ok(request) = Request::decode(&packet, descriptors()) {
            let (again, _) = request.encode().unwrap();
            let descriptors = if matches!(request, Request::Add { .. }) { descriptors() } else { vec![] };
            prop_assert!(Request::decode(&again, descriptors).is_ok());
        }
    }
}
