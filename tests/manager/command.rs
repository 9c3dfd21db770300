//! The command line's manager, with a Rust and a Python client.
#![cfg(feature = "cli")]

use crate::util::python::Python;
use crate::util::{Folder, SOON, run, signal};
use nix::sys::signal::Signal;
use procession::manager::{
    ArrayProxy, BarrierProxy, BoundedSemaphoreProxy, ConditionProxy, DictProxy, EventProxy, Fault,
    JoinableQueueProxy, ListProxy, LockProxy, NamespaceProxy, QueueProxy, RLockProxy,
    SemaphoreProxy, SetProxy, ValueProxy,
};
use procession::{Dynamic, Manager, ManagerError};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Command, Stdio};

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_procession"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn key_file(folder: &Folder, mode: u32) -> String {
    key_file_of(folder, mode, "abracadabra\n")
}

fn key_file_of(folder: &Folder, mode: u32, text: &str) -> String {
    let path = folder.file(format!("key-{mode:o}-{}", text.len()));
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn a_server_of_the_command_line_serves_rust_and_python() {
    let folder = Folder::new("command");
    let key = key_file(&folder, 0o600);
    let args = ["manager", "--address", "127.0.0.1:0", "--authkey-file", &key, "--serve"];
    let more = ["tasks=queue,results=queue", "--serve", "pairs=dict", "--python-peers", "md5"];
    let (mut server, mut out, address) = serving(&[&args[..], &more[..]].concat());
    let remote = Manager::connect(address.as_str(), b"abracadabra").unwrap();
    let tasks = remote.get::<QueueProxy<Dynamic>>("tasks").unwrap();
    let results = remote.get::<QueueProxy<Dynamic>>("results").unwrap();
    let python = Python::run("manager/worker.py", &["worker", &address]);
    for n in 0..3 {
        tasks.put(n.into()).unwrap();
    }
    for line in ["0 * 0 = 0", "1 * 1 = 1", "2 * 2 = 4"] {
        assert_eq!(results.get_timeout(SOON).unwrap(), line.into());
    }
    python.end();
    remote
        .get::<DictProxy<Dynamic, Dynamic>>("pairs")
        .unwrap()
        .insert(&1.into(), &2.into())
        .unwrap();
    // SIGTERM is an end in order.
    signal(server.0.id(), Signal::SIGTERM);
    assert!(server.0.wait().unwrap().success());
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "stopped\n");
    server.0.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
    assert!(rest.contains("manager serving at"), "{rest}");
}

/// Starts a server; gives it, what it prints, and where it serves.
fn serving(args: &[&str]) -> (Server, BufReader<ChildStdout>, String) {
    let mut server = Server(command(args).spawn().unwrap());
    let mut out = BufReader::new(server.0.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("serving at ").unwrap().to_owned();
    (server, out, address)
}

#[test]
fn each_kind_of_object_is_served_to_rust_and_python() {
    const ALL: &str = "queue=queue:1,joinable=joinable_queue:1,pairs=dict,items=list,set=set,\
                       ns=namespace,lock=lock,rlock=rlock,condition=condition,two=semaphore:2,\
                       bounded=bounded_semaphore:3,event=event,barrier=barrier:2,zero=value,\
                       half=value:0.5,cells=array:3";
    let folder = Folder::new("kinds");
    let (key, address) = (key_file(&folder, 0o600), folder.file("socket"));
    let args = ["manager", "--address", &address, "--authkey-file", &key, "--serve", ALL];
    let (_server, _out, address) = serving(&[&args[..], &["--python-peers", "md5"]].concat());
    let remote = Manager::connect(address.as_str(), b"abracadabra").unwrap();
    assert_eq!(remote.names().unwrap().len(), ALL.split(',').count());

    let queue = remote.get::<QueueProxy<Dynamic>>("queue").unwrap();
    queue.put("one".into()).unwrap();
    assert!(queue.is_full().unwrap());
    let joinable = remote.get::<JoinableQueueProxy<Dynamic>>("joinable").unwrap();
    joinable.put("task".into()).unwrap();
    assert!(joinable.is_full().unwrap());
    remote.get::<NamespaceProxy>("ns").unwrap().set("x", &Dynamic::from(5)).unwrap();
    remote.get::<ListProxy<Dynamic>>("items").unwrap().append(&1.into()).unwrap();
    remote.get::<SetProxy<Dynamic>>("set").unwrap().add(&1.into()).unwrap();
    let two = remote.get::<SemaphoreProxy>("two").unwrap();
    assert!((0..2).all(|_| two.try_acquire().unwrap().is_some()) && two.locked().unwrap());
    two.release().unwrap();
    let bounded = remote.get::<BoundedSemaphoreProxy>("bounded").unwrap();
    assert!((0..3).all(|_| bounded.try_acquire().unwrap().is_some()) && bounded.locked().unwrap());
    (0..3).for_each(|_| bounded.release().unwrap());
    let fault = ManagerError::Fault(Fault::TooManyReleases).to_string();
    assert_eq!(bounded.release().unwrap_err().to_string(), fault);
    assert_eq!(remote.get::<ValueProxy<Dynamic>>("zero").unwrap().get().unwrap(), 0.into());
    let half = remote.get::<ValueProxy<Dynamic>>("half").unwrap();
    assert_eq!(half.get().unwrap(), 0.5.into());
    let cells = remote.get::<ArrayProxy<Dynamic>>("cells").unwrap();
    assert_eq!(cells.to_vec().unwrap(), vec![Dynamic::from(0); 3]);
    cells.set(1, &7.into()).unwrap();
    drop(remote.get::<LockProxy>("lock").unwrap().lock().unwrap());
    drop(remote.get::<RLockProxy>("rlock").unwrap().lock().unwrap());
    let barrier = remote.get::<BarrierProxy>("barrier").unwrap();
    assert_eq!(barrier.parties(), 2);
    let (condition, event) =
        (remote.get::<ConditionProxy>("condition").unwrap(), remote.get("event"));
    let event: EventProxy = event.unwrap();

    // It looks at all of them, comes to the barrier, and waits to be notified.
    let python = Python::run("manager/client.py", &["kinds", &address]);
    barrier.wait_timeout(SOON).unwrap();
    let held = condition.lock().unwrap();
    assert!(condition.wait_for(|| event.is_set().unwrap(), Some(SOON)).unwrap());
    half.set(&1.5.into()).unwrap();
    condition.notify_all().unwrap();
    drop(held);
    python.end();
    assert_eq!(cells.to_vec().unwrap(), [0.into(), 7.into(), Dynamic::from(9)]);
    assert!(joinable.join_timeout(SOON).unwrap());
}

#[test]
fn mistakes_on_the_command_line_are_told() {
    let folder = Folder::new("mistakes");
    let (open, good) = (key_file(&folder, 0o644), key_file(&folder, 0o400));
    let address = ["manager", "--address", "127.0.0.1:0", "--authkey-file"];
    let help = run(command(&["manager", "--help"]));
    assert!(help.code == 0 && help.stdout.starts_with("Usage:"), "{help:?}");
    let bad = std::os::unix::ffi::OsStringExt::from_vec(vec![0xff]);
    let mut no_text = command(&["manager"]);
    no_text.arg::<std::ffi::OsString>(bad);
    let no_text = run(no_text);
    assert!(no_text.code == 2 && no_text.stderr.contains("is no text"), "{no_text:?}");
    let port = ["manager", "--address", "localhost:99999", "--authkey-file", &good];
    let twice = "the name 'a' is given twice";
    let bare = key_file_of(&folder, 0o600, "\r\n");
    let cases: [(&[&str], i32, &str); 15] = [
        (&[], 2, "a command is missing"),
        (&["manager"], 2, "--address is missing"),
        (&[&address[..], &[&good, "--serve", "x=nothing"]].concat(), 2, "'x=nothing' is no"),
        (&[&address[..], &[&good, "--serve", "a=queue,a=dict"]].concat(), 2, twice),
        (
            &[&address[..], &[&good, "--serve", "a=queue,b=queue", "--serve", "c=list,a=queue"]]
                .concat(),
            2,
            twice,
        ),
        (&[&address[..], &[&good, "--serve", "b=barrier"]].concat(), 2, "needs a number"),
        (&[&address[..], &[&good, "--serve", "b=barrier:0"]].concat(), 2, "one party"),
        (&[&address[..], &[&good, "--serve", "a=array:2000000"]].concat(), 2, "1048576 cells"),
        (&[&address[..], &[&good, "--serve", "v=value:x"]].concat(), 2, "'x' is no number"),
        (&[&address[..], &[&good, "--serve", "d=dict:3"]].concat(), 2, "'d=dict:3' is no"),
        (&[&address[..], &[&bare]].concat(), 1, "has no key of a length that is"),
        (&[&address[..], &[&good, "--python-peers", "md4"]].concat(), 2, "'md4' is none of"),
        (&port, 2, "\"99999\" is no port"),
        (&[&address[..], &[&open]].concat(), 1, "chmod 600"),
        (&["manager", "--address", "/nowhere/at", "--authkey-file", &good], 1, "No such file"),
    ];
    for (args, code, text) in cases {
        let output = run(command(args));
        let said = output.stderr;
        assert_eq!(output.code, code, "{args:?}: {said}");
        assert!(said.contains(text), "{args:?}: {said}");
    }
}

#[test]
fn a_server_whose_words_nobody_reads_ends_in_order() {
    let folder = Folder::new("unread");
    let (key, socket) = (key_file(&folder, 0o600), folder.file("socket"));
    let args = ["manager", "--address", &socket, "--authkey-file", &key];
    let mut server = Server(command(&args).spawn().unwrap());
    // As `head -1` does.
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    drop(server.0.stderr.take());
    drop(Manager::connect(socket.as_str(), b"abracadabra").unwrap());
    assert!(Manager::connect(socket.as_str(), b"guess").is_err(), "which is logged");
    signal(server.0.id(), Signal::SIGTERM);
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
    assert!(!std::fs::exists(&socket).unwrap());
}

/// One line break of either kind does not belong to the key; all else does.
#[test]
fn the_key_is_what_stands_before_the_line_break() {
    let folder = Folder::new("line-breaks");
    let cases: [(&str, &[u8]); 4] =
        [("k", b"k"), ("ke\r\n", b"ke"), ("key\n\n", b"key\n"), ("keyed\r", b"keyed\r")];
    for (text, key) in cases {
        let (file, socket) = (key_file_of(&folder, 0o600, text), folder.file("socket"));
        let args = ["manager", "--address", &socket, "--authkey-file", &file];
        let mut server = Server(command(&args).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        drop(Manager::connect(socket.as_str(), key).unwrap());
        signal(server.0.id(), Signal::SIGTERM);
        assert_eq!(server.0.wait().unwrap().code(), Some(0), "{text:?}");
    }
}

/// As Ctrl-C sends it.
#[test]
fn an_interrupt_is_an_end_in_order() {
    let folder = Folder::new("interrupt");
    let (key, socket) = (key_file(&folder, 0o600), folder.file("socket"));
    let args = ["manager", "--address", &socket, "--authkey-file", &key, "--serve", "q=queue"];
    let mut server = Server(command(&args).spawn().unwrap());
    let mut out = BufReader::new(server.0.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let remote = Manager::connect(socket.as_str(), b"abracadabra").unwrap();
    let queue = remote.get::<QueueProxy<Dynamic>>("q").unwrap();
    // Somebody who waits does not keep it.
    let waits = std::thread::spawn(move || queue.get_timeout(SOON));
    signal(server.0.id(), Signal::SIGINT);
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "stopped\n");
    assert!(!std::fs::exists(&socket).unwrap());
    let gone = waits.join().unwrap();
    assert!(matches!(gone, Err(ManagerError::OwnerGone { .. })), "{gone:?}");
}
