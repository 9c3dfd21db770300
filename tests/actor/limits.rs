//! Processes that have no number free for another descriptor: what comes with one is an error
//! of that message, and of no other.

use crate::util::{SOON, alone};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use procession::{Actor, CallError, ExitReason, Fd, MailboxError, Process, mailbox, methods};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::sync::Mutex;
use std::time::Duration;

/// What fills the table of descriptors of this process, and how long that was before.
static FILLING: Mutex<(u64, Vec<File>)> = Mutex::new((0, Vec::new()));

fn fill() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 200, hard).unwrap();
    let files = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    *FILLING.lock().unwrap() = (soft, files);
}

fn make_room() {
    let (soft, files) = std::mem::take(&mut *FILLING.lock().unwrap());
    drop(files);
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
}

fn null() -> Fd {
    Fd(File::open("/dev/null").unwrap().into())
}

#[derive(Actor, Serialize, Deserialize)]
struct Keeper(i64);

#[methods]
impl Keeper {
    pub fn add(&mut self, n: i64) -> i64 {
        self.0 += n;
        self.0
    }

    pub fn take(&self, fd: Fd) {
        drop(fd);
    }

    pub fn give(&self) -> Fd {
        null()
    }

    pub fn fill(&self) {
        fill();
    }

    pub fn make_room(&self) {
        make_room();
    }

    pub fn hire(&self) -> KeeperRef {
        Keeper(0).host().unwrap()
    }
}

#[test]
fn an_actor_refuses_what_it_has_no_number_for() {
    let keeper = Keeper(0).spawn().unwrap();
    let helper = keeper.hire().unwrap();
    assert_eq!(helper.add_timeout(1, SOON), Ok(1));
    keeper.fill().unwrap();
    for actor in [&keeper, &helper] {
        let refused = actor.take_timeout(null(), SOON);
        assert!(matches!(refused, Err(CallError::Decode(_))), "{refused:?}");
        assert!(actor.add_timeout(1, SOON).is_ok(), "it goes on");
    }
    keeper.make_room().unwrap();
    for actor in [&keeper, &helper] {
        assert_eq!(actor.take_timeout(null(), SOON), Ok(()));
    }
}

#[test]
fn a_caller_loses_what_it_has_no_number_for() {
    alone("limits::a_caller_loses_what_it_has_no_number_for", || {
        let keeper = Keeper(0).spawn().unwrap();
        drop(keeper.give_timeout(SOON).unwrap());
        fill();
        let lost = keeper.give_timeout(SOON).map(drop);
        assert!(matches!(lost, Err(CallError::Decode(_))), "{lost:?}");
        assert_eq!(keeper.add_timeout(1, SOON), Ok(1));
        make_room();
        drop(keeper.give_timeout(SOON).unwrap());
    });
}

/// Whoever comes to it brings a descriptor, over the link by which it hears of its stop.
#[test]
fn an_actor_that_nobody_new_can_reach_is_stopped_as_ever() {
    let keeper = Keeper(0).spawn().unwrap();
    let helper = keeper.hire().unwrap();
    keeper.fill().unwrap();
    let reached = helper.add_timeout(1, Duration::from_secs(10));
    assert!(matches!(reached, Err(CallError::Unreachable(_))), "{reached:?}");
    assert_eq!(keeper.add_timeout(1, SOON), Ok(1));
    assert_eq!(keeper.stop_timeout(SOON).unwrap().reason, ExitReason::Shutdown);
}

#[test]
fn a_mailbox_loses_what_it_has_no_number_for() {
    let takes = || {
        fill();
        let is_lost = matches!(mailbox::<Fd>().recv(), Err(MailboxError::Decode(_)));
        (is_lost, mailbox::<u64>().recv().ok())
    };
    let process = Process::spawn(takes, ()).unwrap();
    process.send(&null()).unwrap();
    process.send(&7u64).unwrap();
    assert_eq!(process.result_timeout(SOON).unwrap(), (true, Some(7)));
}
