//! Two hosts with addresses of their own: network namespaces with a link between them, which
//! is cut and restored.
//!
//! It needs what `unshare -Urn` needs. Where that is not to be had the test says so and tries
//! nothing; CI notes it.

use crate::util::{self, SOON};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{SockaddrStorage, getsockname, getsockopt, setsockopt, sockopt};
use procession::manager::QueueProxy;
use procession::{
    Actor, Address, CallError, Client, Event, Manager, ManagerError, PEER_SILENCE, Process, methods,
};
use rustix::process::{PidfdFlags, PidfdGetfdFlags};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const NAME: &str = "namespaces::a_cut_link_ends_calls_in_time_and_a_restored_one_serves_again";
const KEY: &[u8] = b"abracadabra";
const HERE: &str = "10.77.0.1";
const THERE: &str = "10.77.0.2";
const SHORT: Duration = Duration::from_millis(300);

/// A server has so much longer than a caller's patience.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Actor)]
struct Adder;

#[methods]
impl Adder {
    pub fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }
}

#[test]
fn a_cut_link_ends_calls_in_time_and_a_restored_one_serves_again() {
    if util::is_alone(NAME) {
        util::alone(NAME, across);
        return;
    }
    let can = Command::new("unshare").args(["-Urn", "--", "ip", "link"]).output();
    match can {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr);
            println!("not tried: no network namespaces: {}", why.trim());
            return;
        }
        Err(error) => {
            println!("not tried: no network namespaces: {error}");
            return;
        }
    }
    let alone = util::alone_command(NAME);
    let mut command = Command::new("unshare");
    command.args(["-Urn", "--kill-child", "--"]).arg(alone.get_program()).args(alone.get_args());
    command.envs(alone.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = util::run(command);
    assert_eq!(output.code, 0, "{}\n{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("1 passed"), "{}", output.stdout);
}

fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The other host: a process that does nothing, in a network namespace of its own.
struct Host(Child);

impl Host {
    fn new() -> Self {
        let mut idle = Command::new("unshare");
        let idle = idle.args(["-n", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let host = Self(idle.spawn().unwrap());
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let theirs = host.namespace();
        util::until("it has one", || std::fs::read_link(&theirs).is_ok_and(|its| its != own));
        host
    }

    fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    fn ip(&self, words: &str) -> String {
        let pid = self.0.id().to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid, "-n", "--", "ip"]).args(words.split(' '));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until the system has taken note whether the link carries something: what brings it
    /// up or down comes back before that, and on a busy machine it takes seconds.
    fn await_link(&self, carries: bool) {
        util::until("the link is as it is to be", || {
            let shown = [ip("-o link show dev va"), self.ip("-o link show dev vb")];
            shown.iter().all(|one| one.contains("state UP") == carries)
        });
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn across() {
    let host = Host::new();
    ip(&format!("link add va type veth peer name vb netns {}", host.0.id()));
    ip(&format!("addr add {HERE}/24 dev va"));
    ip("link set va up");
    host.ip(&format!("addr add {THERE}/24 dev vb"));
    host.ip("link set vb up");
    host.await_link(true);

    let manager = Manager::builder()
        .address(format!("{HERE}:0").as_str())
        .authkey(KEY)
        .offer::<QueueProxy<u64>>("tasks")
        .offer::<QueueProxy<u64>>("results")
        .offer::<QueueProxy<u64>>("nothing")
        .register("Adder", || Adder)
        .start()
        .unwrap();
    let address = manager.address().unwrap().clone();
    let tasks = manager.get::<QueueProxy<u64>>("tasks").unwrap();
    let results = manager.get::<QueueProxy<u64>>("results").unwrap();
    tasks.put(11).unwrap();
    // They tell each other by other ways than the link.
    let (ready, cut, told, back) = (
        Event::new().unwrap(),
        Event::new().unwrap(),
        Event::new().unwrap(),
        Event::new().unwrap(),
    );
    let events = [ready.clone(), cut.clone(), told.clone(), back.clone()];
    let worker = Process::spawn(work, (host.namespace(), address, events)).unwrap();
    assert_eq!(results.get_timeout(SOON).unwrap(), 121);
    assert!(ready.wait_timeout(SOON).unwrap());
    ip("link set va down");
    // Until then the worker's own link drops what is sent, and Linux gives such a connection up
    // before its time: after 15 tries, half a second apart.
    host.await_link(false);
    cut.set().unwrap();
    assert!(told.wait_timeout(SOON).unwrap());
    ip("link set va up");
    host.await_link(true);
    tasks.put(12).unwrap();
    back.set().unwrap();
    assert_eq!(results.get_timeout(SOON).unwrap(), 144);
    worker.result_timeout(SOON).unwrap();
}

/// What the worker on the other host does.
fn work(namespace: String, address: Address, [ready, cut, told, back]: [Event; 4]) {
    let namespace = File::open(namespace).unwrap();
    setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
    let remote = Manager::connect(address.clone(), KEY).unwrap();
    let tasks = remote.get::<QueueProxy<u64>>("tasks").unwrap();
    let results = remote.get::<QueueProxy<u64>>("results").unwrap();
    let adder = remote.make::<Adder>("Adder", ()).unwrap();
    let n = tasks.get_timeout(SOON).unwrap();
    results.put(n * n).unwrap();

    let known = sockets();
    let silence = u32::try_from(PEER_SILENCE.as_millis()).unwrap();
    assert!(!known.is_empty());
    assert!(known.iter().all(|one| getsockopt(one, sockopt::TcpUserTimeout) == Ok(silence)));
    assert!(known.iter().all(|one| getsockopt(one, sockopt::KeepAlive) == Ok(true)));
    // One whose system loses its patience sooner.
    let hasty = Manager::connect(address.clone(), KEY).unwrap();
    let forever = hasty.get::<QueueProxy<u64>>("nothing").unwrap();
    let is_known = |one: &OwnedFd| known.iter().any(|other| name(other) == name(one));
    for socket in sockets().iter().filter(|one| !is_known(one)) {
        setsockopt(socket, sockopt::TcpUserTimeout, &1500).unwrap();
        setsockopt(socket, sockopt::TcpKeepIdle, &1).unwrap();
        setsockopt(socket, sockopt::TcpKeepInterval, &1).unwrap();
    }
    let waiting = std::thread::spawn(move || forever.get());
    ready.set().unwrap();
    assert!(cut.wait_timeout(SOON).unwrap());

    let begun = Instant::now();
    let late = adder.add_timeout(1, 2, SHORT);
    assert!(matches!(late, Err(CallError::Timeout)), "{late:?}");
    assert!(begun.elapsed() < SHORT + GRACE);
    // The request arrives when the link is back. A task that it takes then comes back, since
    // nobody says that it is here.
    let late = tasks.get_timeout(SHORT).unwrap_err();
    assert!(matches!(late, ManagerError::Share(_)), "{late}");
    assert!(begun.elapsed() < SHORT * 2 + GRACE * 2);
    // A call without a deadline ends as well.
    let gone = waiting.join().unwrap().unwrap_err();
    assert!(matches!(gone, ManagerError::OwnerGone { .. }), "{gone}");
    assert!(Client::builder(address.clone()).authkey(KEY).timeout(SHORT).connect().is_err());
    told.set().unwrap();

    assert!(back.wait_timeout(SOON).unwrap());
    let again = Manager::connect(address, KEY).unwrap();
    let n = again.get::<QueueProxy<u64>>("tasks").unwrap().get_timeout(SOON).unwrap();
    again.get::<QueueProxy<u64>>("results").unwrap().put(n * n).unwrap();
    // The first one is as good as ever: what was sent meanwhile has come.
    assert_eq!(adder.add_timeout(1, 2, SOON).unwrap(), 3);
}

fn name(socket: &OwnedFd) -> Option<SockaddrStorage> {
    getsockname(socket.as_raw_fd()).ok()
}

/// Copies of this process's TCP sockets.
fn sockets() -> Vec<OwnedFd> {
    let me = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
    let copy = |entry: std::io::Result<std::fs::DirEntry>| {
        let number = entry.unwrap().file_name().into_string().unwrap().parse().unwrap();
        // The folder's own descriptor may be gone.
        rustix::process::pidfd_getfd(&me, number, PidfdGetfdFlags::empty()).ok()
    };
    let is_tcp = |fd: &OwnedFd| name(fd).is_some_and(|name| name.as_sockaddr_in().is_some());
    std::fs::read_dir("/proc/self/fd").unwrap().filter_map(copy).filter(is_tcp).collect()
}
