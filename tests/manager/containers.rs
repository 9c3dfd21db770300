//! Dicts, lists and queues at a manager, from this process and from others.

use crate::channel::in_time;
use crate::util::{METHODS, SOON};
use procession::manager::{DictProxy, DynDict, Fault, ListProxy, QueueProxy, Range};
use procession::{Dynamic, Manager, ManagerError, Process, context};
use std::time::{Duration, Instant};

fn slice(start: i64, stop: i64) -> Range {
    Range { start: Some(start), stop: Some(stop), step: None }
}

#[test]
fn a_list_has_pythons_indices_and_slices() {
    let manager = Manager::start().unwrap();
    let a = manager.list(0..10).unwrap();
    assert_eq!(a.to_vec().unwrap(), (0..10).collect::<Vec<_>>());
    let b = manager.list(0..0).unwrap();
    assert!(b.is_empty().unwrap());
    b.extend(0..5).unwrap();
    assert_eq!(b.get(2).unwrap(), 2);
    assert_eq!(b.slice(slice(2, 10)).unwrap(), [2, 3, 4]);
    b.repeat(2).unwrap();
    assert_eq!(b.to_vec().unwrap(), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
    let both = [b.to_vec().unwrap(), vec![5, 6]].concat();
    assert_eq!(both.len(), 12);
    assert_eq!(a.get(-1).unwrap(), 9);
    assert!(matches!(a.get(10), Err(ManagerError::Fault(Fault::Index))));

    let lists = manager.list([a.clone(), b.clone()]).unwrap();
    let copies: Vec<_> = lists.to_vec().unwrap().iter().map(|one| one.len().unwrap()).collect();
    assert_eq!(copies, [10, 10]);
    let words = manager.list(["a".to_string()]).unwrap();
    let nested = manager.list([words.clone()]).unwrap();
    words.append(&"hello".into()).unwrap();
    assert_eq!(nested.get(0).unwrap().to_vec().unwrap(), ["a", "hello"]);
}

#[test]
fn nothing_is_repeated_at_once_however_often() {
    let manager = Manager::start().unwrap();
    in_time(move || {
        let list = manager.list::<u8>([]).unwrap();
        list.repeat(i64::MAX).unwrap();
        assert!(list.is_empty().unwrap());
    });
}

#[test]
fn a_list_has_the_methods_of_a_mutable_sequence() {
    let manager = Manager::start().unwrap();
    let list = manager.list([3, 1, 2, 1]).unwrap();
    assert!(list.contains(&2).unwrap() && !list.contains(&7).unwrap());
    assert_eq!(list.count(&1).unwrap(), 2);
    assert_eq!(list.index(&1).unwrap(), 1);
    assert_eq!(list.index_in(&1, slice(2, 4)).unwrap(), 3);
    assert!(matches!(list.index(&9), Err(ManagerError::Fault(Fault::Value))));
    list.insert(0, &9).unwrap();
    list.remove(&1).unwrap();
    assert_eq!(list.to_vec().unwrap(), [9, 3, 2, 1]);
    assert_eq!(list.pop(-1).unwrap(), 1);
    list.delete(0).unwrap();
    list.reverse().unwrap();
    assert_eq!(list.to_vec().unwrap(), [2, 3]);
    list.set(0, &5).unwrap();
    list.set_slice(slice(1, 2), [7, 8, 9]).unwrap();
    assert_eq!(list.to_vec().unwrap(), [5, 7, 8, 9]);
    let every_other = Range { start: None, stop: None, step: Some(2) };
    list.set_slice(every_other, [0, 0]).unwrap();
    assert_eq!(list.to_vec().unwrap(), [0, 7, 0, 9]);
    assert!(list.set_slice(every_other, [1]).is_err());
    let backwards = Range { step: Some(-1), ..Range::default() };
    assert_eq!(list.slice(backwards).unwrap(), [9, 0, 7, 0]);
    list.delete_slice(every_other).unwrap();
    assert_eq!(list.to_vec().unwrap(), [7, 9]);
    list.update_all(|items: &mut Vec<i32>, by: i32| items.sort_by_key(|n| n % by), 8).unwrap();
    assert_eq!(list.to_vec().unwrap(), [9, 7]);
    list.sort().unwrap();
    assert_eq!(list.to_vec().unwrap(), [7, 9]);
    list.clear().unwrap();
    assert!(list.is_empty().unwrap());
}

#[test]
fn a_dict_keeps_the_order_of_its_keys() {
    let manager = Manager::start().unwrap();
    let dict = manager.dict::<u32, String>().unwrap();
    for key in [65, 70, 66] {
        dict.insert(&key, &char::from_u32(key).unwrap().to_string()).unwrap();
    }
    assert_eq!(dict.keys().unwrap(), [65, 70, 66]);
    assert_eq!(dict.values().unwrap(), ["A", "F", "B"]);
    assert_eq!(dict.get(&70).unwrap().as_deref(), Some("F"));
    assert_eq!(dict.get(&71).unwrap(), None);
    assert_eq!(dict.replace(&70, &"f".into()).unwrap().as_deref(), Some("F"));
    assert_eq!(dict.set_default(&70, &"no".into()).unwrap(), "f");
    assert_eq!(dict.set_default(&1, &"one".into()).unwrap(), "one");
    assert_eq!(dict.pop_item().unwrap(), Some((1, "one".into())));
    assert_eq!(dict.pop(&65).unwrap().as_deref(), Some("A"));
    assert!(dict.contains_key(&66).unwrap() && !dict.contains_key(&65).unwrap());
    dict.extend([(70, "x".to_string()), (2, "y".to_string())]).unwrap();
    assert_eq!(dict.items().unwrap()[0], (70, "x".into()));
    assert_eq!(dict.len().unwrap(), 3);
    dict.clear().unwrap();
    assert_eq!(dict.pop_item().unwrap(), None);
    let copy = manager.dict_of([("a".to_string(), 1)]).unwrap();
    assert_eq!(copy.items().unwrap(), [("a".to_string(), 1)]);
}

#[test]
fn a_dict_of_plain_data_has_pythons_keys_here_and_in_a_child() {
    let manager = Manager::start().unwrap();
    let dict = manager.dyn_dict().unwrap();
    dict.insert(1, "one").unwrap();
    dict.insert(true, "still one").unwrap();
    dict.insert("2", 2).unwrap();
    dict.insert(0.25, ()).unwrap();
    assert_eq!(dict.get(1.0).unwrap(), Some("still one".into()));
    assert_eq!(dict.get(2).unwrap(), None, "a number is no text");
    assert!(dict.contains_key(true).unwrap() && !dict.contains_key(()).unwrap());
    let child = |dict: DynDict| {
        dict.insert((), vec![Dynamic::from(1), "x".into()]).unwrap();
        dict.pop(0.25).unwrap()
    };
    let child = Process::spawn(child, (dict.clone(),)).unwrap();
    assert_eq!(child.result_timeout(SOON).unwrap(), Some(().into()));
    assert_eq!(dict.keys().unwrap(), [1.into(), "2".into(), ().into()]);
    assert_eq!(dict.get(()).unwrap().unwrap().to_string(), "[1, 'x']");
    assert_eq!(dict.pop(0.25).unwrap(), None);
    assert_eq!(dict.len().unwrap(), 3);
}

#[test]
fn an_iteration_over_a_dict_ends_when_its_keys_change() {
    let manager = Manager::start().unwrap();
    let dict = manager.dict_of((0..600u32).map(|n| (n, n))).unwrap();
    let keys: Vec<_> = dict.iter().map(Result::unwrap).collect();
    assert_eq!(keys, (0..600).collect::<Vec<_>>());
    let back: Vec<_> = dict.iter_reversed().map(Result::unwrap).collect();
    assert_eq!(back, (0..600).rev().collect::<Vec<_>>());
    let mut iter = dict.iter();
    assert_eq!(iter.next().unwrap().unwrap(), 0);
    dict.insert(&0, &9).unwrap();
    assert_eq!(iter.next().unwrap().unwrap(), 1);
    dict.clear().unwrap();
    let changed = iter.find_map(Result::err).unwrap();
    assert!(matches!(changed, ManagerError::Fault(Fault::Changed)), "{changed}");
    assert!(iter.next().is_none() && iter.next().is_none());
}

#[test]
fn processes_use_what_a_manager_keeps() {
    for method in METHODS {
        let manager = Manager::start().unwrap();
        let dict = manager.dict::<String, u64>().unwrap();
        let list = manager.list(0..10u64).unwrap();
        let queue = manager.bounded_queue::<ListProxy<u64>>(4).unwrap();
        let child = |dict: DictProxy<String, u64>,
                     list: ListProxy<u64>,
                     queue: QueueProxy<ListProxy<u64>>| {
            dict.insert(&"child".into(), &1).unwrap();
            list.reverse().unwrap();
            // A child of the child has them too.
            let grandchild = |dict: DictProxy<String, u64>| {
                dict.update(&"child".into(), |n: &mut u64, by: u64| *n += by, 41).unwrap();
            };
            Process::spawn(grandchild, (dict,)).unwrap().result_timeout(SOON).unwrap();
            queue.put(list).unwrap();
        };
        let args = (dict.clone(), list.clone(), queue.clone());
        context(method).spawn(child, args).unwrap().result_timeout(SOON).unwrap();
        assert_eq!(dict.get(&"child".into()).unwrap(), Some(42));
        let same = queue.get_timeout(SOON).unwrap();
        assert_eq!(same, list);
        assert_eq!(same.slice(slice(0, 2)).unwrap(), [9, 8]);
        manager.shutdown().unwrap();
    }
}

#[test]
fn updates_in_one_step_lose_nothing() {
    let manager = Manager::start().unwrap();
    let dict = manager.dict_of([(0u8, 0u64)]).unwrap();
    let children: Vec<_> = (0..3)
        .map(|_| {
            let add = |dict: DictProxy<u8, u64>| {
                for _ in 0..100 {
                    dict.update(&0, |n: &mut u64, by: u64| *n += by, 1).unwrap();
                }
            };
            Process::spawn(add, (dict.clone(),)).unwrap()
        })
        .collect();
    for child in children {
        child.result_timeout(SOON).unwrap();
    }
    assert_eq!(dict.get(&0).unwrap(), Some(300));
    let missing = dict.update(&1, |n: &mut u64, (): ()| *n, ());
    assert!(matches!(missing, Err(ManagerError::Fault(Fault::Key))), "{missing:?}");
    let count = |n: &mut Option<u64>, by: u64| *n = Some(n.unwrap_or(0) + by);
    dict.update_entry(&1, count, 5).unwrap();
    assert_eq!(dict.get(&1).unwrap(), Some(5));
    dict.update_entry(&1, |n: &mut Option<u64>, (): ()| *n = None, ()).unwrap();
    assert!(!dict.contains_key(&1).unwrap());
    let panic = dict.update(&0, |n: &mut u64, (): ()| assert_eq!(*n, 1, "on purpose"), ());
    assert!(panic.unwrap_err().to_string().contains("on purpose"));
    assert_eq!(dict.get(&0).unwrap(), Some(300));
}

#[test]
fn a_queue_waits_is_bounded_and_ends() {
    let manager = Manager::start().unwrap();
    let queue = manager.bounded_queue::<u32>(2).unwrap();
    assert!(matches!(queue.try_get(), Err(ManagerError::Fault(Fault::Empty))));
    let begun = Instant::now();
    let empty = queue.get_timeout(Duration::from_millis(200));
    assert!(matches!(empty, Err(ManagerError::Fault(Fault::Empty))));
    assert!(begun.elapsed() >= Duration::from_millis(190));
    queue.put(5).unwrap();
    queue.put(6).unwrap();
    let full = queue.put_timeout(7, Duration::from_millis(50)).unwrap_err();
    assert_eq!(full.item, 7);
    assert!(matches!(full.why, ManagerError::Fault(Fault::Full)));
    let child = |queue: QueueProxy<u32>| {
        assert_eq!(queue.qsize().unwrap(), 2);
        assert!(queue.is_full().unwrap());
        (queue.get().unwrap(), queue.get().unwrap(), queue.is_empty().unwrap())
    };
    let child = Process::spawn(child, (queue.clone(),)).unwrap();
    assert_eq!(child.result_timeout(SOON).unwrap(), (5, 6, true));
    assert!(queue.is_empty().unwrap() && !queue.is_full().unwrap());

    // One who waits is served by another's put, and the others are not kept from it.
    let waiter = Process::spawn(|queue: QueueProxy<u32>| queue.get().unwrap(), (queue.clone(),));
    queue.put(8).unwrap();
    assert_eq!(waiter.unwrap().result_timeout(SOON).unwrap(), 8);
    queue.put(9).unwrap();
    queue.shutdown(false).unwrap();
    assert!(matches!(queue.put(1).unwrap_err().why, ManagerError::Fault(Fault::Shutdown)));
    assert_eq!(queue.get().unwrap(), 9);
    assert!(matches!(queue.get(), Err(ManagerError::Fault(Fault::Shutdown))));
}

#[test]
fn a_joinable_queue_waits_for_its_items() {
    let manager = Manager::start().unwrap();
    let queue = manager.joinable_queue::<Option<u32>>(0).unwrap();
    let work = |queue: procession::manager::JoinableQueueProxy<Option<u32>>| {
        while let Some(_item) = queue.get().unwrap() {
            queue.task_done().unwrap();
        }
        queue.task_done().unwrap();
    };
    let workers: Vec<_> = (0..2).map(|_| Process::spawn(work, (queue.clone(),)).unwrap()).collect();
    for n in 0..10 {
        queue.put(Some(n)).unwrap();
    }
    queue.join().unwrap();
    queue.put(None).unwrap();
    queue.put(None).unwrap();
    assert!(queue.join_timeout(SOON).unwrap());
    for worker in workers {
        worker.result_timeout(SOON).unwrap();
    }
    assert!(matches!(queue.task_done(), Err(ManagerError::Fault(Fault::TooManyDone))));
}
