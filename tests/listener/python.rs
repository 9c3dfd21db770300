//! Python on the other side: the `python3` that is installed, and a script that speaks the
//! handshake of later ones.
//!
//! Rows of listener/client and authentication hold for these peers as well. Python before 3.12
//! knows only MD5.

use super::KEY;
use crate::util::python::Python;
use crate::util::{Folder, SOON};
use procession::{
    AuthError, Client, Connection, Digest, Dynamic, Listener, ListenerError, PipeError, Protocol,
    PythonPeers, deliver_challenge_with,
};
use std::process::{Command, Stdio};

/// The script's side sends a value and gets it back, doubled; then raw bytes.
fn talk(connection: &Connection) {
    let value: Dynamic = connection.recv().unwrap();
    assert_eq!(
        value.to_string(),
        r"[1, -2.5, None, True, 'ä', b'\x00\xff', (1, 2), {'k': [3]}, {1}, 1180591620717411303424]"
    );
    connection.send(&value).unwrap();
    let words: (String, Vec<u32>) = connection.recv().unwrap();
    assert_eq!(words, ("words".into(), vec![1, 2, 3]));
    connection.send_bytes(b"raw \x00").unwrap();
    assert_eq!(connection.recv_bytes().unwrap(), b"raw back");
    // What would be code over here is an error of that message alone.
    let PipeError::Decode(error) = connection.recv::<Dynamic>().unwrap_err() else {
        panic!("decoded")
    };
    assert!(error.why.contains("posix.system"), "{error}");
    assert!(matches!(connection.recv::<Dynamic>(), Err(PipeError::EndOfFile)));
}

#[test]
fn a_python_client_talks_to_our_listener() {
    let folder = Folder::new("python-client");
    for address in
        ["127.0.0.1:0".to_owned(), folder.file("socket"), format!("\0{}", folder.file("a"))]
    {
        let builder = Listener::builder().address(address).authkey(KEY);
        let listener = builder.python_peers(PythonPeers::Md5).bind().unwrap();
        let python = Python::run("listener/client.py", &[&listener.address().to_string()]);
        let connection = listener.accept_timeout(SOON).unwrap();
        let peer = connection.peer().unwrap();
        assert!(matches!(peer.protocol, Protocol::Python(_)), "{peer:?}");
        talk(&connection);
        python.end();
    }
}

#[test]
fn our_client_talks_to_a_python_listener() {
    let folder = Folder::new("python-listener");
    for address in ["127.0.0.1:0".to_owned(), folder.file("socket")] {
        let mut python = Python::run("listener/listener.py", &[&address]);
        let address = python.line();
        let client = Client::builder(address.as_str()).authkey(KEY);
        let connection = client.python_peers(PythonPeers::Md5).connect().unwrap();
        talk(&connection);
        // With another key, and where MD5 is not allowed.
        let wrong = Client::builder(address.as_str()).authkey(b"guess");
        let error = wrong.python_peers(PythonPeers::Md5).connect().unwrap_err();
        assert!(matches!(error, ListenerError::Authentication(AuthError::Rejected)), "{error}");
        assert_eq!(python.line(), "refused: digest received was wrong");
        python.end();
    }
}

/// Python 3.12 and later, as the script speaks it.
#[test]
fn the_handshake_of_later_pythons_is_spoken_both_ways() {
    for peers in [PythonPeers::Sha256, PythonPeers::Md5] {
        let builder = Listener::builder().address("127.0.0.1:0").authkey(KEY);
        let listener = builder.python_peers(peers).bind().unwrap();
        let python =
            Python::run("listener/sha256.py", &["client", &listener.address().to_string()]);
        let connection = listener.accept_timeout(SOON).unwrap();
        assert_eq!(connection.peer().unwrap().protocol, Protocol::Python(Digest::Sha256));
        assert_eq!(connection.recv_bytes().unwrap(), b"hello");
        connection.send_bytes(b"welcome").unwrap();
        python.end();
    }
    let mut python = Python::run("listener/sha256.py", &["listener"]);
    let connection = Client::connect(python.line(), KEY).unwrap();
    assert_eq!(connection.peer().unwrap().protocol, Protocol::Python(Digest::Sha256));
    assert!(connection.peer().unwrap().is_python());
    assert_eq!(connection.recv_bytes().unwrap(), b"hello");
    connection.send_bytes(b"welcome").unwrap();
    python.end();
}

/// Clients that `python_peers` does not allow are told that they failed, and the listener
/// goes on.
#[test]
fn python_is_refused_where_it_is_not_allowed() {
    let off = Listener::builder().python_peers(PythonPeers::Off);
    let sha256 = Listener::builder();
    for (builder, script) in [(off, "sha256.py"), (sha256, "client.py")] {
        let builder = builder.address("127.0.0.1:0").authkey(KEY).report_refused(true);
        let listener = builder.bind().unwrap();
        let address = listener.address().to_string();
        let args: &[&str] = if script == "client.py" { &[&address] } else { &["client", &address] };
        let mut python = Python::run(&format!("listener/{script}"), args);
        let error = listener.accept_timeout(SOON).unwrap_err();
        let ListenerError::Authentication(error) = error else { panic!("{error}") };
        // The installed Python may be one that speaks SHA-256.
        if error != AuthError::WrongDigest {
            assert!(matches!(error, AuthError::NotAllowed(_)), "{error}");
        }
        assert_eq!(python.line(), "refused: digest sent was rejected");
        python.end();
        let client = std::thread::spawn(move || Client::connect(address, KEY).unwrap());
        listener.accept_timeout(SOON).unwrap();
        client.join().unwrap();
    }
}

/// The two calls by hand, with Python's own on the other side of a socket pair.
#[test]
fn challenges_by_hand_work_with_python_s() {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let path = format!("{}/tests/listener/challenge.py", env!("CARGO_MANIFEST_DIR"));
    let mut child = Command::new("python3")
        .args(["-I", "-B", &path])
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .spawn()
        .unwrap();
    let connection = Connection::from_fd(ours).unwrap();
    deliver_challenge_with(&connection, KEY, Digest::Md5).unwrap();
    procession::answer_challenge(&connection, KEY).unwrap();
    assert!(child.wait().unwrap().success());
}
