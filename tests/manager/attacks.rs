//! Programs that know the key of a manager, and do not keep to the rules: each is turned away
//! alone, with one line in the log, and the manager serves.

use crate::util::python::Python;
use crate::util::{SOON, alone, events};
use procession::manager::{ManagerServer, QueueProxy};
use procession::{Client, Connection, Manager, PipeError, PythonPeers};

const KEY: &[u8] = b"abracadabra";

fn served() -> ManagerServer {
    let server = Manager::builder().address("127.0.0.1:0").authkey(KEY);
    let server = server.python_peers(PythonPeers::Md5).offer::<QueueProxy<u64>>("tasks");
    let server = server.get_server().unwrap();
    let serving = server.clone();
    std::thread::spawn(move || serving.serve_forever());
    events::record();
    server
}

/// A client that has read the server's first words.
fn connect(server: &ManagerServer) -> Connection {
    let client = Client::builder(server.address()).authkey(KEY).connect().unwrap();
    client.recv_bytes_timeout(SOON).unwrap();
    client
}

/// The log has so many lines by now, the last with this in it; and a client that was there
/// before is served.
fn logged(lines: usize, last: &str, tasks: &QueueProxy<u64>) {
    let begun = std::time::Instant::now();
    while events::with("WARN").len() < lines && begun.elapsed() < SOON / 3 {
        std::thread::yield_now();
    }
    tasks.put(1).unwrap();
    assert_eq!(tasks.get_timeout(SOON).unwrap(), 1);
    let all = events::with("WARN");
    assert_eq!(all.len(), lines, "{all:?}");
    assert!(all[lines - 1].contains(last), "{all:?}");
}

#[test]
fn what_is_no_request_ends_its_own_session() {
    alone("attacks::what_is_no_request_ends_its_own_session", || {
        let server = served();
        let good = Manager::connect(server.address(), KEY).unwrap();
        let tasks = good.get::<QueueProxy<u64>>("tasks").unwrap();
        let requests: &[&[u8]] = &[
            b"",
            b"GET / HTTP/1.1\r\n\r\n",
            &[0xff; 64],
            // No such kind of request, and no such question.
            &[9],
            &[0, 1, 1, 200],
            // One that ends early, and one with something behind its end.
            &[0, 1],
            &[2, 1, 1],
            // A descriptor that did not come along.
            &[0, 1, 1, 7, 0],
            // A message, and a text, of more bytes than there are in the world.
            &[3, 1, 1, 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            &[0, 1, 1, 4, 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            // A list of more items than there are bytes in the world.
            &[0, 1, 1, 2, 0, 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ];
        for (count, request) in requests.iter().enumerate() {
            let client = connect(&server);
            client.send_bytes(request).unwrap();
            let heard = client.recv_bytes_timeout(SOON);
            assert!(matches!(heard, Err(PipeError::EndOfFile)), "{request:?}: {heard:?}");
            logged(count + 1, "sent what is no message", &tasks);
        }
        // More than a message may be; the connection may be cut before all has left.
        let client = connect(&server);
        let _ = client.send_bytes(&vec![0; 17 << 20]);
        assert!(matches!(client.recv_bytes_timeout(SOON), Err(PipeError::EndOfFile)));
        let lines = requests.len() + 1;
        logged(lines, "a connection receives no more", &tasks);
        // What is asked of objects that it does not have is an answer, and no more than that:
        // their names, a release, a call taken back, a message, an end to tell of and one to
        // make, and a reference among the arguments of a call.
        let client = connect(&server);
        let requests: [&[u8]; 7] = [
            &[2, 99],
            &[1, 7, 99],
            &[0, 5, 99, 5],
            &[3, 6, 99, 1, 0],
            &[6, 99, 1],
            &[5, 8, 99],
            &[0, 9, 1, 4, 1, b'x', 0, 0, 1, 1, 2, 99, 0],
        ];
        for request in requests {
            client.send_bytes(request).unwrap();
        }
        let answers = [(); 4].map(|()| client.recv_bytes_timeout(SOON).unwrap()[0]);
        assert_eq!(answers, [5, 6, 8, 9]);
        // Goodbye.
        client.send_bytes(&[4]).unwrap();
        assert!(matches!(client.recv_bytes_timeout(SOON), Err(PipeError::EndOfFile)));
        logged(lines, "a connection receives no more", &tasks);
        assert!(Manager::connect(server.address(), b"guess").is_err());
        logged(lines + 1, "refused a connection", &tasks);
        drop((tasks, good));
        server.stop();
    });
}

#[test]
fn what_python_may_not_ask_ends_its_own_connection() {
    alone("attacks::what_python_may_not_ask_ends_its_own_connection", || {
        let server = served();
        let good = Manager::connect(server.address(), KEY).unwrap();
        let tasks = good.get::<QueueProxy<u64>>("tasks").unwrap();
        let address = server.address().to_string();
        Python::run("manager/client.py", &["crafted", &address]).end();
        // Eight first requests, one later, and one that did not wait for its answer.
        logged(10, "a Python program was sent away", &tasks);
        drop((tasks, good));
        server.stop();
    });
}
