//! Helpers of the tests: deadlines, processes made for one test, and baselines.
//!
//! Owns nothing that outlives a test. A test that changes its process, or counts what
//! the process holds, runs in one of its own: this binary again, with one test or (see
//! [`program`]) one program.
#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod events;
pub(crate) mod harness;
pub(crate) mod program;
pub(crate) mod python;
pub(crate) mod signals;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Far beyond what anything here takes.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// How long a process made for a test may run.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);

/// The start methods that the tests of all methods run with.
pub(crate) const METHODS: [procession::StartMethod; 2] =
    [procession::StartMethod::Spawn, procession::StartMethod::ForkServer];

const ALONE: &str = "PROCESSION_TEST_ALONE";

/// How a process made for a test ended, and what it wrote.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// As Python's exit code.
    pub(crate) code: i32,
}

/// Copies a program. Another process does: what is open for writing here is so for a moment
/// in the children that other tests start, and nobody may run it as long (`ETXTBSY`).
pub(crate) fn copy_program(from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) {
    let copied = Command::new("cp").arg("--").arg(from).arg(to).status().unwrap();
    assert!(copied.success(), "{copied}");
}

/// Runs `body`, which is the rest of the test `name`, in a process of its own: true in
/// that process when it is done, false in the first one, which only looks on.
pub(crate) fn alone(name: &str, body: impl FnOnce()) -> bool {
    /// A test that fails does not wait for its children.
    struct Clear;
    impl Drop for Clear {
        fn drop(&mut self) {
            if std::thread::panicking() {
                for child in procession::active_children() {
                    let _ = child.kill();
                }
            }
        }
    }
    if is_alone(name) {
        let _clear = Clear;
        // What is counted in there is counted without the fork server, which is a process
        // with descriptors of its own; its tests count with it.
        procession::force_start_method(Some(procession::StartMethod::Spawn));
        body();
        return true;
    }
    let output = run(alone_command(name));
    assert_eq!(output.code, 0, "{}\n{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("1 passed"), "{}", output.stdout);
    false
}

/// The command that runs the test `name` alone.
pub(crate) fn alone_command(name: &str) -> Command {
    alone_from(std::env::current_exe().unwrap(), name)
}

/// The same from a copy of this program. What ignores signals for the tests, as `nohup` and
/// shells in the background do, does not do so for that one.
pub(crate) fn alone_from(program: impl AsRef<OsStr>, name: &str) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP,INT,QUIT").arg(program);
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(ALONE, name);
    command
}

/// Whether this is the process made for the test `name`.
pub(crate) fn is_alone(name: &str) -> bool {
    std::env::var_os(ALONE).is_some_and(|wanted| wanted == name)
}

/// Runs a command to its end, killing it at [`LIMIT`].
pub(crate) fn run(mut command: Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let read = |mut stream: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = read(Box::new(child.stdout.take().unwrap()));
    let stderr = read(Box::new(child.stderr.take().unwrap()));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if begun.elapsed() > LIMIT {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    let Some(status) = status else { panic!("not done in time:\n{stdout}\n{stderr}") };
    let code = status.code().unwrap_or_else(|| -status.signal().unwrap());
    Output { stdout, stderr, code }
}

/// Calls `f` on a thread twice: in its life, and at its end, when what other thread-locals it made
/// meanwhile has gone.
pub(crate) fn late(f: impl Fn() + Send + 'static) {
    struct Late(Box<dyn Fn()>, mpsc::Sender<std::thread::Result<()>>);
    impl Drop for Late {
        fn drop(&mut self) {
            let _ = self.1.send(catch_unwind(AssertUnwindSafe(&self.0)));
        }
    }
    thread_local! {
        static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
    }
    let (tell, told) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        // The first local of this thread goes last.
        LATE.with_borrow_mut(|late| *late = None);
        f();
        LATE.set(Some(Late(Box::new(f), tell)));
    });
    thread.join().unwrap();
    told.recv_timeout(SOON).unwrap().unwrap();
}

/// Waits until `is_so`, at most [`SOON`].
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < SOON, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What a process holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holdings {
    /// Open descriptors: how many lead where (numbers and inodes left out).
    pub(crate) descriptors: BTreeMap<String, usize>,
    pub(crate) threads: usize,
    /// Living children and zombies.
    pub(crate) children: usize,
    /// The names in /dev/shm, of everybody.
    pub(crate) shm: BTreeSet<OsString>,
}

/// What this process holds now.
pub(crate) fn holdings() -> Holdings {
    let mut descriptors = BTreeMap::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        // The descriptor of the listing itself is gone by the time its link is read.
        let Ok(target) = std::fs::read_link(entry.unwrap().path()) else { continue };
        let target = target.to_string_lossy().into_owned();
        if target.starts_with("/proc/") {
            continue;
        }
        let kind = target.split(":[").next().unwrap_or_default().to_owned();
        *descriptors.entry(kind).or_default() += 1;
    }
    let count = |path: &str| std::fs::read_dir(path).map_or(0, Iterator::count);
    Holdings {
        descriptors,
        threads: count("/proc/self/task"),
        children: children_of(std::process::id()).len(),
        shm: std::fs::read_dir("/dev/shm").map_or_else(
            |_| BTreeSet::new(),
            |names| names.flatten().map(|name| name.file_name()).collect(),
        ),
    }
}

/// What this process holds when it is at rest: it has no child, and nothing is opened or
/// closed for a while. For processes made for one test.
pub(crate) fn at_rest() -> Holdings {
    at_rest_with(0)
}

/// As [`at_rest`], of a process that has as many children which stay: a fork server, say.
pub(crate) fn at_rest_with(children: usize) -> Holdings {
    const LOOKS: u32 = 5;
    let mut last = holdings();
    let mut same = 0;
    until("the process is at rest", || {
        std::thread::sleep(Duration::from_millis(20));
        let now = holdings();
        same = if now == last && now.children == children { same + 1 } else { 0 };
        last = now;
        same >= LOOKS
    });
    last
}

/// Waits until this process holds what it held at the baseline.
pub(crate) fn back_to(baseline: &Holdings) {
    let begun = Instant::now();
    loop {
        let now = holdings();
        // Others may use /dev/shm; what we leave there would stay.
        if (&now.descriptors, now.threads, now.children)
            == (&baseline.descriptors, baseline.threads, baseline.children)
            && now.shm.is_subset(&baseline.shm)
        {
            return;
        }
        assert!(begun.elapsed() < SOON, "now {now:#?}\nthen {baseline:#?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The fields of /proc/PID/stat from the state on; `None` when there is no such process.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = stat.rsplit_once(')')?.1;
    Some(rest.split_ascii_whitespace().map(str::to_owned).collect())
}

/// The letter of a process's state, `Z` for a zombie.
pub(crate) fn state(pid: u32) -> Option<char> {
    stat(pid)?.first()?.chars().next()
}

/// Whether a process runs (or is stopped): it exists and is no zombie.
pub(crate) fn lives(pid: u32) -> bool {
    !matches!(state(pid), None | Some('Z' | 'X'))
}

/// The children of a process, zombies included.
pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        if stat(pid).is_some_and(|stat| stat[1] == parent.to_string()) {
            children.push(pid);
        }
    }
    children
}

/// Sends a signal by number of process. Only to processes that the test's own processes
/// made and that cannot have been reaped.
pub(crate) fn signal(pid: u32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

/// Stops a process; it does not run any more when this returns. A signal alone may leave some
/// of its threads running for a while.
pub(crate) fn stop(pid: u32) {
    signal(pid, nix::sys::signal::Signal::SIGSTOP);
    let is_stopped = |thread: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(thread.unwrap().path().join("stat"));
        // One that has ended has none.
        stat.map_or(true, |stat| stat.rsplit(") ").next().unwrap().starts_with('T'))
    };
    until("it has stopped", || {
        std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().all(is_stopped)
    });
}

/// A folder of the test's own, removed at its end.
pub(crate) struct Folder(pub(crate) std::path::PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("procession-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: impl AsRef<OsStr>) -> String {
        self.0.join(name.as_ref()).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a file holds; empty while it does not exist.
pub(crate) fn text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Adds a line to a file in one write.
pub(crate) fn note(path: &str, line: &str) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Waits until the file has so many lines, and gives them.
pub(crate) fn lines(path: &str, count: usize) -> Vec<String> {
    until(&format!("{count} lines in {path}"), || {
        let text = text(path);
        text.ends_with('\n') && text.lines().count() >= count
    });
    text(path).lines().map(str::to_owned).collect()
}
