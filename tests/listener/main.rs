//! Listeners and clients, with real processes: rows listener/client, authentication and
//! eintr-02 of conformance.md, and what bad peers cost.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "tests say what they expect by unwrapping it; arguments that travel are owned"
)]

mod attacks;
mod python;
mod users;
#[path = "../util/mod.rs"]
mod util;

use nix::sys::signal::Signal;
use procession::{
    Address, AddressError, AuthError, Client, Connection, Digest, Error, IntoAddress, Listener,
    ListenerError, Pipe, PipeError, Process, Protocol, Serializer, answer_challenge,
    answer_challenge_async, deliver_challenge, deliver_challenge_async, deliver_challenge_with,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use util::{Folder, METHODS, SOON, alone};

pub(crate) const KEY: &[u8] = b"supadupasecretkey";

/// One address of each family, free.
fn families(folder: &Folder) -> [Address; 3] {
    [
        "127.0.0.1:0".parse().unwrap(),
        folder.file("socket").parse().unwrap(),
        Address::Abstract(folder.file("name").into_bytes()),
    ]
}

/// Two ends of a connection through a listener.
fn pair(listener: &Listener) -> (Connection, Connection) {
    std::thread::scope(|scope| {
        let client = scope.spawn(|| Client::connect(listener.address(), KEY).unwrap());
        let accepted = listener.accept_timeout(SOON).unwrap();
        (accepted, client.join().unwrap())
    })
}

/// Rows listen-02 and listen-04, with children of each start method.
#[test]
fn a_client_reaches_a_listener_of_each_family() {
    let folder = Folder::new("families");
    for (address, method) in families(&folder).into_iter().zip(METHODS.into_iter().cycle()) {
        let listener = Listener::bind(&address, KEY).unwrap();
        assert_eq!(listener.last_accepted(), None);
        let client = |address: Address| {
            Client::connect(address, KEY).unwrap().send(&1729).unwrap();
        };
        let p = procession::context(method).spawn(client, (listener.address().clone(),)).unwrap();
        {
            let connection = listener.accept_timeout(SOON).unwrap();
            assert_eq!(connection.recv::<i32>().unwrap(), 1729);
            assert!(matches!(connection.recv::<i32>(), Err(PipeError::EndOfFile)));
            let peer = connection.peer().unwrap();
            assert!(matches!(peer.protocol, Protocol::Native { .. }));
            let is_unix = !matches!(address, Address::Tcp { .. });
            let pid = peer.credentials.map(|known| known.pid.cast_unsigned());
            assert_eq!(pid, is_unix.then(|| p.pid().unwrap()));
            assert_eq!(listener.last_accepted(), peer.address);
        }
        p.join().unwrap();
        listener.close();
        assert!(matches!(listener.accept(), Err(ListenerError::Closed)));
    }
}

/// Row listen-01.
#[test]
fn a_second_listener_at_an_address_is_refused() {
    let folder = Folder::new("second");
    for address in families(&folder) {
        let first = Listener::bind(&address, KEY).unwrap();
        let error = Listener::bind(first.address(), KEY).unwrap_err();
        let ListenerError::Io(error) = error else { panic!("{error}") };
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
        // The first one goes on, and its address is free with it.
        let (a, b) = pair(&first);
        a.send("still here").unwrap();
        assert_eq!(b.recv::<String>().unwrap(), "still here");
        let address = first.address().clone();
        drop(first);
        // A child of another test that is about to exec has a copy of the socket for a moment.
        util::until("the address is free", || Listener::bind(&address, KEY).is_ok());
    }
}

/// Row listen-03, and F18: an empty key is none.
#[test]
fn an_empty_key_is_refused_everywhere() {
    let empty =
        |error: &ListenerError| matches!(error, ListenerError::Authentication(AuthError::EmptyKey));
    assert!(empty(&Listener::bind("127.0.0.1:0", b"").unwrap_err()));
    assert!(empty(&Client::connect("127.0.0.1:9", b"").unwrap_err()));
    let (a, _b) = Pipe::duplex().unwrap();
    let error = deliver_challenge(&a, b"").unwrap_err();
    assert!(matches!(&error, Error::Listener(error) if empty(error)), "{error}");
}

/// Row listen-08.
#[test]
fn bad_addresses_are_errors() {
    let error = Listener::bind(r"\\.\test", KEY).unwrap_err();
    assert!(matches!(error, ListenerError::Address(AddressError::WindowsPipe(_))), "{error}");
    let long = format!("/tmp/{}", "x".repeat(108));
    let error = Client::connect(long, KEY).unwrap_err();
    assert!(matches!(error, ListenerError::Address(AddressError::TooLong(113))), "{error}");
    let folder = Folder::new("nobody");
    for address in [folder.file("nobody"), "127.0.0.1:1".into()] {
        let error = Client::connect(address, KEY).unwrap_err();
        assert!(matches!(error, ListenerError::Io(_)), "{error}");
    }
}

#[test]
fn another_key_is_an_error_on_both_sides_and_the_listener_goes_on() {
    let listener = Listener::builder().address("127.0.0.1:0").authkey(KEY).report_refused(true);
    let listener = listener.bind().unwrap();
    std::thread::scope(|scope| {
        let client = scope.spawn(|| Client::connect(listener.address(), b"guess").unwrap_err());
        let error = listener.accept_timeout(SOON).unwrap_err();
        assert!(matches!(error, ListenerError::Authentication(AuthError::WrongDigest)), "{error}");
        let error = client.join().unwrap();
        assert!(matches!(error, ListenerError::Authentication(AuthError::Rejected)), "{error}");
    });
    pair(&listener);
}

/// As Python's does, whose clients look for a host's name there.
#[test]
fn a_name_is_listened_at_by_its_ipv4_address() {
    let listener = Listener::bind("localhost:0", KEY).unwrap();
    let Address::Tcp { host, port } = listener.address().clone() else { panic!("no TCP") };
    assert_eq!(host, "127.0.0.1");
    std::thread::scope(|scope| {
        let client = scope.spawn(|| Client::connect(("localhost", port), KEY).unwrap());
        listener.accept_timeout(SOON).unwrap();
        client.join().unwrap();
    });
}

/// Nobody's socket is taken for one that was left, or removed, when several come at a time.
#[test]
fn one_of_many_replaces_what_a_killed_process_has_left() {
    let folder = Folder::new("left");
    let path = folder.file("socket");
    for round in 0..3000 {
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        // A child of another test that is about to exec has a copy of it for a moment.
        util::until("nobody listens", || std::os::unix::net::UnixStream::connect(&path).is_err());
        let start = std::sync::Barrier::new(4);
        let bind = || {
            start.wait();
            Listener::bind(path.as_str(), KEY)
        };
        let all: Vec<_> = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(bind));
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let made: Vec<_> = all.iter().filter_map(|one| one.as_ref().ok()).collect();
        assert_eq!(made.len(), 1);
        // Whoever comes finds it; nobody else listens.
        drop(std::os::unix::net::UnixStream::connect(&path).unwrap());
        if round % 100 == 0 {
            pair(made[0]);
        }
        drop(all);
        assert!(!std::fs::exists(&path).unwrap());
    }
}

/// The socket's folder, file and modes; what a killed process has left is replaced.
#[test]
fn a_unix_socket_is_private_and_goes_with_its_listener() {
    let listener = Listener::builder().authkey(KEY).bind().unwrap();
    let Address::Unix(path) = listener.address().clone() else { panic!("no path") };
    let folder = path.parent().unwrap().to_owned();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&path)), (0o700, 0o600));
    pair(&listener);
    listener.close();
    assert!(!path.exists() && !folder.exists());

    let folder = Folder::new("stale");
    let path = folder.file("socket");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listener = Listener::bind(path.as_str(), KEY).unwrap();
    pair(&listener);
    // What somebody else has put there since is not touched.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "another's").unwrap();
    drop(listener);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "another's");

    // A process that leaves with its listener open removes the file as well.
    let path = folder.file("exit");
    let leave = |path: String| {
        std::mem::forget(Listener::bind(path, KEY).unwrap());
    };
    Process::spawn(leave, (path.clone(),)).unwrap().result().unwrap();
    assert!(!std::path::Path::new(&path).exists());
}

/// Whatever the process's mask takes away.
#[test]
fn a_unix_socket_has_the_mode_that_was_asked_for() {
    alone("a_unix_socket_has_the_mode_that_was_asked_for", || {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
        let folder = Folder::new("mode");
        let path = folder.file("socket");
        let builder = Listener::builder().address(path.as_str()).authkey(KEY).mode(0o666);
        let listener = builder.bind().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        drop(listener);
    });
}

#[test]
fn one_who_listens_and_is_busy_is_not_replaced() {
    let folder = Folder::new("busy");
    let path = folder.file("socket");
    let builder = Listener::builder().address(path.as_str()).authkey(KEY).backlog(1);
    let busy = builder.bind().unwrap();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let path = path.clone();
            std::thread::spawn(move || std::os::unix::net::UnixStream::connect(path))
        })
        .collect();
    std::thread::sleep(Duration::from_millis(100));
    let (says, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || says.send(Listener::bind(path, KEY).map(drop)));
    let error = heard.recv_timeout(SOON).expect("it ends").unwrap_err();
    assert!(
        matches!(&error, ListenerError::Io(error) if error.kind() == std::io::ErrorKind::AddrInUse),
        "{error}"
    );
    drop(busy);
    for client in clients {
        drop(client.join().unwrap());
    }
}

#[test]
fn a_handshake_may_take_for_ever() {
    let builder = Listener::builder().address("127.0.0.1:0").authkey(KEY);
    let listener = builder.handshake_timeout(Duration::MAX).bind().unwrap();
    let client = || Client::builder(listener.address()).authkey(KEY).timeout(Duration::MAX);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| client().connect().unwrap());
        listener.accept_timeout(SOON).unwrap();
        client.join().unwrap();
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (client, accepted) = tokio::join!(client().connect_async(), listener.accept_async());
        client.and(accepted).unwrap();
    });
}

#[test]
fn a_host_of_no_letters_is_every_interface() {
    for address in [("", 0).into_address().unwrap(), ":0".parse().unwrap()] {
        let listener = Listener::bind(&address, KEY).unwrap();
        assert!(listener.address().to_string().starts_with("0.0.0.0:"));
        pair(&listener);
    }
}

/// Row conn-09, for connections of this library: a code follows each message over TCP, and
/// its number is right whoever sends.
#[test]
fn an_accepted_connection_is_used_by_other_processes() {
    let folder = Folder::new("travels");
    for address in families(&folder) {
        let listener = Listener::bind(&address, KEY).unwrap();
        let (accepted, client) = pair(&listener);
        let shout = |connection: Connection| {
            let word: String = connection.recv().unwrap();
            connection.send(&word.to_uppercase()).unwrap();
        };
        for method in METHODS {
            client.send("hello").unwrap();
            let shouts = procession::context(method);
            shouts.spawn(shout, (accepted.clone(),)).unwrap().result().unwrap();
            assert_eq!(client.recv::<String>().unwrap(), "HELLO");
            accepted.send(&7).unwrap();
            assert_eq!(client.recv::<i32>().unwrap(), 7);
        }
    }
}

#[test]
fn large_messages_pass_and_too_large_ones_end_the_connection() {
    let listener = Listener::builder().address("127.0.0.1:0").authkey(KEY).max_message(1 << 20);
    let listener = listener.bind().unwrap();
    let (accepted, client) = pair(&listener);
    let large = vec![7u8; 1 << 20];
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| client.send_bytes(&large));
        assert!(accepted.recv_bytes().unwrap() == large);
        sent.join().unwrap().unwrap();
    });
    let mut buffer = vec![0; 1 << 20];
    client.send_bytes(b"small").unwrap();
    assert_eq!(accepted.recv_bytes_into(&mut buffer).unwrap(), 5);
    std::thread::scope(|scope| {
        scope.spawn(|| client.send_bytes(&[&large[..], b"!"].concat()));
        assert!(matches!(accepted.recv_bytes(), Err(PipeError::BadLength(_))));
        drop(accepted);
    });
    pair(&listener);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    name: String,
    prices: BTreeMap<String, f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    note: Option<String>,
}

#[test]
fn values_keep_their_shape_in_both_formats_and_handles_do_not_travel() {
    let order =
        Order { name: "äpfel".into(), prices: BTreeMap::from([("one".into(), 0.25)]), note: None };
    for serializer in [Serializer::Native, Serializer::Json] {
        let builder = Listener::builder().authkey(KEY).serializer(serializer);
        let listener = builder.bind().unwrap();
        let address = listener.address().clone();
        let client = std::thread::spawn(move || {
            Client::builder(address).authkey(KEY).serializer(serializer).connect().unwrap()
        });
        let accepted = listener.accept_timeout(SOON).unwrap();
        let client = client.join().unwrap();
        client.send(&order).unwrap();
        assert_eq!(accepted.recv::<Order>().unwrap(), order);
        // What is no such value is an error of that message alone.
        client.send(&"text").unwrap();
        assert!(matches!(accepted.recv::<Order>(), Err(PipeError::Decode(_))));
        client.send_bytes(b"\xc1").unwrap();
        assert!(matches!(accepted.recv::<Order>(), Err(PipeError::Decode(_))));
        let error = client.send(&Pipe::duplex().unwrap().0).unwrap_err();
        let PipeError::Encode(error) = error else { panic!("{error}") };
        assert!(error.why.contains("OutsideTransfer"), "{error}");
        client.send(&order).unwrap();
        assert_eq!(accepted.recv::<Order>().unwrap(), order);
    }
}

/// Row eintr-02.
#[test]
fn a_signal_during_accept_is_ignored() {
    util::alone("a_signal_during_accept_is_ignored", || {
        let listener = Listener::bind("127.0.0.1:0", KEY).unwrap();
        let client = |address: Address| {
            std::thread::sleep(Duration::from_millis(50));
            let connection = Client::connect(address, KEY).unwrap();
            assert_eq!(connection.recv::<String>().unwrap(), "welcome");
        };
        let p = Process::spawn(client, (listener.address().clone(),)).unwrap();
        util::signals::under_fire(Signal::SIGUSR1, || {
            listener.accept_timeout(SOON).unwrap().send("welcome").unwrap();
        });
        assert!(util::signals::caught() > 0);
        p.result().unwrap();
    });
}

#[test]
fn an_accept_ends_in_time_or_when_the_listener_is_closed() {
    let listener = Listener::builder().authkey(KEY).bind().unwrap();
    let error = listener.accept_timeout(Duration::from_millis(20)).unwrap_err();
    assert!(matches!(error, ListenerError::Timeout));
    std::thread::scope(|scope| {
        let waits: Vec<_> = (0..3).map(|_| scope.spawn(|| listener.accept())).collect();
        listener.close();
        for wait in waits {
            assert!(matches!(wait.join().unwrap(), Err(ListenerError::Closed)));
        }
    });
    listener.close();
    assert!(listener.is_closed());
}

#[test]
fn async_forms_work_on_any_executor() {
    let talk = async {
        for listener in
            [Listener::bind("127.0.0.1:0", KEY), Listener::builder().authkey(KEY).bind()]
        {
            let listener = listener.unwrap();
            let connect = Client::connect_async(listener.address(), KEY);
            let (accepted, client) = both(listener.accept_async(), connect).await;
            let (accepted, client) = (accepted.unwrap(), client.unwrap());
            accepted.send_async(&1729).await.unwrap();
            assert_eq!(client.recv_async::<i32>().await.unwrap(), 1729);
            let connect = Client::connect_async(listener.address(), b"guess");
            let wait = async {
                tokio::pin!(connect);
                let accept = listener.accept_async();
                tokio::pin!(accept);
                std::future::poll_fn(|context| {
                    assert!(accept.as_mut().poll(context).is_pending());
                    connect.as_mut().poll(context)
                })
                .await
            };
            let error = wait.await.unwrap_err();
            assert!(matches!(error, ListenerError::Authentication(_)), "{error}");
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(talk);

    let listener = Listener::builder().authkey(KEY).bind().unwrap();
    let connect = Client::connect_async(listener.address(), KEY);
    // An executor that is no tokio runtime.
    let (accepted, client) =
        procession_runtime::wait::block_on(both(listener.accept_async(), connect));
    accepted.unwrap().send(&3).unwrap();
    assert_eq!(client.unwrap().recv::<i32>().unwrap(), 3);
}

/// Both at once, on any executor.
async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (Box::pin(a), Box::pin(b));
    let (mut done_a, mut done_b) = (None, None);
    std::future::poll_fn(|context| {
        use std::task::Poll;
        if done_a.is_none() {
            done_a = match a.as_mut().poll(context) {
                Poll::Ready(done) => Some(done),
                Poll::Pending => None,
            };
        }
        if done_b.is_none() {
            done_b = match b.as_mut().poll(context) {
                Poll::Ready(done) => Some(done),
                Poll::Pending => None,
            };
        }
        if done_a.is_some() && done_b.is_some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    (done_a.unwrap(), done_b.unwrap())
}

/// Rows auth-01 and auth-02.
#[test]
fn challenges_by_hand_are_those_of_python() {
    let (a, b) = Pipe::duplex().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(b.recv_bytes().unwrap().starts_with(b"#CHALLENGE#{sha256}"));
            b.send_bytes(b"something bogus").unwrap();
            assert_eq!(b.recv_bytes().unwrap(), b"#FAILURE#");
        });
        let error = deliver_challenge(&a, b"abc").unwrap_err();
        let Error::Listener(ListenerError::Authentication(error)) = error else {
            panic!("{error}")
        };
        assert_eq!(error, AuthError::WrongDigest);
    });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            b.send_bytes(b"#CHALLENGE#{sha256}0123456789012345678901234567890123456789").unwrap();
            b.recv_bytes().unwrap();
            b.send_bytes(b"something bogus").unwrap();
        });
        let error = answer_challenge(&a, b"abc").unwrap_err();
        let Error::Listener(ListenerError::Authentication(error)) = error else {
            panic!("{error}")
        };
        assert_eq!(error, AuthError::Rejected);
    });
    for digest in Digest::ALL {
        std::thread::scope(|scope| {
            let answered = scope.spawn(|| answer_challenge(&b, b"abc"));
            deliver_challenge_with(&a, b"abc", digest).unwrap();
            answered.join().unwrap().unwrap();
        });
    }
}

/// On an executor of the caller's own, with blocking and with async peers.
#[test]
fn challenges_without_a_thread_of_their_own() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let refused = |error: Error| match error {
        Error::Listener(ListenerError::Authentication(error)) => error,
        other => panic!("{other}"),
    };
    for digest in Digest::ALL {
        let (a, b) = Pipe::duplex().unwrap();
        let asks = deliver_challenge_async(&a, b"abc", digest);
        let (asked, answered) = runtime.block_on(both(asks, answer_challenge_async(&b, b"abc")));
        asked.unwrap();
        answered.unwrap();
        // In a process that knows another key, which uses the other form.
        let child = |b: Connection| answer_challenge(&b, b"other").is_err();
        let child = Process::spawn(child, (b,)).unwrap();
        let error = runtime.block_on(deliver_challenge_async(&a, b"abc", digest)).unwrap_err();
        assert_eq!(refused(error), AuthError::WrongDigest);
        assert!(child.result_timeout(SOON).unwrap());
    }
    let (a, b) = Pipe::duplex().unwrap();
    let error = runtime.block_on(answer_challenge_async(&a, b"")).unwrap_err();
    assert_eq!(refused(error), AuthError::EmptyKey);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| deliver_challenge(&b, b"other"));
        let error = runtime.block_on(answer_challenge_async(&a, b"abc")).unwrap_err();
        assert_eq!(refused(error), AuthError::Rejected);
        assert!(asked.join().unwrap().is_err());
    });
    // Dropped in the middle it says nothing more; the peer learns it by the end.
    let asks = async {
        let asks = deliver_challenge_async(&a, b"abc", Digest::Sha256);
        let heard = async { b.recv_bytes_async().await.unwrap() };
        // Whichever is done first drops the other.
        tokio::select! { heard = heard => heard, _ = asks => panic!("nobody has answered") }
    };
    assert!(runtime.block_on(asks).starts_with(b"#CHALLENGE#"));
    drop(a);
    assert!(matches!(b.recv_bytes(), Err(PipeError::EndOfFile)));
    assert!(runtime.block_on(answer_challenge_async(&b, b"abc")).is_err());
}

#[test]
fn without_a_key_there_is_no_handshake() {
    let listener = Listener::builder().bind().unwrap();
    let client = Client::builder(listener.address()).connect().unwrap();
    let accepted = listener.accept_timeout(SOON).unwrap();
    assert_eq!(accepted.peer().unwrap().protocol, Protocol::Open);
    assert!(!accepted.peer().unwrap().is_python());
    client.send(&1729).unwrap();
    assert_eq!(accepted.recv::<i32>().unwrap(), 1729);
    // A client without a key at a listener that has one gets a challenge instead of a value.
    let listener = Listener::bind("127.0.0.1:0", KEY).unwrap();
    let client = Client::builder(listener.address()).connect().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(matches!(listener.accept(), Err(ListenerError::Closed))));
        client.send(&1729).unwrap();
        assert!(client.recv_bytes().unwrap().starts_with(b"#CHALLENGE#"));
        assert_eq!(client.recv_bytes().unwrap(), b"#FAILURE#");
        assert!(matches!(client.recv_bytes(), Err(PipeError::EndOfFile)));
        listener.close();
    });
}
