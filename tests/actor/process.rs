//! Actors that are processes: calls, casts, ends, and references that travel.

use crate::util::{state, until};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, raise};
use procession::{
    Actor, ActorRef, CallError, Event, ExitReason, Process, Reply, SpawnError, StartError,
    StartFault, methods, whereis,
};
use serde::{Deserialize, Serialize};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

#[derive(Actor, Serialize, Deserialize)]
struct Counter {
    value: i64,
}

#[methods]
impl Counter {
    pub fn add(&mut self, n: i64) -> i64 {
        self.value += n;
        self.value
    }

    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    pub fn nap(&self, millis: u64) {
        std::thread::sleep(Duration::from_millis(millis));
    }

    pub fn fail(&self, why: String) {
        panic!("{why}");
    }

    pub fn leave(&self, code: i32) {
        std::process::exit(code);
    }

    pub fn leave_with(&self, code: i32, ballast: Vec<u8>) {
        drop(ballast);
        std::process::exit(code);
    }

    pub async fn later(&self, millis: u64) -> u64 {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        millis
    }

    pub fn echo(&self, bytes: Vec<u32>) -> Vec<u32> {
        bytes
    }

    pub fn zeros(&self, count: usize) -> Vec<u32> {
        vec![0; count]
    }
}

fn counter() -> CounterRef {
    Counter { value: 0 }.spawn().unwrap()
}

#[test]
fn calls_run_in_a_process_of_their_own() {
    let counter = counter();
    assert_ne!(counter.pid().unwrap(), std::process::id());
    assert_eq!(counter.add(5).unwrap(), 5);
    assert_eq!(counter.add(-2).unwrap(), 3);
    counter.cast().add(10).unwrap();
    assert_eq!(counter.add(0).unwrap(), 13);
    assert_eq!(counter.later(5).unwrap(), 5);
    let big = vec![9; 1 << 20];
    assert_eq!(counter.echo(big.clone()).unwrap(), big);
}

#[test]
fn threads_share_a_reference() {
    let counter = counter();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    counter.add(1).unwrap();
                }
            });
        }
    });
    assert_eq!(counter.add(0).unwrap(), 800);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn async_calls_run_side_by_side() {
    let counter = counter();
    let calls: Vec<_> = (0..50).map(|_| tokio::spawn(counter.add_async(1))).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(counter.add_async(0).await.unwrap(), 50);
}

#[test]
fn more_casts_than_the_window_holds_arrive_in_order() {
    let counter = counter();
    for _ in 0..10_000 {
        counter.cast().add(1).unwrap();
    }
    assert_eq!(counter.add(0).unwrap(), 10_000);
}

#[test]
fn a_timeout_is_only_the_callers() {
    let counter = counter();
    let begun = Instant::now();
    assert!(matches!(counter.nap_timeout(300, Duration::from_millis(20)), Err(CallError::Timeout)));
    assert!(begun.elapsed() < Duration::from_millis(250));
    assert_eq!(counter.add(1).unwrap(), 1);
}

#[test]
fn a_kill_ends_the_call_with_the_signals_name() {
    let counter = counter();
    let caller = {
        let counter = counter.clone();
        std::thread::spawn(move || (counter.nap(60_000), Instant::now()))
    };
    std::thread::sleep(Duration::from_millis(50));
    let mut monitor = counter.monitor().unwrap();
    let killed = Instant::now();
    counter.kill();
    let (error, ended) = caller.join().unwrap();
    assert!(ended - killed < Duration::from_millis(500), "{:?}", ended - killed);
    let CallError::ActorDied { reason, .. } = error.unwrap_err() else { panic!() };
    assert_eq!(reason, ExitReason::Signal(9));
    assert_eq!(reason.to_string(), "killed by SIGKILL");
    let down = monitor.recv_timeout(SOON).unwrap();
    assert_eq!(down.reason, ExitReason::Signal(9));
    assert!(matches!(counter.add(1), Err(CallError::ActorDied { .. })));
    assert!(!counter.is_alive());
    assert_eq!(counter.monitor().unwrap().recv().reason, ExitReason::Signal(9));
}

#[test]
fn a_panic_and_an_exit_are_reasons() {
    let counter = counter();
    let mut monitor = counter.monitor().unwrap();
    let CallError::ActorDied { reason, .. } = counter.fail("oh".into()).unwrap_err() else {
        panic!()
    };
    let ExitReason::Panic(report) = reason else { panic!("{reason}") };
    assert_eq!(report.message, "oh");
    assert!(matches!(monitor.recv_timeout(SOON).unwrap().reason, ExitReason::Panic(_)));

    let counter = self::counter();
    let mut monitor = counter.monitor().unwrap();
    assert!(counter.leave(7).is_err());
    assert_eq!(monitor.recv_timeout(SOON).unwrap().reason, ExitReason::Code(7));
}

#[test]
fn a_stop_is_a_shutdown() {
    let counter = counter();
    counter.add(1).unwrap();
    let down = counter.stop_timeout(SOON).unwrap();
    assert_eq!(down.reason, ExitReason::Shutdown);
    assert!(counter.add(1).is_err());
}

#[test]
fn dropping_the_last_reference_ends_the_actor() {
    let counter = counter();
    let mut monitor = counter.monitor().unwrap();
    counter.cast().add(1).unwrap();
    drop(counter);
    assert_eq!(monitor.recv_timeout(SOON).unwrap().reason, ExitReason::Normal);
}

#[test]
fn the_last_reference_counts_in_whatever_process_it_is() {
    for actor in [Counter { value: 0 }.host().unwrap(), counter()] {
        let mut monitor = actor.monitor().unwrap();
        let child = |actor: CounterRef| {
            // It is the grandchild's too, before either has used it.
            let grandchild = |actor: CounterRef| {
                actor.add(1).unwrap();
                std::thread::sleep(SOON);
            };
            let grandchild = Process::spawn(grandchild, (actor,)).unwrap();
            grandchild.result().unwrap();
        };
        let child = Process::spawn(child, (actor,)).unwrap();
        assert!(monitor.recv_timeout(Duration::from_millis(100)).is_none(), "somebody has it");
        child.as_ref().kill().unwrap();
        assert_eq!(monitor.recv_timeout(SOON).unwrap().reason, ExitReason::Normal);
    }
}

#[derive(Actor)]
struct Sized(usize);

#[methods]
impl Sized {
    pub fn size(&self) -> usize {
        self.0
    }
}

#[test]
fn state_can_be_made_in_the_child_or_fail_there() {
    let sized = Sized::spawn_with(|text: String| Sized(text.len()), ("four".into(),)).unwrap();
    assert_eq!(sized.size().unwrap(), 4);
    let make = |text: String| text.parse().map(Sized);
    assert_eq!(Sized::spawn_with(make, ("17".into(),)).unwrap().size().unwrap(), 17);
    let error = Sized::spawn_with(make, ("x".into(),)).unwrap_err();
    let SpawnError::Process(StartError::Refused(StartFault::Failed(why))) = error else {
        panic!("{error}")
    };
    assert!(why.contains("invalid digit"), "{why}");
}

#[test]
fn a_reference_works_in_a_sibling() {
    let counter = counter();
    let p = Process::spawn(
        |counter: CounterRef| {
            let monitor_pid = counter.pid().unwrap();
            (counter.add(4).unwrap(), monitor_pid, std::process::id())
        },
        (counter.clone(),),
    )
    .unwrap();
    let (sum, counters, own) = p.result_timeout(SOON).unwrap();
    assert_eq!(sum, 4);
    assert_eq!(counters, counter.pid().unwrap());
    assert_ne!(own, counters);
    assert_eq!(counter.add(1).unwrap(), 5);
}

#[test]
fn a_hosted_actor_is_called_from_a_child() {
    let local = Counter { value: 100 }.host().unwrap();
    let p = Process::spawn(
        |counter: CounterRef| {
            for _ in 0..3000 {
                counter.cast().add(1).unwrap();
            }
            (counter.add(0).unwrap(), counter.pid().unwrap())
        },
        (local.clone(),),
    )
    .unwrap();
    assert_eq!(p.result_timeout(SOON).unwrap(), (3100, std::process::id()));
    assert_eq!(local.add(1).unwrap(), 3101);
}

/// Asks for more than its link holds, and is stopped before it takes any of it.
fn asks_much_and_stops(actor: CounterRef) {
    actor.cast().nap(100).unwrap();
    let mut calls: Vec<_> = (0..8).map(|_| Box::pin(actor.zeros_async(1 << 20))).collect();
    for call in &mut calls {
        drop(call.as_mut().poll(&mut Context::from_waker(Waker::noop())));
    }
    raise(Signal::SIGSTOP).unwrap();
}

#[test]
fn a_caller_that_dies_with_replies_on_their_way_is_forgotten() {
    for actor in [Counter { value: 0 }.host().unwrap(), counter()] {
        let mut monitor = actor.monitor().unwrap();
        let child = Process::spawn(asks_much_and_stops, (actor.clone(),)).unwrap();
        until("it is stopped", || state(child.pid().unwrap()) == Some('T'));
        for n in 1..=10 {
            assert_eq!(actor.add(1).unwrap(), n);
        }
        child.kill().unwrap();
        drop(actor);
        assert_eq!(monitor.recv_timeout(SOON).unwrap().reason, ExitReason::Normal);
    }
}

#[test]
fn a_kill_from_another_process_does_not_wait_for_the_messages_before_it() {
    let local = Counter { value: 0 }.host().unwrap();
    let p = Process::spawn(
        |counter: CounterRef| {
            for _ in 0..300 {
                counter.cast().nap(100).unwrap();
            }
            let mut monitor = counter.monitor().unwrap();
            let begun = Instant::now();
            counter.kill();
            (monitor.recv_timeout(SOON).map(|down| down.reason), begun.elapsed())
        },
        (local.clone(),),
    )
    .unwrap();
    let (reason, took) = p.result_timeout(SOON * 2).unwrap();
    assert_eq!(reason, Some(ExitReason::Signal(9)));
    // All of them would take half a minute.
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn who_comes_after_a_hosted_actor_has_ended_hears_of_it() {
    let local = Counter { value: 0 }.host().unwrap();
    let (begun, ended) = (Event::new().unwrap(), Event::new().unwrap());
    let p = Process::spawn(
        |counter: CounterRef, begun: Event, ended: Event| {
            let first = counter.add(1);
            begun.set().unwrap();
            ended.wait().unwrap();
            (first.map_err(|error| error.to_string()), counter.add(1).is_err(), counter.is_alive())
        },
        (local.clone(), begun.clone(), ended.clone()),
    )
    .unwrap();
    begun.wait().unwrap();
    local.stop_timeout(SOON).unwrap();
    ended.set().unwrap();
    assert_eq!(p.result_timeout(SOON).unwrap(), (Ok(1), true, false));
}

#[derive(Actor)]
#[actor(mailbox = 2)]
struct Narrow(u64);

#[methods]
impl Narrow {
    pub fn more(&mut self) -> u64 {
        std::thread::yield_now();
        self.0 += 1;
        self.0
    }
}

#[test]
fn a_small_mailbox_holds_back_several_processes() {
    let local = Narrow(0).host().unwrap();
    let call = |narrow: NarrowRef| (0..200).map(|_| narrow.more().unwrap()).max();
    let callers: Vec<_> = (0..3).map(|_| Process::spawn(call, (local.clone(),)).unwrap()).collect();
    for _ in 0..200 {
        local.more().unwrap();
    }
    let all = callers.into_iter().map(|caller| caller.result_timeout(SOON).unwrap());
    assert!(all.max().unwrap() <= Some(800));
    assert_eq!(local.more().unwrap(), 801);
}

#[derive(Actor, Serialize, Deserialize)]
struct Boss {
    helper: Option<CounterRef>,
}

#[methods]
impl Boss {
    pub fn hire(&mut self) -> CounterRef {
        let helper = Counter { value: 7 }.spawn().unwrap();
        self.helper = Some(helper.clone());
        helper
    }

    pub fn use_other(&self, other: CounterRef) -> i64 {
        other.add(1).unwrap()
    }

    pub fn me(&self) -> Option<ActorRef<Boss>> {
        ActorRef::current()
    }
}

/// The version of the system, as far as it is compared.
fn kernel() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    (numbers.next().unwrap().unwrap(), numbers.next().unwrap().unwrap())
}

#[test]
fn references_cross_the_tree() {
    let left = Boss { helper: None }.spawn().unwrap();
    let right = Boss { helper: None }.spawn().unwrap();
    // A grandchild's reference, used here and by a cousin.
    let grandchild = left.hire().unwrap();
    assert_eq!(grandchild.add(1).unwrap(), 8);
    assert_eq!(right.use_other(grandchild.clone()).unwrap(), 9);
    let cousin = right.hire().unwrap();
    assert_eq!(left.use_other(cousin.clone()).unwrap(), 8);
    assert_eq!(left.me().unwrap().unwrap().id(), left.id());

    let mut monitor = grandchild.monitor().unwrap();
    grandchild.kill();
    // It is nobody's child here, so that only the kernel can tell, and has since 6.15.
    let told = if kernel() >= (6, 15) { ExitReason::Signal(9) } else { ExitReason::Unknown };
    assert_eq!(monitor.recv_timeout(SOON).unwrap().reason, told);
    let mut monitor = cousin.monitor().unwrap();
    cousin.stop();
    assert_eq!(monitor.recv_timeout(SOON).unwrap().reason, ExitReason::Shutdown);
}

#[test]
fn a_reference_whose_process_has_gone_is_unreachable() {
    let counter = counter();
    let left = Boss { helper: None }.spawn().unwrap();
    let gone = left.hire().unwrap();
    left.kill();
    let begun = Instant::now();
    assert!(gone.add(1).is_err());
    assert!(begun.elapsed() < Duration::from_secs(7));
    drop(counter);
}

#[test]
fn a_named_process_is_found_until_it_dies() {
    let counter = Counter { value: 1 }.spawn_named("till").unwrap();
    let found = whereis::<Counter>("till").unwrap();
    assert_eq!((found.add(2).unwrap(), found.name()), (3, "till"));
    let mut monitor = counter.monitor().unwrap();
    counter.kill();
    monitor.recv_timeout(SOON).unwrap();
    assert!(whereis::<Counter>("till").is_none());
    Counter { value: 5 }.spawn_named("till").unwrap().stop_timeout(SOON).unwrap();
}

/// More than a socket holds, and then nothing more from here.
#[tokio::test]
async fn casts_that_found_no_room_arrive_though_nothing_follows() {
    for drops in [false, true] {
        let counter = counter();
        let mut monitor = counter.monitor().unwrap();
        counter.cast().nap(300).unwrap();
        for _ in 0..600 {
            counter.send_async(CounterMsg::Add(1, Reply::none())).await.unwrap();
        }
        counter.send_async(CounterMsg::Leave(7, Reply::none())).await.unwrap();
        let kept = (!drops).then_some(counter);
        let down = tokio::task::spawn_blocking(move || monitor.recv_timeout(SOON)).await.unwrap();
        assert_eq!(down.unwrap().reason, ExitReason::Code(7));
        drop(kept);
    }
}

#[test]
fn a_cast_that_has_begun_to_go_arrives() {
    let counter = counter();
    let mut monitor = counter.monitor().unwrap();
    counter.cast().nap(300).unwrap();
    let little = Duration::from_millis(50);
    counter.cast_timeout(little).leave_with(7, vec![0; 1 << 20]).unwrap();
    assert_eq!(monitor.recv_timeout(SOON).unwrap().reason, ExitReason::Code(7));
}

/// Longer than an introduction may take.
#[test]
fn a_first_call_waits_for_an_actor_that_is_busy() {
    let counter = counter();
    counter.cast().nap(7000).unwrap();
    let p = Process::spawn(
        |counter: CounterRef| {
            let begun = Instant::now();
            let early = counter.add_timeout(1, Duration::from_millis(200));
            let took = begun.elapsed();
            (early.map_err(|error| error.to_string()), took, counter.add(1))
        },
        (counter.clone(),),
    )
    .unwrap();
    let (early, took, late) = p.result_timeout(SOON).unwrap();
    assert_eq!(early, Err(CallError::Timeout.to_string()));
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(late, Ok(2));
}

#[test]
fn watching_the_end_of_actors_elsewhere_leaves_nothing() {
    let counters: Vec<CounterRef> = (0..12).map(|_| counter()).collect();
    let p = Process::spawn(
        |mut counters: Vec<CounterRef>| {
            let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
            let see_end = |counter: CounterRef| {
                let mut monitor = counter.monitor().unwrap();
                counter.stop();
                assert_eq!(monitor.recv_timeout(SOON).unwrap().reason, ExitReason::Shutdown);
            };
            see_end(counters.pop().unwrap());
            std::thread::sleep(Duration::from_millis(200));
            let (held, left) = (descriptors(), counters.len());
            counters.into_iter().for_each(see_end);
            // Each had a descriptor that kept it alive.
            let expected = held - left;
            let begun = Instant::now();
            while descriptors() > expected && begun.elapsed() < SOON / 4 {
                std::thread::sleep(Duration::from_millis(10));
            }
            (descriptors(), expected)
        },
        (counters,),
    );
    let (found, expected) = p.unwrap().result_timeout(SOON).unwrap();
    assert_eq!(found, expected);
}

#[test]
fn async_calls_are_answered_though_nothing_more_can_be_watched() {
    let p = Process::spawn(
        || {
            let counter = counter();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.unwrap();
            let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
            setrlimit(Resource::RLIMIT_NOFILE, 100, hard).unwrap();
            let filling = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok());
            let filling: Vec<_> = filling.collect();
            let sums = runtime.block_on(async {
                let call = tokio::time::timeout(SOON / 4, counter.add_async(1));
                let first = call.await.map_err(|_| "no answer");
                drop(filling);
                let call = tokio::time::timeout(SOON / 4, counter.add_async(1));
                (first, call.await.map_err(|_| "no answer"))
            });
            format!("{sums:?}")
        },
        (),
    );
    assert_eq!(p.unwrap().result_timeout(SOON).unwrap(), "(Ok(Ok(1)), Ok(Ok(2)))");
}

#[test]
fn a_stop_from_another_process_does_not_wait_for_the_messages_before_it() {
    for actor in [Counter { value: 0 }.host().unwrap(), counter()] {
        let p = Process::spawn(
            |counter: CounterRef| {
                for _ in 0..200 {
                    counter.cast().nap(100).unwrap();
                }
                let mut monitor = counter.monitor().unwrap();
                counter.stop();
                monitor.recv_timeout(SOON / 2).map(|down| down.reason)
            },
            (actor.clone(),),
        );
        // All of them would take twenty seconds.
        assert_eq!(p.unwrap().result_timeout(SOON).unwrap(), Some(ExitReason::Shutdown));
    }
}

#[test]
fn a_stop_does_not_wait_for_the_messages_before_it() {
    let counter = counter();
    for _ in 0..200 {
        counter.cast().nap(100).unwrap();
    }
    // It is at them by then, and waits for nothing.
    std::thread::sleep(Duration::from_millis(250));
    assert_eq!(counter.stop_timeout(SOON / 2).unwrap().reason, ExitReason::Shutdown);
}
