//! The cases of docs/failures.md that have no test elsewhere: a worker that is killed while it
//! sends, and descriptors that siblings could hold; and one whom the kernel kills.

use super::util::{Folder, lines, note};
use super::{METHODS, SOON, pause, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procession::{Error, Fd, Pool, Process, TaskError};
use std::collections::BTreeSet;
use std::fs::{File, read_dir, read_link};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn kill_now(pid: u32) {
    let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
}

/// A result of some MiB that goes over the stream, in many pieces: a descriptor is beside it.
fn large(len: usize) -> (Vec<u8>, Fd) {
    (vec![7; len], Fd::from(OwnedFd::from(File::open("/dev/null").unwrap())))
}

/// F5: what a worker had sent in part when it was killed is no result, and nobody waits for
/// the rest.
#[test]
fn a_result_that_was_cut_off_is_a_death_and_never_a_short_one() {
    const LEN: usize = 4 << 20;
    let seed = std::env::var("PROCESSION_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut state: u64 = seed.unwrap_or(11);
    println!("PROCESSION_SEED={state}");
    let pool = Pool::builder().processes(1).restarts(u32::MAX, Duration::from_secs(1)).build();
    let pool = pool.unwrap();
    let (mut whole, mut dead) = (0, 0);
    for round in 0..12 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let pid = pool.apply(std::process::id, ()).unwrap();
        let sent = pool.apply_async(large, (LEN,)).unwrap();
        let most = if round % 2 == 0 { 40_000 } else { 4_000 };
        std::thread::sleep(Duration::from_micros((state >> 33) % most));
        kill_now(pid);
        match sent.get_timeout(SOON) {
            Ok((bytes, _)) => {
                assert!(bytes.len() == LEN && bytes.iter().all(|byte| *byte == 7));
                whole += 1;
            }
            Err(Error::Task(TaskError::Died(death))) => {
                assert_eq!(death.exitcode, Some(-9));
                dead += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    println!("{whole} results, {dead} deaths");
    assert!(dead > 0, "some were cut off");
}

/// Inodes of the sockets and pipes that a process holds beyond its standard streams.
fn streams(pid: u32) -> BTreeSet<String> {
    let held = read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let held = held.filter(|fd| {
        fd.file_name().to_str().is_some_and(|number| number.len() > 1 || number > "2")
    });
    let names =
        held.filter_map(|fd| read_link(fd.path()).ok()?.into_os_string().into_string().ok());
    names.filter(|name| name.starts_with("socket:") || name.starts_with("pipe:")).collect()
}

/// F6: no worker holds another's stream, and a death is seen while its siblings are busy.
#[test]
fn no_sibling_holds_a_workers_stream() {
    let folder = Folder::new("pool-siblings");
    for method in METHODS {
        let pool = Pool::builder().processes(3).start_method(method).build().unwrap();
        let pids = pool.pids();
        let held: Vec<_> = pids.iter().map(|pid| streams(*pid)).collect();
        assert!(held.iter().all(|held| !held.is_empty()));
        let all: BTreeSet<_> = held.iter().flatten().collect();
        assert_eq!(all.len(), held.iter().map(BTreeSet::len).sum::<usize>(), "{held:?}");

        let file = folder.file(method.to_string());
        let begin = |file: String| {
            note(&file, "begun");
            pause(60_000);
        };
        let calls = [(); 3].map(|()| pool.apply_async(begin, (file.clone(),)).unwrap());
        assert_eq!(lines(&file, 3).len(), 3);
        for (killed, pid) in (1..).zip(pids) {
            kill_now(pid);
            until("its call has ended, and no other", || {
                calls.iter().filter(|call| call.ready()).count() == killed
            });
        }
        for call in calls {
            assert!(matches!(call.get(), Err(Error::Task(TaskError::Died(_)))));
        }
    }
}

/// A control group of its own whose processes together may use so many bytes of memory.
struct Group(PathBuf);

impl Group {
    /// `None` where this user may make none.
    fn new(name: &str, most: u64) -> Option<Self> {
        let (root, limit) = match Path::new("/sys/fs/cgroup/memory") {
            first if first.is_dir() => (first, "memory.limit_in_bytes"),
            _ => (Path::new("/sys/fs/cgroup"), "memory.max"),
        };
        let group = Self(root.join(format!("procession-{name}-{}", std::process::id())));
        std::fs::create_dir(&group.0).ok()?;
        std::fs::write(group.0.join(limit), most.to_string()).ok()?;
        Some(group)
    }

    fn take_in(&self, pid: u32) -> bool {
        std::fs::write(self.0.join("cgroup.procs"), pid.to_string()).is_ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It can be removed when its processes have gone.
        until("the group is empty", || std::fs::remove_dir(&self.0).is_ok());
    }
}

/// A worker that the kernel ends for want of memory says so; another that is just killed does
/// not. Where no control group can be made only the latter is shown.
#[test]
fn a_death_for_want_of_memory_is_told_from_others() {
    let group = Group::new("workers", 64 << 20);
    let pool = Pool::new(1).unwrap();
    let fill = || -> usize { std::hint::black_box(vec![1_u8; 256 << 20]).len() };
    let died = |ended: Result<usize, Error>| match ended {
        Err(Error::Task(TaskError::Died(death))) => death,
        other => panic!("{other:?}"),
    };
    let kill_self = || -> usize {
        kill_now(std::process::id());
        unreachable!("it is dead")
    };
    let death = died(pool.apply(kill_self, ()));
    assert_eq!((death.exitcode, death.out_of_memory), (Some(-9), false));
    // A process that has nothing to do with it has run out of memory meanwhile.
    let others = Group::new("others", 64 << 20);
    if let Some(others) = &others {
        let folder = Folder::new("pool-memory");
        let fill_later = |file: String| {
            lines(&file, 1);
            std::hint::black_box(vec![1_u8; 256 << 20]).len()
        };
        let stranger = Process::spawn(fill_later, (folder.file("go"),)).unwrap();
        if others.take_in(stranger.pid().unwrap()) {
            note(&folder.file("go"), "");
            stranger.join().unwrap();
            assert_eq!(stranger.exitcode(), Some(-9));
        } else {
            stranger.kill().unwrap();
        }
    }
    let death = died(pool.apply(kill_self, ()));
    assert_eq!((death.exitcode, death.out_of_memory), (Some(-9), false), "another's");
    until("another has come", || pool.pids().len() == 1);
    let is_limited = group.as_ref().is_some_and(|group| group.take_in(pool.pids()[0]));
    if is_limited {
        let death = died(pool.apply(fill, ()));
        assert_eq!((death.exitcode, death.out_of_memory), (Some(-9), true), "{death}");
        assert!(death.to_string().contains("want of memory"), "{death}");
    } else {
        println!("no control group is to be had: a real one is not shown");
    }
}
