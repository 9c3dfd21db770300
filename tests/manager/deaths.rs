//! What clients leave behind when they end, and what they may not keep alive.

use crate::util::{SOON, until};
use procession::manager::{JoinableQueueProxy, ListProxy};
use procession::{Manager, Process};

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
