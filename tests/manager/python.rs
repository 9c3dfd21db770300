//! Python programs as clients of a manager, and managers of theirs, by the `python3` that is installed. It knows
//! MD5 only if it is older than 3.12.

use crate::util::python::Python;
use crate::util::{Folder, SOON, until};
use procession::manager::{
    BarrierProxy, DictProxy, Fault, Got, ListProxy, LockProxy, NamespaceProxy, PythonError,
    PythonManager, QueueProxy,
};
use procession::{Actor, Dynamic, Error, Manager, PlainData, Process, PythonPeers, methods};

const KEY: &[u8] = b"abracadabra";

type Pairs = ListProxy<PlainData<(String, u8)>>;

fn served(address: &str) -> (Manager, String) {
    let manager = Manager::builder()
        .address(address)
        .authkey(KEY)
        .python_peers(PythonPeers::Md5)
        .offer::<QueueProxy<u64>>("tasks")
        .offer::<QueueProxy<String>>("results")
        .offer::<QueueProxy<(u8, u8)>>("typed")
        .offer::<LockProxy>("lock")
        .offer::<DictProxy<Dynamic, Dynamic>>("pairs")
        .offer::<Pairs>("items")
        .offer::<NamespaceProxy>("ns")
        .offer::<DictProxy<Dynamic, (u8, u8)>>("typed_pairs")
        .offer::<NamespaceProxy>("typed_ns")
        .start()
        .unwrap();
    let address = manager.address().unwrap().to_string();
    (manager, address)
}

fn run(what: &str, address: &str) -> Python {
    Python::run("manager/client.py", &[what, address])
}

#[test]
fn python_has_all_stock_objects() {
    let folder = Folder::new("python-manager");
    for address in ["127.0.0.1:0".to_owned(), folder.file("socket")] {
        let (manager, address) = served(&address);
        run("waits", &address).end();
        run("sets", &address).end();
        // What is left is what the script still held when it asked.
        assert_eq!(run("containers", &address).rest().trim(), "8");
        manager.shutdown().unwrap();
    }
}

#[test]
fn python_and_rust_meet_at_what_is_offered() {
    let (manager, address) = served("127.0.0.1:0");
    let python = run("offered", &address);
    let tasks = manager.get::<QueueProxy<u64>>("tasks").unwrap();
    let results = manager.get::<QueueProxy<String>>("results").unwrap();
    let dict = manager.get::<DictProxy<Dynamic, Dynamic>>("pairs").unwrap();
    dict.insert(&"from rust".into(), &vec![Dynamic::from(1), "two".into()].into()).unwrap();
    let ns = manager.get::<NamespaceProxy>("ns").unwrap();
    ns.set("x", &10).unwrap();
    let items = manager.get::<Pairs>("items").unwrap();
    items.append(&PlainData(("r".into(), 0))).unwrap();
    manager.get::<QueueProxy<(u8, u8)>>("typed").unwrap().put((1, 2)).unwrap();
    let typed = manager.get::<DictProxy<Dynamic, (u8, u8)>>("typed_pairs").unwrap();
    typed.insert(&"k".into(), &(1, 2)).unwrap();
    manager.get::<NamespaceProxy>("typed_ns").unwrap().set("x", &(1u8, 2u8)).unwrap();
    for n in 0..10 {
        tasks.put(n).unwrap();
    }
    let lines: Vec<_> = (0..10).map(|_| results.get_timeout(SOON).unwrap()).collect();
    assert_eq!(lines[9], "9 * 9 = 81");
    python.end();
    let three = dict.get(&"from python".into()).unwrap().unwrap();
    assert_eq!(three.to_string(), "{'three': 3}");
    assert!((ns.get::<f64>("y").unwrap() - 2.5).abs() < f64::EPSILON);
    assert_eq!(items.get(1).unwrap(), PlainData(("a".into(), 1)));
    assert_eq!(manager.get::<QueueProxy<(u8, u8)>>("typed").unwrap().get().unwrap(), (1, 2));
}

#[test]
fn what_a_python_client_held_goes_back_when_it_dies() {
    let (manager, address) = served("127.0.0.1:0");
    let tasks = manager.get::<QueueProxy<u64>>("tasks").unwrap();
    tasks.put(1).unwrap();
    let mut python = run("holds", &address);
    assert_eq!(python.line(), "ready");
    let lock = manager.get::<LockProxy>("lock").unwrap();
    assert!(lock.try_acquire().unwrap().is_none());
    python.kill();
    assert_eq!(lock.acquire_timeout(SOON).unwrap(), Some(Got::AfterDeath));
    // One that dies while it waits takes nothing along.
    let mut python = run("waits_for_ever", &address);
    assert_eq!(python.line(), "ready");
    python.kill();
    tasks.put(2).unwrap();
    assert_eq!(tasks.get_timeout(SOON).unwrap(), 2);
}

#[test]
fn crafted_requests_are_errors_of_their_senders() {
    let (manager, address) = served("127.0.0.1:0");
    run("crafted", &address).end();
    let tasks = manager.get::<QueueProxy<u64>>("tasks").unwrap();
    tasks.put(1).unwrap();
    assert_eq!(tasks.get_timeout(SOON).unwrap(), 1);
}

#[test]
fn later_pythons_are_served_unless_they_are_not_wanted() {
    let builder = Manager::builder().address("127.0.0.1:0").authkey(KEY);
    let manager = builder.start().unwrap();
    run("modern", &manager.address().unwrap().to_string()).end();
    let builder = Manager::builder().address("127.0.0.1:0").authkey(KEY);
    let manager = builder.python_peers(PythonPeers::Off).start().unwrap();
    run("modern", &manager.address().unwrap().to_string()).fails();
}

#[test]
fn a_python_client_may_shut_the_manager_down() {
    let (manager, address) = served("127.0.0.1:0");
    run("shutdown", &address).end();
    assert!(manager.join_timeout(SOON).unwrap());
    manager.shutdown().unwrap();
    assert!(matches!(Manager::connect(address, KEY), Err(Error::Listener(_))));
}

#[derive(Actor, Default)]
struct Maths {
    notes: Vec<Dynamic>,
}

#[methods]
impl Maths {
    pub fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }

    pub fn mul(&self, a: i64, b: i64) -> i64 {
        a * b
    }

    pub fn half(&self, n: i64) -> Result<i64, String> {
        if n % 2 == 0 { Ok(n / 2) } else { Err(format!("{n} is odd")) }
    }

    pub fn note(&mut self, what: Dynamic) -> usize {
        self.notes.push(what);
        self.notes.len()
    }

    pub fn notes(&self) -> Vec<Dynamic> {
        self.notes.clone()
    }

    pub fn fail(&self) {
        panic!("it was asked to");
    }
}

#[test]
fn python_calls_objects_of_own_types() {
    let manager = Manager::builder()
        .address("127.0.0.1:0")
        .authkey(KEY)
        .python_peers(PythonPeers::Md5)
        .register("Maths", |notes: Vec<Dynamic>| Maths { notes })
        .register_exposed("Half", Maths::default, &["add", "half"])
        .start()
        .unwrap();
    let address = manager.address().unwrap().to_string();
    run("own", &address).end();
    until("they are gone", || manager.object_count().unwrap() == 0);
}

/// A Python master, and a worker of ours: the other three pairings stand above and in
/// `remote.rs`.
#[test]
fn we_work_for_a_python_master() {
    let mut python = Python::run_with_input("manager/worker.py", &["master", "127.0.0.1:0"]);
    let address = python.line();
    let manager = PythonManager::connect_with(address.as_str(), KEY, PythonPeers::Md5).unwrap();
    let tasks = manager.get("tasks", ()).unwrap();
    let results = manager.get("results", ()).unwrap();
    for _ in 0..10 {
        let n = tasks.call::<u64>("get", (true, 30.0)).unwrap();
        results.call::<()>("put", (format!("{n} * {n} = {}", n * n),)).unwrap();
    }
    assert_eq!(python.line(), "9 * 9 = 81");
    let empty = tasks.call::<u64>("get", (false,)).unwrap_err();
    assert!(matches!(empty, PythonError::Fault(Fault::Empty)), "{empty}");
    let maths = manager.get("Maths", ()).unwrap();
    assert_eq!(maths.methods(), ["add", "code", "fail", "minus"]);
    assert_eq!(maths.call::<i64>("add", (4, 3)).unwrap(), 7);
    let error = maths.call::<Dynamic>("fail", ()).unwrap_err().to_string();
    assert_eq!(error, "in the Python manager: builtins.LookupError: ('nothing is there', 7)");
    let error = maths.call::<Dynamic>("gone", ()).unwrap_err().to_string();
    assert!(error.contains("AttributeError"), "{error}");
    // What names code of theirs is an error of the call, and the next one works.
    assert!(matches!(maths.call::<Dynamic>("code", ()), Err(PythonError::Pipe(_))));
    assert_eq!(maths.call::<String>("add", ("a", "b")).unwrap(), "ab");
    let none = manager.get("nothing", ()).unwrap_err();
    assert!(matches!(none, PythonError::Remote(_)), "{none}");
    // From another thread, over another connection.
    std::thread::spawn(move || assert_eq!(maths.call::<i64>("add", (1, 1)).unwrap(), 2))
        .join()
        .unwrap();
    drop((tasks, results, manager));
    // The last thing that this server does: its thread that accepts ends with it.
    let wrong = PythonManager::connect_with(address.as_str(), b"guess", PythonPeers::Md5);
    assert!(matches!(wrong, Err(PythonError::Listener(_))), "{wrong:?}");
    python.kill();
    // A manager of ours is none of Python's.
    let (_manager, address) = served("127.0.0.1:0");
    let error = PythonManager::connect_with(address, KEY, PythonPeers::Md5).unwrap_err();
    assert!(matches!(error, PythonError::NoPython), "{error}");
}

/// The pairing in which nothing is ours: what the other three are measured by.
#[test]
fn a_python_master_and_a_python_worker_do_the_same() {
    let mut master = Python::run_with_input("manager/worker.py", &["master", "127.0.0.1:0"]);
    let address = master.line();
    let worker = Python::run("manager/worker.py", &["worker", &address]);
    assert_eq!(master.line(), "9 * 9 = 81");
    worker.end();
    master.kill();
}

/// What the seeds' class has, under two names, each with a part of it.
#[derive(Actor, Default)]
struct Foo;

#[methods]
impl Foo {
    pub fn f(&self) {}

    pub fn g(&self) {}

    pub fn _h(&self) {}
}

/// A module of functions.
#[derive(Actor, Default)]
struct Operator;

#[methods]
impl Operator {
    pub fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }

    pub fn pow(&self, base: u128, exponent: u32) -> u128 {
        base.pow(exponent)
    }
}

fn barrier() -> BarrierProxy {
    let manager = Manager::here().unwrap();
    manager.barrier_with_action(1, || (), None).unwrap()
}

/// The programs of the seeds whose manager is ours and whose clients are Python's.
#[test]
fn python_clients_meet_at_a_queue_and_see_what_is_exposed() {
    let manager = Manager::builder()
        .address("127.0.0.1:0")
        .authkey(KEY)
        .python_peers(PythonPeers::Md5)
        .offer::<QueueProxy<String>>("get_queue")
        .register_exposed("Foo1", Foo::default, &["f", "g"])
        .register_exposed("Foo2", Foo::default, &["g", "_h"])
        .register("operator", Operator::default)
        .register_value("barrier", barrier)
        .start()
        .unwrap();
    let address = manager.address().unwrap().to_string();
    run("puts_hello", &address).end();
    assert_eq!(run("gets", &address).rest(), "hello\n");
    // One waits, and a process of ours puts.
    let late = run("gets", &address);
    let local = |queue: QueueProxy<String>| queue.put("local hello".into()).unwrap();
    let queue = manager.get::<QueueProxy<String>>("get_queue").unwrap();
    Process::spawn(local, (queue,)).unwrap().result_timeout(SOON).unwrap();
    assert_eq!(late.rest(), "local hello\n");
    let lines = "op.add(23, 45) = 68\nop.pow(2, 94) = 19807040628566084398385987584\n\
         op._exposed_ = ('add', 'pow')\n";
    assert_eq!(run("faces", &address).rest(), lines);
}
