//! Queues whose producers and consumers are killed and stopped: at any instant, and at the
//! points that chance seldom hits. Nothing that was put is lost but what a call had returned to
//! a dead consumer, and nothing comes twice without a mark.
//!
//! `PROCESSION_KILLS` sets how many processes each test kills (100), `PROCESSION_SEED` the
//! seed of the instants.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "tests say what they expect by unwrapping it; arguments that travel are owned"
)]

mod util;

use nix::sys::signal::Signal;
use procession::{
    GetError, JoinableQueue, Process, ProcessRef, PutFault, Queue, QueueError, RawArray,
};
use procession_runtime::queue::points::{self, Point};
use std::ops::Range;
use std::time::{Duration, Instant};
use util::{SOON, signal, until};

/// How long what must not happen is waited for.
const SHORT: Duration = Duration::from_millis(200);

/// A made-up but repeatable course of chance.
struct Chance(u64);

impl Chance {
    fn new(test: &str) -> Self {
        let given = std::env::var("PROCESSION_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
        let seed = given.unwrap_or(u64::from(now));
        println!("{test}: PROCESSION_SEED={seed}");
        Self(seed | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn kills() -> u64 {
    std::env::var("PROCESSION_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(100)
}

fn kill(process: &ProcessRef) {
    process.kill().unwrap();
    assert!(process.join_timeout(SOON).unwrap());
    assert_eq!(process.exitcode(), Some(-9));
}

/// Puts (who, 1), (who, 2) and so on, for ever, and notes after each that it is put.
fn produces(queue: Queue<(usize, u64)>, who: usize, acknowledged: RawArray<u64>) {
    for number in 1.. {
        queue.put((who, number)).unwrap();
        acknowledged.set(who, number).unwrap();
    }
}

fn producers_die(queue: Queue<(usize, u64)>, test: &str) {
    const TOGETHER: usize = 3;
    let mut chance = Chance::new(test);
    let count = usize::try_from(kills()).unwrap();
    let acknowledged = RawArray::<u64>::zeroed(count).unwrap();
    let mut last = vec![0; count];
    let mut running = Vec::new();
    let took = |(who, number): (usize, u64), last: &mut Vec<u64>| {
        assert_eq!(number, last[who] + 1, "the items of producer {who}");
        last[who] = number;
    };
    for who in 0..count {
        let arguments = (queue.clone(), who, acknowledged.clone());
        running.push((who, Process::spawn(produces, arguments).unwrap()));
        let until = Instant::now() + Duration::from_micros(chance.below(8_000));
        while Instant::now() < until {
            if let Ok(item) = queue.get_timeout(Duration::from_millis(1)) {
                took(item, &mut last);
            }
        }
        if running.len() == TOGETHER {
            let place = usize::try_from(chance.below(TOGETHER as u64)).unwrap();
            kill(&running.swap_remove(place).1);
        }
    }
    for (_, process) in running {
        kill(&process);
    }
    // A kill is known when the process is joined; what it had put is there at the latest
    // when its death has reached the queue.
    until("all that was put has come", || {
        while let Ok(item) = queue.try_get() {
            took(item, &mut last);
        }
        (0..count).all(|who| last[who] >= acknowledged.get(who).unwrap())
    });
    for (who, last) in last.into_iter().enumerate() {
        let acknowledged = acknowledged.get(who).unwrap();
        assert!(last - acknowledged <= 1, "{who}: {last} of {acknowledged}");
    }
}

#[test]
fn what_a_killed_producer_had_put_is_there_once_and_in_order() {
    producers_die(Queue::new().unwrap(), "producers");
}

#[test]
fn a_killed_producer_keeps_no_place_of_a_bounded_queue() {
    let queue = Queue::bounded(7).unwrap();
    producers_die(queue.clone(), "bounded producers");
    let mut count = 0;
    until("all places are free", || {
        while queue.try_put((0, 0)).is_ok() {
            count += 1;
        }
        count == 7
    });
    assert!(queue.is_full().unwrap());
}

/// Puts the numbers of each range together; its end is an empty one.
fn feeds(queue: Queue<usize>, ranges: Queue<Range<usize>>) {
    for range in ranges.iter().map(Result::unwrap).take_while(|range| !range.is_empty()) {
        queue.put_many(range).unwrap();
    }
}

/// Counts each item that it gets.
fn consumes(queue: Queue<usize>, counts: RawArray<u64>) {
    for item in &queue {
        counts.cells().unwrap().at(item.unwrap()).unwrap().fetch_add(1);
    }
}

#[test]
fn a_killed_consumer_takes_at_most_the_item_that_it_had_got() {
    const TOGETHER: usize = 3;
    let mut chance = Chance::new("consumers");
    let kills = kills();
    let items = usize::try_from(kills).unwrap() * 300;
    let counts = RawArray::<u64>::zeroed(items).unwrap();
    let queue = Queue::<usize>::new().unwrap();
    // What another process puts together comes to the owner, and goes on, as one.
    let ranges = Queue::new().unwrap();
    let feeder = Process::spawn(feeds, (queue.clone(), ranges.clone())).unwrap();
    let mut running: Vec<Process<()>> = Vec::new();
    let mut next = 0;
    for _ in 0..kills {
        while running.len() < TOGETHER {
            let arguments = (queue.clone(), counts.clone());
            running.push(Process::spawn(consumes, arguments).unwrap());
        }
        let more = usize::try_from(chance.below(600)).unwrap().min(items - next);
        if chance.below(2) == 0 || more == 0 {
            queue.put_many(next..next + more).unwrap();
        } else {
            ranges.put(next..next + more).unwrap();
        }
        next += more;
        std::thread::sleep(Duration::from_micros(chance.below(4_000)));
        let place = usize::try_from(chance.below(TOGETHER as u64)).unwrap();
        let victim = running.swap_remove(place);
        if chance.below(4) == 0 {
            signal(victim.pid().unwrap(), Signal::SIGSTOP);
            std::thread::sleep(Duration::from_micros(chance.below(2_000)));
        }
        kill(&victim);
    }
    queue.put_many(next..items).unwrap();
    ranges.put(0..0).unwrap();
    feeder.result_timeout(SOON).unwrap();
    queue.shutdown(false).unwrap();
    for process in running {
        process.result_timeout(SOON).unwrap();
    }
    // What came back after the others had seen the end.
    let mut lost = 0;
    until("all that was not taken has come back", || {
        while let Ok(item) = queue.try_get() {
            counts.cells().unwrap().at(item).unwrap().fetch_add(1);
        }
        lost = counts.read(..).unwrap().iter().filter(|count| **count == 0).count();
        lost <= usize::try_from(kills).unwrap()
    });
    assert!(counts.read(..).unwrap().iter().all(|count| *count <= 1), "an item came twice");
    println!("{lost} of {items} items died with {kills} consumers");
}

/// Notes each item twice: as begun, before it is done, and as marked.
fn works(queue: JoinableQueue<usize>, begun: RawArray<u64>, marked: RawArray<u64>) {
    loop {
        let item = queue.get_delivery().unwrap();
        let marks = if item.redelivered { &marked } else { &begun };
        marks.cells().unwrap().at(item.item).unwrap().fetch_add(1);
        queue.task_done().unwrap();
    }
}

#[test]
fn what_a_killed_worker_had_not_finished_comes_back_marked() {
    const TOGETHER: usize = 3;
    let mut chance = Chance::new("workers");
    let kills = kills();
    let items = usize::try_from(kills).unwrap() * 30;
    let begun = RawArray::<u64>::zeroed(items).unwrap();
    let marked = RawArray::<u64>::zeroed(items).unwrap();
    let queue = JoinableQueue::<usize>::new().unwrap();
    let mut running: Vec<Process<()>> = Vec::new();
    let mut next = 0;
    let start = || Process::spawn(works, (queue.clone(), begun.clone(), marked.clone())).unwrap();
    for _ in 0..kills {
        running.resize_with(TOGETHER, start);
        let more = usize::try_from(chance.below(60)).unwrap().min(items - next);
        queue.put_many(next..next + more).unwrap();
        next += more;
        std::thread::sleep(Duration::from_micros(chance.below(4_000)));
        let place = usize::try_from(chance.below(TOGETHER as u64)).unwrap();
        kill(&running.swap_remove(place));
    }
    running.resize_with(TOGETHER, start);
    queue.put_many(next..items).unwrap();
    queue.join_timeout(SOON).unwrap();
    for process in running {
        kill(&process);
    }
    let (begun, marked) = (begun.read(..).unwrap(), marked.read(..).unwrap());
    assert!(begun.iter().all(|count| *count <= 1), "an item came twice without a mark");
    let lost = (0..items).filter(|item| begun[*item] + marked[*item] == 0).count();
    assert_eq!(lost, 0, "every item was worked on");
    let again: u64 = marked.iter().sum();
    println!("{again} of {items} items came back from {kills} workers");
}

/// A process that puts or gets, and ends itself at a point when it comes to it again.
fn ends_at(queue: Queue<u32>, told: Queue<u32>, point: Point, stops: bool) {
    let signal = if stops { Signal::SIGSTOP } else { Signal::SIGKILL };
    if point == Point::Taken {
        told.put(queue.get().unwrap()).unwrap();
        points::arm(point, signal);
        told.put(queue.get().unwrap()).unwrap();
    } else {
        queue.put(1).unwrap();
        points::arm(point, signal);
        queue.put(2).unwrap();
    }
}

#[test]
fn at_each_point_of_a_put_the_item_is_there_or_was_never_put() {
    for point in [Point::PlaceTaken, Point::Written, Point::Put] {
        for stops in [false, true] {
            let queue = Queue::<u32>::bounded(2).unwrap();
            let arguments = (queue.clone(), Queue::new().unwrap(), point, stops);
            let child = Process::spawn(ends_at, arguments).unwrap();
            assert_eq!(queue.get_timeout(SOON).unwrap(), 1);
            if stops {
                let pid = child.pid().unwrap();
                until("it is stopped", || util::state(pid) == Some('T'));
                // What it holds is one place at most; the other is there for us.
                queue.put_timeout(3, SOON).unwrap();
                assert_eq!(
                    queue.get_timeout(SOON).unwrap(),
                    if point == Point::Put { 2 } else { 3 }
                );
                queue.put_timeout(4, SOON).unwrap();
                kill(&child);
            } else {
                assert!(child.join_timeout(SOON).unwrap());
                assert_eq!(child.exitcode(), Some(-9));
                queue.put_timeout(3, SOON).unwrap();
                // The other place may hold the item of the dead.
                let patience = if point == Point::Put { SHORT } else { SOON };
                assert_eq!(queue.put_timeout(4, patience).is_err(), point == Point::Put);
            }
            // Both places are free in the end.
            until("both places can be filled", || {
                let _ = queue.try_put(5);
                queue.qsize().unwrap() == 2
            });
            let mut got = Vec::new();
            while let Ok(item) = queue.try_get() {
                got.push(item);
            }
            if !stops {
                assert_eq!(got.contains(&2), point == Point::Put, "{point:?}: {got:?}");
            }
            assert_eq!(got.len(), 2);
        }
    }
}

/// Has another process put the first 50 numbers together, which makes them one to the owner.
fn puts_together(queue: &Queue<u32>) {
    let puts = |queue: Queue<u32>| queue.put_many(0..50).unwrap();
    Process::spawn(puts, (queue.clone(),)).unwrap().result_timeout(SOON).unwrap();
}

#[test]
fn an_item_in_the_hands_of_a_consumer_is_all_that_it_keeps_while_it_is_stopped() {
    for stops in [false, true] {
        let queue = Queue::<u32>::new().unwrap();
        let told = Queue::<u32>::new().unwrap();
        puts_together(&queue);
        let arguments = (queue.clone(), told.clone(), Point::Taken, stops);
        let child = Process::spawn(ends_at, arguments).unwrap();
        assert_eq!(told.get_timeout(SOON).unwrap(), 0);
        if stops {
            let pid = child.pid().unwrap();
            until("it is stopped", || util::state(pid) == Some('T'));
        } else {
            assert!(child.join_timeout(SOON).unwrap());
        }
        // Those that were lent to it are taken back, in order.
        let mut got: Vec<_> = (2..50).map(|_| queue.get_timeout(SOON).unwrap()).collect();
        if stops {
            assert_eq!(got, (2..50).collect::<Vec<_>>());
            assert!(queue.is_empty().unwrap());
            kill(&child);
        }
        got.push(queue.get_timeout(SOON).unwrap());
        got.sort_unstable();
        assert_eq!(got, (1..50).collect::<Vec<_>>());
        assert!(queue.get_timeout(Duration::from_millis(50)).unwrap_err().is_empty());
    }
}

/// Gets items one by one, or several together, and ends itself at a point the second time.
fn gets_until(queue: Queue<u32>, told: Queue<u32>, point: Point, most: usize) {
    told.put(queue.get().unwrap()).unwrap();
    points::arm(point, Signal::SIGKILL);
    if most == 1 { drop(queue.get()) } else { drop(queue.get_many(most)) }
}

#[test]
fn at_each_point_of_a_get_what_it_took_comes_back_or_is_returned() {
    for point in [Point::Reached, Point::Taken, Point::Copied, Point::Decoded, Point::Returned] {
        for (most, together) in [(1, true), (20, false), (20, true)] {
            let queue = Queue::<u32>::new().unwrap();
            let told = Queue::<u32>::new().unwrap();
            if together {
                puts_together(&queue);
            } else {
                queue.put_many(0..50).unwrap();
            }
            let arguments = (queue.clone(), told.clone(), point, most);
            let child = Process::spawn(gets_until, arguments).unwrap();
            assert_eq!(told.get_timeout(SOON).unwrap(), 0);
            assert!(child.join_timeout(SOON).unwrap());
            assert_eq!(child.exitcode(), Some(-9));
            let returned = if point == Point::Returned { u32::try_from(most).unwrap() } else { 0 };
            until("all that was not returned is back", || {
                queue.qsize().unwrap() == usize::try_from(49 - returned).unwrap()
            });
            let got: Vec<_> = (1 + returned..50).map(|_| queue.try_get().unwrap()).collect();
            assert_eq!(got, (1 + returned..50).collect::<Vec<_>>(), "{point:?}, {most}");
            assert!(queue.is_empty().unwrap());
        }
    }
}

/// More than a process has hands: each says of a call what it is about to take.
const HANDS_AND_MORE: u32 = 60;

/// Stops each time when it is about to take an item, and gets the next one; then ends itself
/// with one.
fn comes_too_late(queue: Queue<u32>, told: Queue<u32>) {
    for _ in 0..HANDS_AND_MORE {
        points::arm(Point::Reached, Signal::SIGSTOP);
        told.put(queue.get().unwrap()).unwrap();
    }
    points::arm(Point::Taken, Signal::SIGKILL);
    drop(queue.get());
}

#[test]
fn what_a_consumer_came_too_late_for_costs_it_nothing() {
    let (queue, told) = (Queue::<u32>::new().unwrap(), Queue::<u32>::new().unwrap());
    let child = Process::spawn(comes_too_late, (queue.clone(), told.clone())).unwrap();
    let pid = child.pid().unwrap();
    for round in 0..HANDS_AND_MORE {
        queue.put(round).unwrap();
        until("it is stopped", || util::state(pid) == Some('T'));
        assert_eq!(queue.get_timeout(SOON).unwrap(), round, "it is taken back");
        signal(pid, Signal::SIGCONT);
        queue.put(round).unwrap();
        assert_eq!(told.get_timeout(SOON).unwrap(), round);
    }
    queue.put(HANDS_AND_MORE).unwrap();
    assert!(child.join_timeout(SOON).unwrap());
    assert_eq!(child.exitcode(), Some(-9));
    assert_eq!(queue.get_timeout(SOON).unwrap(), HANDS_AND_MORE, "it had it in a hand");
}

#[test]
fn a_stopped_consumer_that_waits_keeps_nobody_waiting() {
    let queue = Queue::<u32>::new().unwrap();
    let ready = Queue::<u32>::new().unwrap();
    let waits = |queue: Queue<u32>, ready: Queue<u32>| {
        ready.put(queue.get().unwrap()).unwrap();
        ready.put(queue.get().unwrap()).unwrap();
    };
    let child = Process::spawn(waits, (queue.clone(), ready.clone())).unwrap();
    queue.put(1).unwrap();
    assert_eq!(ready.get_timeout(SOON).unwrap(), 1);
    let pid = child.pid().unwrap();
    until("it sleeps", || util::state(pid) == Some('S'));
    signal(pid, Signal::SIGSTOP);
    until("it is stopped", || util::state(pid) == Some('T'));
    queue.put_many(2..100).unwrap();
    // Those that were lent to it come last: they are taken back only when nothing else is
    // there.
    let mut got: Vec<_> = (2..100).map(|_| queue.get_timeout(SOON).unwrap()).collect();
    got.sort_unstable();
    assert_eq!(got, (2..100).collect::<Vec<_>>());
    signal(pid, Signal::SIGCONT);
    queue.put(100).unwrap();
    assert_eq!(ready.get_timeout(SOON).unwrap(), 100);
    child.result_timeout(SOON).unwrap();
}

/// How long a large item is: it stands in a file that its producer uses again.
const LARGE: usize = 1 << 20;

/// A large item says one number from beginning to end.
fn large(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(LARGE / 8)
}

/// The number of a large item that is whole.
fn whole(item: &[u8]) -> usize {
    let first = item.first_chunk().copied().unwrap();
    assert!(item.len() == LARGE && item.chunks_exact(8).all(|part| part == first), "torn");
    usize::try_from(u64::from_le_bytes(first)).unwrap()
}

/// Puts large items for ever, and notes each when it is put. The first word counts them.
fn puts_large(queue: Queue<Vec<u8>>, next: RawArray<u64>, put: RawArray<u64>) {
    loop {
        let number = next.cells().unwrap().first().fetch_add(1);
        queue.put(large(number)).unwrap();
        put.set(usize::try_from(number).unwrap(), 1).unwrap();
    }
}

fn gets_large(queue: Queue<Vec<u8>>, got: RawArray<u64>) {
    for item in &queue {
        got.cells().unwrap().at(whole(&item.unwrap())).unwrap().fetch_add(1);
    }
}

/// How many files of items this process has open.
fn open_files() -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = links.filter_map(|link| std::fs::read_link(link.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().contains("memfd:procession-chunk")).count()
}

#[test]
fn large_items_of_the_killed_come_whole_and_once_and_leave_no_file() {
    let mut chance = Chance::new("large items");
    let kills = kills().div_ceil(4);
    let count = 100_000;
    let words = || RawArray::<u64>::zeroed(count).unwrap();
    let (next, put, got) = (words(), words(), words());
    // More than the files that a process keeps.
    let queue = Queue::<Vec<u8>>::bounded(12).unwrap();
    let (mut producers, mut consumers) = (Vec::<Process<()>>::new(), Vec::<Process<()>>::new());
    let mut dead_consumers = 0;
    for _ in 0..kills {
        producers.resize_with(2, || {
            let arguments = (queue.clone(), next.clone(), put.clone());
            Process::spawn(puts_large, arguments).unwrap()
        });
        consumers
            .resize_with(2, || Process::spawn(gets_large, (queue.clone(), got.clone())).unwrap());
        std::thread::sleep(Duration::from_micros(chance.below(20_000)));
        let is_consumer = chance.below(2) == 0;
        let all = if is_consumer { &mut consumers } else { &mut producers };
        kill(&all.swap_remove(usize::from(chance.below(2) == 0)));
        dead_consumers += usize::from(is_consumer);
    }
    for producer in producers {
        kill(&producer);
    }
    queue.shutdown(false).unwrap();
    for consumer in consumers {
        consumer.result_timeout(SOON).unwrap();
    }
    // What came back after the others had seen the end.
    until("all that was put and not taken has come", || {
        while let Ok(item) = queue.try_get() {
            got.cells().unwrap().at(whole(&item)).unwrap().fetch_add(1);
        }
        let (put, got) = (put.read(..).unwrap(), got.read(..).unwrap());
        assert!(got.iter().all(|count| *count <= 1), "an item came twice");
        let lost = put.iter().zip(&got).filter(|(put, got)| **put > **got).count();
        lost <= dead_consumers
    });
    until("the files are closed", || open_files() == 0);
}

/// Owns a queue of large items until it is killed.
fn owns_large(handles: Queue<Queue<Vec<u8>>>) {
    handles.put(Queue::bounded(12).unwrap()).unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn an_owner_killed_among_large_items_leaves_no_file() {
    let mut chance = Chance::new("owner of large items");
    let words = || RawArray::<u64>::zeroed(10_000).unwrap();
    for _ in 0..3 {
        let (next, put) = (words(), words());
        let handles = Queue::new().unwrap();
        let owner = Process::spawn(owns_large, (handles.clone(),)).unwrap();
        let queue = handles.get_timeout(SOON).unwrap();
        let producer = Process::spawn(puts_large, (queue.clone(), next, put)).unwrap();
        let mut got = vec![whole(&queue.get_timeout(SOON).unwrap())];
        let end = Instant::now() + Duration::from_micros(chance.below(20_000));
        while Instant::now() < end {
            got.push(whole(&queue.get_timeout(SOON).unwrap()));
        }
        kill(&owner);
        let error = loop {
            match queue.get_timeout(SOON) {
                Ok(item) => got.push(whole(&item)),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, GetError::OwnerGone { .. }), "{error}");
        assert!(got.is_sorted_by(|a, b| a < b), "{got:?}");
        assert!(producer.join_timeout(SOON).unwrap());
        assert_ne!(producer.exitcode(), Some(0));
        drop(queue);
        until("the files are closed", || open_files() == 0);
    }
}

/// Makes two queues, one of which is full, and keeps them until it is told.
fn own(handles: Queue<(Queue<u32>, Queue<u32>)>, end: Queue<()>) {
    let (empty, full) = (Queue::new().unwrap(), Queue::bounded(1).unwrap());
    full.put(1).unwrap();
    handles.put((empty, full)).unwrap();
    end.get().unwrap();
}

#[test]
fn a_stopped_owner_is_asked_in_vain_for_a_while() {
    let (handles, end) = (Queue::new().unwrap(), Queue::new().unwrap());
    let child = Process::spawn(own, (handles.clone(), end.clone())).unwrap();
    let (empty, full) = handles.get_timeout(SOON).unwrap();
    assert!(matches!(empty.try_get(), Err(GetError::Empty)));
    assert!(full.try_put(2).unwrap_err().why.is_full());
    let pid = child.pid().unwrap();
    signal(pid, Signal::SIGSTOP);
    until("it is stopped", || util::state(pid) == Some('T'));
    let counted = full.clone();
    let counting = std::thread::spawn(move || counted.qsize());
    let leased = empty.clone();
    let leasing = std::thread::spawn(move || leased.try_get_leased().map(drop));
    let getting = std::thread::spawn(move || (empty.try_get(), empty));
    assert!(matches!(full.try_put(2).unwrap_err().why, PutFault::Unanswered));
    let (got, empty) = getting.join().unwrap();
    assert!(matches!(got, Err(GetError::Unanswered)));
    assert!(matches!(counting.join().unwrap(), Err(QueueError::Unanswered)));
    assert!(matches!(leasing.join().unwrap(), Err(GetError::Unanswered)));
    signal(pid, Signal::SIGCONT);
    // Asked after the lease was, and after it was given up.
    assert_eq!(empty.qsize().unwrap(), 0);
    empty.put(3).unwrap();
    assert_eq!((empty.try_get().unwrap(), full.get_timeout(SOON).unwrap()), (3, 1));
    end.put(()).unwrap();
    child.result_timeout(SOON).unwrap();
}
