//! What holds for queues, locks and their kin of processes, held to managed ones.

use crate::util::{self, SOON, until};
use procession::manager::{
    ArrayProxy, BarrierProxy, ConditionProxy, EventProxy, Fault, JoinableQueueProxy, LockProxy,
    QueueProxy,
};
use procession::{Manager, ManagerError, Process};
use serde::{Deserialize, Serialize, Serializer, ser};
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(50);

#[test]
fn parent_and_child_put_into_the_same_managed_queue_in_order() {
    let manager = Manager::start().unwrap();
    let queue = manager.queue::<u32>().unwrap();
    for n in 0..10 {
        queue.put(n).unwrap();
    }
    let child = |queue: QueueProxy<u32>| (10..20).for_each(|n| queue.put(n).unwrap());
    Process::spawn(child, (queue.clone(),)).unwrap().result_timeout(SOON).unwrap();
    let got: Vec<_> = (0..20).map(|_| queue.get_timeout(SOON).unwrap()).collect();
    assert_eq!(got, (0..20).collect::<Vec<_>>());
    assert!(matches!(queue.get_timeout(SHORT), Err(ManagerError::Fault(Fault::Empty))));
}

/// Whose even ones cannot be encoded.
#[derive(Debug, PartialEq, Deserialize)]
struct Odd(u32);

impl Serialize for Odd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(2) {
            return Err(ser::Error::custom("it is even"));
        }
        serializer.serialize_newtype_struct("Odd", &self.0)
    }
}

#[test]
fn what_cannot_be_encoded_takes_no_place_in_a_managed_queue() {
    let manager = Manager::start().unwrap();
    let queue = manager.bounded_queue::<Odd>(1).unwrap();
    let refused = queue.put(Odd(2)).unwrap_err();
    assert!(matches!(refused.why, ManagerError::Encode(_)), "{}", refused.why);
    assert_eq!(refused.item, Odd(2));
    queue.put_timeout(Odd(3), SOON).unwrap();
    assert_eq!(queue.get_timeout(SOON).unwrap(), Odd(3));
    assert!(queue.is_empty().unwrap());
}

#[test]
fn an_immediate_shutdown_of_a_managed_queue_leaves_what_was_got_unfinished() {
    let manager = Manager::start().unwrap();
    let queue = manager.joinable_queue::<u32>(0).unwrap();
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    let child = |queue: JoinableQueueProxy<u32>| {
        assert_eq!(queue.get().unwrap(), 1);
        queue.shutdown(true).unwrap();
        assert!(!queue.join_timeout(SHORT).unwrap());
        queue.task_done().unwrap();
        assert!(queue.join_timeout(SOON).unwrap());
        let more = queue.task_done();
        assert!(matches!(more, Err(ManagerError::Fault(Fault::TooManyDone))), "{more:?}");
    };
    Process::spawn(child, (queue.clone(),)).unwrap().result_timeout(SOON).unwrap();
    assert!(matches!(queue.get(), Err(ManagerError::Fault(Fault::Shutdown))));
    queue.join().unwrap();
}

#[test]
fn a_managed_conditions_wait_goes_on_after_a_signal() {
    let manager = Manager::start().unwrap();
    let cond = manager.condition().unwrap();
    let ready = manager.event().unwrap();
    let held = cond.lock().unwrap();
    assert!(!cond.wait_timeout(Duration::ZERO).unwrap());
    assert!(!cond.wait_timeout(SHORT).unwrap());
    drop(held);
    let child = |cond: ConditionProxy, ready: EventProxy| {
        util::signals::catch(nix::sys::signal::Signal::SIGUSR1);
        let _held = cond.lock().unwrap();
        ready.set().unwrap();
        cond.wait_timeout(SOON).unwrap() && util::signals::caught() > 0
    };
    let child = Process::spawn(child, (cond.clone(), ready.clone())).unwrap();
    assert!(ready.wait_timeout(SOON).unwrap());
    // Its lock is to be had once it waits.
    let held = cond.lock().unwrap();
    util::signal(child.pid().unwrap(), nix::sys::signal::Signal::SIGUSR1);
    drop(held);
    let status = format!("/proc/{}/status", child.pid().unwrap());
    until("the signal has been taken", || {
        let status = std::fs::read_to_string(&status).unwrap();
        status.lines().any(|line| line.starts_with("ShdPnd:") && line.ends_with("0000"))
    });
    let held = cond.lock().unwrap();
    cond.notify().unwrap();
    drop(held);
    assert!(child.result_timeout(SOON).unwrap());
}

#[test]
fn a_managed_barrier_passes_a_thousand_times() {
    let manager = Manager::start().unwrap();
    let barrier = manager.barrier(5, None).unwrap();
    let passed = manager.array([0_u64; 5]).unwrap();
    let child = |barrier: BarrierProxy, passed: ArrayProxy<u64>, me: i64| {
        for pass in 1..=1000 {
            barrier.wait_timeout(SOON).unwrap();
            // A look at the others now and then; it costs as much as a pass.
            if pass % 10 == 0 {
                passed.set(me, &pass).unwrap();
                barrier.wait_timeout(SOON).unwrap();
                assert_eq!(passed.to_vec().unwrap(), [pass; 5]);
                barrier.wait_timeout(SOON).unwrap();
            }
        }
    };
    let children: Vec<_> = (0..5)
        .map(|me| Process::spawn(child, (barrier.clone(), passed.clone(), me)).unwrap())
        .collect();
    for child in children {
        child.result_timeout(SOON).unwrap();
    }
}

#[test]
fn the_text_of_a_proxy_is_its_kind_and_number() {
    let manager = Manager::start().unwrap();
    let (lock, event) = (manager.lock().unwrap(), manager.event().unwrap());
    assert_eq!(format!("{lock:?}"), format!("<LockProxy #{}>", lock.id()));
    let child = |lock: LockProxy| format!("{lock:?}");
    let child = Process::spawn(child, (lock.clone(),)).unwrap();
    assert_eq!(child.result_timeout(SOON).unwrap(), format!("{lock:?}"));
    event.set().unwrap();
    assert_eq!(format!("{event:?}"), format!("<EventProxy #{}>", event.id()));
}
