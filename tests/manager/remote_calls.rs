//! The one stream over which a program calls the manager of another: threads that read for
//! each other, async calls beside them, and what is left when the one that reads leaves.

use crate::channel::{all, in_time, large_values, send};
use crate::util::{Folder, SOON, until};
use procession::manager::QueueProxy;
use procession::{Actor, ExitReason, Manager, ManagerError, methods};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

const KEY: &[u8] = b"abracadabra";

/// Longer than threads have to be quiet until the one aside reads, and than they need to begin
/// to wait.
const A_WHILE: Duration = Duration::from_millis(50);

#[derive(Actor)]
struct Slow;

#[methods]
impl Slow {
    pub fn nap(&self, millis: u64) -> u64 {
        thread::sleep(Duration::from_millis(millis));
        millis
    }

    /// Is busy until there is this file.
    pub fn wait_for(&self, file: String) {
        until("the file is there", || std::fs::exists(&file).unwrap());
    }
}

fn slow() -> Slow {
    Slow
}

/// A manager, and this process as another program has it.
fn served() -> (Manager, Manager) {
    let builder = Manager::builder().address("127.0.0.1:0").authkey(KEY).register("Slow", slow);
    let manager = builder.start().unwrap();
    let remote = Manager::connect(manager.address().unwrap().clone(), KEY).unwrap();
    (manager, remote)
}

/// Begins to wait at a queue, and so to read if nobody else does.
fn get(queue: &QueueProxy<u32>) -> thread::JoinHandle<Result<u32, ManagerError>> {
    let queue = queue.clone();
    let waits = thread::spawn(move || queue.get());
    thread::sleep(A_WHILE);
    waits
}

#[test]
fn threads_tasks_and_actors_get_their_own_answers_over_tcp() {
    let (_manager, remote) = served();
    let (dict, queue) = (remote.dict::<u32, u32>().unwrap(), remote.queue::<u32>().unwrap());
    let event = remote.event().unwrap();
    let actor = remote.make::<Slow>("Slow", ()).unwrap();
    // This one reads first, and for long: the answers of the others too.
    let waits = get(&queue);
    in_time(move || {
        thread::scope(|scope| {
            for number in 0..4 {
                let (dict, event, actor) = (&dict, &event, &actor);
                scope.spawn(move || {
                    for n in 0..200 {
                        let key = number * 1000 + n;
                        dict.insert(&key, &n).unwrap();
                        assert_eq!(dict.get(&key).unwrap(), Some(n));
                        // With a time limit it is read in another way.
                        let limit = Duration::from_micros(1);
                        assert!(number != 0 || !event.wait_timeout(limit).unwrap());
                        assert!(number != 1 || actor.nap(0).unwrap() == 0);
                    }
                });
            }
            let calls = (0..300).map(|n| dict.insert_async(&(90_000 + n), &n)).collect();
            assert!(all(calls).iter().all(Result::is_ok));
            let calls = (0..300).map(|n| dict.get_async(&(90_000 + n))).collect();
            let values: Vec<_> = all(calls).into_iter().map(|one| one.unwrap().unwrap()).collect();
            assert_eq!(values, (0..300).collect::<Vec<_>>());
        });
        queue.put(7).unwrap();
    });
    assert_eq!(in_time(move || waits.join().unwrap().unwrap()), 7);
}

#[test]
fn what_a_thread_asks_over_tcp_comes_in_its_order() {
    let (_manager, remote) = served();
    in_time(move || {
        let list = remote.list::<u32>([]).unwrap();
        for round in 1..=20 {
            let from = round * 100;
            let mut calls: Vec<_> = (from..from + 50).map(|n| list.append_async(&n)).collect();
            calls.iter_mut().for_each(send);
            list.append(&(from + 50)).unwrap();
            assert_eq!(list.to_vec().unwrap(), (from..=from + 50).collect::<Vec<_>>());
            drop(calls);
            list.clear().unwrap();
        }
    });
}

#[test]
fn others_get_their_answers_when_the_time_of_the_one_that_reads_is_up() {
    let (_manager, remote) = served();
    let queues: [QueueProxy<u32>; 3] = [(); 3].map(|()| remote.queue().unwrap());
    let reads = {
        let queue = queues[0].clone();
        thread::spawn(move || queue.get_timeout(A_WHILE * 3))
    };
    thread::sleep(A_WHILE);
    let waits = get(&queues[1]);
    let mut task = queues[2].get_async();
    send(&mut task);
    assert!(reads.join().unwrap().is_err());
    queues[1].put(1).unwrap();
    assert_eq!(in_time(move || waits.join().unwrap().unwrap()), 1);
    // Nobody but the task waits now.
    queues[2].put(2).unwrap();
    assert_eq!(in_time(move || all(vec![task])).pop().unwrap().unwrap(), 2);
    // The first has given its call up: this is nobody else's.
    queues[0].put(3).unwrap();
    assert_eq!(queues[0].get_timeout(SOON).unwrap(), 3);
}

/// Panics on whichever thread wakes it.
struct Panics(AtomicBool);

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
        panic!("on purpose");
    }
}

#[test]
fn others_get_their_answers_when_the_one_that_reads_panics() {
    let (_manager, remote) = served();
    let queues: [QueueProxy<u32>; 4] = [(); 4].map(|()| remote.queue().unwrap());
    let reads = {
        let queue = queues[0].clone();
        thread::spawn(move || catch_unwind(AssertUnwindSafe(|| queue.get())).is_err())
    };
    for _ in 0..2 {
        // If it was the one aside that read, it is this thread from now on.
        thread::sleep(A_WHILE);
        assert!(queues[0].is_empty().unwrap());
    }
    let waits = get(&queues[1]);
    let (mut bad, mut good) = (queues[2].get_async(), queues[3].get_async());
    let panics = Arc::new(Panics(AtomicBool::new(false)));
    let waker = Waker::from(panics.clone());
    assert!(Pin::new(&mut bad).poll(&mut Context::from_waker(&waker)).is_pending());
    send(&mut good);
    queues[2].put(2).unwrap();
    assert!(in_time(move || reads.join().unwrap()), "it was the one that read");
    assert!(panics.0.load(Ordering::Relaxed));
    queues[1].put(1).unwrap();
    assert_eq!(in_time(move || waits.join().unwrap().unwrap()), 1);
    queues[3].put(3).unwrap();
    assert_eq!(in_time(move || all(vec![good])).pop().unwrap().unwrap(), 3);
    // The call of the one that panicked was taken back.
    queues[0].put(4).unwrap();
    assert_eq!(queues[0].get_timeout(SOON).unwrap(), 4);
}

#[test]
fn everybody_who_waits_over_tcp_learns_of_the_managers_death() {
    let (manager, remote) = served();
    let queue = remote.queue::<u32>().unwrap();
    let actor = remote.make::<Slow>("Slow", ()).unwrap();
    let mut task = queue.get_async();
    send(&mut task);
    let threads: Vec<_> = (0..3)
        .map(|n| {
            let queue = queue.clone();
            thread::spawn(move || match n {
                0 => queue.get_timeout(SOON * 10),
                _ => queue.get(),
            })
        })
        .collect();
    let calls = thread::spawn(move || actor.nap(1_000_000));
    thread::sleep(A_WHILE);
    manager.process().unwrap().kill().unwrap();
    in_time(move || {
        for thread in threads {
            let error = thread.join().unwrap().unwrap_err();
            assert!(matches!(error, ManagerError::OwnerGone { .. }), "{error:?}");
        }
        calls.join().unwrap().unwrap_err();
        for result in all(vec![task]) {
            let error = result.unwrap_err();
            assert!(matches!(error, ManagerError::OwnerGone { .. }), "{error:?}");
        }
        assert!(matches!(queue.qsize(), Err(ManagerError::OwnerGone { .. })));
    });
}

#[test]
fn an_end_is_noticed_while_nobody_calls_and_while_somebody_does() {
    let (manager, remote) = served();
    let actors = [(); 2].map(|()| remote.make::<Slow>("Slow", ()).unwrap());
    let mut monitors = actors.each_ref().map(|actor| actor.monitor().unwrap());
    // Right after a call, nobody reads for a moment.
    actors[0].stop();
    assert_eq!(monitors[0].recv_timeout(SOON).unwrap().reason, ExitReason::Shutdown);
    let queue = remote.queue::<u32>().unwrap();
    let waits = get(&queue);
    actors[1].stop();
    assert_eq!(monitors[1].recv_timeout(SOON).unwrap().reason, ExitReason::Shutdown);
    queue.put(1).unwrap();
    assert_eq!(in_time(move || waits.join().unwrap().unwrap()), 1);
    let actor = remote.make::<Slow>("Slow", ()).unwrap();
    thread::sleep(A_WHILE);
    assert!(actor.is_alive());
    manager.process().unwrap().kill().unwrap();
    until("the end is known", || !actor.is_alive());
}

#[test]
fn an_answer_waits_for_no_call_that_came_with_its_own() {
    let (_manager, remote) = served();
    let (dict, queue) = (remote.dict::<u32, u32>().unwrap(), remote.queue::<u32>().unwrap());
    let actor = remote.make::<Slow>("Slow", ()).unwrap();
    assert_eq!(actor.nap(0).unwrap(), 0);
    let folder = Folder::new("no-call");
    for round in 0..3 {
        // Two that wait at the server, between those that do not.
        let mut gets = [queue.get_async(), queue.get_async()];
        let mut sets: Vec<_> = (0..20).map(|n| dict.insert_async(&n, &n)).collect();
        let file = folder.file(round.to_string());
        let busy = thread::spawn({
            let (actor, file) = (actor.clone(), file.clone());
            move || actor.wait_for(file)
        });
        let mut sent = 0;
        sets.retain_mut(|set| {
            if sent % 10 == 5 {
                send(&mut gets[sent / 10]);
            }
            sent += 1;
            // It may be answered at once.
            Pin::new(set).poll(&mut Context::from_waker(Waker::noop())).is_pending()
        });
        assert!(in_time(move || all(sets)).iter().all(Result::is_ok));
        assert!(!busy.is_finished());
        std::fs::write(file, "").unwrap();
        queue.put(1).unwrap();
        queue.put(2).unwrap();
        let got = in_time(move || all(gets.into()));
        assert!(got.iter().all(Result::is_ok), "{got:?}");
        busy.join().unwrap().unwrap();
    }
}

#[test]
fn large_values_go_both_ways_at_a_time_over_tcp() {
    let (_manager, remote) = served();
    large_values(remote.dict().unwrap());
}
