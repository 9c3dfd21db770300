//! Shared objects when processes die, stop, lie or run out of descriptors.
//!
//! Each test is a process of its own, since it counts or limits what the process has.
//! Neighbour: `ways.rs` has the ways that handles go.

use crate::counter::{Counter, CounterKind, GONE, HOSTED};
use crate::util::{SOON, alone, signal, until};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use procession::{
    Actor, ChildSpec, Connection, Pipe, Process, Strategy, Supervisor, mailbox, methods,
};
use procession_runtime::codec::{self, Encoded};
use procession_runtime::share::{
    BadMessage, Client, Connection as ToOwner, Kind, ReplyTo, Share, ShareError, Stock,
};
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

/// A client is told of its owner's death within this.
const TOLD: Duration = Duration::from_millis(100);

fn none_is_left() {
    until("the object is dropped", || HOSTED.load(Ordering::SeqCst) == 0);
}

fn sleeper() {
    std::thread::sleep(Duration::from_mins(10));
}

/// Attaches, says so, and is then killed.
fn attached_and_killed(counter: &Counter) {
    let before = counter.get();
    let hold = |counter: Counter| {
        counter.add(1).unwrap();
        sleeper();
    };
    let process = Process::spawn(hold, (counter.clone(),)).unwrap();
    until("it is attached", || counter.get() > before);
    process.kill().unwrap();
    assert!(process.join_timeout(SOON).unwrap());
}

#[derive(Actor, Serialize, Deserialize)]
struct Owner {
    owned: Vec<Counter>,
}

#[methods]
impl Owner {
    pub fn make(&mut self) -> Counter {
        self.owned.push(Counter::new());
        self.owned[self.owned.len() - 1].clone()
    }

    pub fn keep(&mut self, counter: Counter) {
        self.owned.push(counter);
    }

    pub fn forget(&mut self) {
        self.owned.clear();
    }

    pub fn hosted(&self) -> usize {
        HOSTED.load(Ordering::SeqCst)
    }

    pub fn limit(&self, descriptors: u64) {
        limit(descriptors);
    }

    pub fn add(&self, at: usize) -> Result<u64, String> {
        self.owned[at].add(1).map_err(|error| error.to_string())
    }

    pub fn reaches(&self, value: u64, millis: u64) -> Result<u64, String> {
        let reached = self.owned[0].reaches(value, Duration::from_millis(millis));
        reached.map_err(|error| error.to_string())
    }
}

fn owner() -> OwnerRef {
    Owner { owned: Vec::new() }.spawn().unwrap()
}

fn limit(descriptors: u64) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, descriptors.min(hard), hard).unwrap();
}

/// A child's standard streams and links have all numbers below.
const NONE_FREE: u64 = 5;

/// So many that none is free: the lowest number that is, as a limit.
fn used_up() -> u64 {
    let free = std::fs::File::open("/dev/null").unwrap();
    u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&free)).unwrap()
}

#[test]
fn each_clients_death_is_told_once_and_its_number_rests_until_then() {
    alone("ends::each_clients_death_is_told_once_and_its_number_rests_until_then", || {
        let counter = Counter::new();
        for round in 1..=20 {
            attached_and_killed(&counter);
            until("the death is told", || counter.seen().died.len() == round);
        }
        let seen = counter.seen();
        assert_eq!(seen.died, seen.attached);
        assert!(seen.detached.is_empty());
        let mut numbers = seen.attached;
        numbers.dedup();
        assert_eq!(numbers.len(), 20, "a number rests");
        drop(counter);
        none_is_left();
    });
}

fn received() -> Counter {
    mailbox().recv_timeout(SOON).unwrap()
}

/// What cannot be encoded.
struct Fails;
impl Serialize for Fails {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no"))
    }
}

#[test]
fn what_nobody_will_redeem_does_not_stay() {
    alone("ends::what_nobody_will_redeem_does_not_stay", || {
        // A message that is dropped, and one that cannot be encoded.
        let counter = Counter::new();
        let encoded = codec::encode(&counter).unwrap();
        codec::encode(&(counter.clone(), Fails)).unwrap_err();
        drop(counter);
        assert_eq!(HOSTED.load(Ordering::SeqCst), 1, "the message keeps it");
        drop(encoded);
        none_is_left();

        // A recipient that never looks, and dies; of a message that it has, and of one that
        // waits in its mailbox.
        let counter = Counter::new();
        let process = Process::spawn(|_counter: Counter| sleeper(), (counter.clone(),)).unwrap();
        process.send(&counter).unwrap();
        drop(counter);
        assert_eq!(HOSTED.load(Ordering::SeqCst), 1);
        process.kill().unwrap();
        assert!(process.join_timeout(SOON).unwrap());
        none_is_left();

        // One that looks and never uses it.
        let counter = Counter::new();
        let process = Process::spawn(drop, (counter.clone(),)).unwrap();
        drop(counter);
        assert!(process.join_timeout(SOON).unwrap());
        none_is_left();
    });
}

#[test]
fn an_object_outlives_its_makers_handles_while_it_is_under_way() {
    alone("ends::an_object_outlives_its_makers_handles_while_it_is_under_way", || {
        let process = Process::spawn(|| received().add(1).unwrap(), ()).unwrap();
        process.send(&Counter::new()).unwrap();
        assert_eq!(process.result_timeout(SOON).unwrap(), 1);
        none_is_left();

        // Passed on by one that ends at once, and has no other handle.
        for _ in 0..20 {
            let last = Process::spawn(|| received().add(1).unwrap(), ()).unwrap();
            let between = Process::spawn(received, ()).unwrap();
            between.send(&Counter::new()).unwrap();
            last.send(&between.result_timeout(SOON).unwrap()).unwrap();
            assert_eq!(last.result_timeout(SOON).unwrap(), 1);
            none_is_left();
        }
        let owner = owner();
        for _ in 0..20 {
            let counter = owner.make().unwrap();
            let child = |counter: Counter| {
                let process = Process::spawn(|counter: Counter| counter, (counter,)).unwrap();
                process.result_timeout(SOON).unwrap()
            };
            let process = Process::spawn(child, (counter,)).unwrap();
            assert_eq!(process.result_timeout(SOON).unwrap().add(1).unwrap(), 1);
        }
    });
}

#[test]
fn an_owners_death_ends_every_wait_at_once() {
    alone("ends::an_owners_death_ends_every_wait_at_once", || {
        let owner = owner();
        let (used, unused) = (owner.make().unwrap(), owner.make().unwrap());
        used.add(1).unwrap();
        let waits: Vec<_> = (0..3)
            .map(|_| {
                let counter = used.clone();
                std::thread::spawn(move || (counter.reaches(100, SOON), Instant::now()))
            })
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let waiter = used.clone();
        let waiter = std::thread::spawn(move || {
            (runtime.block_on(waiter.reaches_async(100)), Instant::now())
        });
        until("they wait", || used.seen().waiting == 4);
        let pid = procession::active_children()[0].pid().unwrap();
        let killed = Instant::now();
        signal(pid, Signal::SIGKILL);
        for wait in waits.into_iter().chain([waiter]) {
            let (result, at) = wait.join().unwrap();
            assert!(matches!(result, Err(ShareError::OwnerGone { .. })), "{result:?}");
            assert!(at - killed < TOLD, "{:?}", at - killed);
        }
        assert_eq!(GONE.load(Ordering::SeqCst), 1, "the one attached object was told");
        // For ever, for what was used and for what was not.
        for _ in 0..2 {
            assert!(matches!(used.add(1), Err(ShareError::OwnerGone { .. })));
            let Err(ShareError::OwnerGone { name }) = unused.add(1) else { panic!() };
            assert!(name.contains('-'), "{name}");
            assert!(codec::encode(&used).unwrap_err().to_string().contains("ended"));
        }
    });
}

#[test]
fn a_stopped_owner_costs_its_clients_no_more_than_their_deadlines() {
    alone("ends::a_stopped_owner_costs_its_clients_no_more_than_their_deadlines", || {
        let owner = owner();
        let (used, unused) = (owner.make().unwrap(), owner.make().unwrap());
        used.add(1).unwrap();
        let pid = procession::active_children()[0].pid().unwrap();
        signal(pid, Signal::SIGSTOP);
        until("it is stopped", || crate::util::state(pid) == Some('T'));
        let begun = Instant::now();
        let limit = Duration::from_millis(50);
        for counter in [&used, &unused] {
            assert!(matches!(counter.reaches(1, limit), Err(ShareError::Timeout)));
        }
        // What goes one way does not wait at all: encoding, decoding, dropping.
        for _ in 0..100 {
            let encoded = codec::encode(&(&used, &unused)).unwrap();
            codec::decode::<(Counter, Counter)>(&encoded.bytes, encoded.fds).unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        signal(pid, Signal::SIGCONT);
        assert_eq!(used.reaches(1, SOON).unwrap(), 1);
        assert_eq!(unused.add(1).unwrap(), 1);
        drop((used, unused));
        drop(owner);
    });
}

#[test]
fn what_a_stopped_owner_had_no_room_for_reaches_it_after_its_senders_body() {
    alone("ends::what_a_stopped_owner_had_no_room_for_reaches_it_after_its_senders_body", || {
        let owner = owner();
        let pid = procession::active_children()[0].pid().unwrap();
        let pass_on = |counter: Counter, to: Connection| {
            counter.add(1).unwrap();
            mailbox::<()>().recv_timeout(SOON).unwrap();
            // The other end of the ticket comes behind this.
            counter.pad().unwrap();
            to.send(&counter).unwrap();
        };
        let (here, there) = Pipe::duplex().unwrap();
        let counter = owner.make().unwrap();
        let process = Process::spawn(pass_on, (counter.clone(), there)).unwrap();
        until("the other has used it", || counter.get() == 1);
        // The one who passes it on alone keeps it.
        owner.forget().unwrap();
        drop(counter);
        signal(pid, Signal::SIGSTOP);
        until("it is stopped", || crate::util::state(pid) == Some('T'));
        process.send(&()).unwrap();
        let counter: Counter = here.recv_timeout(SOON).unwrap();
        signal(pid, Signal::SIGCONT);
        assert!(process.join_timeout(SOON).unwrap());
        assert_eq!(counter.add(1).unwrap(), 2);
    });
}

#[test]
fn what_is_given_back_finds_room_where_nothing_else_does() {
    alone("ends::what_is_given_back_finds_room_where_nothing_else_does", || {
        let owner = owner();
        let pid = procession::active_children()[0].pid().unwrap();
        let (given_back, kept) = (owner.make().unwrap(), owner.make().unwrap());
        owner.forget().unwrap();
        assert_eq!((given_back.get(), kept.get(), owner.hosted()), (0, 0, Ok(2)));
        signal(pid, Signal::SIGSTOP);
        until("it is stopped", || crate::util::state(pid) == Some('T'));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| kept.reaches(1, Duration::from_millis(300)));
            // Its question goes first, or is refused.
            std::thread::sleep(Duration::from_millis(100));
            until("there is no room", || kept.pad().is_err());
            assert!(matches!(waiting.join().unwrap(), Err(ShareError::Timeout)));
        });
        assert!(kept.pad().is_err());
        drop(given_back);
        signal(pid, Signal::SIGCONT);
        until("one is dropped", || owner.hosted() == Ok(1));
        until("the wait has ended", || kept.seen().waiting == 0);
        assert_eq!(kept.seen().cancelled, 1);
    });
}

#[test]
fn a_wait_that_is_given_up_is_told_to_the_owner() {
    alone("ends::a_wait_that_is_given_up_is_told_to_the_owner", || {
        let owner = owner();
        let counter = owner.make().unwrap();
        // Whose wait ends before it is attached has nothing to give up.
        assert_eq!(counter.add(0).unwrap(), 0);
        let limit = Duration::from_millis(20);
        assert!(matches!(counter.reaches(5, limit), Err(ShareError::Timeout)));
        assert!(matches!(counter.ignored(limit), Err(ShareError::Timeout)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let wait = tokio::time::timeout(limit, counter.reaches_async(5));
            wait.await.unwrap_err();
        });
        assert_eq!(counter.seen().cancelled, 3);
        // An answer that comes later is nobody else's.
        assert_eq!(counter.add(7).unwrap(), 7);
        assert_eq!(counter.reaches(5, SOON).unwrap(), 7);
    });
}

/// A kind that is none of the counters.
struct OtherKind;

struct Nothing;

impl Stock for Nothing {
    fn attach(&self, _: &Arc<Client>) -> io::Result<Encoded> {
        Ok(Encoded::default())
    }

    fn request(&self, _: &Arc<Client>, _: Encoded, _: Option<ReplyTo>) -> Result<(), BadMessage> {
        Err(BadMessage)
    }

    fn detach(&self, _: &Arc<Client>) {}

    fn died(&self, _: &Arc<Client>) {}
}

impl Kind for OtherKind {
    const NAME: &'static str = "another kind";
    type Own = Nothing;
    type Away = ();

    fn attached(_: &Arc<ToOwner>, _: u64, _: Encoded) -> Result<(), ShareError> {
        Ok(())
    }
}

/// Goes as a counter and arrives as something else.
struct Disguise(Option<Counter>, Option<Share<OtherKind>>);

impl Serialize for Disguise {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().unwrap().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Disguise {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(None, Some(Share::deserialize(deserializer)?)))
    }
}

/// Polls a first use once and keeps it, while another thread uses the object.
fn keeps_a_first_use(counter: Counter) -> u64 {
    let mut first = Box::pin(counter.0.side_async());
    let mut context = Context::from_waker(Waker::noop());
    // An owner that is quick has answered already.
    let _ = first.as_mut().poll(&mut context);
    let added = std::thread::scope(|scope| scope.spawn(|| counter.add(1)).join());
    drop(first);
    added.unwrap().unwrap()
}

#[test]
fn a_first_use_that_is_kept_and_not_polled_holds_up_nobody() {
    let counter = Counter::new();
    let process = Process::spawn(keeps_a_first_use, (counter.clone(),)).unwrap();
    assert_eq!(process.result_timeout(SOON).unwrap(), 1);
    // It was given up, and the handle with it.
    until("nobody is attached", || counter.seen().detached.len() == 1);
    assert_eq!(counter.seen().attached.len(), 1);
}

#[test]
fn kinds_are_not_confused_and_nonsense_costs_its_sender_alone() {
    alone("ends::kinds_are_not_confused_and_nonsense_costs_its_sender_alone", || {
        let counter = Counter::new();
        let encoded = codec::encode(&counter).unwrap();
        let error = codec::decode::<Share<OtherKind>>(&encoded.bytes, encoded.fds).unwrap_err();
        assert!(error.to_string().contains(CounterKind::NAME), "{error}");
        let other = |Disguise(_, share): Disguise| match share.unwrap().side() {
            Err(ShareError::OtherKind { found }) => found,
            _ => "confused".into(),
        };
        let disguised = Disguise(Some(counter.clone()), None);
        let process = Process::spawn(other, (disguised,)).unwrap();
        assert_eq!(process.result_timeout(SOON).unwrap(), CounterKind::NAME);

        let good = Process::spawn(
            |counter: Counter| {
                counter.add(1).unwrap();
                mailbox::<()>().recv_timeout(SOON).unwrap();
                counter.add(1).unwrap()
            },
            (counter.clone(),),
        )
        .unwrap();
        until("it is attached", || counter.get() == 1);
        let bad = |counter: Counter| {
            counter.nonsense().unwrap();
            let begun = Instant::now();
            let is_told = matches!(counter.reaches(99, SOON), Err(ShareError::OwnerGone { .. }));
            is_told && begun.elapsed() < SOON / 2
        };
        let bad = Process::spawn(bad, (counter.clone(),)).unwrap();
        assert!(bad.result_timeout(SOON).unwrap());
        good.send(&()).unwrap();
        assert_eq!(good.result_timeout(SOON).unwrap(), 2);
        // It was attached all the same, and its death is told.
        until("the death is told", || counter.seen().died.len() == 1);
    });
}

#[test]
fn a_want_of_descriptors_is_a_typed_error_and_passes() {
    alone("ends::a_want_of_descriptors_is_a_typed_error_and_passes", || {
        let counter = Counter::new();
        let keeper = owner();
        keeper.keep(counter.clone()).unwrap();
        // Encoding here.
        let (enough, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let before = crate::util::holdings().descriptors;
        limit(used_up());
        for _ in 0..10 {
            let error = codec::encode(&counter).unwrap_err();
            assert!(error.to_string().contains("os error 24"), "{error}");
        }
        limit(enough);
        assert_eq!(crate::util::holdings().descriptors, before);
        // Attaching there.
        keeper.limit(NONE_FREE).unwrap();
        for _ in 0..3 {
            let error = keeper.add(0).unwrap().unwrap_err();
            assert!(error.contains("os error 24"), "{error}");
        }
        keeper.limit(enough).unwrap();
        assert_eq!(keeper.add(0).unwrap().unwrap(), 1);
        // An owner without any cannot take a client; the client waits, and is served once
        // it can.
        let theirs = keeper.make().unwrap();
        let late = owner();
        late.keep(theirs.clone()).unwrap();
        keeper.limit(NONE_FREE).unwrap();
        assert!(late.reaches(0, 50).unwrap().unwrap_err().contains("in time"));
        keeper.limit(enough).unwrap();
        assert_eq!(late.reaches(0, 20_000).unwrap().unwrap(), 0);
        assert_eq!(theirs.add(1).unwrap(), 1);
        drop((counter, theirs));
        let hosted = || keeper.hosted().unwrap();
        until("the keeper's is its own alone", || hosted() == 1);
    });
}

#[test]
fn a_restarted_child_gets_the_handles_of_its_arguments_again() {
    alone("ends::a_restarted_child_gets_the_handles_of_its_arguments_again", || {
        let counter = Counter::new();
        let body = |counter: Counter| {
            if counter.add(1).unwrap() < 4 {
                std::process::abort();
            }
            sleeper();
        };
        let tree = Supervisor::new(Strategy::OneForOne)
            .intensity(10, SOON)
            .child(ChildSpec::process("user", body, (counter.clone(),)))
            .start()
            .unwrap();
        until("it has been restarted three times", || counter.get() == 4);
        assert_eq!(counter.seen().died.len(), 3);
        tree.stop().unwrap();
        drop(counter);
        drop(tree);
        none_is_left();
    });
}

/// Passes handles on within its own process, uses them, lets go, begins anew; for ever.
fn restless(counters: Vec<Counter>) {
    let mut kept = Vec::new();
    for round in 0usize.. {
        let encoded = codec::encode(&counters).unwrap();
        let mut copies: Vec<Counter> = codec::decode(&encoded.bytes, encoded.fds).unwrap();
        let at = round % copies.len();
        copies[at].add(1).unwrap();
        kept.push(copies.swap_remove(at));
        kept.truncate(round % 5);
        if round % 7 == 3 {
            // As a handle that is used first by another process of its own.
            let process = Process::spawn(|counter: Counter| counter.get(), (copies.remove(0),));
            process.unwrap().result_timeout(SOON).unwrap();
        }
    }
}

#[test]
fn clients_killed_at_random_leave_nothing_behind() {
    alone("ends::clients_killed_at_random_leave_nothing_behind", || {
        let given = std::env::var("PROCESSION_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
        println!("PROCESSION_SEED={seed}");
        let mut random = seed;
        let mut next = || {
            // Knuth's MMIX generator; its high bits are the good ones.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random >> 33
        };
        // The library's threads stay once they are there.
        attached_and_killed(&Counter::new());
        let before = crate::util::at_rest();
        let counters: Vec<Counter> = (0..4).map(|_| Counter::new()).collect();
        for _ in 0..60 {
            let process = Process::spawn(restless, (counters.clone(),)).unwrap();
            std::thread::sleep(Duration::from_micros(next() % 20_000));
            process.kill().unwrap();
            assert!(process.join_timeout(SOON).unwrap());
        }
        for counter in &counters {
            until("every attachment has ended, once", || {
                let noted = counter.seen();
                let mut ended = [noted.detached, noted.died].concat();
                let mut attached = noted.attached;
                ended.sort_unstable();
                attached.sort_unstable();
                assert!(ended.len() <= attached.len(), "told twice (seed {seed})");
                ended == attached
            });
        }
        drop(counters);
        none_is_left();
        crate::util::back_to(&before);
    });
}
