//! What clients leave behind when they end, and what they may not keep alive.

use crate::util::{SOON, until};
use procession::manager::{
    ConditionProxy, DictProxy, JoinableQueueProxy, ListProxy, LockProxy, SemaphoreProxy,
};
use procession::{Manager, Process};
use std::time::Duration;

#[test]
fn nested_objects_live_as_long_as_somebody_holds_them() {
    let manager = Manager::start().unwrap();
    let outer = manager.list((0..3).map(|n| manager.list([n]).unwrap())).unwrap();
    assert_eq!(manager.object_count().unwrap(), 4);
    outer.get(0).unwrap().set(-1, &55).unwrap();
    let firsts: Vec<_> = outer.to_vec().unwrap().iter().map(|one| one.get(0).unwrap()).collect();
    assert_eq!(firsts, [55, 1, 2]);
    let kept = outer.pop(1).unwrap();
    outer.delete(0).unwrap();
    until("a deleted one is gone", || manager.object_count().unwrap() == 3);
    drop(outer);
    until("the outer one frees the inner", || manager.object_count().unwrap() == 1);
    assert_eq!(kept.to_vec().unwrap(), [1]);
    drop(kept);
    until("nothing is left", || manager.object_count().unwrap() == 0);
}

#[test]
fn a_client_that_dies_keeps_nothing_alive() {
    let manager = Manager::start().unwrap();
    let list = manager.list([1u32]).unwrap();
    for _ in 0..3 {
        let child = |list: ListProxy<u32>| {
            list.append(&std::process::id()).unwrap();
            std::thread::sleep(SOON);
        };
        let before = list.len().unwrap();
        let child = Process::spawn(child, (list.clone(),)).unwrap();
        until("the child has it", || list.len().unwrap() > before);
        child.as_ref().kill().unwrap();
    }
    assert_eq!(list.len().unwrap(), 4);
    drop(list);
    until("nothing is left", || manager.object_count().unwrap() == 0);
}

#[test]
fn what_a_dead_client_had_of_a_joinable_queue_comes_back_first() {
    let manager = Manager::start().unwrap();
    let queue = manager.joinable_queue::<u32>(0).unwrap();
    let told = manager.queue::<u32>().unwrap();
    for n in 0..3 {
        queue.put(n).unwrap();
    }
    let child = |queue: JoinableQueueProxy<u32>, told: procession::manager::QueueProxy<u32>| {
        queue.get().unwrap();
        told.put(queue.get().unwrap()).unwrap();
        std::thread::sleep(SOON);
    };
    let child = Process::spawn(child, (queue.clone(), told.clone())).unwrap();
    assert_eq!(told.get_timeout(SOON).unwrap(), 1);
    child.as_ref().kill().unwrap();
    until("they are back", || queue.qsize().unwrap() == 3);
    assert_eq!([queue.get().unwrap(), queue.get().unwrap(), queue.get().unwrap()], [0, 1, 2]);
    for _ in 0..3 {
        queue.task_done().unwrap();
    }
    queue.join().unwrap();
}

/// What a child does until it is killed.
fn busy(
    lock: LockProxy,
    semaphore: SemaphoreProxy,
    condition: ConditionProxy,
    tokens: JoinableQueueProxy<u32>,
    dict: DictProxy<u32, ListProxy<u32>>,
    inner: ListProxy<u32>,
) {
    for n in 0.. {
        lock.acquire().unwrap();
        dict.insert(&(n % 7), &inner).unwrap();
        lock.release().unwrap();
        semaphore.acquire().unwrap();
        let token = tokens.get().unwrap();
        tokens.put(token).unwrap();
        tokens.task_done().unwrap();
        semaphore.release().unwrap();
        let _held = condition.lock().unwrap();
        condition.notify().unwrap();
        condition.wait_timeout(Duration::from_millis(1)).unwrap();
        dict.pop(&(n % 5)).unwrap();
    }
}

/// How many clients are killed: `PROCESSION_KILLS`, or fewer than CI has.
fn kills() -> u64 {
    std::env::var("PROCESSION_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

#[test]
fn clients_killed_at_random_leave_nothing_locked_and_nothing_alive() {
    let seed = std::env::var("PROCESSION_SEED").ok().and_then(|text| text.parse().ok());
    let mut random: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()) | 1);
    println!("PROCESSION_SEED={random}");
    let manager = Manager::start().unwrap();
    let (lock, semaphore) = (manager.lock().unwrap(), manager.semaphore(2).unwrap());
    let (condition, dict) = (manager.condition().unwrap(), manager.dict().unwrap());
    let tokens = manager.joinable_queue(0).unwrap();
    for n in 0..4 {
        tokens.put(n).unwrap();
    }
    let mut alive = Vec::new();
    for _ in 0..kills() {
        let inner = manager.list([1]).unwrap();
        let handles = (lock.clone(), semaphore.clone(), condition.clone());
        let args = (handles.0, handles.1, handles.2, tokens.clone(), dict.clone(), inner);
        alive.push(Process::spawn(busy, args).unwrap());
        if alive.len() == 3 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // When it dies is what the test is about.
            std::thread::sleep(Duration::from_micros((random >> 33) % 8000));
            let victim: Process = alive.remove((random >> 40) as usize % 3);
            victim.as_ref().kill().unwrap();
        }
    }
    for child in alive {
        child.as_ref().kill().unwrap();
        assert!(child.as_ref().join_timeout(SOON).unwrap());
    }
    assert!(lock.acquire_timeout(SOON).unwrap().is_some(), "the lock is to be had");
    lock.release().unwrap();
    assert!(condition.acquire_timeout(SOON).unwrap().is_some(), "the condition's lock is");
    condition.release().unwrap();
    for _ in 0..2 {
        assert!(semaphore.acquire_timeout(SOON).unwrap().is_some(), "a permit is to be had");
    }
    assert!(semaphore.try_acquire().unwrap().is_none(), "and there are two");
    let mut found = Vec::new();
    until("every token is there", || {
        found.extend(tokens.try_get());
        (0..4).all(|token| found.contains(&token))
    });
    dict.clear().unwrap();
    until("only the five are left", || manager.object_count().unwrap() == 5);
}
