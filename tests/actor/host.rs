//! Actors hosted in this process: calls, casts, hooks, ends, mailbox policies.
#![allow(unreachable_pub, reason = "a test's own actors")]

use procession::{
    Actor, ActorRef, CallError, Down, ExitReason, Handler, Message, Reply, SpawnError, methods,
    whereis,
};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Nothing here should take this long.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Actor)]
struct Counter {
    value: i64,
}

#[methods]
impl Counter {
    /// How much `double` doubles.
    const FACTOR: i64 = 2;

    pub fn new() -> Self {
        Self { value: 0 }
    }

    /// Adds, and says what came out.
    pub fn add(&mut self, n: i64) -> i64 {
        self.value += n;
        self.value
    }

    pub fn value(&self) -> i64 {
        self.value
    }

    pub fn divide(&mut self, by: i64) -> Result<i64, String> {
        self.value = self.value.checked_div(by).ok_or("division by zero")?;
        Ok(self.value)
    }

    pub async fn add_later(&mut self, mut n: i64, wait: Duration) -> i64 {
        tokio::time::sleep(wait).await;
        n *= 1;
        self.add(n)
    }

    pub fn double(&mut self) {
        self.value *= Self::FACTOR;
    }

    pub fn merge(&mut self, other: Self, more: Vec<Self>) -> Self {
        self.value += other.value + more.iter().map(|m| m.value).sum::<i64>();
        Self { value: self.value }
    }

    /// Says that it has begun, and goes on until the other end of `until` is dropped.
    pub fn busy(&mut self, begun: mpsc::Sender<()>, until: mpsc::Receiver<()>) {
        begun.send(()).unwrap();
        let _ = until.recv_timeout(LIMIT);
    }

    pub fn fail(&mut self, message: String) {
        panic!("{message}");
    }

    pub fn call_back(&mut self, to: CounterRef) -> Result<i64, CallError> {
        to.value()
    }

    pub async fn ask(&mut self, whom: CounterRef) -> Result<i64, CallError> {
        whom.value_async().await
    }

    pub fn itself(&mut self) -> CounterRef {
        ActorRef::<Self>::current().unwrap().into()
    }
}

fn counter() -> CounterRef {
    Counter::new().host().unwrap()
}

fn until<F: Future>(future: F) -> F::Output {
    procession_runtime::wait::block_on_until(future, Instant::now() + LIMIT).unwrap()
}

/// Returns when the counter is in a handler, which ends when the sender is dropped.
fn occupy(counter: &CounterRef) -> mpsc::Sender<()> {
    let (begun, has_begun) = mpsc::channel();
    let (end, until) = mpsc::channel();
    counter.cast().busy(begun, until).unwrap();
    has_begun.recv_timeout(LIMIT).unwrap();
    end
}

#[test]
fn calls_come_back_in_order() {
    let counter = counter();
    assert_eq!(counter.add(5), Ok(5));
    assert_eq!(counter.add_timeout(2, LIMIT), Ok(7));
    counter.cast().double().unwrap();
    assert_eq!(counter.value(), Ok(14));
    assert_eq!(counter.divide(0), Ok(Err("division by zero".into())));
    assert_eq!(counter.divide(7), Ok(Ok(2)));
    let merged = counter.merge(Counter { value: 1 }, vec![Counter { value: 2 }]).unwrap();
    assert_eq!(merged.value, 5);
    assert_eq!(counter.name(), "Counter");
    assert!(counter.is_alive());
}

#[test]
fn async_methods_run_and_async_calls_wait() {
    let counter = counter();
    assert_eq!(counter.add_later(3, Duration::from_millis(5)), Ok(3));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let sum = runtime.block_on(async {
        let task = tokio::spawn(counter.add_later_async(4, Duration::from_millis(5)));
        let first = tokio::time::timeout(LIMIT, task).await.unwrap().unwrap().unwrap();
        let second = tokio::time::timeout(LIMIT, counter.add_async(1)).await.unwrap().unwrap();
        (first, second)
    });
    assert_eq!(sum, (7, 8));
}

#[test]
fn many_blocking_calls_in_a_task_do_not_starve() {
    let counter = counter();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (done, finished) = mpsc::channel();
    std::thread::spawn(move || {
        let last = runtime
            .block_on(async { (0..1000).map(|_| counter.add(1)).max_by_key(|n| n.clone().ok()) });
        done.send(last).unwrap();
    });
    assert_eq!(finished.recv_timeout(LIMIT).unwrap(), Some(Ok(1000)));
}

#[test]
fn a_timeout_ends_the_wait_not_the_call() {
    let counter = counter();
    let end = occupy(&counter);
    assert_eq!(counter.add_timeout(1, Duration::from_millis(10)), Err(CallError::Timeout));
    drop(end);
    assert_eq!(counter.value_timeout(LIMIT), Ok(1));
}

#[test]
fn a_dropped_future_forgets_the_reply() {
    let counter = counter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let end = occupy(&counter);
        let slow = counter.add_async(1);
        assert!(tokio::time::timeout(Duration::from_millis(5), slow).await.is_err());
        drop(end);
    });
    assert_eq!(counter.value_timeout(LIMIT), Ok(1));
}

#[test]
fn a_panic_ends_the_actor_and_fails_its_calls() {
    let counter = counter();
    let mut monitor = counter.monitor().unwrap();
    let end = occupy(&counter);
    let failing = counter.fail_async("seven".into());
    let failing = std::thread::spawn(|| until(failing));
    let (reply, mut unread) = Reply::channel();
    // Behind the one that panics.
    std::thread::sleep(Duration::from_millis(50));
    counter.send(CounterMsg::Value(reply)).unwrap();
    drop(end);
    let error = failing.join().unwrap().unwrap_err();
    let CallError::ActorDied { name, reason: ExitReason::Panic(report) } = error else {
        panic!("{error:?}");
    };
    assert_eq!((name.as_str(), report.message.as_str()), ("Counter", "seven"));
    assert!(report.location.contains("tests/actor/host.rs"), "{}", report.location);
    let unread = unread.recv_timeout(LIMIT).unwrap_err();
    assert!(matches!(unread, CallError::ActorDied { .. }), "{unread:?}");
    let down = monitor.recv_timeout(LIMIT).unwrap();
    assert_eq!((down.actor, &down.reason), (counter.id(), &ExitReason::Panic(report)));
    assert_eq!(monitor.recv_timeout(Duration::ZERO), None);
    assert!(!counter.is_alive());
    assert!(matches!(counter.value(), Err(CallError::ActorDied { .. })));
    assert_eq!(counter.monitor().unwrap().recv_timeout(LIMIT), Some(down));
}

#[test]
fn a_stop_lets_the_message_in_progress_end() {
    let counter = counter();
    let end = occupy(&counter);
    let (reply, mut unread) = Reply::channel();
    counter.send(CounterMsg::Value(reply)).unwrap();
    counter.stop();
    assert!(counter.is_alive());
    drop(end);
    let down = counter.stop_timeout(LIMIT).unwrap();
    assert_eq!(down.reason, ExitReason::Shutdown);
    let died = CallError::ActorDied { name: "Counter".into(), reason: ExitReason::Shutdown };
    assert_eq!(unread.recv_timeout(LIMIT), Err(died));
    assert_eq!(counter.value(), Err(CallError::Stopped));
}

#[test]
fn a_stop_that_takes_too_long_is_a_timeout() {
    let counter = counter();
    let end = occupy(&counter);
    assert_eq!(counter.stop_timeout(Duration::from_millis(10)), Err(CallError::Timeout));
    assert_eq!(counter.value(), Err(CallError::Stopped));
    drop(end);
    assert!(counter.monitor().unwrap().recv_timeout(LIMIT).is_some());
}

#[test]
fn a_killed_actor_is_dead_at_once() {
    let counter = counter();
    let end = occupy(&counter);
    let (reply, mut unread) = Reply::channel();
    counter.send(CounterMsg::Value(reply)).unwrap();
    counter.kill();
    assert!(!counter.is_alive());
    let killed = CallError::ActorDied { name: "Counter".into(), reason: ExitReason::Signal(9) };
    assert_eq!(counter.value(), Err(killed.clone()));
    drop(end);
    assert_eq!(unread.recv_timeout(LIMIT), Err(killed));
    let down = counter.monitor().unwrap().recv_timeout(LIMIT).unwrap();
    assert_eq!(down.reason, ExitReason::Signal(9));
}

#[test]
fn the_last_reference_lets_it_end_when_all_is_handled() {
    let counter = counter();
    let mut monitor = counter.monitor().unwrap();
    let clone = counter.clone();
    drop(counter);
    assert_eq!(clone.add(1), Ok(1));
    let end = occupy(&clone);
    clone.cast().add(1).unwrap();
    drop((clone, end));
    let down = monitor.recv_timeout(LIMIT).unwrap();
    assert_eq!(down.reason, ExitReason::Normal);
}

#[test]
fn an_actor_that_waits_for_itself_is_told() {
    let counter = counter();
    assert_eq!(counter.call_back(counter.clone()), Ok(Err(CallError::WouldDeadlock)));
    assert_eq!(counter.ask(counter.clone()), Ok(Err(CallError::WouldDeadlock)));
    let other = self::counter();
    assert_eq!(counter.call_back(other.clone()), Ok(Ok(0)));
    assert_eq!(counter.ask(other), Ok(Ok(0)));
    let same = counter.itself().unwrap();
    assert_eq!(same.id(), counter.id());
}

/// Types without serde, and not even `Debug`.
struct Opaque(std::thread::ThreadId);

#[derive(Actor)]
struct Plain;

#[methods]
impl Plain {
    pub fn same_thread(&mut self, other: Opaque) -> Option<Opaque> {
        (other.0 != std::thread::current().id()).then_some(other)
    }
}

#[test]
fn a_hosted_actor_needs_no_serde() {
    let plain = Plain.host().unwrap();
    assert!(plain.same_thread(Opaque(std::thread::current().id())).unwrap().is_some());
    let error = procession_runtime::codec::encode(&plain).unwrap_err();
    assert!(error.why.contains("cannot leave its process"), "{error}");
}

#[derive(Actor)]
struct Hooked {
    log: mpsc::Sender<String>,
    refuse: bool,
}

#[methods]
impl Hooked {
    pub fn ping(&self) -> bool {
        self.log.send("ping".into()).is_ok()
    }

    pub fn follow(&mut self, other: CounterRef) -> Result<(), CallError> {
        other.watch()
    }

    #[on_start]
    async fn hello(&mut self) -> Result<(), String> {
        tokio::task::yield_now().await;
        self.log.send("start".into()).unwrap();
        if self.refuse { Err("not today".into()) } else { Ok(()) }
    }

    #[on_stop]
    fn farewell(&mut self, why: &ExitReason) {
        self.log.send(format!("stop: {why}")).unwrap();
    }

    #[on_down]
    fn peer(&mut self, down: &Down) {
        self.log.send(format!("down: {} {}", down.name, down.reason)).unwrap();
    }
}

#[test]
fn hooks_run_around_the_messages() {
    let (log, lines) = mpsc::channel();
    let hooked = Hooked { log, refuse: false }.host().unwrap();
    let counter = counter();
    assert_eq!(hooked.ping(), Ok(true));
    assert_eq!(hooked.follow(counter.clone()), Ok(Ok(())));
    counter.stop();
    let next = || lines.recv_timeout(LIMIT).unwrap();
    assert_eq!([next(), next(), next()], ["start", "ping", "down: Counter shutdown"]);
    hooked.stop();
    assert_eq!(next(), "stop: shutdown");
}

#[test]
fn a_refused_start_is_an_error() {
    let (log, lines) = mpsc::channel();
    let error = Hooked { log, refuse: true }.host().unwrap_err();
    assert!(matches!(&error, SpawnError::Failed(why) if why == "not today"), "{error:?}");
    assert_eq!(lines.iter().collect::<Vec<_>>(), ["start"]);
}

/// A message written by hand.
#[derive(Message)]
enum StoreMsg {
    Put { key: String, value: u32 },
    Get(String, Reply<Option<u32>>),
    Forget(Reply<()>),
    Keep(Reply<u8>),
    Wait(mpsc::Receiver<()>),
}

#[derive(Actor, Default)]
#[actor(mailbox = 2, overflow = "fail")]
struct Store {
    map: std::collections::HashMap<String, u32>,
    kept: Option<Reply<u8>>,
}

impl Handler for Store {
    type Msg = StoreMsg;

    fn handle(&mut self, message: StoreMsg) {
        match message {
            StoreMsg::Put { key, value } => drop(self.map.insert(key, value)),
            StoreMsg::Get(key, reply) => reply.send(self.map.get(&key).copied()),
            StoreMsg::Forget(_) => {}
            StoreMsg::Keep(reply) => self.kept = Some(reply),
            StoreMsg::Wait(gate) => drop(gate.recv()),
        }
    }
}

#[test]
fn a_hand_written_message_is_served() {
    let store = Store::default().host().unwrap();
    store.send(StoreMsg::Put { key: "a".into(), value: 1 }).unwrap();
    assert_eq!(store.call(|reply| StoreMsg::Get("a".into(), reply)), Ok(Some(1)));
    assert_eq!(store.call(StoreMsg::Forget), Err(CallError::NoReply));
    assert_eq!(
        store.call_timeout(StoreMsg::Keep, Duration::from_millis(10)),
        Err(CallError::Timeout)
    );
}

#[test]
fn a_kept_reply_dies_with_the_actor() {
    let store = Store::default().host().unwrap();
    let (reply, mut answer) = Reply::channel();
    store.send(StoreMsg::Keep(reply)).unwrap();
    assert_eq!(answer.recv_timeout(Duration::from_millis(5)), Err(CallError::Timeout));
    store.stop();
    let died = CallError::ActorDied { name: "Store".into(), reason: ExitReason::Shutdown };
    assert_eq!(answer.recv_timeout(LIMIT), Err(died));
}

#[test]
fn a_full_mailbox_that_fails_gives_the_message_back() {
    let store = Store::default().host().unwrap();
    let (open, gate) = mpsc::channel();
    store.send(StoreMsg::Wait(gate)).unwrap();
    let put = |value| store.send(StoreMsg::Put { key: "k".into(), value });
    // The gate may still be in the mailbox.
    let error = (1..=3).find_map(|value| put(value).err()).unwrap();
    assert_eq!(*error.why, CallError::Full);
    assert!(matches!(error.message, StoreMsg::Put { .. }));
    drop(open);
    let deadline = Instant::now() + LIMIT;
    while put(9).is_err() {
        assert!(Instant::now() < deadline);
    }
}

#[derive(Actor)]
#[actor(mailbox = 1, overflow = "drop_new")]
struct Lossy(u32);

#[methods]
impl Lossy {
    pub fn count(&mut self) -> u32 {
        self.0 += 1;
        self.0
    }

    pub fn wait(&mut self, gate: mpsc::Receiver<()>, waiting: mpsc::Sender<()>) {
        waiting.send(()).unwrap();
        let _ = gate.recv();
    }
}

#[test]
fn a_full_mailbox_that_drops_takes_no_new_casts() {
    let lossy = Lossy(0).host().unwrap();
    let (open, gate) = mpsc::channel();
    let (waiting, waits) = mpsc::channel();
    lossy.cast().wait(gate, waiting).unwrap();
    waits.recv_timeout(LIMIT).unwrap();
    for _ in 0..10 {
        lossy.cast().count().unwrap();
    }
    assert_eq!(lossy.count(), Err(CallError::Full));
    drop(open);
    let deadline = Instant::now() + LIMIT;
    let seen = loop {
        match lossy.count() {
            Ok(seen) => break seen,
            Err(error) => assert_eq!(error, CallError::Full),
        }
        assert!(Instant::now() < deadline);
    };
    assert_eq!(seen, 2);
}

#[derive(Actor)]
#[actor(mailbox = 1)]
struct Narrow(Vec<u32>);

#[methods]
impl Narrow {
    pub fn push(&mut self, n: u32, time: Duration) {
        std::thread::sleep(time);
        self.0.push(n);
    }

    pub fn all(&self) -> Vec<u32> {
        self.0.clone()
    }

    pub fn fill(&self) -> Option<CallError> {
        let this = NarrowRef::from(ActorRef::<Self>::current()?);
        (0..3).find_map(|n| this.cast().push(n, Duration::ZERO).err())
    }
}

#[test]
fn a_full_mailbox_that_blocks_keeps_the_order() {
    let narrow = Narrow(Vec::new()).host().unwrap();
    for n in 0..20 {
        narrow.cast().push(n, Duration::from_millis(1)).unwrap();
    }
    assert_eq!(narrow.all_timeout(LIMIT).unwrap(), (0..20).collect::<Vec<_>>());
    narrow.cast().push(20, Duration::from_millis(500)).unwrap();
    narrow.cast().push(21, Duration::ZERO).unwrap();
    assert_eq!(narrow.all_timeout(Duration::from_millis(10)), Err(CallError::Timeout));
}

#[test]
fn a_cast_waits_for_room_no_longer_than_it_says() {
    let narrow = Narrow(Vec::new()).host().unwrap();
    narrow.cast().push(0, Duration::from_millis(300)).unwrap();
    narrow.cast().push(1, Duration::ZERO).unwrap();
    let soon = narrow.cast_timeout(Duration::from_millis(10));
    assert_eq!(soon.push(2, Duration::ZERO), Err(CallError::Timeout));
    narrow.cast_timeout(LIMIT).push(3, Duration::ZERO).unwrap();
    assert_eq!(narrow.all_timeout(LIMIT).unwrap(), [0, 1, 3]);
}

#[test]
fn who_waits_for_room_hears_of_the_stop() {
    let narrow = Narrow(Vec::new()).host().unwrap();
    narrow.cast().push(0, Duration::from_millis(200)).unwrap();
    narrow.cast().push(1, Duration::ZERO).unwrap();
    let sender = std::thread::spawn({
        let narrow = narrow.clone();
        move || narrow.cast().push(2, Duration::ZERO)
    });
    std::thread::sleep(Duration::from_millis(50));
    narrow.stop();
    assert_eq!(sender.join().unwrap(), Err(CallError::Stopped));
}

#[test]
fn an_actor_does_not_wait_for_room_in_its_own_mailbox() {
    let narrow = Narrow(Vec::new()).host().unwrap();
    assert_eq!(narrow.fill_timeout(LIMIT), Ok(Some(CallError::WouldDeadlock)));
}

#[test]
fn a_ractor_port_is_a_reply() {
    let store = Store::default().host().unwrap();
    let (sender, receiver) = ractor::concurrency::oneshot();
    let port = ractor::RpcReplyPort::from(sender);
    store.send(StoreMsg::Get("none".into(), port.into())).unwrap();
    assert_eq!(until(receiver), Ok(None));
}

#[test]
fn references_and_futures_are_send() {
    fn send<T: Send>(value: T) -> T {
        value
    }
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<CounterRef>();
    shared::<ActorRef<Store>>();
    let counter = counter();
    drop(send(counter.add_async(1)));
    drop(send(counter.monitor().unwrap().recv_async()));
}

#[test]
fn a_name_finds_its_actor_and_holds_it_until_its_end() {
    drop(Counter::new().host_named("tally").unwrap());
    let counter = whereis::<Counter>("tally").unwrap();
    assert_eq!((counter.name(), counter.add(2).unwrap()), ("tally", 2));
    let taken = Counter::new().host_named("tally");
    assert!(matches!(taken, Err(SpawnError::NameTaken(name)) if name == "tally"));
    assert!(whereis::<Hooked>("tally").is_none(), "another type");
    assert!(whereis::<Counter>("other").is_none());
    counter.stop_timeout(LIMIT).unwrap();
    assert!(whereis::<Counter>("tally").is_none());
    let next = Counter::new().host_named("tally").unwrap();
    assert_eq!(whereis::<Counter>("tally").unwrap().value(), Ok(0));
    next.stop();
}

#[test]
fn a_start_that_fails_leaves_the_name_free() {
    let (log, _lines) = mpsc::channel();
    assert!(Hooked { log, refuse: true }.host_named("refused").is_err());
    Counter::new().host_named("refused").unwrap().stop();
    // No thread can be called so.
    for _ in 0..2 {
        let error = Counter::new().host_named("zero\0byte");
        assert!(matches!(error, Err(SpawnError::Thread(_))));
    }
}

struct Unbounded;

impl Handler for Unbounded {
    type Msg = StoreMsg;

    fn handle(&mut self, message: StoreMsg) {
        if let StoreMsg::Get(_, reply) = message {
            reply.send(None);
        }
    }
}

impl Actor for Unbounded {
    type Ref = ActorRef<Self>;
    const NAME: &'static str = "Unbounded";
    const MAILBOX: procession::MailboxOptions =
        procession::MailboxOptions::DEFAULT.capacity(usize::MAX);
}

#[test]
fn a_mailbox_may_have_more_places_than_can_be_counted() {
    let actor = Unbounded.host().unwrap();
    assert_eq!(actor.call(|reply| StoreMsg::Get("a".into(), reply)), Ok(None));
}
