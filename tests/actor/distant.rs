//! Actors in other processes whose ways are closed for a while: the process between is
//! stopped, or the link is full.

use crate::util::{signal, state, stop, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procession::{Actor, ActorRef, CallError, ExitReason, Handler, Process, Reply, methods};
use serde::{Deserialize, Serialize};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

/// Less than the five seconds that an introduction may take.
const AT_ONCE: Duration = Duration::from_millis(2500);

#[derive(Actor, Serialize, Deserialize)]
struct Worker;

#[methods]
impl Worker {
    pub fn nap(&self, millis: u64) {
        std::thread::sleep(Duration::from_millis(millis));
    }

    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    pub fn load(&self, bytes: Vec<u8>) {
        drop(bytes);
    }

    pub fn hire(&self) -> WorkerRef {
        Worker.host().unwrap()
    }
}

/// A worker in a process that is stopped, and one of its actors, which was never used here.
fn stopped() -> (WorkerRef, Pid, WorkerRef) {
    let boss = Worker.spawn().unwrap();
    let pid = boss.pid().unwrap();
    let helper = boss.hire().unwrap();
    let process = Pid::from_raw(pid.cast_signed());
    kill(process, Signal::SIGSTOP).unwrap();
    until("it is stopped", || state(pid) == Some('T'));
    (boss, process, helper)
}

#[test]
fn the_first_use_may_be_as_an_actor_of_ractor() {
    let boss = Worker.spawn().unwrap();
    let helper = boss.hire().unwrap();
    let actor = helper.ractor().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let pid =
        runtime.block_on(async { ractor::call!(actor, |port| WorkerMsg::Pid(Reply::from(port))) });
    assert_eq!(pid.unwrap(), boss.pid().unwrap());
    boss.stop();
    until("it has ended as its actor did", || actor.get_status() == ractor::ActorStatus::Stopped);
}

#[test]
fn a_first_async_call_does_not_block_its_thread() {
    let (_boss, process, helper) = stopped();
    let pid = process.as_raw().cast_unsigned();
    let begun = Instant::now();
    let mut call = Box::pin(helper.pid_async());
    let mut nap = Box::pin(helper.nap_async(0));
    let mut context = Context::from_waker(Waker::noop());
    assert!(call.as_mut().poll(&mut context).is_pending());
    assert!(nap.as_mut().poll(&mut context).is_pending());
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    kill(process, Signal::SIGCONT).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        nap.await.unwrap();
        assert_eq!(call.await, Ok(pid));
    });
}

#[test]
fn a_first_call_that_is_given_up_leaves_the_way_to_others() {
    let (_boss, process, helper) = stopped();
    let mut call = Box::pin(helper.pid_async());
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(call);
    let late = helper.pid_timeout(Duration::from_millis(100));
    assert_eq!(late, Err(CallError::Timeout));
    kill(process, Signal::SIGCONT).unwrap();
    assert_eq!(helper.pid_timeout(SOON), Ok(process.as_raw().cast_unsigned()));
}

/// A monitor is a first use too.
#[test]
fn a_first_watch_ends_in_its_time() {
    let (_boss, process, helper) = stopped();
    let briefly = Duration::from_millis(100);
    let begun = Instant::now();
    let late = helper.monitor_timeout(briefly);
    assert!(matches!(late, Err(CallError::Timeout)), "{late:?}");
    let mut monitor = Box::pin(helper.monitor_async());
    assert!(monitor.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    kill(process, Signal::SIGCONT).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut monitor = runtime.block_on(monitor).unwrap();
    helper.stop();
    assert_eq!(monitor.recv_timeout(SOON).unwrap().reason, ExitReason::Shutdown);
}

#[test]
fn a_stop_that_cannot_be_seen_in_time_is_asked_for_all_the_same() {
    let (_boss, process, helper) = stopped();
    let begun = Instant::now();
    let late = helper.stop_timeout(Duration::from_millis(100));
    assert_eq!(late, Err(CallError::Timeout));
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    kill(process, Signal::SIGCONT).unwrap();
    until("its end is known", || !helper.is_alive());
}

#[test]
fn whether_an_actor_lives_is_said_without_waiting() {
    let (_boss, process, helper) = stopped();
    let begun = Instant::now();
    assert!(helper.is_alive(), "nothing else is known of it");
    assert!(helper.is_alive());
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    kill(process, Signal::SIGKILL).unwrap();
    until("its end is known", || !helper.is_alive());
}

#[derive(procession::Message)]
enum ShelfMsg {
    Keep(Reply<Vec<u8>>),
    Count(Reply<usize>),
    GiveAll,
}

/// So many bytes it gives to each.
const LENGTH: usize = 200_000;

/// Keeps what it owes until it is told to give all.
#[derive(Serialize, Deserialize)]
struct Shelf {
    #[serde(skip)]
    kept: Vec<Reply<Vec<u8>>>,
}

impl Handler for Shelf {
    type Msg = ShelfMsg;

    fn handle(&mut self, message: ShelfMsg) {
        match message {
            ShelfMsg::Keep(reply) => self.kept.push(reply),
            ShelfMsg::Count(reply) => reply.send(self.kept.len()),
            ShelfMsg::GiveAll => {
                for reply in self.kept.drain(..) {
                    reply.send(vec![7; LENGTH]);
                }
            }
        }
    }
}

impl Actor for Shelf {
    type Ref = ActorRef<Self>;
    const NAME: &'static str = "Shelf";
}

/// Several times what may wait of messages for somebody who does not read.
#[test]
fn replies_wait_for_a_caller_that_is_stopped() {
    const CALLS: usize = 300;
    let ask = |shelf: ActorRef<Shelf>| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let ask = |_| tokio::spawn(shelf.call_async(ShelfMsg::Keep));
            let calls: Vec<_> = (0..CALLS).map(ask).collect();
            let mut bytes = 0;
            for call in calls {
                bytes += call.await.unwrap().unwrap().len();
            }
            bytes
        })
    };
    let shelf = Shelf { kept: Vec::new() }.spawn().unwrap();
    let caller = Process::spawn(ask, (shelf.clone(),)).unwrap();
    until("all have been asked", || shelf.call(ShelfMsg::Count).unwrap() == CALLS);
    stop(caller.pid().unwrap());
    assert!(shelf.send(ShelfMsg::GiveAll).is_ok());
    assert_eq!(shelf.call_timeout(ShelfMsg::Count, SOON), Ok(0));
    signal(caller.pid().unwrap(), Signal::SIGCONT);
    assert_eq!(caller.result_timeout(SOON).unwrap(), CALLS * LENGTH);
}

/// So much waits for it that it is sent no more, and then nobody has it any more.
#[test]
fn an_actor_ends_with_its_last_reference_however_much_waits_for_it() {
    let worker = Worker.spawn().unwrap();
    let mut monitor = worker.monitor().unwrap();
    worker.cast().nap(300).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let load = || WorkerMsg::Load(vec![0; 1 << 20], Reply::none());
    let is_full = runtime.block_on(async {
        for _ in 0..100 {
            if worker.send_async(load()).await.is_err() {
                return true;
            }
        }
        false
    });
    assert!(is_full);
    drop(worker);
    assert_eq!(monitor.recv_timeout(SOON).unwrap().reason, ExitReason::Normal);
}

/// Nobody else reads the link on which it is told.
#[test]
fn an_end_is_known_to_who_only_asks_for_it() {
    let boss = Worker.spawn().unwrap();
    let helper = boss.hire().unwrap();
    assert_eq!(helper.pid_timeout(SOON).unwrap(), boss.pid().unwrap());
    helper.stop();
    until("its end is known", || !helper.is_alive());
    assert!(boss.is_alive());
}

/// The kernel says that a full socket has room only when most of what was in it has been read.
#[test]
fn who_sends_to_a_slow_actor_gets_on_as_it_does() {
    let worker = Worker.spawn().unwrap();
    for _ in 0..320 {
        worker.cast().nap(50).unwrap();
    }
    worker.kill();
}

/// Who has asked for its end does not want to know it any more, nor anything else of it.
#[test]
fn a_monitor_that_is_dropped_keeps_no_actor() {
    let boss = Worker.spawn().unwrap();
    let tasks = format!("/proc/{}/task", boss.pid().unwrap());
    let is_hosted = |task: std::io::Result<std::fs::DirEntry>| {
        let name = std::fs::read_to_string(task.unwrap().path().join("comm"));
        name.is_ok_and(|name| name == "Worker\n")
    };
    let hosted =
        || std::fs::read_dir(&tasks).unwrap().filter_map(|t| is_hosted(t).then_some(())).count();
    let helper = boss.hire().unwrap();
    helper.pid_timeout(SOON).unwrap();
    assert_eq!(hosted(), 1);
    drop(helper.monitor().unwrap());
    drop(helper);
    until("it has ended", || hosted() == 0);
}
