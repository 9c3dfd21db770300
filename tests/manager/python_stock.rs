//! The stock objects of a Python program's `SyncManager`, by the `python3` that is installed.

use crate::util::python::Python;
use crate::util::{Folder, SOON, alone, signal, stop, until};
use nix::sys::signal::Signal;
use procession::manager::{
    Fault, PythonDict, PythonError, PythonIterator, PythonList, PythonLock, PythonManager,
    PythonQueue, Range,
};
use procession::{Dynamic, ListenerError, PipeError, Process, PythonPeers};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const KEY: &[u8] = b"abracadabra";
const NOW: Duration = Duration::from_millis(10);

fn stock() -> (PythonManager, Python) {
    let mut python = Python::run("manager/worker.py", &["stock", "127.0.0.1:0"]);
    let address = python.line();
    let manager = PythonManager::connect_with(address.as_str(), KEY, PythonPeers::Md5);
    (manager.unwrap(), python)
}

/// One at a Unix socket, which has room for few words.
fn narrow(folder: &Folder) -> (PythonManager, Python) {
    let mut python = Python::run("manager/worker.py", &["stock", &folder.file("socket")]);
    let address = python.line();
    let manager = PythonManager::connect_with(address.as_str(), KEY, PythonPeers::Md5);
    (manager.unwrap(), python)
}

fn is<T>(answer: Result<T, PythonError>, fault: &Fault) -> bool {
    matches!(answer, Err(PythonError::Fault(said)) if said == *fault)
}

fn raises<T>(answer: Result<T, PythonError>, class: &str) -> bool {
    matches!(answer, Err(PythonError::Raised(raised)) if raised.class == class)
}

fn range(from: i64, to: impl Into<Option<i64>>, by: i64) -> Range {
    Range { start: Some(from), stop: to.into(), step: Some(by) }
}

#[test]
fn what_a_python_manager_keeps_has_types() {
    let (manager, python) = stock();
    let dict: PythonDict<String, u64> = manager.dict_of([("a".into(), 1)]).unwrap();
    let key = String::from;
    dict.insert(&key("b"), &2).unwrap();
    assert_eq!(dict.get(&key("a")).unwrap(), Some(1));
    assert_eq!(dict.get(&key("x")).unwrap(), None);
    assert_eq!(dict.set_default(&key("b"), &5).unwrap(), 2);
    dict.extend([(key("c"), 3), (key("d"), 4)]).unwrap();
    assert_eq!(dict.keys().unwrap(), ["a", "b", "c", "d"]);
    assert_eq!(dict.iter().map(Result::unwrap).collect::<String>(), "abcd");
    assert_eq!(dict.values().unwrap(), [1, 2, 3, 4]);
    assert_eq!(dict.items().unwrap()[1], (key("b"), 2));
    assert_eq!(dict.pop_item().unwrap(), Some((key("d"), 4)));
    assert_eq!((dict.pop(&key("a")).unwrap(), dict.pop(&key("a")).unwrap()), (Some(1), None));
    assert!(dict.contains_key(&key("b")).unwrap() && dict.len().unwrap() == 2);
    dict.clear().unwrap();
    assert!(dict.is_empty().unwrap() && dict.pop_item().unwrap().is_none());
    // A value of another type is an error of that call, and is there still.
    dict.proxy().call::<()>("__setitem__", ("b", "two")).unwrap();
    assert!(matches!(dict.get(&key("b")), Err(PythonError::Value(_))));
    assert_eq!(dict.proxy().call::<String>("get", ("b",)).unwrap(), "two");

    let list = manager.list(0..5).unwrap();
    list.append(&7).unwrap();
    list.set_slice(range(1, 3, 1), [9]).unwrap();
    assert_eq!(list.to_vec().unwrap(), [0, 9, 3, 4, 7]);
    assert_eq!(list.slice(range(-1, None, -2)).unwrap(), [7, 3, 0]);
    list.sort().unwrap();
    list.reverse().unwrap();
    list.insert(0, &5).unwrap();
    list.delete(1).unwrap();
    list.delete_slice(range(3, None, 1)).unwrap();
    list.extend([3]).unwrap();
    list.set(-2, &8).unwrap();
    assert_eq!(list.to_vec().unwrap(), [5, 7, 8, 3]);
    list.repeat(2).unwrap();
    assert_eq!((list.count(&7).unwrap(), list.index(&7).unwrap(), list.len().unwrap()), (2, 1, 8));
    list.remove(&7).unwrap();
    assert_eq!((list.get(1).unwrap(), list.pop(-1).unwrap()), (8, 3));
    assert!(list.contains(&7).unwrap() && is(list.get(99), &Fault::Index));
    list.clear().unwrap();
    assert!(list.is_empty().unwrap() && is(list.index(&7), &Fault::Value));

    let set = manager.set([1, 2, 3]).unwrap();
    set.add(&4).unwrap();
    set.remove(&9).unwrap();
    set.subtract([1]).unwrap();
    set.extend([5]).unwrap();
    set.toggle([5, 6]).unwrap();
    set.intersect([2, 3, 4]).unwrap();
    let sorted = |items: Result<Vec<i32>, PythonError>| {
        let mut items = items.unwrap();
        items.sort_unstable();
        items
    };
    assert_eq!(sorted(set.to_vec()), [2, 3, 4]);
    assert_eq!(sorted(set.union([9])), [2, 3, 4, 9]);
    assert_eq!(sorted(set.difference([2])), [3, 4]);
    assert_eq!(sorted(set.intersection([2, 9])), [2]);
    assert_eq!(sorted(set.symmetric_difference([2, 9])), [3, 4, 9]);
    assert!(set.is_subset([2, 3, 4, 5]).unwrap() && !set.is_superset([5]).unwrap());
    assert!(set.is_disjoint([7]).unwrap() && set.contains(&2).unwrap());
    assert!((2..=4).contains(&set.pop().unwrap().unwrap()) && set.len().unwrap() == 2);
    set.clear().unwrap();
    assert!(set.is_empty().unwrap() && set.pop().unwrap().is_none());

    let ns = manager.namespace().unwrap();
    ns.set("x", &10).unwrap();
    ns.set("map", &BTreeMap::from([("k", 1.5)])).unwrap();
    assert_eq!(ns.get::<u8>("x").unwrap(), 10);
    assert_eq!(ns.get::<BTreeMap<String, f64>>("map").unwrap().get("k"), Some(&1.5));
    ns.delete("x").unwrap();
    assert!(!ns.has("x").unwrap() && ns.has("map").unwrap());
    assert!(is(ns.get::<u8>("x"), &Fault::Key) && is(ns.delete("x"), &Fault::Key));

    let value = manager.value("one".to_owned()).unwrap();
    value.set(&"two".into()).unwrap();
    assert_eq!(value.get().unwrap(), "two");
    let array = manager.array('q', [1, -2, i64::MAX]).unwrap();
    array.set(0, &7).unwrap();
    assert_eq!((array.get(0).unwrap(), array.get(-2).unwrap(), array.len().unwrap()), (7, -2, 3));
    assert_eq!(array.to_vec().unwrap(), [7, -2, i64::MAX]);
    assert_eq!(array.slice(range(0, 2, 1)).unwrap(), [7, -2]);
    let bytes = manager.array('b', [1]).unwrap();
    assert!(!bytes.is_empty().unwrap() && raises(bytes.set(0, &300), "builtins.OverflowError"));
    let halves = manager.array('d', [0.5, 1.5]).unwrap();
    assert_eq!(halves.to_vec().unwrap(), [0.5, 1.5]);

    // What was let go is gone.
    drop((dict, list, set, ns, value, array, bytes, halves));
    until("they are gone", || manager.object_count().unwrap() == 0);
    python.kill();
}

#[test]
fn what_a_program_registered_has_types() {
    let (manager, mut python) = stock();
    let squares: PythonIterator<u32> = manager.get("squares", (4,)).unwrap().into();
    assert_eq!(squares.collect::<Result<Vec<_>, _>>().unwrap(), [0, 1, 4, 9]);
    let maths = manager.get("Maths", ()).unwrap();
    let named = BTreeMap::from([("b", 2), ("c", 30)]);
    assert_eq!(maths.call_with::<i32>("minus", (100,), named).unwrap(), 68);
    assert!(matches!(maths.call_with::<i32>("minus", (1,), 7), Err(PythonError::Value(_))));
    let tasks: PythonQueue<(String, u8)> = manager.get("get_tasks", ()).unwrap().into();
    tasks.put(("first".into(), 1)).unwrap();
    let same: PythonQueue<(String, u8)> = manager.get("get_tasks", ()).unwrap().into();
    assert_eq!(same, tasks);
    assert_eq!(same.get_timeout(SOON).unwrap(), ("first".into(), 1));

    // Objects in objects: they live with the outer one, and are changed where they are.
    let shelf: PythonDict<String, PythonList<u8>> = manager.dict().unwrap();
    shelf.insert(&"a".into(), &manager.list([1]).unwrap()).unwrap();
    shelf.get(&"a".into()).unwrap().unwrap().append(&2).unwrap();
    let inner = shelf.values().unwrap();
    assert_eq!(inner[0].to_vec().unwrap(), [1, 2]);
    let locks = manager.list([manager.lock().unwrap()]).unwrap();
    assert!(locks.get(0).unwrap().try_acquire().unwrap());
    assert!(!locks.get(0).unwrap().try_acquire().unwrap());
    // A proxy is nothing outside of its manager's calls.
    let sent = Dynamic::of(&inner[0]).unwrap();
    assert!(sent.to::<PythonList<u8>>().unwrap_err().to_string().contains("connect to it"));
    let (elsewhere, other) = stock();
    let stray: PythonList<Dynamic> = elsewhere.list([]).unwrap();
    stray.proxy().call::<()>("append", (&inner[0],)).unwrap_err();
    other.kill();
    // It ends by being told.
    manager.shutdown().unwrap();
    assert_eq!(python.line(), "");
    assert!(inner[0].len().is_err());
    python.end();
}

#[test]
fn python_queues_locks_and_their_kin_wait() {
    let (manager, python) = stock();
    let queue = manager.bounded_queue::<String>(1).unwrap();
    queue.put("a".into()).unwrap();
    let full = queue.put_timeout("b".into(), NOW).unwrap_err();
    assert!(full.item == "b" && matches!(full.why, PythonError::Fault(Fault::Full)));
    assert_eq!(queue.try_put("c".into()).unwrap_err().item, "c");
    assert!(queue.is_full().unwrap() && queue.qsize().unwrap() == 1);
    assert_eq!(queue.get().unwrap(), "a");
    assert!(is(queue.get_timeout(NOW), &Fault::Empty) && is(queue.try_get(), &Fault::Empty));
    assert!(queue.is_empty().unwrap());
    let jobs = manager.joinable_queue::<u8>(0).unwrap();
    jobs.put(1).unwrap();
    let worker = jobs.clone();
    let worker = thread::spawn(move || {
        worker.get().unwrap();
        worker.task_done().unwrap();
    });
    jobs.join().unwrap();
    worker.join().unwrap();
    assert!(is(jobs.task_done(), &Fault::TooManyDone));

    let lock = manager.lock().unwrap();
    let held = lock.lock().unwrap();
    assert!(!lock.try_acquire().unwrap() && !lock.acquire_timeout(NOW).unwrap());
    drop(held);
    assert!(lock.acquire_timeout(SOON).unwrap());
    lock.release().unwrap();
    assert!(is(lock.release(), &Fault::NotHeld));
    let semaphore = manager.bounded_semaphore(2).unwrap();
    let both = (semaphore.lock().unwrap(), semaphore.lock().unwrap());
    assert!(!semaphore.try_acquire().unwrap());
    drop(both);
    assert!(is(semaphore.release(), &Fault::TooManyReleases));
    manager.semaphore(0).unwrap().release().unwrap();

    let event = manager.event().unwrap();
    assert!(!event.wait_timeout(NOW).unwrap() && !event.is_set().unwrap());
    let waiter = thread::spawn({
        let event = event.clone();
        move || event.wait().unwrap()
    });
    event.set().unwrap();
    assert!(waiter.join().unwrap());
    event.clear().unwrap();
    assert!(!event.is_set().unwrap());

    let condition = manager.condition().unwrap();
    assert!(is(condition.notify(), &Fault::NotOwner));
    let value = manager.value(0).unwrap();
    let waiter = thread::spawn({
        let (condition, value) = (condition.clone(), value.clone());
        move || {
            let _held = condition.lock().unwrap();
            condition.wait_for(|| value.get().unwrap() == 1, Some(SOON)).unwrap()
        }
    });
    let held = condition.lock().unwrap();
    assert!(!condition.wait_timeout(NOW).unwrap());
    value.set(&1).unwrap();
    condition.notify_all().unwrap();
    drop(held);
    assert!(waiter.join().unwrap());

    let barrier = manager.barrier(2, None).unwrap();
    let other = thread::spawn({
        let barrier = barrier.clone();
        move || barrier.wait().unwrap()
    });
    assert_eq!(barrier.wait().unwrap() + other.join().unwrap(), 1);
    assert_eq!((barrier.parties().unwrap(), barrier.n_waiting().unwrap()), (2, 0));
    assert!(is(barrier.wait_timeout(NOW), &Fault::Broken) && barrier.broken().unwrap());
    barrier.reset().unwrap();
    barrier.abort().unwrap();
    assert!(barrier.broken().unwrap());
    python.kill();
    assert!(matches!(lock.acquire(), Err(PythonError::Pipe(_) | PythonError::Listener(_))));
}

/// A recursive lock knows its thread by the connection, which lasts as long as the thread.
#[test]
fn a_recursive_lock_is_its_threads_own_however_many_there_are() {
    let (manager, python) = stock();
    let lock = manager.rlock().unwrap();
    let (outer, inner) = (lock.lock().unwrap(), lock.lock().unwrap());
    drop(inner);
    let in_another_thread = |what: fn(&PythonLock) -> bool| {
        let lock = lock.clone();
        thread::spawn(move || what(&lock)).join().unwrap()
    };
    assert!(!in_another_thread(|lock| lock.try_acquire().unwrap()));
    // More threads than anybody would keep connections for, none of which ends.
    let (done, done_at) = mpsc::channel();
    let (end, goes_on) = mpsc::channel::<()>();
    let goes_on = Arc::new(Mutex::new(goes_on));
    let threads: Vec<_> = (0..70)
        .map(|_| {
            let (lock, done, goes_on) = (lock.clone(), done.clone(), goes_on.clone());
            let thread = thread::spawn(move || {
                assert!(!lock.try_acquire().unwrap());
                done.send(()).unwrap();
                // Until the sender is gone.
                let _ = goes_on.lock().unwrap().recv();
            });
            // One after the other: Python's listener has room for few who come at once.
            done_at.recv_timeout(SOON).unwrap();
            thread
        })
        .collect();
    drop(end);
    for thread in threads {
        thread.join().unwrap();
    }
    drop(outer);
    // The release needs no answer; this comes behind it.
    lock.acquire().unwrap();
    lock.release().unwrap();
    assert!(in_another_thread(|lock| lock.acquire_timeout(SOON).unwrap()));
    python.kill();
}

#[test]
fn a_thousand_proxies_that_are_dropped_are_gone_soon() {
    let name = "python_stock::a_thousand_proxies_that_are_dropped_are_gone_soon";
    alone(name, || {
        let (manager, python) = stock();
        let before = manager.object_count().unwrap();
        let lists: Vec<PythonList<u8>> = (0..1000).map(|_| manager.list([1]).unwrap()).collect();
        assert_eq!(manager.object_count().unwrap(), before + 1000);
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let at_first = threads();
        drop(lists);
        // One says so, however many there are.
        assert!(threads() <= at_first + 1, "{} of {at_first}", threads());
        until("they are gone", || manager.object_count().unwrap() == before);
        drop(python);
    });
}

#[test]
fn what_is_asked_of_a_stopped_python_manager_ends_in_its_time() {
    const SHORT: Duration = Duration::from_millis(300);
    // A second of grace, and what a machine with much to do may take.
    const MOST: Duration = Duration::from_secs(4);
    let (manager, python) = stock();
    let queue: PythonQueue<String> = manager.queue().unwrap();
    let (event, lock) = (manager.event().unwrap(), manager.lock().unwrap());
    queue.put("one".into()).unwrap();
    stop(python.pid());
    let late = |what: &mut dyn FnMut() -> Result<(), PythonError>| {
        let begun = std::time::Instant::now();
        let error = what().unwrap_err();
        let is_time = |error: &PythonError| {
            matches!(
                error,
                PythonError::Pipe(PipeError::Timeout)
                    | PythonError::Listener(ListenerError::Timeout)
            )
        };
        assert!(is_time(&error), "{error}");
        assert!(begun.elapsed() < MOST, "{:?}", begun.elapsed());
    };
    // First over the connection that is there, and then over none.
    for _ in 0..2 {
        late(&mut || queue.get_timeout(SHORT).map(drop));
    }
    late(&mut || Ok(queue.put_timeout("2".repeat(8 << 20), SHORT)?));
    late(&mut || queue.try_get().map(drop));
    late(&mut || event.wait_timeout(SHORT).map(drop));
    late(&mut || lock.acquire_timeout(SHORT).map(drop));
    signal(python.pid(), Signal::SIGCONT);
    // What was taken for those who had gone is lost, as in Python.
    queue.put("three".into()).unwrap();
    assert!(queue.get_timeout(SOON).is_ok());
}

#[test]
fn any_call_may_have_a_time_limit() {
    const SHORT: Duration = Duration::from_millis(300);
    let (manager, python) = stock();
    let queue = manager.queue::<u8>().unwrap();
    assert!(queue.is_empty().unwrap());
    let timed_out = |answer: Result<u8, PythonError>| {
        assert!(matches!(answer, Err(PythonError::Pipe(PipeError::Timeout))), "{answer:?}");
    };
    timed_out(queue.proxy().call_timeout("get", (), SHORT));
    // The next calls have another connection, one for all of them.
    let lock = manager.lock().unwrap();
    let recursive = manager.rlock().unwrap();
    recursive.acquire().unwrap();
    recursive.release().unwrap();
    drop(lock.lock().unwrap());
    let other = thread::spawn(move || lock.acquire_timeout(SOON).unwrap());
    assert!(other.join().unwrap(), "it was given back");
    let begun = std::time::Instant::now();
    queue.put(1).unwrap();
    stop(python.pid());
    timed_out(queue.proxy().call_timeout("qsize", (), SHORT));
    assert!(begun.elapsed() < SOON);
    signal(python.pid(), Signal::SIGCONT);
    python.kill();
}

#[test]
fn guards_that_are_many_give_all_back_though_the_manager_reads_none() {
    const MANY: u32 = 1000;
    let folder = Folder::new("many-guards");
    let (manager, python) = narrow(&folder);
    let semaphore = manager.semaphore(MANY.into()).unwrap();
    let lock = manager.rlock().unwrap();
    let (first, second) = (lock.lock().unwrap(), lock.lock().unwrap());
    let guards: Vec<_> = (0..MANY).map(|_| semaphore.lock().unwrap()).collect();
    assert!(!semaphore.try_acquire().unwrap());
    stop(python.pid());
    let begun = Instant::now();
    drop((guards, first));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    signal(python.pid(), Signal::SIGCONT);
    for n in 0..MANY {
        assert!(semaphore.acquire_timeout(SOON / 3).unwrap(), "{n} of {MANY}");
    }
    drop(second);
    assert!(thread::spawn(move || lock.acquire_timeout(SOON / 3).unwrap()).join().unwrap());
}

#[test]
fn a_call_behind_many_guards_ends_in_its_time() {
    const MANY: u32 = 1000;
    let folder = Folder::new("late-guards");
    let (manager, python) = narrow(&folder);
    let semaphore = manager.semaphore(MANY.into()).unwrap();
    let guards: Vec<_> = (0..MANY).map(|_| semaphore.lock().unwrap()).collect();
    stop(python.pid());
    drop(guards);
    let begun = Instant::now();
    let late = semaphore.acquire_timeout(NOW).unwrap_err();
    assert!(matches!(late, PythonError::Pipe(PipeError::Timeout)), "{late}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    signal(python.pid(), Signal::SIGCONT);
    for n in 0..MANY {
        assert!(semaphore.acquire_timeout(SOON / 3).unwrap(), "{n} of {MANY}");
    }
}

#[test]
fn a_guard_is_given_back_before_its_lock_is_let_go() {
    const MANY: u32 = 1000;
    let folder = Folder::new("guard-first");
    let (manager, python) = narrow(&folder);
    let semaphore = manager.semaphore(MANY.into()).unwrap();
    let guards: Vec<_> = (0..MANY).map(|_| semaphore.lock().unwrap()).collect();
    let before = manager.object_count().unwrap();
    let lock = PythonLock::from(manager.get("first", ()).unwrap());
    let guard = lock.lock().unwrap();
    stop(python.pid());
    // The last reference goes while what gives the lock back waits behind many.
    drop((guards, guard, lock));
    signal(python.pid(), Signal::SIGCONT);
    until("it is gone", || manager.object_count().unwrap() == before);
    // Behind all that this thread has said.
    assert!(semaphore.try_acquire().unwrap());
    all_are_to_be_had(&manager);
}

/// Takes three locks, and gives them back by its end.
fn takes_three(address: String) {
    let manager = PythonManager::connect_with(address.as_str(), KEY, PythonPeers::Md5).unwrap();
    let lock = |name| PythonLock::from(manager.get(name, ()).unwrap());
    let locks = ["first", "second", "third"].map(lock);
    let _guards = locks.each_ref().map(|lock| lock.lock().unwrap());
}

fn all_are_to_be_had(manager: &PythonManager) {
    for name in ["first", "second", "third"] {
        let lock = PythonLock::from(manager.get(name, ()).unwrap());
        assert!(lock.acquire_timeout(SOON / 3).unwrap(), "{name}");
        lock.release().unwrap();
    }
}

#[test]
fn guards_at_the_end_of_a_thread_give_all_back() {
    let folder = Folder::new("last-guards");
    let (manager, _python) = narrow(&folder);
    for _ in 0..20 {
        let address = folder.file("socket");
        thread::spawn(move || takes_three(address)).join().unwrap();
        all_are_to_be_had(&manager);
    }
}

#[test]
fn proxies_at_the_end_of_a_process_let_their_objects_go() {
    let folder = Folder::new("last-proxies");
    let (manager, _python) = narrow(&folder);
    let makes = |address: String| {
        let manager = PythonManager::connect_with(address.as_str(), KEY, PythonPeers::Md5).unwrap();
        let made: Vec<_> = (0..20u32).map(|n| manager.list([n]).unwrap()).collect();
        assert!(manager.object_count().unwrap() >= made.len());
    };
    let before = manager.object_count().unwrap();
    let process = Process::spawn(makes, (folder.file("socket"),)).unwrap();
    process.result_timeout(SOON).unwrap();
    process.join().unwrap();
    assert_eq!(manager.object_count().unwrap(), before);
}

#[test]
fn guards_at_the_end_of_a_process_give_all_back() {
    let folder = Folder::new("exit-guards");
    let (manager, _python) = narrow(&folder);
    for _ in 0..20 {
        let process = Process::spawn(takes_three, (folder.file("socket"),)).unwrap();
        process.result_timeout(SOON).unwrap();
        all_are_to_be_had(&manager);
    }
}
