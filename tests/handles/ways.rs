//! Handles of shared objects between processes: who made them, how they travel, who dies.
//!
//! The object is the plain counter of `util/counter.rs`, so that nothing but the mechanism
//! is tested. What counts objects or descriptors runs in a process of its own. Neighbour:
//! `ends.rs` has deaths, limits and lies.

use crate::counter::{Counter, HOSTED};
use crate::util::{METHODS, SOON, alone, until};
use procession::{
    Actor, Connection, JoinableQueue, Pipe, Process, Queue, StartMethod, Value, context, mailbox,
    methods,
};
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering;

const ALL: [StartMethod; 3] = [StartMethod::Spawn, StartMethod::ForkServer, StartMethod::Fork];

/// Runs a test's body as a node of its own, which a fork finds without foreign threads.
macro_rules! in_a_node {
    ($body:expr) => {{
        let process = context(StartMethod::Spawn).spawn($body, ()).unwrap();
        process.result_timeout(SOON).unwrap()
    }};
}

fn none_is_left() {
    until("the object is dropped", || HOSTED.load(Ordering::SeqCst) == 0);
}

fn add_one(counter: Counter) -> u64 {
    assert!(!counter.is_own());
    counter.add(1).unwrap()
}

fn pass_on(counter: Counter, method: StartMethod) -> u64 {
    let process = context(method).spawn(add_one, (counter,)).unwrap();
    process.result_timeout(SOON).unwrap()
}

#[test]
fn a_handle_works_where_it_was_made_and_where_it_was_sent() {
    alone("ways::a_handle_works_where_it_was_made_and_where_it_was_sent", || {
        for method in METHODS {
            let counter = Counter::new();
            assert_eq!(counter.add(1).unwrap(), 1);
            let process = context(method).spawn(
                |counter: Counter| {
                    assert!(!counter.is_own());
                    counter.add(10).unwrap() + counter.clone().add(100).unwrap()
                },
                (counter.clone(),),
            );
            assert_eq!(process.unwrap().result_timeout(SOON).unwrap(), 11 + 111);
            assert_eq!(counter.get(), 111);
            until("its detachment is told", || counter.seen().detached.len() == 1);
            assert_eq!(counter.seen().attached, counter.seen().detached);
            assert!(counter.seen().died.is_empty());
            drop(counter);
            none_is_left();
        }
    });
}

/// Made under the first method, used under the second.
fn made_and_used(method: StartMethod) -> u64 {
    let counter = Counter::new();
    for used in ALL {
        let process = context(used).spawn(add_one, (counter.clone(),)).unwrap();
        process.result_timeout(SOON).unwrap();
    }
    assert_eq!(procession::current_process().start_method(), Some(method));
    counter.get()
}

#[test]
fn all_nine_combinations_of_where_made_and_where_used() {
    in_a_node!(|| {
        for made in ALL {
            let process = context(made).spawn(made_and_used, (made,)).unwrap();
            assert_eq!(process.result_timeout(SOON).unwrap(), 3, "made under {made:?}");
        }
    });
}

// start-09
#[test]
fn a_child_passes_its_handle_on_to_its_own_child_by_every_method() {
    in_a_node!(|| {
        let counter = Counter::new();
        for first in ALL {
            for second in ALL {
                let process = context(first).spawn(pass_on, (counter.clone(), second)).unwrap();
                process.result_timeout(SOON).unwrap();
            }
        }
        assert_eq!(counter.get(), 9);
        drop(counter);
        none_is_left();
    });
}

#[test]
fn a_handle_comes_back_to_its_owner_as_its_own() {
    alone("ways::a_handle_comes_back_to_its_owner_as_its_own", || {
        let counter = Counter::new();
        // It is not used on the way.
        let process = Process::spawn(|counter: Counter| counter, (counter.clone(),)).unwrap();
        let back = process.result_timeout(SOON).unwrap();
        assert!(back.is_own());
        drop(counter);
        assert_eq!(back.add(2).unwrap(), 2);
        drop(back);
        none_is_left();
    });
}

#[derive(Actor, Serialize, Deserialize)]
struct Keeper {
    kept: Option<Counter>,
}

#[methods]
impl Keeper {
    pub fn make(&mut self) -> Counter {
        self.kept.insert(Counter::new()).clone()
    }

    pub fn keep(&mut self, counter: Counter) {
        self.kept = Some(counter);
    }

    pub fn echo(&self, counters: Vec<Counter>) -> Vec<Counter> {
        counters
    }

    pub fn descriptors(&self) -> usize {
        crate::util::holdings().descriptors.values().sum()
    }

    pub fn add(&self, by: u64) -> u64 {
        self.kept.as_ref().map_or(0, |counter| counter.add(by).unwrap())
    }
}

#[test]
fn every_transport_carries_handles() {
    alone("ways::every_transport_carries_handles", || {
        let counter = Counter::new();
        // Messages to an actor, and its replies.
        let keeper = Keeper { kept: None }.spawn().unwrap();
        keeper.keep(counter.clone()).unwrap();
        assert_eq!(keeper.add(1).unwrap(), 1);
        assert!(keeper.echo(vec![counter.clone()]).unwrap()[0].is_own());
        let theirs = keeper.make().unwrap();
        assert!(!theirs.is_own());
        assert_eq!(theirs.add(5).unwrap(), 5);
        assert_eq!(keeper.add(1).unwrap(), 6);
        // Arguments of a sibling of the owner; and an actor's state.
        let process = Process::spawn(add_one, (theirs.clone(),)).unwrap();
        assert_eq!(process.result_timeout(SOON).unwrap(), 7);
        let other = Keeper { kept: Some(theirs.clone()) }.spawn().unwrap();
        assert_eq!(other.add(1).unwrap(), 8);
        // The mailbox of a process.
        let process = Process::spawn(
            || mailbox::<(u8, Counter)>().recv_timeout(SOON).unwrap().1.add(1).unwrap(),
            (),
        );
        let process = process.unwrap();
        process.send(&(7u8, theirs.clone())).unwrap();
        assert_eq!(process.result_timeout(SOON).unwrap(), 9);
        // What a process returns, in a frame and in a memory file.
        for size in [10, 200_000] {
            let returned = |counter: Counter, size: usize| (vec![7u8; size], counter);
            let process = Process::spawn(returned, (theirs.clone(), size)).unwrap();
            let (bytes, counter) = process.result_timeout(SOON).unwrap();
            assert_eq!(bytes.len(), size);
            counter.add(1).unwrap();
        }
        // A pipe, there and back.
        let (here, there) = Pipe::duplex().unwrap();
        let echo = |end: Connection| {
            let counter: Counter = end.recv_timeout(SOON).unwrap();
            counter.add(1).unwrap();
            end.send(&counter).unwrap();
        };
        let process = Process::spawn(echo, (there,)).unwrap();
        here.send(&theirs).unwrap();
        assert_eq!(here.recv_timeout::<Counter>(SOON).unwrap().add(1).unwrap(), 13);
        assert!(process.join_timeout(SOON).unwrap());
        assert_eq!(theirs.get(), 13);
        assert_eq!(counter.get(), 1);
    });
}

fn put_and_pass_on(queue: Queue<u32>, number: u32) {
    queue.put(number).unwrap();
    if number < 2 {
        let process = Process::spawn(put_and_pass_on, (queue, number + 1)).unwrap();
        assert!(process.join_timeout(SOON).unwrap());
    }
}

// start-09
#[test]
fn a_child_passes_its_queue_on_to_its_own_child() {
    in_a_node!(|| {
        for method in ALL {
            let queue = Queue::new().unwrap();
            let process = context(method).spawn(put_and_pass_on, (queue.clone(), 1)).unwrap();
            let both = [queue.get_timeout(SOON).unwrap(), queue.get_timeout(SOON).unwrap()];
            assert_eq!(both, [1, 2]);
            assert!(process.join_timeout(SOON).unwrap());
        }
    });
}

/// Answers on the queue that comes with the question.
fn answer(questions: Queue<(u64, Queue<u64>)>) {
    while let Ok((number, answers)) = questions.get_timeout(SOON) {
        answers.put(number * 2).unwrap();
    }
}

fn ask(questions: Queue<(u64, Queue<u64>)>, number: u64) -> u64 {
    let answers = Queue::new().unwrap();
    questions.put((number, answers.clone())).unwrap();
    answers.get_timeout(SOON).unwrap()
}

#[test]
fn queues_travel_on_queues_between_siblings() {
    in_a_node!(|| {
        let questions = Queue::new().unwrap();
        let server = Process::spawn(answer, (questions.clone(),)).unwrap();
        for method in ALL {
            let asks: Vec<_> = (0..3)
                .map(|number| context(method).spawn(ask, (questions.clone(), number)).unwrap())
                .collect();
            for (number, ask) in asks.into_iter().enumerate() {
                assert_eq!(ask.result_timeout(SOON).unwrap(), number as u64 * 2);
            }
        }
        questions.shutdown(false).unwrap();
        assert!(server.join_timeout(SOON).unwrap());
        assert_eq!(server.exitcode(), Some(0));
    });
}

/// Uses what an item brought, and ends before it is done with the item; or is done.
fn lease(queue: JoinableQueue<Counter>, is_done: bool) -> bool {
    let lease = queue.get_leased_timeout(SOON).unwrap();
    lease.add(1).unwrap();
    let redelivered = lease.is_redelivered();
    if !is_done {
        std::process::abort();
    }
    lease.done();
    redelivered
}

#[test]
fn an_item_that_comes_back_brings_its_handles_again() {
    alone("ways::an_item_that_comes_back_brings_its_handles_again", || {
        let queue = JoinableQueue::new().unwrap();
        let counter = Counter::new();
        queue.put(counter.clone()).unwrap();
        for _ in 0..3 {
            let process = Process::spawn(lease, (queue.clone(), false)).unwrap();
            assert!(process.join_timeout(SOON).unwrap());
            assert_eq!(process.exitcode(), Some(-6));
        }
        let process = Process::spawn(lease, (queue.clone(), true)).unwrap();
        assert!(process.result_timeout(SOON).unwrap());
        assert_eq!(counter.get(), 4);
        queue.join_timeout(SOON).unwrap();
        drop(counter);
        none_is_left();
    });
}

#[test]
fn a_handle_serialises_only_on_its_way() {
    let error = serde_json::to_string(&Counter::new()).unwrap_err().to_string();
    assert!(error.contains("OutsideTransfer"), "{error}");
}

#[test]
fn handles_of_one_object_share_an_attachment_and_a_message_has_one_ticket() {
    alone("ways::handles_of_one_object_share_an_attachment_and_a_message_has_one_ticket", || {
        let counters: Vec<Counter> = (0..1000).map(|_| Counter::new()).collect();
        let encoded = procession_runtime::codec::encode(&counters).unwrap();
        assert_eq!(encoded.fds.len(), 1);
        drop(encoded);
        let twice = (counters.clone(), counters.clone());
        let process = Process::spawn(
            |(first, second): (Vec<Counter>, Vec<Counter>)| {
                let before = crate::util::holdings().descriptors;
                for (at, (first, second)) in first.iter().zip(&second).enumerate() {
                    assert_eq!(first.add(at as u64).unwrap(), at as u64);
                    assert_eq!(second.add(1).unwrap(), at as u64 + 1);
                }
                let after = crate::util::holdings().descriptors;
                after.values().sum::<usize>() - before.values().sum::<usize>()
            },
            (twice,),
        );
        // The hidden thread with its runtime, and one connection.
        let more = process.unwrap().result_timeout(SOON).unwrap();
        assert!(more < 12, "{more}");
        for (at, counter) in counters.iter().enumerate() {
            assert_eq!(counter.get(), at as u64 + 1);
            assert_eq!(counter.seen().attached.len(), 1);
        }
        drop(counters);
        none_is_left();
    });
}

#[test]
fn ten_thousand_round_trips_leave_no_descriptor() {
    alone("ways::ten_thousand_round_trips_leave_no_descriptor", || {
        let keeper = Keeper { kept: None }.spawn().unwrap();
        let ours = Counter::new();
        let theirs = keeper.make().unwrap();
        let both = vec![ours.clone(), theirs.clone(), ours.clone(), theirs.clone()];
        let trip = |count: usize| {
            for at in 0..count / both.len() {
                let back = keeper.echo(both.clone()).unwrap();
                if at % 8 == 0 {
                    back[at % both.len()].add(1).unwrap();
                }
            }
        };
        trip(100);
        let count = || crate::util::holdings().descriptors.values().sum::<usize>();
        let before = (count(), keeper.descriptors().unwrap());
        trip(10_000);
        until("no more than before", || {
            count() <= before.0 && keeper.descriptors().unwrap() <= before.1
        });
        assert!(ours.is_own());
        drop((ours, both));
        none_is_left();
    });
}

#[test]
fn an_owner_that_is_done_goes_on_hosting_while_its_children_use_it() {
    let owner = || {
        let counter = Counter::new();
        let user = |counter: Counter| {
            let parent = procession::parent_process().unwrap();
            // The owner's body is over by then, as its exit hook says.
            mailbox::<()>().recv_timeout(SOON).unwrap();
            assert!(parent.is_alive());
            for _ in 0..100 {
                counter.add(1).unwrap();
            }
            counter.get()
        };
        let process = Process::spawn(user, (counter.clone(),)).unwrap();
        let late = process.clone();
        procession::at_exit(0, move || late.send(&()).unwrap());
        let check = move || {
            assert_eq!(counter.get(), 100);
            assert_eq!(process.exitcode(), Some(0));
            procession::exit(33);
        };
        procession::at_exit(-1, check);
    };
    let process = Process::spawn(owner, ()).unwrap();
    assert!(process.join_timeout(SOON).unwrap());
    assert_eq!(process.exitcode(), Some(33));
}

#[test]
fn a_forked_closure_uses_what_it_captured() {
    in_a_node!(|| {
        let counter = Counter::new();
        let theirs = counter.clone();
        let unused = Counter::new();
        let process = Process::fork(move || {
            assert!(!theirs.is_own());
            assert_eq!(theirs.add(1).unwrap(), 1);
            // The copy's own objects have nothing to do with its parent's of equal number.
            let own = Counter::new();
            own.add(50).unwrap();
            let both = (theirs.clone(), own.clone());
            let grandchild =
                Process::fork(move || (both.0.add(1).unwrap(), both.1.add(1).unwrap()));
            assert_eq!(grandchild.unwrap().result_timeout(SOON).unwrap(), (2, 51));
            let spawned = Process::spawn(add_one, (theirs.clone(),)).unwrap();
            assert_eq!(spawned.result_timeout(SOON).unwrap(), 3);
            (theirs, own.is_own())
        });
        let (back, is_own) = process.unwrap().result_timeout(SOON).unwrap();
        assert!(back.is_own() && is_own);
        assert_eq!(counter.get(), 3);
        assert_eq!(counter.seen().attached.len(), 3);
        drop((counter, back));
        // The copies kept it while they lived, though they never used it.
        drop(unused);
        none_is_left();
    });
}

type Preloaded = (Counter, Queue<u32>, Value<u64>);

static PRELOADED: std::sync::Mutex<Option<Preloaded>> = std::sync::Mutex::new(None);

fn preload() {
    let counter = Counter::new();
    counter.add(40).unwrap();
    let queue = Queue::new().unwrap();
    queue.put(1).unwrap();
    let value = Value::new(7).unwrap();
    *PRELOADED.lock().unwrap() = Some((counter, queue, value));
}

/// Takes what was put in the preload, and has a child put something.
fn use_own(queue: &Queue<u32>) -> (u32, u32) {
    let inherited = queue.try_get().unwrap();
    let child = context(StartMethod::Spawn)
        .spawn(|queue: Queue<u32>| queue.put(2).unwrap(), (queue.clone(),))
        .unwrap();
    child.result_timeout(SOON).unwrap();
    (inherited, queue.try_get().unwrap())
}

/// Adds to what was set in the preload, and has a child add too.
fn count_on(value: &Value<u64>) -> (u64, u64) {
    let before = value.get_raw().fetch_add(1).unwrap();
    let child = context(StartMethod::Spawn)
        .spawn(|value: Value<u64>| value.update(|now| now + 1).map(drop).unwrap(), (value.clone(),))
        .unwrap();
    child.result_timeout(SOON).unwrap();
    (before, value.get().unwrap())
}

// fsrv-05
#[test]
fn what_a_preload_makes_is_each_workers_own() {
    in_a_node!(|| {
        procession::set_forkserver_preload(preload).unwrap();
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let body = || {
                    let preloaded = PRELOADED.lock().unwrap().clone();
                    let (counter, queue, value) = preloaded.expect("preloaded");
                    assert_eq!(use_own(&queue), (1, 2));
                    assert_eq!(count_on(&value), (7, 9));
                    let before = counter.add(1).unwrap();
                    (before, pass_on(counter.clone(), StartMethod::Fork), counter)
                };
                context(StartMethod::ForkServer).spawn(body, ()).unwrap()
            })
            .collect();
        for worker in workers {
            let result = worker.result_timeout(SOON).unwrap();
            assert_eq!((result.0, result.1), (41, 42));
        }
    });
}
