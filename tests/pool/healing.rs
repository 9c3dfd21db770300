//! Pools whose workers die, are killed, are recycled or cannot be had.

use crate::util::{Folder, METHODS, SOON, alone, lines, lives, note, signal, text, until};
use nix::sys::signal::Signal;
use procession::{
    Actor, Connection, Error, ExitReason, Pipe, Pool, Process, Queue, Sender, TaskError,
    TaskOptions, Value, WorkerDeath, methods,
};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

fn pause(ms: u64) -> u32 {
    std::thread::sleep(Duration::from_millis(ms));
    std::process::id()
}

fn id(x: u64) -> u64 {
    x
}

fn kill_self(number: i32) {
    nix::sys::signal::raise(Signal::try_from(number).unwrap()).unwrap();
    pause(60_000);
}

fn death<R: std::fmt::Debug>(result: Result<R, Error>) -> WorkerDeath {
    match result {
        Err(Error::Task(TaskError::Died(death))) => *death,
        other => panic!("no death: {other:?}"),
    }
}

/// What a worker's death looks like, however it comes; and the pool goes on.
#[test]
fn a_dead_worker_costs_its_task_and_says_why() {
    for method in METHODS {
        let pool = Pool::builder().processes(2).start_method(method).build().unwrap();
        let killed = death(pool.apply(kill_self, (9,)));
        assert_eq!((killed.reason, killed.exitcode), (ExitReason::Signal(9), Some(-9)));
        assert!(killed.worker.starts_with("PoolWorker-") && killed.function.contains("kill_self"));
        assert_eq!(death(pool.apply(|| -> u8 { std::process::exit(99) }, ())).exitcode, Some(99));
        assert_eq!(death(pool.apply(|| -> u8 { procession::exit(7) }, ())).exitcode, Some(7));
        assert_eq!(death(pool.apply(|| -> u8 { std::process::abort() }, ())).exitcode, Some(-6));
        assert_eq!(pool.map(id, 0..100).unwrap(), (0..100).collect::<Vec<_>>());
        until("both workers are there", || pool.pids().len() == 2);
    }
}

/// What a stopped worker has been sent and has not begun is done by another.
#[test]
fn a_stopped_worker_keeps_no_task_from_those_that_are_idle() {
    let pool = Pool::new(2).unwrap();
    until("both are ready", || pool.pids().len() == 2);
    for stopped in pool.pids() {
        signal(stopped, Signal::SIGSTOP);
        for n in 0..20 {
            assert_eq!(pool.apply_async(id, (n,)).unwrap().get_timeout(SOON).unwrap(), n);
        }
        assert_eq!(pool.map(id, 0..100).unwrap(), (0..100).collect::<Vec<_>>());
        signal(stopped, Signal::SIGCONT);
        assert_eq!(pool.map(id, 0..100).unwrap(), (0..100).collect::<Vec<_>>());
    }
}

#[test]
fn a_stack_overflow_is_a_death_like_others() {
    fn deeper(n: u64) -> u64 {
        if std::hint::black_box(n) == u64::MAX { 0 } else { 1 + deeper(n + 1) }
    }
    let pool = Pool::builder().processes(1).relay_stderr().build().unwrap();
    let died = death(pool.apply(deeper, (0,)));
    assert!(matches!(died.exitcode, Some(-6 | -11)), "{died}");
    assert_eq!(pool.apply(id, (1,)).unwrap(), 1);
}

#[test]
fn the_report_has_the_end_of_a_relayed_stderr() {
    let pool = Pool::builder().processes(1).relay_stderr().build().unwrap();
    let last_words = || -> u8 {
        eprintln!("about to go");
        std::process::exit(3);
    };
    let died = death(pool.apply(last_words, ()));
    assert!(died.stderr.contains("about to go"), "{died}");
    assert!(died.to_string().contains("exit code 3"), "{died}");
}

/// Only the task that had been begun is lost; one that was sent ahead is done by another
/// worker, and what a dead worker had answered is not lost.
#[test]
fn one_death_costs_one_task() {
    let pool = Pool::new(1).unwrap();
    let doomed = |x: u64| {
        if x == 3 {
            kill_self(9);
        }
        x
    };
    let results: Vec<_> = pool.imap(doomed, 0..8).unwrap().collect();
    for (x, result) in results.iter().enumerate() {
        match result {
            Ok(value) => assert_eq!(*value, x as u64),
            Err(TaskError::Died(death)) => assert_eq!((x, death.index), (3, 3)),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1);
}

/// The same among inputs that travel together: those before have their results, those
/// behind are done by another worker; a limit and a retry are for each.
#[test]
fn one_death_costs_one_input_of_a_chunk() {
    let pool = Pool::new(2).unwrap();
    let doomed = |x: u64| {
        match x % 50 {
            7 => kill_self(9),
            23 => drop(pause(60_000)),
            _ => {}
        }
        (x, std::process::id())
    };
    let chunks = TaskOptions::new().chunksize(50).timeout(Duration::from_millis(200));
    let results: Vec<_> = pool.with(chunks).imap(doomed, 0..100).unwrap().collect();
    assert_eq!(results.len(), 100);
    for (x, result) in results.iter().enumerate() {
        match (x % 50, result) {
            (7, Err(TaskError::Died(death))) => assert_eq!(death.index, x as u64),
            (23, Err(TaskError::TimedOut(_))) => {}
            (_, Ok((value, _))) => assert_eq!(*value, x as u64),
            other => panic!("{x}: {other:?}"),
        }
    }
    let folder = Folder::new("pool-chunk-retries");
    let flaky = |file: String, x: u64| {
        if x == 5 && text(&file).is_empty() {
            note(&file, "once");
            kill_self(9);
        }
        x
    };
    let patient = pool.with(TaskOptions::new().chunksize(20).retries(1));
    let file = folder.file("tried");
    let inputs = (0..40).map(|x| (file.clone(), x));
    assert_eq!(patient.starmap(flaky, inputs).unwrap(), (0..40).collect::<Vec<_>>());
}

/// A worker that has nothing to do takes what another has not begun.
#[test]
fn a_slow_input_holds_up_no_other() {
    let pool = Pool::new(2).unwrap();
    let slow_first = |x: u64| {
        if x == 0 {
            pause(1_500);
        }
        std::process::id()
    };
    let chunks = pool.with(TaskOptions::new().chunksize(100));
    let begun = Instant::now();
    let mut first = None;
    let mut workers = BTreeSet::new();
    for (at, result) in chunks.imap_unordered(slow_first, 0..100).unwrap().enumerate() {
        if at == 0 {
            first = Some(begun.elapsed());
        }
        workers.insert(result.unwrap());
    }
    assert_eq!(workers.len(), 2, "both had a part in it");
    assert!(first.unwrap() < Duration::from_millis(1_400), "{first:?}");
}

#[test]
fn a_retried_task_outlives_its_workers() {
    let folder = Folder::new("pool-retries");
    let file = folder.file("runs");
    let pool = Pool::new(2).unwrap();
    let third_time = |file: String| {
        note(&file, "run");
        if text(&file).lines().count() < 3 {
            kill_self(9);
        }
        text(&file).lines().count()
    };
    let patient = pool.with(TaskOptions::new().retries(2));
    assert_eq!(patient.apply(third_time, (file.clone(),)).unwrap(), 3);
    std::fs::remove_file(&file).unwrap();
    let hasty = pool.with(TaskOptions::new().retries(1));
    death(hasty.apply(third_time, (file.clone(),)));
    assert_eq!(text(&file).lines().count(), 2, "without retries left it is not run again");
}

/// Large bytes, which leave the caller without being copied, are there for another worker.
#[test]
fn a_retried_task_has_its_large_bytes_again() {
    let folder = Folder::new("pool-large-retries");
    let pool = Pool::new(2).unwrap();
    let second_time = |data: Vec<u8>| {
        let file = data.iter().copied().take_while(|byte| *byte != 0).collect();
        let file = String::from_utf8(file).unwrap();
        note(&file, "run");
        if text(&file).lines().count() < 2 {
            kill_self(9);
        }
        data
    };
    let mut data = folder.file("runs").into_bytes();
    data.resize(1 << 20, 0);
    let patient = pool.with(TaskOptions::new().retries(1));
    assert!(patient.apply(second_time, (data.clone(),)).unwrap() == data);
}

/// A time limit kills the worker of its task, and no other.
#[test]
fn a_time_limit_costs_one_task() {
    let pool = Pool::new(2).unwrap();
    let folder = Folder::new("pool-limit");
    let held = |folder: String| {
        note(&format!("{folder}/begun"), &std::process::id().to_string());
        until("it may end", || std::path::Path::new(&format!("{folder}/open")).exists());
        std::process::id()
    };
    let other = pool.apply_async(held, (folder.file(""),)).unwrap();
    let holder: u32 = lines(&folder.file("begun"), 1)[0].parse().unwrap();
    let brief = pool.with(TaskOptions::new().timeout(Duration::from_millis(100)));
    let begun = Instant::now();
    let results: Vec<_> = [60_000, 0, 60_000, 0, 0]
        .map(|ms| brief.apply_async(pause, (ms,)).unwrap())
        .into_iter()
        .map(|result| result.get())
        .collect();
    let timed_out = |result: &Result<u32, Error>| matches!(result, Err(Error::Task(TaskError::TimedOut(limit))) if limit.as_millis() == 100);
    let ends: Vec<_> = results.iter().map(|result| (result.is_ok(), timed_out(result))).collect();
    let (good, late) = ((true, false), (false, true));
    assert_eq!(ends, [late, good, late, good, good]);
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(pool.pids().contains(&holder), "the other worker goes on");
    note(&folder.file("open"), "");
    assert_eq!(other.get().unwrap(), holder);
    // Nobody waits here: the limit holds all the same.
    let unseen = brief.apply_async(pause, (60_000,)).unwrap();
    until("its time is up", || unseen.ready());
    assert!(!unseen.successful().unwrap());
}

/// A limit holds while the caller is busy with the next inputs, and reads no result.
#[test]
fn a_time_limit_holds_while_inputs_are_drawn() {
    let pool = Pool::new(1).unwrap();
    let brief = TaskOptions::new().chunksize(1).timeout(Duration::from_millis(100));
    let first = pool.pids();
    let inputs = [60_000, 0].into_iter().inspect(|ms| {
        let is_another = || !pool.pids().is_empty() && pool.pids() != first;
        until("the worker has been replaced", || *ms > 0 || is_another());
    });
    let mapped = pool.with(brief).map(pause, inputs);
    assert!(matches!(mapped, Err(Error::Task(TaskError::TimedOut(_)))), "{mapped:?}");
}

#[test]
fn a_cancelled_task_ends_at_once_and_alone() {
    let pool = Pool::new(1).unwrap();
    let running = pool.apply_async(pause, (60_000,)).unwrap();
    let ahead = pool.apply_async(id, (1,)).unwrap();
    let queued = pool.apply_async(id, (2,)).unwrap();
    let last = pool.apply_async(id, (3,)).unwrap();
    queued.cancel();
    assert!(matches!(queued.get(), Err(Error::Task(TaskError::Cancelled))));
    let begun = Instant::now();
    running.cancel();
    assert!(matches!(running.get(), Err(Error::Task(TaskError::Cancelled))));
    assert_eq!((ahead.get().unwrap(), last.get().unwrap()), (1, 3));
    assert!(begun.elapsed() < Duration::from_secs(20));
}

/// A worker that grew is replaced after its task, one that is idle for long is let go, and
/// the pool says how it is doing.
#[test]
fn workers_that_grew_or_idle_give_their_places_up() {
    let builder = Pool::builder().processes(1).max_memory_per_child(64 << 20);
    let pool = builder.build().unwrap();
    let grow = |mib: usize| {
        std::mem::forget(std::hint::black_box(vec![1_u8; mib << 20]));
        std::process::id()
    };
    let first = pool.apply(grow, (1,)).unwrap();
    assert_eq!(pool.apply(grow, (100,)).unwrap(), first, "what it has begun is done");
    until("another has taken its place", || !pool.pids().is_empty() && pool.pids() != [first]);
    assert_ne!(pool.apply(grow, (1,)).unwrap(), first);
    let stats = pool.stats();
    assert_eq!((stats.restarts, stats.unfinished), (1, 0));
    // The first one may still be on its way out.
    let worker = stats.workers.iter().find(|worker| worker.pid != first).unwrap();
    assert_eq!((worker.done, worker.restarts), (1, 1));
    assert!(worker.memory > 0 && (0.0..=1.0).contains(&worker.busy), "{worker:?}");

    let pool = Pool::builder().processes(2).idle_timeout(Duration::from_millis(50)).build();
    let pool = pool.unwrap();
    until("both have gone", || pool.pids().is_empty());
    assert_eq!(pool.apply(id, (7,)).unwrap(), 7);
    assert!(pool.pids().len() <= 1, "one came for the task");
}

#[derive(Actor, serde::Serialize, serde::Deserialize)]
struct Count(u32);

#[methods]
impl Count {
    pub fn next(&mut self) -> u32 {
        self.0 += 1;
        self.0
    }
}

/// Whatever the first worker did with them.
#[test]
fn a_task_that_is_tried_again_has_its_handles_again() {
    type Ends = (Connection, Sender<u32>);
    let uses = |queue: Queue<u32>, count: CountRef, value: Value<u32>, (duplex, sender): Ends| {
        let attempt = count.next().unwrap();
        queue.put(attempt).unwrap();
        value.set(value.get().unwrap() + attempt).unwrap();
        duplex.send(&attempt).unwrap();
        sender.send(attempt).unwrap();
        if attempt == 1 {
            std::process::abort();
        }
        duplex.recv::<String>().unwrap()
    };
    let (queue, value) = (Queue::new().unwrap(), Value::new(0).unwrap());
    let (ours, theirs) = Pipe::duplex().unwrap();
    let (sender, receiver) = Pipe::typed().unwrap();
    let count = Count(0).spawn().unwrap();
    let pool = Pool::new(1).unwrap();
    ours.send("hello").unwrap();
    let args = (queue.clone(), count, value.clone(), (theirs, sender));
    let twice = pool.with(TaskOptions::new().retries(1)).apply_async(uses, args).unwrap();
    assert_eq!(twice.get_timeout(SOON).unwrap(), "hello");
    for attempt in [1, 2] {
        assert_eq!(queue.get_timeout(SOON).unwrap(), attempt);
        assert_eq!(ours.recv_timeout::<u32>(SOON).unwrap(), attempt);
        assert_eq!(receiver.recv_timeout(SOON).unwrap(), attempt);
    }
    assert_eq!(value.get().unwrap(), 3);
}

/// Row poolwl-02.
#[test]
fn workers_are_replaced_after_close_as_long_as_there_are_tasks() {
    let pool = Pool::builder().processes(3).max_tasks_per_child(1).build().unwrap();
    let results: Vec<_> = (0..6).map(|_| pool.apply_async(pause, (300,)).unwrap()).collect();
    pool.close();
    assert!(pool.join_timeout(SOON).unwrap());
    let pids: BTreeSet<_> = results.iter().map(|result| result.get().unwrap()).collect();
    assert_eq!(pids.len(), 6, "each task had a worker of its own");
}

#[test]
fn a_worker_that_is_killed_while_idle_is_replaced() {
    let pool = Pool::new(2).unwrap();
    pool.map(id, 0..10).unwrap();
    let before = pool.pids();
    for pid in &before {
        signal(*pid, Signal::SIGKILL);
    }
    until("both have been replaced", || {
        let now = pool.pids();
        now.len() == 2 && !now.iter().any(|pid| before.contains(pid))
    });
    assert_eq!(pool.map(id, 0..10).unwrap().len(), 10);
}

/// Row pool-17.
#[test]
fn terminate_does_not_wait_for_the_queue() {
    let pool = Pool::new(3).unwrap();
    let results: Vec<_> =
        (0..10_000).map(|_| pool.apply_async(pause, (10_000,)).unwrap()).collect();
    let begun = Instant::now();
    let pids = pool.pids();
    pool.terminate();
    assert!(pool.join_timeout(SOON).unwrap());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(!pids.iter().any(|pid| lives(*pid)));
    for result in results {
        assert!(matches!(result.get(), Err(Error::Task(TaskError::Cancelled))));
    }
}

/// Workers that cannot be had any more break the pool: nobody waits for ever, and no
/// process is started for ever.
#[test]
fn a_used_up_budget_breaks_the_pool() {
    let folder = Folder::new("pool-budget");
    let file = folder.file("ready");
    let once = |file: String| {
        assert!(text(&file).is_empty(), "only the first workers start");
    };
    let pool = Pool::builder()
        .processes(1)
        .initializer(once, (file.clone(),))
        .restarts(3, Duration::from_mins(1))
        .build()
        .unwrap();
    note(&file, "ready");
    let results: Vec<_> = (0..3).map(|_| pool.apply_async(kill_self, (9,)).unwrap()).collect();
    for (at, result) in results.iter().enumerate() {
        match result.get() {
            Err(Error::Task(TaskError::Died(_))) => assert_eq!(at, 0),
            Err(Error::Task(TaskError::Broken(why))) => assert!(why.contains("first"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(pool.apply(id, (1,)), Err(Error::Task(TaskError::Broken(_)))));
}

/// Each task ends in a result or in its own error, whatever dies when.
#[test]
fn tasks_survive_workers_that_are_killed_at_random() {
    let kills = std::env::var("PROCESSION_POOL_KILLS").ok().and_then(|n| n.parse().ok());
    let kills: u32 = kills.unwrap_or(300);
    let seed: u64 = std::env::var("PROCESSION_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(7);
    println!("PROCESSION_SEED={seed}");
    let pool = Pool::builder().processes(3).restarts(u32::MAX, Duration::from_secs(1)).build();
    let pool = pool.unwrap();
    let (killed, mut lost, mut kept) = (AtomicU32::new(0), 0u32, 0u64);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut state = seed;
            while killed.load(Ordering::SeqCst) < kills {
                let mut next = || {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 33) as usize
                };
                std::thread::sleep(Duration::from_micros(next() as u64 % 4_000));
                let pids = pool.pids();
                // A worker that has just been reaped may have lent its number to nobody yet.
                if let Some(pid) = pids.get(next() % pids.len().max(1)) {
                    let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
                    let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
                    killed.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        let work = |x: u64| {
            std::thread::sleep(Duration::from_micros(x % 200));
            x
        };
        for (at, result) in pool.imap(work, 0..).unwrap().enumerate() {
            match result {
                Ok(value) => {
                    assert_eq!(value, at as u64, "results keep their places");
                    kept += 1;
                }
                Err(TaskError::Died(death)) => {
                    assert_eq!(death.index, at as u64);
                    lost += 1;
                }
                Err(other) => panic!("{other}"),
            }
            if killed.load(Ordering::SeqCst) >= kills / 2 {
                break;
            }
        }
        // The other half of the kills costs those nothing that are tried again.
        let patient = pool.with(TaskOptions::new().retries(1_000));
        let before = pool.stats().restarts;
        while killed.load(Ordering::SeqCst) < kills {
            assert_eq!(patient.map(work, 0..200).unwrap(), (0..200).collect::<Vec<_>>());
        }
        assert!(pool.stats().restarts > before, "workers were killed meanwhile");
    });
    println!("{lost} of {} tasks were lost in {kills} kills", kept + u64::from(lost));
    assert!(lost <= kills);
    pool.close();
    assert!(pool.join_timeout(SOON).unwrap());
}

#[test]
fn ten_thousand_tasks_at_once_take_no_descriptors() {
    alone("healing::ten_thousand_tasks_at_once_take_no_descriptors", || {
        let pool = Pool::new(2).unwrap();
        assert_eq!(pool.apply_async(id, (2,)).unwrap().get().unwrap(), 2);
        let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = count();
        let results: Vec<_> = (0..10_000).map(|x| pool.apply_async(id, (x,)).unwrap()).collect();
        assert_eq!(count(), before);
        for (x, result) in (0..).zip(results) {
            assert_eq!(result.get().unwrap(), x);
        }
        assert_eq!(count(), before);
    });
}

#[test]
fn many_pools_work_side_by_side() {
    let pools: Vec<_> = (0..6).map(|_| Pool::new(1).unwrap()).collect();
    let results: Vec<_> = pools.iter().map(|pool| pool.map_async(id, 0..200).unwrap()).collect();
    for result in results {
        assert_eq!(result.get().unwrap(), (0..200).collect::<Vec<_>>());
    }
}

/// The parent dies: its pool's workers do too, stopped or not.
#[test]
fn workers_do_not_outlive_their_owner() {
    let folder = Folder::new("pool-orphans");
    let file = folder.file("pids");
    let owner = |file: String| {
        let pool = Pool::new(2).unwrap();
        for pid in pool.pids() {
            note(&file, &pid.to_string());
        }
        let _ = pool.map(pause, [60_000u64; 2]);
    };
    let p = Process::spawn(owner, (file.clone(),)).unwrap();
    let pids: Vec<u32> = lines(&file, 2).iter().map(|line| line.parse().unwrap()).collect();
    p.kill().unwrap();
    p.join().unwrap();
    until("the workers are gone", || !pids.iter().any(|pid| lives(*pid)));
}

/// Ctrl-C reaches the whole group: workers ignore it, and their owner, which does not, ends
/// and leaves nothing.
#[test]
fn an_interrupt_ends_the_owner_and_its_workers() {
    let folder = Folder::new("pool-interrupt");
    let file = folder.file("pids");
    let owner = |file: String| {
        let pool = Pool::new(2).unwrap();
        for pid in pool.pids() {
            // As a terminal would.
            signal(pid, Signal::SIGINT);
            note(&file, &pid.to_string());
        }
        assert_eq!(pool.map(id, 0..4).unwrap(), [0, 1, 2, 3]);
        note(&file, "mapping");
        let _ = pool.map(pause, [60_000u64; 2]);
    };
    let p = Process::spawn(owner, (file.clone(),)).unwrap();
    let pids = lines(&file, 3);
    p.interrupt().unwrap();
    assert!(p.join_timeout(SOON).unwrap());
    assert_eq!(p.exitcode(), Some(-2));
    let pids: Vec<u32> = pids.iter().filter_map(|line| line.parse().ok()).collect();
    until("the workers are gone", || !pids.iter().any(|pid| lives(*pid)));
}
