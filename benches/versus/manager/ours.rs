//! Our side of the area `manager`, written through the public face as a user writes it.
//!
//! Owns the work of each row. An operation counts when its answer is right. Clients are
//! processes of their own; what they use is made, and used once, before they begin.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use procession::manager::{DictProxy, ListProxy, QueueProxy, ValueProxy};
use procession::{Actor, Address, Failure, Manager, methods};
use serde::{Deserialize, Serialize};

use crate::harness::{Answer, Error, Side};
use crate::ipc::workers::{Crew, Gate, Report, portion, timed};

const KEY: &[u8] = b"abracadabra";
const KEYS: u64 = 50;

/// Calls of each client before those that count.
const WARM_UP: u64 = 200;

/// Most calls under way in the pipelined rows.
const WINDOW: usize = 512;

pub(super) struct Ours;

impl Side for Ours {
    fn round(&mut self, row: &str, operations: u64) -> Result<Option<Answer>, Error> {
        let name = row.strip_prefix("manager_").unwrap_or(row);
        let (name, clients) = match name.strip_suffix("_4") {
            Some(name) => (name, 4),
            None => (name, 1),
        };
        let (name, by_tcp) = match name.strip_prefix("tcp_") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (name, threads) = match name.strip_suffix("_threads") {
            Some(name) => (name, clients),
            None => (name, 1),
        };
        let clients = clients / threads;
        let work = match name {
            "dict_set" => Work::DictSet,
            "dict_get" => Work::DictGet,
            "list_append" => Work::ListAppend,
            "queue" => Work::Queue,
            "value_set" => Work::ValueSet,
            "own_call" => Work::OwnCall,
            "pipelined" => Work::Pipelined,
            "connect" => return connect(by_tcp, operations).map(Some),
            "start" => return start(operations).map(Some),
            _ => return Ok(None),
        };
        calls(work, by_tcp, (clients, threads), operations).map(Some)
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Work {
    DictSet,
    DictGet,
    ListAppend,
    Queue,
    ValueSet,
    OwnCall,
    Pipelined,
}

#[derive(Actor, Serialize, Deserialize)]
struct Echo;

#[methods]
impl Echo {
    pub fn more(&mut self, n: u64) -> u64 {
        n + 1
    }
}

fn echo() -> Echo {
    Echo
}

/// What a client uses.
#[derive(Serialize, Deserialize)]
struct Objects {
    dict: DictProxy<u64, u64>,
    list: ListProxy<u64>,
    queue: QueueProxy<u64>,
    value: ValueProxy<u64>,
    own: EchoRef,
}

/// How a client gets there.
#[derive(Serialize, Deserialize)]
enum Way {
    Tree(Objects),
    Tcp(Address),
}

fn manager(address: Option<&str>) -> procession::Result<Manager> {
    let builder = Manager::builder()
        .offer::<DictProxy<u64, u64>>("dict")
        .offer::<ListProxy<u64>>("list")
        .offer::<QueueProxy<u64>>("queue")
        .register("echo", echo)
        .authkey(KEY);
    match address {
        Some(address) => builder.address(address).start(),
        None => builder.start(),
    }
}

fn objects(manager: &Manager, own: EchoRef) -> Result<Objects, procession::ManagerError> {
    Ok(Objects {
        dict: manager.get("dict")?,
        list: manager.get("list")?,
        queue: manager.get("queue")?,
        value: manager.value(0)?,
        own,
    })
}

fn calls(
    work: Work,
    by_tcp: bool,
    (clients, threads): (u64, u64),
    operations: u64,
) -> Result<Answer, Error> {
    let manager = manager(by_tcp.then_some("127.0.0.1:0"))?;
    let mut crew = Crew::default();
    for client in 0..clients {
        let way = match manager.address() {
            Some(address) if by_tcp => Way::Tcp(address.clone()),
            _ => Way::Tree(objects(&manager, manager.create(Echo)?)?),
        };
        let share = portion(operations, client, clients);
        let callers = (client, threads);
        crew.add(|context, gate| context.spawn(client_body, (gate, way, work, callers, share)))?;
    }
    Ok(timed(&crew.run()?))
}

fn client_body(
    gate: Gate,
    way: Way,
    work: Work,
    (client, threads): (u64, u64),
    operations: u64,
) -> Result<Report, Failure> {
    let objects = match way {
        Way::Tree(objects) => objects,
        Way::Tcp(address) => {
            let manager = Manager::connect(address, KEY)?;
            objects(&manager, manager.make::<Echo>("echo", ())?)?
        }
    };
    let keys = client * KEYS..(client + 1) * KEYS;
    for key in keys.clone() {
        objects.dict.insert(&key, &key)?;
    }
    objects.list.len()?;
    objects.queue.qsize()?;
    objects.value.get()?;
    objects.own.more(0)?;
    turns(&objects, work, &keys, WARM_UP)?;
    gate.pass(|| {
        if let Work::Pipelined = work {
            let call = |n| objects.dict.insert_async(&(n % KEYS), &n);
            return Ok((0, pipelined(operations, call)?));
        }
        let turns = |thread| turns(&objects, work, &keys, portion(operations, thread, threads));
        if threads == 1 {
            return Ok((0, turns(0)?));
        }
        let good: Result<u64, Failure> = thread::scope(|scope| {
            let turns = &turns;
            let all: Vec<_> = (0..threads).map(|n| scope.spawn(move || turns(n))).collect();
            all.into_iter().map(|one| one.join().expect("it does not panic")).sum()
        });
        Ok((0, good?))
    })
}

/// One call after another: how many went well.
fn turns(
    objects: &Objects,
    work: Work,
    keys: &std::ops::Range<u64>,
    operations: u64,
) -> Result<u64, Failure> {
    let Objects { dict, list, queue, value, own } = objects;
    let mut good = 0;
    for (n, key) in (0..operations).zip(keys.clone().cycle()) {
        good += u64::from(match work {
            Work::DictSet => dict.insert(&key, &n).map(|()| true)?,
            Work::DictGet => dict.get(&key)? == Some(key),
            Work::ListAppend => list.append(&n).map(|()| true)?,
            Work::Queue => {
                queue.put(n)?;
                // It may be another client's.
                queue.get().map(|_| true)?
            }
            Work::ValueSet => value.set(&n).map(|()| true)?,
            Work::OwnCall => own.more(n)? == n + 1,
            Work::Pipelined => false,
        });
    }
    Ok(good)
}

/// Keeps a window of calls under way; each that ends is followed by the next.
fn pipelined<F>(operations: u64, call: impl Fn(u64) -> F) -> Result<u64, Failure>
where
    F: Future<Output = Result<(), procession::ManagerError>> + Unpin,
{
    let mut under_way = VecDeque::<F>::new();
    let (mut begun, mut good) = (0, 0);
    let all = std::future::poll_fn(|context: &mut Context<'_>| {
        loop {
            // Answers come in the order of the calls.
            while let Some(first) = under_way.front_mut() {
                match Pin::new(first).poll(context) {
                    Poll::Ready(Ok(())) => good += 1,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => break,
                }
                under_way.pop_front();
            }
            if begun == operations {
                return if under_way.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            if under_way.len() == WINDOW {
                return Poll::Pending;
            }
            while under_way.len() < WINDOW && begun < operations {
                let mut next = call(begun);
                begun += 1;
                // The first poll sends it; its answer is looked for above.
                match Pin::new(&mut next).poll(context) {
                    Poll::Ready(Ok(())) => good += 1,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => under_way.push_back(next),
                }
            }
        }
    });
    block_on(all)?;
    Ok(good)
}

fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn answer(took: Duration, good: u64) -> Result<Answer, Error> {
    Ok(Answer { value: u64::try_from(took.as_nanos())?, check: good })
}

fn connect(by_tcp: bool, operations: u64) -> Result<Answer, Error> {
    // The manager of the round before may not have closed its own yet: nothing waits for that.
    static ROUNDS: AtomicU64 = AtomicU64::new(0);
    let round = ROUNDS.fetch_add(1, Ordering::Relaxed);
    let name = format!("/tmp/procession-versus-{}-{round}", std::process::id());
    let manager = manager(Some(if by_tcp { "127.0.0.1:0" } else { &name }))?;
    let Some(address) = manager.address().cloned() else { return Err("no address".into()) };
    let begun = Instant::now();
    let mut good = 0;
    for _ in 0..operations {
        good += u64::from(Manager::connect(address.clone(), KEY)?.names()?.len() == 4);
    }
    answer(begun.elapsed(), good)
}

fn start(operations: u64) -> Result<Answer, Error> {
    let (mut took, mut good) = (Duration::ZERO, 0);
    for _ in 0..operations {
        let begun = Instant::now();
        let manager = Manager::start()?;
        took += begun.elapsed();
        good += u64::from(manager.object_count()? == 0);
        manager.shutdown()?;
    }
    answer(took, good)
}
