//! Peers that do not keep to the rules: each is turned away alone, with one line in the log,
//! and the listener serves.

use super::{KEY, pair};
use crate::util::{self, SOON, events, until};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use procession::{Client, Listener, ListenerError, PipeError};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// A raw connection to the listener's port.
fn raw(listener: &Listener) -> TcpStream {
    events::record();
    let stream = TcpStream::connect(listener.address().to_string()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// Lets a thread accept while `attack` runs; afterwards a good client must get through.
fn besieged(listener: &Listener, attack: impl FnOnce()) {
    std::thread::scope(|scope| {
        let accepts = scope.spawn(|| listener.accept_timeout(SOON).unwrap());
        attack();
        let client = Client::connect(listener.address(), KEY).unwrap();
        client.send("good").unwrap();
        assert_eq!(accepts.join().unwrap().recv::<String>().unwrap(), "good");
    });
}

/// The log has one line about each of these peers of a listener's, and no second one.
fn one_line_about<'a>(listener: &Listener, streams: impl IntoIterator<Item = &'a TcpStream>) {
    for stream in streams {
        let from = stream.local_addr().unwrap();
        let line = format!("refused a connection from {from} at {} ", listener.address());
        until("it is in the log", || !events::with(&line).is_empty());
        let lines = events::with(&line);
        assert_eq!(lines.len(), 1, "{lines:?}");
    }
}

fn frame(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
}

#[test]
fn bad_bytes_close_their_own_connection_and_no_other() {
    let listener = Listener::bind("127.0.0.1:0", KEY).unwrap();
    let first_words: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        &0x7fff_ffff_u32.to_be_bytes(),
        &[0xff; 4 + 8],
        &0x8000_0000_u32.to_be_bytes(),
        &257u32.to_be_bytes(),
        &frame(b""),
        &frame(b"something bogus"),
        &frame(b"{sha256}"),
        &frame(b"#PROCESSION#"),
        &frame(&[b"#PROCESSION#PRC\x01".as_slice(), &[0; 76]].concat()),
        &frame(&[b"#PROCESSION#PRC\x02".as_slice(), &[0; 76]].concat()),
        &frame(b"#CHALLENGE#{sha256}0123456789012345678901234567890123456789"),
        &frame(b"#WELCOME#"),
    ];
    for words in first_words {
        besieged(&listener, || {
            let mut stream = raw(&listener);
            // It may be closed before all is out.
            let _ = stream.write_all(words);
            let mut heard = Vec::new();
            match stream.read_to_end(&mut heard) {
                Ok(_) => assert!(heard.len() < 256, "{words:?}"),
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{words:?}");
                }
            }
            one_line_about(&listener, [&stream]);
        });
    }
}

/// What a listener said comes back to it: as an answer, and as a challenge.
#[test]
fn its_own_words_are_no_answer() {
    let listener = Listener::bind("127.0.0.1:0", KEY).unwrap();
    besieged(&listener, || {
        let mut stream = raw(&listener);
        let mut challenge = [0; 4 + 59];
        stream.read_exact(&mut challenge).unwrap();
        stream.write_all(&challenge).unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, frame(b"#FAILURE#"));
        one_line_about(&listener, [&stream]);
    });
}

/// An answer that was right once, cut at each byte and sent again whole.
#[test]
fn an_old_answer_is_refused_and_a_part_of_one_waits_in_vain() {
    let builder = Listener::builder().address("127.0.0.1:0").authkey(KEY);
    let builder = builder.handshake_timeout(Duration::from_millis(300)).max_pending(256);
    let listener = builder.bind().unwrap();
    let between = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = between.local_addr().unwrap();
    // Somebody in between writes the client's answer down.
    let mut answer = vec![0; 4 + 12 + 8 + 8 + 32 + 32];
    std::thread::scope(|scope| {
        let client = scope.spawn(|| Client::connect(at, KEY).map(drop).unwrap_err());
        let mut there = between.accept().unwrap().0;
        let accepts = scope.spawn(|| listener.accept_timeout(Duration::from_secs(2)));
        let mut challenge = [0; 4 + 59];
        let mut here = raw(&listener);
        here.read_exact(&mut challenge).unwrap();
        there.write_all(&challenge).unwrap();
        there.read_exact(&mut answer).unwrap();
        drop((here, there));
        assert!(matches!(accepts.join().unwrap(), Err(ListenerError::Timeout)));
        assert!(matches!(client.join().unwrap(), ListenerError::EndOfFile));
    });
    besieged(&listener, || {
        let mut stream = raw(&listener);
        stream.write_all(&answer).unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        assert!(heard.ends_with(&frame(b"#FAILURE#k")), "{heard:?}");
        one_line_about(&listener, [&stream]);
    });
    besieged(&listener, || {
        let streams: Vec<_> = (0..answer.len())
            .map(|len| {
                let mut stream = raw(&listener);
                stream.write_all(&answer[..len]).unwrap();
                stream
            })
            .collect();
        // Each is sent away when its time is over.
        for mut stream in &streams {
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).unwrap();
            assert_eq!(heard.len(), 63);
        }
        one_line_about(&listener, &streams);
    });
}

/// A thousand that connect and say nothing; then one that proves itself.
#[test]
fn a_thousand_who_say_nothing_do_not_keep_a_good_one_out() {
    let listener = Listener::bind("127.0.0.1:0", KEY).unwrap();
    let mut silent = Vec::new();
    besieged(&listener, || silent.extend((0..1000).map(|_| raw(&listener))));
    // And with some of them still kept.
    pair(&listener);
    one_line_about(&listener, &silent[..512]);
}

/// Those who say nothing have taken all descriptors; who proves himself needs one more then.
#[test]
fn who_says_nothing_makes_room_for_a_good_one() {
    util::alone("attacks::who_says_nothing_makes_room_for_a_good_one", || {
        let listener = Listener::bind("127.0.0.1:0", KEY).unwrap();
        let client = |address: procession::Address| {
            let connect = || TcpStream::connect(address.to_string()).unwrap();
            let silent: Vec<_> = (0..100).map(|_| connect()).collect();
            for n in 0..20 {
                Client::connect(&address, KEY).unwrap().send(&n).unwrap();
            }
            drop(silent);
        };
        let child = procession::Process::spawn(client, (listener.address().clone(),)).unwrap();
        let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, open + 30, most).unwrap();
        for n in 0..20 {
            let good = listener.accept_timeout(SOON).unwrap();
            assert_eq!(good.recv::<i32>().unwrap(), n);
        }
        child.result_timeout(SOON).unwrap();
    });
}

/// A number of kibibytes that the kernel keeps of this process.
fn memory_kib(of: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(of)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Who has not proved itself costs at most 64 KiB, whatever it says; a listener has 128 of
/// those at a time.
#[test]
fn strangers_cost_little_memory() {
    util::alone("attacks::strangers_cost_little_memory", || {
        let listener = Listener::bind("127.0.0.1:0", KEY).unwrap();
        pair(&listener);
        let before = memory_kib("VmRSS:");
        let mut strangers = Vec::new();
        let much = vec![b'x'; 1 << 20];
        besieged(&listener, || {
            for n in 0..1000_u32 {
                let mut stream = raw(&listener);
                // The longest word that may be said, but for its end; or far more than that.
                let mut words = 256_u32.to_be_bytes().to_vec();
                words.extend([b'x'; 255]);
                let words = if n % 100 == 0 { &much } else { &words };
                stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
                // Some have been sent away already.
                let _ = stream.write_all(words);
                strangers.push(stream);
            }
        });
        let most = memory_kib("VmHWM:");
        assert!(most < before + 128 * 64, "{before} KiB became {most}");
        pair(&listener);
    });
}

/// Somebody between the two changes a message, sends one twice, or leaves one out; or it is
/// longer than it may be.
#[test]
fn what_is_changed_on_the_way_is_refused() {
    util::alone("attacks::what_is_changed_on_the_way_is_refused", changed_on_the_way);
}

fn changed_on_the_way() {
    let listener = Listener::bind("127.0.0.1:0", KEY).unwrap();
    let between = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = between.local_addr().unwrap();
    let (change, repeat, drop_one) = (0, 1, 2);
    for attack in [change, repeat, drop_one] {
        std::thread::scope(|scope| {
            let client = scope.spawn(|| Client::connect(at, KEY).unwrap());
            let mut there = between.accept().unwrap().0;
            let mut here = raw(&listener);
            let accepts = scope.spawn(|| listener.accept_timeout(SOON).unwrap());
            let mut pass = |from_client: bool, len: usize| {
                let (from, to) =
                    if from_client { (&mut there, &mut here) } else { (&mut here, &mut there) };
                let mut bytes = vec![0; len];
                from.read_exact(&mut bytes).unwrap();
                to.write_all(&bytes).unwrap();
                bytes
            };
            pass(false, 63);
            pass(true, 4 + 12 + 8 + 8 + 32 + 32);
            pass(false, 4 + 9 + 32);
            let (client, accepted) = (client.join().unwrap(), accepts.join().unwrap());
            client.send_bytes(b"pay 10").unwrap();
            let message = pass(true, 4 + 6 + 16);
            assert_eq!(accepted.recv_bytes().unwrap(), b"pay 10");
            client.send_bytes(b"pay 20").unwrap();
            client.send_bytes(b"pay 30").unwrap();
            let mut next = vec![0; 4 + 6 + 16];
            there.read_exact(&mut next).unwrap();
            match attack {
                0 => {
                    next[8] ^= 1;
                    here.write_all(&next).unwrap();
                }
                1 => here.write_all(&message).unwrap(),
                _ => {
                    there.read_exact(&mut next).unwrap();
                    here.write_all(&next).unwrap();
                }
            }
            assert!(matches!(accepted.recv_bytes(), Err(PipeError::Forged)), "{attack}");
            assert!(matches!(accepted.recv_bytes(), Err(PipeError::Refused)), "{attack}");
        });
        let lines = events::with("WARN");
        assert_eq!(lines.len(), attack + 1, "{lines:?}");
        assert!(lines[attack].contains("a connection receives no more"), "{lines:?}");
    }
    let short = Listener::builder().address("127.0.0.1:0").authkey(KEY).max_message(100);
    let short = short.bind().unwrap();
    let (accepted, client) = pair(&short);
    // The connection may be cut before all has left.
    let _ = client.send_bytes(&[0; 1000]);
    let refused = accepted.recv_bytes();
    assert!(matches!(refused, Err(PipeError::BadLength(_))), "{refused:?}");
    assert!(matches!(accepted.recv_bytes(), Err(PipeError::Refused)));
    let lines = events::with("WARN");
    assert_eq!(lines.len(), 4, "{lines:?}");
}
