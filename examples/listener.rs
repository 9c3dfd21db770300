//! Programs that are no relatives talk over sockets: a listener, clients that know its key, and
//! one that does not.
//!
//! Over TCP and over a Unix socket. Each client is a process that gets nothing but the address;
//! it could as well be another program, on another machine or in Python. An accepted connection
//! is handed on to a child that serves it, and `wait` says which connections have something.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Address, Client, Connection, Listener, ListenerError, Process, Protocol, wait};
use std::os::fd::AsFd;

const KEY: &[u8] = b"not for the open net";

/// A client: one question, one answer.
fn ask(address: Address, number: u64) -> u64 {
    let connection = Client::connect(address, KEY).expect("somebody listens, with this key");
    connection.send(&number).expect("the listener takes it");
    connection.recv().expect("it answers")
}

/// A child that serves one connection.
fn serve(connection: Connection) {
    let number: u64 = connection.recv().expect("the client asks");
    connection.send(&(number * number)).expect("the client waits");
}

fn guess(address: Address) -> bool {
    let refused = Client::connect(address, b"a guess");
    matches!(refused, Err(ListenerError::Authentication(_)))
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    for (family, builder) in [
        ("TCP", Listener::builder().address("127.0.0.1:0")),
        ("a Unix socket", Listener::builder()),
    ] {
        let listener = builder.authkey(KEY).report_refused(true).bind()?;
        let address = listener.address().clone();

        // Another key: both sides learn it, and the listener goes on.
        let stranger = Process::spawn(guess, (address.clone(),))?;
        let refused = listener.accept_timeout(support::DEADLINE);
        assert!(matches!(refused, Err(ListenerError::Authentication(_))));
        println!("{family}: a guess is refused: {}", stranger.result()?);

        let client = Process::spawn(ask, (address.clone(), 12))?;
        let connection = listener.accept_timeout(support::DEADLINE)?;
        let peer = connection.peer().expect("a listener accepted it");
        assert!(matches!(peer.protocol, Protocol::Native { .. }));
        if let Some(known) = peer.credentials {
            assert_eq!(Some(known.pid.cast_unsigned()), client.pid());
        }
        // A child serves it: the connection travels as an argument.
        let server = Process::spawn(serve, (connection,))?;
        println!("{family}: 12 * 12 = {}", client.result()?);
        server.result()?;

        // Two at once, served here.
        let clients: Vec<_> = (3..5)
            .map(|number| Process::spawn(ask, (address.clone(), number)))
            .collect::<procession::Result<_>>()?;
        let mut open = Vec::new();
        for _ in &clients {
            open.push(listener.accept_timeout(support::DEADLINE)?);
        }
        while !open.is_empty() {
            let objects: Vec<&dyn AsFd> = open.iter().map(|one| one as &dyn AsFd).collect();
            let ready = wait(&objects, support::DEADLINE)?;
            assert!(!ready.is_empty(), "nobody asks");
            for at in ready.into_iter().rev() {
                serve(open.remove(at));
            }
        }
        for client in clients {
            println!("{family}: {}", client.result()?);
        }
        listener.close();
    }
    Ok(())
}
