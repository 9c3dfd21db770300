//! Objects of users' own types at a manager, used by programs outside its tree.

use crate::util::{SOON, until};
use procession::manager::{Fault, IteratorProxy, ListProxy, LockProxy};
use procession::{Actor, Address, CallError, ExitReason, Manager, ManagerError, Process, methods};
use std::future::Future;
use std::task::{Context, Waker};
use std::time::Duration;

const KEY: &[u8] = b"abracadabra";

#[derive(Actor)]
struct Maths {
    calls: u64,
}

#[methods]
impl Maths {
    pub fn add(&mut self, a: i64, b: i64) -> i64 {
        self.calls += 1;
        a + b
    }

    pub fn calls(&self) -> u64 {
        self.calls
    }

    pub fn list(&self, items: Vec<i64>) -> ListProxy<i64> {
        Manager::here().unwrap().list(items).unwrap()
    }

    pub fn sum(&self, list: ListProxy<i64>) -> i64 {
        list.to_vec().unwrap().iter().sum()
    }

    pub fn squares(&self, count: u64) -> IteratorProxy<u64> {
        IteratorProxy::new((0..count).map(|n| n * n)).unwrap()
    }

    pub fn other(&self) -> MathsRef {
        Manager::here().unwrap().make::<Maths>("Hidden", ()).unwrap()
    }

    pub fn late(&self, millis: u64) -> ListProxy<i64> {
        std::thread::sleep(Duration::from_millis(millis));
        self.list(Vec::new())
    }

    pub fn nap(&self) {
        std::thread::sleep(SOON);
    }

    pub fn fail(&self) {
        panic!("on purpose");
    }
}

/// Other messages under the same name.
mod old {
    use procession::{Actor, methods};

    #[derive(Actor)]
    pub(super) struct Maths;

    #[methods]
    impl Maths {
        pub fn add(&mut self, a: i64) -> i64 {
            a
        }
    }
}

fn maths() -> Maths {
    Maths { calls: 0 }
}

fn served() -> (Manager, Address) {
    let manager = Manager::builder()
        .address("127.0.0.1:0")
        .authkey(KEY)
        .register("Maths", maths)
        .register_exposed("Adder", maths, &["add"])
        .register_inside("Hidden", maths, &["calls"])
        .offer::<LockProxy>("lock")
        .start()
        .unwrap();
    let address = manager.address().unwrap().clone();
    (manager, address)
}

fn elsewhere(body: impl Fn(Address) + Copy + Send + 'static) {
    let (manager, address) = served();
    let before = manager.object_count().unwrap();
    let child = Process::spawn(body, (address,)).unwrap();
    child.result_timeout(SOON).unwrap();
    until("its objects are gone with it", || manager.object_count().unwrap() == before);
}

fn on_tokio<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn an_own_object_is_made_and_called_over_tcp() {
    elsewhere(|address| {
        let remote = Manager::connect(address, KEY).unwrap();
        assert_eq!(remote.names().unwrap(), ["Adder", "Maths", "lock"]);
        assert_eq!(remote.exposed("Adder").unwrap().unwrap(), ["add"]);
        let hidden = remote.exposed("Hidden");
        assert!(matches!(hidden, Err(ManagerError::Fault(Fault::NoSuchObject(_)))), "{hidden:?}");
        let before = remote.object_count().unwrap();
        let maths = remote.make::<Maths>("Maths", ()).unwrap();
        assert_eq!(maths.add(4, 3).unwrap(), 7);
        maths.cast().add(1, 1).unwrap();
        assert_eq!(maths.add_timeout(7, 8, SOON).unwrap(), 15);
        assert_eq!(on_tokio(maths.calls_async()).unwrap(), 3);
        assert!(maths.is_alive());
        drop(maths);
        until("it ends with its last reference", || remote.object_count().unwrap() == before);
    });
}

#[test]
fn methods_take_and_give_proxies_over_tcp() {
    elsewhere(|address| {
        let remote = Manager::connect(address, KEY).unwrap();
        let maths = remote.make::<Maths>("Maths", ()).unwrap();
        let list = maths.list(vec![1, 2]).unwrap();
        list.append(&3).unwrap();
        assert_eq!(maths.sum(list).unwrap(), 6);
        assert_eq!(maths.sum(remote.list([5]).unwrap()).unwrap(), 5);
        let squares = maths.squares(10).unwrap();
        let mut again = squares.clone();
        assert_eq!(again.next().unwrap().unwrap(), 0);
        let rest: Vec<_> = squares.map(Result::unwrap).collect();
        assert_eq!(rest, [1, 4, 9, 16, 25, 36, 49, 64, 81]);
        assert!(again.next().is_none());
        let other = maths.other().unwrap();
        assert_eq!(other.calls().unwrap(), 0);
        assert!(matches!(other.add(1, 2), Err(CallError::NotExposed)));
        // Another connection is another world.
        let second = Manager::connect(remote.address().unwrap().clone(), KEY).unwrap();
        let stranger = second.make::<Maths>("Maths", ()).unwrap();
        assert!(matches!(stranger.sum(remote.list([1]).unwrap()), Err(CallError::Encode(_))));
    });
}

#[test]
fn what_is_not_offered_is_refused_over_tcp() {
    elsewhere(|address| {
        let remote = Manager::connect(address, KEY).unwrap();
        let hidden = remote.make::<Maths>("Hidden", ()).err().unwrap();
        assert!(matches!(hidden, ManagerError::Fault(Fault::NoSuchObject(_))), "{hidden}");
        // A pool would need functions from here.
        let pool = remote.pool(2).err().unwrap();
        assert!(pool.to_string().contains("outside the process tree"), "{pool}");
        let adder = remote.make::<Maths>("Adder", ()).unwrap();
        // A reference has all methods; the server has them not.
        assert!(matches!(adder.fail(), Err(CallError::NotExposed)));
        assert!(matches!(adder.calls(), Err(CallError::NotExposed)));
        assert_eq!(adder.add(1, 2).unwrap(), 3);
        let old = remote.make::<old::Maths>("Maths", ()).err().unwrap();
        assert!(old.to_string().contains("another kind of actor"), "{old}");
        // Who has a part of it does not end the whole.
        adder.stop();
        adder.kill();
        assert_eq!(adder.add(2, 2).unwrap(), 4);
    });
}

#[test]
fn an_own_object_is_watched_and_stopped_over_tcp() {
    elsewhere(|address| {
        let remote = Manager::connect(address, KEY).unwrap();
        let make = || remote.make::<Maths>("Maths", ()).unwrap();
        let stopped = make();
        let second = stopped.monitor().unwrap();
        let down = stopped.stop_timeout(SOON).unwrap();
        assert_eq!((down.actor, down.reason), (stopped.id(), ExitReason::Shutdown));
        assert_eq!(second.recv().reason, ExitReason::Shutdown);
        assert_eq!(stopped.monitor().unwrap().recv().reason, ExitReason::Shutdown);
        assert!(matches!(stopped.add(1, 1), Err(CallError::Stopped)));

        let killed = make();
        let monitor = killed.monitor().unwrap();
        killed.kill();
        assert_eq!(on_tokio(monitor).reason, ExitReason::Signal(9));

        let panicked = make();
        let monitor = panicked.monitor().unwrap();
        panicked.fail().unwrap_err();
        assert!(matches!(monitor.recv().reason, ExitReason::Panic(_)));

        // It ends with its last reference, and a monitor is none.
        let released = make();
        let mut monitor = released.monitor().unwrap();
        drop(released);
        let down = monitor.recv_timeout(SOON).unwrap();
        assert_eq!(down.reason, ExitReason::Normal);

        // What ends here is the connection.
        let left = make();
        let mut monitor = left.monitor().unwrap();
        drop((left, remote));
        assert!(monitor.recv_timeout(SOON).is_some());
    });
}

#[test]
fn calls_that_are_given_up_over_tcp_take_no_places() {
    elsewhere(|address| {
        let remote = Manager::connect(address, KEY).unwrap();
        let queue = remote.queue::<u32>().unwrap();
        for _ in 0..1100 {
            let mut context = Context::from_waker(Waker::noop());
            assert!(Box::pin(queue.get_async()).as_mut().poll(&mut context).is_pending());
        }
        queue.put(1).unwrap();
        assert_eq!(queue.get().unwrap(), 1);
    });
}

#[test]
fn every_call_over_tcp_ends() {
    let (manager, address) = served();
    let remote = Manager::connect(address, KEY).unwrap();
    let maths = remote.make::<Maths>("Maths", ()).unwrap();
    let failed = maths.fail().unwrap_err();
    assert!(matches!(failed, CallError::ActorDied { .. }), "{failed}");
    until("its own end is known", || !maths.is_alive());
    let maths = remote.make::<Maths>("Maths", ()).unwrap();
    assert!(maths.is_alive());
    let late = maths.nap_timeout(Duration::from_millis(50));
    assert!(matches!(late, Err(CallError::Timeout)));
    let waiting = std::thread::spawn({
        let maths = maths.clone();
        move || maths.calls()
    });
    let monitor = maths.monitor().unwrap();
    manager.process().unwrap().kill().unwrap();
    assert_eq!(monitor.recv().reason, ExitReason::Unknown);
    assert!(matches!(waiting.join().unwrap(), Err(CallError::ActorDied { .. })));
    until("the end is known", || !maths.is_alive());
    assert!(matches!(maths.add(1, 1), Err(CallError::ActorDied { .. })));
}

#[test]
fn methods_give_proxies_within_the_tree_too() {
    let (manager, _) = served();
    let before = manager.object_count().unwrap();
    let maths = manager.make::<Maths>("Maths", ()).unwrap();
    let list = maths.list(vec![1, 2]).unwrap();
    assert_eq!(maths.sum(list.clone()).unwrap(), 3);
    let squares = maths.squares(4).unwrap();
    let child = |squares: IteratorProxy<u64>, list: ListProxy<i64>| {
        list.append(&9).unwrap();
        squares.map(Result::unwrap).sum::<u64>()
    };
    let child = Process::spawn(child, (squares, list.clone())).unwrap();
    assert_eq!(child.result_timeout(SOON).unwrap(), 14);
    assert_eq!(list.to_vec().unwrap(), [1, 2, 9]);
    assert!(manager.make::<Maths>("Hidden", ()).is_err());
    assert_eq!(maths.other().unwrap().calls().unwrap(), 0);
    assert!(Manager::here().is_none());
    drop((maths, list));
    until("all is freed", || manager.object_count().unwrap() == before);
}

#[test]
fn a_connection_ends_with_its_program_though_an_actor_is_busy_for_it() {
    let (manager, address) = served();
    let Address::Tcp { port, .. } = address else { panic!("{address}") };
    let here = format!(":{port:04X}");
    // Established, or closed by the other side alone.
    let is_open = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields[1].ends_with(&here) && matches!(fields[3], "01" | "08")
    };
    let connections = || {
        let all = std::fs::read_to_string("/proc/net/tcp").unwrap();
        all.lines().skip(1).filter(|line| is_open(line)).count()
    };
    let objects = manager.object_count().unwrap();
    let client = |address: Address| {
        let remote = Manager::connect(address, KEY).unwrap();
        let _ = remote.make::<Maths>("Maths", ()).unwrap().nap();
    };
    let child = Process::spawn(client, (address,)).unwrap();
    until("it has its object", || manager.object_count().unwrap() > objects);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(connections(), 1);
    child.kill().unwrap();
    child.join().unwrap();
    let begun = std::time::Instant::now();
    until("its connection has ended", || connections() == 0);
    assert!(begun.elapsed() < SOON / 2, "not before the actor was done");
}

#[test]
fn what_comes_too_late_over_tcp_is_let_go() {
    let (manager, address) = served();
    let remote = Manager::connect(address, KEY).unwrap();
    let maths = remote.make::<Maths>("Maths", ()).unwrap();
    let objects = manager.object_count().unwrap();
    for _ in 0..3 {
        let late = maths.late_timeout(100, Duration::from_millis(1));
        assert!(matches!(late, Err(CallError::Timeout)), "{late:?}");
    }
    // The next answer is behind those.
    let list = maths.late(0).unwrap();
    assert!(list.is_empty().unwrap());
    drop(list);
    until("all lists are gone", || manager.object_count().unwrap() == objects);
}
