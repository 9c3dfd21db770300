//! Supervisors at their edges: starts that are given up, all the time there is, requests
//! without a thread, and who is found hanging.

use crate::tree::{Counter, CounterRef, SOON, counter, sleeper};
use procession::{
    ChildSpec, ChildState, ExitReason, Fd, Process, RequestError, Restart, Shutdown, Strategy,
    Supervisor, SupervisorError,
};
use std::time::Duration;

/// Says that it lives, as long as it does.
fn alive(sign: Fd) {
    let mut sign = std::fs::File::from(std::os::fd::OwnedFd::from(sign));
    std::io::Write::write_all(&mut sign, b"x").unwrap();
    sleeper();
}

fn stuck() -> Result<Counter, String> {
    sleeper();
    Err("never".to_owned())
}

#[test]
fn a_start_that_is_given_up_stops_what_has_started() {
    // The second one is never ready; or all are, and nobody takes what has been started.
    for is_ready in [false, true] {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut supervisor = Supervisor::new(Strategy::OneForOne).child(ChildSpec::process(
            "first",
            alive,
            (Fd(writer.into()),),
        ));
        if !is_ready {
            supervisor = supervisor.child(ChildSpec::actor("second", stuck, ()));
        }
        let mut start = Box::pin(supervisor.start_async());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(start.as_mut().poll(&mut context).is_pending());
        std::io::Read::read_exact(&mut reader, &mut [0]).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        drop(start);
        let (done, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            std::io::Read::read_to_end(&mut reader, &mut Vec::new()).unwrap();
            done.send(()).unwrap();
        });
        ended.recv_timeout(SOON).unwrap_or_else(|_| panic!("it lives on ({is_ready})"));
    }
}

#[test]
fn a_child_may_have_all_the_time_there_is() {
    let tree = Supervisor::new(Strategy::OneForOne)
        .child(counter("c").start_timeout(Duration::MAX).shutdown(Shutdown::Timeout(Duration::MAX)))
        .start()
        .unwrap();
    assert_eq!(tree.actor::<Counter>("c").unwrap().add(1).unwrap(), 1);
    tree.stop().unwrap();
}

/// Says that it is about to be ready.
fn almost_ready(sign: Fd) -> Counter {
    let mut sign = std::fs::File::from(std::os::fd::OwnedFd::from(sign));
    std::io::Write::write_all(&mut sign, b"x").unwrap();
    Counter { value: 0 }
}

#[test]
fn a_child_that_is_ready_as_it_is_given_up_is_not_forgotten() {
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for round in 0..300u64 {
            let tree = Supervisor::new(Strategy::OneForOne).start().unwrap();
            let (mut reader, writer) = std::io::pipe().unwrap();
            let child = ChildSpec::actor("c", almost_ready, (Fd(writer.into()),));
            let adding = std::thread::spawn({
                let tree = tree.clone();
                // It may be that it has been added by then.
                move || drop(tree.start_child(child.shutdown(Shutdown::BrutalKill)))
            });
            std::io::Read::read_exact(&mut reader, &mut [0]).unwrap();
            std::thread::sleep(Duration::from_micros(round % 30 * 10));
            tree.stop().unwrap();
            adding.join().unwrap();
        }
        done.send(()).unwrap();
    });
    ended.recv_timeout(SOON * 3).expect("each of them ends");
}

#[test]
fn a_kill_from_another_process_is_one_for_a_supervised_actor_too() {
    let tree = Supervisor::new(Strategy::OneForOne)
        .child(counter("c").restart(Restart::Transient))
        .start()
        .unwrap();
    let c = tree.actor::<Counter>("c").unwrap();
    let mut monitor = c.monitor().unwrap();
    let first = c.pid().unwrap();
    c.cast().nap(60_000).unwrap();
    let p = Process::spawn(|c: CounterRef| c.kill(), (c.clone(),)).unwrap();
    p.result_timeout(SOON).unwrap();
    assert_eq!(monitor.recv_timeout(SOON).unwrap().reason, ExitReason::Signal(9));
    assert_ne!(c.pid().unwrap(), first, "it was no clean end");
    tree.stop().unwrap();
}

/// A function is at work from its beginning; a supervisor in a process of its own never is.
#[test]
fn a_function_that_shows_no_progress_is_found_by_its_watchdog() {
    fn quiet() -> Supervisor {
        Supervisor::new(Strategy::OneForOne).child(counter("inner"))
    }
    let watched = |child: ChildSpec| {
        child.watchdog(Duration::from_millis(50), 100, Some(Duration::from_millis(300)))
    };
    let tree = Supervisor::new(Strategy::OneForOne)
        .intensity(0, SOON)
        .child(watched(ChildSpec::supervisor_process("quiet", quiet)))
        .child(watched(ChildSpec::process("busy", sleeper, ())))
        .start()
        .unwrap();
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(tree.join().unwrap_err().to_string()).unwrap());
    let why = ended.recv_timeout(SOON).unwrap();
    assert!(why.contains("\"busy\": hung"), "{why}");
}

#[tokio::test]
async fn requests_need_no_thread() {
    let tree = Supervisor::new(Strategy::OneForOne).start_async().await.unwrap();
    let c = counter("c").start_timeout(Duration::from_secs(7));
    tree.start_child_async(c).await.unwrap().unwrap();
    assert_eq!(tree.count_children_async().await.active, 1);
    tree.terminate_child_async("c").await.unwrap();
    assert_eq!(tree.which_children_async().await[0].state, ChildState::Down);
    tree.restart_child_async("c").await.unwrap().unwrap();
    let spec = tree.childspec("c").unwrap();
    assert_eq!((spec.restart, spec.start_timeout), (Restart::Permanent, Duration::from_secs(7)));
    assert!(tree.childspec("d").is_none());
    let error = tree.delete_child_async("c").await.unwrap_err();
    assert!(matches!(error, SupervisorError::Request(RequestError::Running)), "{error}");
    tree.terminate_child_async("c").await.unwrap();
    tree.delete_child_async("c").await.unwrap();
    tree.stop_async().await.unwrap();

    let tree = Supervisor::new(Strategy::Dynamic { max_children: 1 })
        .child(ChildSpec::process("worker", |_: u8| sleeper(), (0u8,)))
        .start_async()
        .await
        .unwrap();
    let worker = tree.start_dynamic_async(&(1u8,)).await.unwrap().unwrap();
    tree.terminate_dynamic_async(worker).await.unwrap();
    tree.stop_async().await.unwrap();
}
