//! Managers that other programs use, over TCP and Unix sockets: here other processes that
//! know nothing but address and key.

use crate::channel::send;
use crate::util::{Folder, SOON, until};
use procession::manager::{
    DictProxy, Fault, Got, ListProxy, LockProxy, ManagerServer, NamespaceProxy, QueueProxy,
    RLockProxy,
};
use procession::{
    Address, AuthError, Error, Listener, ListenerError, Manager, ManagerError, Process, Queue,
    answer_challenge, deliver_challenge,
};
use std::time::Duration;

const KEY: &[u8] = b"abracadabra";

fn served() -> (Manager, Address) {
    let manager = Manager::builder()
        .address("127.0.0.1:0")
        .authkey(KEY)
        .offer::<QueueProxy<u64>>("tasks")
        .offer::<QueueProxy<String>>("results")
        .offer::<LockProxy>("lock")
        .offer::<DictProxy<String, ListProxy<u64>>>("lists")
        .offer::<NamespaceProxy>("ns")
        .start()
        .unwrap();
    let address = manager.address().unwrap().clone();
    (manager, address)
}

#[test]
fn a_master_and_its_workers_meet_at_queues() {
    let (manager, address) = served();
    let worker = |address: Address| {
        let remote = Manager::connect(address, KEY).unwrap();
        let tasks = remote.get::<QueueProxy<u64>>("tasks").unwrap();
        let results = remote.get::<QueueProxy<String>>("results").unwrap();
        loop {
            match tasks.get_timeout(Duration::from_millis(200)) {
                Ok(n) => results.put(format!("{n} * {n} = {}", n * n)).unwrap(),
                Err(ManagerError::Fault(Fault::Empty)) => break,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let tasks = manager.get::<QueueProxy<u64>>("tasks").unwrap();
    let results = manager.get::<QueueProxy<String>>("results").unwrap();
    for n in 0..10 {
        tasks.put(n).unwrap();
    }
    let workers: Vec<_> =
        (0..2).map(|_| Process::spawn(worker, (address.clone(),)).unwrap()).collect();
    let mut lines: Vec<_> = (0..10).map(|_| results.get_timeout(SOON).unwrap()).collect();
    lines.sort();
    assert_eq!(lines[9], "9 * 9 = 81");
    for worker in workers {
        worker.result_timeout(SOON).unwrap();
    }
    manager.shutdown().unwrap();
    // The same port is to be had at once.
    let again = Manager::builder().address(address.clone()).authkey(KEY).start().unwrap();
    assert_eq!(again.address(), Some(&address));
}

#[test]
fn strangers_and_wrong_keys_are_told_apart() {
    let (manager, address) = served();
    let wrong = Manager::connect(address.clone(), b"wrong").unwrap_err();
    assert!(matches!(wrong, Error::Listener(ListenerError::Authentication(_))), "{wrong}");
    assert!(Manager::connect(address.clone(), b"").is_err());
    let remote = Manager::connect(address.clone(), KEY).unwrap();
    assert!(remote.names().unwrap().contains(&"tasks".to_string()));
    let none = remote.get::<LockProxy>("nothing").unwrap_err();
    assert!(matches!(none, ManagerError::Fault(Fault::NoSuchObject(_))), "{none}");
    // Another type than the one that is offered.
    assert!(matches!(remote.get::<LockProxy>("tasks"), Err(ManagerError::Decode(_))));
    // No function is named from outside, and no handle leaves the tree.
    let refused = remote.call(std::process::id, ()).unwrap_err().to_string();
    assert!(refused.contains("outside the process tree"), "{refused}");
    let list = remote.list([1u64]).unwrap();
    assert!(list.sort().unwrap_err().to_string().contains("outside the process tree"));
    let handle = remote.list([Queue::<u8>::new().unwrap()]).unwrap_err();
    assert!(matches!(handle, ManagerError::Encode(_)), "{handle}");
    assert!(matches!(remote.shutdown(), Err(Error::Invalid(_))));
    assert_eq!(list.to_vec().unwrap(), [1]);
    manager.shutdown().unwrap();
    until("the remote end is noticed", || list.len().is_err());
    assert!(matches!(list.len(), Err(ManagerError::OwnerGone { .. })));
    let refused = Manager::connect(address, KEY).unwrap_err();
    assert!(matches!(refused, Error::Listener(ListenerError::Io(_))), "{refused}");
}

#[test]
fn remote_clients_hold_share_and_let_go() {
    let (manager, address) = served();
    let before = manager.object_count().unwrap();
    let lock = manager.get::<LockProxy>("lock").unwrap();
    let lists = manager.get::<DictProxy<String, ListProxy<u64>>>("lists").unwrap();
    let child = |address: Address| {
        let remote = Manager::connect(address, KEY).unwrap();
        let lists = remote.get::<DictProxy<String, ListProxy<u64>>>("lists").unwrap();
        let list = remote.list([1, 2]).unwrap();
        lists.insert(&"mine".into(), &list).unwrap();
        list.append(&3).unwrap();
        let ns = remote.get::<NamespaceProxy>("ns").unwrap();
        ns.set("n", &7).unwrap();
        remote.get::<LockProxy>("lock").unwrap().acquire().unwrap();
        // Nobody else has this one.
        let _other = remote.list([9]).unwrap();
        ns.set("ready", &true).unwrap();
        std::thread::sleep(SOON);
    };
    let child = Process::spawn(child, (address,)).unwrap();
    let ns = manager.get::<NamespaceProxy>("ns").unwrap();
    until("it is ready", || ns.has("ready").unwrap());
    assert!(lock.try_acquire().unwrap().is_none());
    assert_eq!(lists.get(&"mine".into()).unwrap().unwrap().to_vec().unwrap(), [1, 2, 3]);
    child.as_ref().kill().unwrap();
    assert_eq!(lock.acquire_timeout(SOON).unwrap(), Some(procession::manager::Got::AfterDeath));
    until("its own object is gone", || manager.object_count().unwrap() == before + 1);
    lists.clear().unwrap();
    until("and the one that it gave away", || manager.object_count().unwrap() == before);
}

#[test]
fn the_last_reference_may_go_with_the_call() {
    let (_manager, address) = served();
    let remote = Manager::connect(address, KEY).unwrap();
    let outer = remote.list([remote.list([1u8]).unwrap()]).unwrap();
    assert_eq!(outer.get(0).unwrap().to_vec().unwrap(), [1]);
    outer.extend([remote.list([2]).unwrap(), remote.list([3]).unwrap()]).unwrap();
    let append = outer.append_async(&remote.list([4]).unwrap());
    procession_runtime::wait::block_on(append).unwrap();
    let firsts = outer.to_vec().unwrap().into_iter().map(|inner| inner.get(0).unwrap());
    assert_eq!(firsts.collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn a_server_serves_beside_local_users_at_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("procession-test-{}", std::process::id()));
    let server: ManagerServer = Manager::builder()
        .address(path.clone())
        .authkey(KEY)
        .offer::<QueueProxy<String>>("get_queue")
        .get_server()
        .unwrap();
    let queue = server.manager().get::<QueueProxy<String>>("get_queue").unwrap();
    let serving = server.clone();
    let serving = std::thread::spawn(move || serving.serve_forever());
    // A child gets the queue by its handle, and another program by its name.
    let child = |queue: QueueProxy<String>| queue.put("local hello".into()).unwrap();
    Process::spawn(child, (queue,)).unwrap().result_timeout(SOON).unwrap();
    let other = |address: Address| {
        let remote = Manager::connect(address, KEY).unwrap();
        remote.get::<QueueProxy<String>>("get_queue").unwrap().get_timeout(SOON).unwrap()
    };
    let other = Process::spawn(other, (server.address().clone(),)).unwrap();
    assert_eq!(other.result_timeout(SOON).unwrap(), "local hello");
    server.stop();
    serving.join().unwrap();
    assert!(!path.exists());
}

/// Python's handshake can be passed on by somebody who does not know the key.
#[test]
fn what_proves_itself_as_python_does_is_no_manager() {
    let listener = Listener::builder().address("127.0.0.1:0").bind().unwrap();
    let address = listener.address().clone();
    let python = std::thread::spawn(move || {
        let client = listener.accept_timeout(SOON).unwrap();
        let _ = deliver_challenge(&client, KEY).and_then(|()| answer_challenge(&client, KEY));
        drop(client.recv_bytes_timeout(SOON));
    });
    let refused = Manager::connect(address, KEY).unwrap_err();
    let is_it =
        matches!(refused, Error::Listener(ListenerError::Authentication(AuthError::NotAllowed(_))));
    assert!(is_it, "{refused}");
    python.join().unwrap();
}

#[test]
fn a_value_too_long_for_a_message_is_an_error_of_its_call() {
    let (manager, address) = served();
    let remote = Manager::connect(address, KEY).unwrap();
    let lock = remote.get::<LockProxy>("lock").unwrap();
    let held = lock.lock().unwrap();
    let long = "x".repeat(17 << 20);
    let tasks = remote.get::<QueueProxy<String>>("results").unwrap();
    let unput = tasks.put(long.clone()).unwrap_err();
    assert!(matches!(unput.why, ManagerError::Encode(_)), "{}", unput.why);
    assert!(unput.item == long && tasks.is_empty().unwrap());
    // From there to here.
    manager.get::<NamespaceProxy>("ns").unwrap().set("x", &long).unwrap();
    let ns = remote.get::<NamespaceProxy>("ns").unwrap();
    let refused = ns.get::<String>("x").unwrap_err();
    assert!(matches!(refused, ManagerError::Fault(Fault::Failed(_))), "{refused}");
    // The connection is what it was.
    assert!(manager.get::<LockProxy>("lock").unwrap().try_acquire().unwrap().is_none());
    ns.set("x", &1).unwrap();
    assert_eq!(ns.get::<u8>("x").unwrap(), 1);
    drop(held);
}

#[test]
fn what_stands_in_an_answer_that_is_too_long_is_let_go() {
    let (manager, address) = served();
    let remote = Manager::connect(address, KEY).unwrap();
    let half = "x".repeat(9 << 20);
    let rows = remote.list::<(ListProxy<u64>, String)>([]).unwrap();
    let before = manager.object_count().unwrap();
    for n in 0..2 {
        rows.append(&(remote.list([n]).unwrap(), half.clone())).unwrap();
    }
    let error = rows.to_vec().unwrap_err().to_string();
    assert!(error.contains("has at most"), "{error}");
    rows.clear().unwrap();
    until("nobody has them", || manager.object_count().unwrap() == before);
}

#[test]
fn an_item_too_long_for_a_message_stays_in_its_queue() {
    let (manager, address) = served();
    let here = manager.get::<QueueProxy<String>>("results").unwrap();
    let long = "x".repeat(17 << 20);
    here.put(long.clone()).unwrap();
    let remote = Manager::connect(address, KEY).unwrap();
    let there = remote.get::<QueueProxy<String>>("results").unwrap();
    let refused = there.get().unwrap_err();
    assert!(matches!(refused, ManagerError::Fault(Fault::Failed(_))), "{refused}");
    assert!(here.get_timeout(SOON).unwrap() == long);
}

#[test]
fn what_is_given_back_is_taken_however_much_is_under_way() {
    let (manager, address) = served();
    let remote = Manager::connect(address, KEY).unwrap();
    let lock = remote.get::<LockProxy>("lock").unwrap();
    let tasks = remote.get::<QueueProxy<u64>>("tasks").unwrap();
    let held = lock.lock().unwrap();
    let mut gets: Vec<_> = (0..1024).map(|_| tasks.get_async()).collect();
    gets.iter_mut().for_each(send);
    until("no more may be under way", || {
        matches!(tasks.qsize(), Err(ManagerError::Fault(Fault::Busy)))
    });
    drop(held);
    let lock = manager.get::<LockProxy>("lock").unwrap();
    assert!(lock.acquire_timeout(SOON).unwrap().is_some());
}

#[test]
fn what_a_program_says_before_its_end_is_heard() {
    const MANY: usize = 300;
    let folder = Folder::new("before-end");
    for address in ["127.0.0.1:0".to_owned(), folder.file("socket")] {
        let builder = Manager::builder().address(address).authkey(KEY);
        let manager = builder.offer::<RLockProxy>("lock").start().unwrap();
        let tells = |address: Address| {
            let remote = Manager::connect(address, KEY).unwrap();
            let lock = remote.get::<RLockProxy>("lock").unwrap();
            let _guards: Vec<_> = (0..MANY).map(|_| lock.lock().unwrap()).collect();
        };
        let lock = manager.get::<RLockProxy>("lock").unwrap();
        for _ in 0..20 {
            let process = Process::spawn(tells, (manager.address().unwrap().clone(),)).unwrap();
            process.result_timeout(SOON).unwrap();
            assert_eq!(lock.acquire_timeout(SOON).unwrap(), Some(Got::Clean));
            lock.release().unwrap();
        }
    }
}
