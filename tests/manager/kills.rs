//! Clients killed at random moments: what they held, waited for, sent and kept alive.
//!
//! Clients of five kinds run in waves and are killed; after each round everything that a
//! client can leave wrong is looked at.

use crate::util::{SOON, until};
use procession::manager::{
    BarrierProxy, ConditionProxy, DictProxy, EventProxy, JoinableQueueProxy, ListProxy, LockProxy,
    QueueProxy, RLockProxy, SemaphoreProxy,
};
use procession::{Address, Manager, ManagerError, Process};
use serde::{Deserialize, Serialize};
use std::time::Duration;

const KEY: &[u8] = b"abracadabra";

/// So many clients run at a time, one of each kind.
const WAVE: u64 = 5;

/// After so many kills all is looked at.
const ROUND: u64 = 100;

/// So many permits and tokens there are.
const PERMITS: usize = 2;
const TOKENS: u32 = 4;

const BRIEF: Duration = Duration::from_millis(1);

/// What the clients use.
#[derive(Clone, Serialize, Deserialize)]
struct Shared {
    lock: LockProxy,
    rlock: RLockProxy,
    semaphore: SemaphoreProxy,
    condition: ConditionProxy,
    event: EventProxy,
    barrier: BarrierProxy,
    tokens: JoinableQueueProxy<u32>,
    bulk: QueueProxy<Vec<u8>>,
    dict: DictProxy<u32, ListProxy<u32>>,
}

/// Holds a lock, a recursive one twice, a permit; gives them back.
fn holds(shared: Shared) {
    loop {
        let held = shared.lock.lock().unwrap();
        let _first = shared.rlock.lock().unwrap();
        let _second = shared.rlock.lock().unwrap();
        shared.semaphore.acquire().unwrap();
        drop(held);
        shared.semaphore.release().unwrap();
    }
}

/// Waits at a condition, a barrier, an event; others are waked by it.
fn waits(shared: Shared) {
    loop {
        let held = shared.condition.lock().unwrap();
        shared.condition.notify().unwrap();
        shared.condition.wait_timeout(BRIEF).unwrap();
        drop(held);
        if shared.barrier.wait_timeout(BRIEF).is_err() {
            shared.barrier.reset().unwrap();
        }
        shared.event.clear().unwrap();
        shared.event.wait_timeout(BRIEF).unwrap();
        shared.event.set().unwrap();
    }
}

/// Has a token of a joinable queue, and large items of which some go out in parts.
fn passes(shared: Shared) {
    loop {
        let token = shared.tokens.get().unwrap();
        shared.tokens.put(token).unwrap();
        shared.tokens.task_done().unwrap();
        let _ = shared.bulk.try_put(vec![7; 300_000]);
        let _ = shared.bulk.get_timeout(BRIEF);
    }
}

/// Keeps a list of its own in the dict and takes others' out, under the lock.
fn nests(shared: Shared, own: ListProxy<u32>) {
    for n in 0.. {
        let _held = shared.lock.lock().unwrap();
        shared.dict.insert(&(n % 7), &own).unwrap();
        let other = shared.dict.pop(&(n % 5)).unwrap();
        if let Some(other) = other {
            other.append(&n).unwrap();
        }
    }
}

/// A program outside the tree that makes objects, and uses those that have a name.
fn connects(address: Address) {
    let remote = Manager::connect(address, KEY).unwrap();
    let lock = remote.get::<LockProxy>("lock").unwrap();
    let lists = remote.get::<DictProxy<u32, ListProxy<u32>>>("lists").unwrap();
    for n in 0.. {
        let own = remote.list([n]).unwrap();
        let _held = lock.lock().unwrap();
        lists.insert(&(n % 3), &own).unwrap();
        let _unnamed = remote.namespace().unwrap().set("n", &n);
    }
}

/// How many clients are killed: `PROCESSION_KILLS`.
fn kills() -> u64 {
    std::env::var("PROCESSION_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(1000)
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

#[test]
fn clients_killed_at_random_leave_nothing_locked_and_nothing_alive() {
    let seed = std::env::var("PROCESSION_SEED").ok().and_then(|text| text.parse().ok());
    let mut random = Random(seed.unwrap_or_else(|| u64::from(std::process::id()) | 1));
    println!("PROCESSION_SEED={}", random.0);
    let manager = Manager::builder()
        .address("127.0.0.1:0")
        .authkey(KEY)
        .offer::<LockProxy>("lock")
        .offer::<DictProxy<u32, ListProxy<u32>>>("lists")
        .start()
        .unwrap();
    let shared = Shared {
        lock: manager.lock().unwrap(),
        rlock: manager.rlock().unwrap(),
        semaphore: manager.semaphore(PERMITS as u64).unwrap(),
        condition: manager.condition().unwrap(),
        event: manager.event().unwrap(),
        barrier: manager.barrier(2, None).unwrap(),
        tokens: manager.joinable_queue(0).unwrap(),
        bulk: manager.bounded_queue(2).unwrap(),
        dict: manager.dict().unwrap(),
    };
    for token in 0..TOKENS {
        shared.tokens.put(token).unwrap();
    }
    let objects = manager.object_count().unwrap();
    let address = manager.address().unwrap().clone();
    let (mut killed, kills) = (0, kills());
    while killed < kills {
        let own = manager.list([1]).unwrap();
        let clients = [
            Process::spawn(holds, (shared.clone(),)),
            Process::spawn(waits, (shared.clone(),)),
            Process::spawn(passes, (shared.clone(),)),
            Process::spawn(nests, (shared.clone(), own)),
            Process::spawn(connects, (address.clone(),)),
        ];
        let mut clients = Vec::from(clients.map(Result::unwrap));
        while !clients.is_empty() {
            // When one dies is what the test is about.
            std::thread::sleep(Duration::from_micros(random.below(4000)));
            let at = usize::try_from(random.below(clients.len() as u64)).unwrap();
            let victim = clients.swap_remove(at);
            victim.as_ref().kill().unwrap();
            assert!(victim.as_ref().join_timeout(SOON).unwrap());
        }
        killed += WAVE;
        if killed % ROUND == 0 || killed >= kills {
            look(&manager, &shared, objects);
        }
    }
}

/// All clients are dead: nothing is held, nothing is lost, nothing lives on.
fn look(manager: &Manager, shared: &Shared, objects: usize) {
    shared.lock.acquire_timeout(SOON).unwrap().expect("the lock is to be had");
    shared.lock.release().unwrap();
    shared.rlock.acquire_timeout(SOON).unwrap().expect("the recursive lock is to be had");
    shared.rlock.release().unwrap();
    assert!(shared.rlock.release().is_err(), "and was held once");
    shared.condition.acquire_timeout(SOON).unwrap().expect("the condition's lock is to be had");
    shared.condition.release().unwrap();
    let named = manager.get::<LockProxy>("lock").unwrap();
    named.acquire_timeout(SOON).unwrap().expect("the remote clients' lock is to be had");
    named.release().unwrap();

    for _ in 0..PERMITS {
        shared.semaphore.acquire_timeout(SOON).unwrap().expect("a permit is to be had");
    }
    assert!(shared.semaphore.try_acquire().unwrap().is_none(), "there are no more permits");
    for _ in 0..PERMITS {
        shared.semaphore.release().unwrap();
    }

    shared.barrier.reset().unwrap();
    until("nobody is at the barrier", || shared.barrier.n_waiting().unwrap() == 0);
    shared.event.set().unwrap();
    assert!(shared.event.wait_timeout(SOON).unwrap());

    // A client that died between its put and its `task_done` has left its token twice.
    let mut found = Vec::new();
    until("every token is there", || {
        while let Ok(token) = shared.tokens.try_get() {
            found.push(token);
            shared.tokens.task_done().unwrap();
        }
        (0..TOKENS).all(|token| found.contains(&token))
    });
    assert!(shared.tokens.join_timeout(SOON).unwrap(), "no token is unfinished");
    for token in 0..TOKENS {
        shared.tokens.put(token).unwrap();
    }
    loop {
        match shared.bulk.try_get() {
            Ok(item) => assert!(item.len() == 300_000 && item.iter().all(|byte| *byte == 7)),
            Err(ManagerError::Fault(_)) => break,
            Err(error) => panic!("{error}"),
        }
    }

    shared.dict.clear().unwrap();
    manager.get::<DictProxy<u32, ListProxy<u32>>>("lists").unwrap().clear().unwrap();
    until("only what was there is left", || manager.object_count().unwrap() == objects);
}
