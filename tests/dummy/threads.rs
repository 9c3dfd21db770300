//! Threads in the place of processes: what a process row means for them, and pools and
//! executors of threads.

use crate::util::{self, Folder, SOON, alone, alone_command, is_alone, run, until};
use real::dummy::{
    Connection, Pipe, Pool, Process, Queue, TaskOptions, ThreadPoolExecutor, active_children,
    current_process,
};
use real::futures::MapOptions;
use real::{
    Barrier, Error, Event, Fd, GetError, JoinError, PipeError, PutFault, QueueError, StartMethod,
    TaskError, cpu_count, wait,
};
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

fn sqr(x: i64) -> i64 {
    x * x
}

fn thread_name() -> String {
    std::thread::current().name().unwrap().to_owned()
}

/// Rows proc-01, proc-08, proc-13.
#[test]
fn the_current_process_is_itself() {
    let outer = current_process();
    assert!(outer.is_alive() && !outer.is_daemon() && outer.exitcode().is_none());
    assert!(!outer.authkey().is_empty() && outer.pid() == std::process::id());
    let p = Process::builder(
        || (current_process().name(), nix::unistd::gettid().as_raw(), current_process().pid()),
        (),
    );
    let (name, thread, pid) = p.name("inner").start().unwrap().result().unwrap();
    assert_eq!((name.as_str(), pid), ("inner", std::process::id()));
    assert_ne!(thread, nix::unistd::gettid().as_raw());
    assert!(cpu_count().unwrap() >= 1);
}

/// What of its own a handle holds: the descriptor that says its end, until it is closed.
#[test]
fn a_thread_has_a_sentinel_until_it_is_closed() {
    let go = Event::new().unwrap();
    let p = Process::new(|go: Event| go.wait().unwrap(), (go.clone(),)).unwrap();
    assert!(matches!(p.sentinel(), Err(Error::NotStarted)));
    p.start().unwrap();
    let (first, second) = (p.sentinel().unwrap(), p.sentinel().unwrap());
    assert!(wait(&[&first, &second], Duration::ZERO).unwrap().is_empty());
    assert!(matches!(p.close(), Err(Error::StillRunning)));
    go.set().unwrap();
    assert_eq!(wait(&[&first, &second], SOON).unwrap(), [0, 1]);
    p.join().unwrap();
    let late = p.sentinel().unwrap();
    let ended = Process::spawn(|| (), ()).unwrap();
    ended.join().unwrap();
    assert_eq!(wait(&[&late, &ended.sentinel().unwrap()], SOON).unwrap(), [0, 1]);

    p.close().unwrap();
    p.close().unwrap();
    assert_eq!(
        (p.exitcode(), format!("{:?}", *p)),
        (Some(0), format!("DummyProcess({}, closed)", p.name()))
    );
    assert!(matches!(p.join(), Err(Error::Closed)) && matches!(p.sentinel(), Err(Error::Closed)));
    assert!(matches!(p.start(), Err(Error::Closed)) && matches!(p.is_alive(), Err(Error::Closed)));
    let never = Process::new(|| (), ()).unwrap();
    never.close().unwrap();
    assert_eq!((never.pid(), never.exitcode()), (None, None));
}

#[test]
fn a_name_may_be_one_that_no_thread_can_have() {
    let p = Process::new(|| (), ()).unwrap();
    p.set_name("zero\0byte").unwrap();
    p.start().unwrap();
    p.join().unwrap();
    assert_eq!((p.name().as_str(), p.exitcode()), ("zero\0byte", Some(0)));
    let builder = ThreadPoolExecutor::builder().thread_name_prefix("zero\0byte");
    let name = || std::thread::current().name().map(str::to_owned);
    let name = builder.build().unwrap().submit(name, ()).unwrap().result().unwrap();
    assert_eq!(name.as_deref(), Some("zerobyte_0"));
}

/// Rows proc-03, proc-15, active-01, and the states of a handle.
#[test]
fn a_thread_has_the_life_of_a_process() {
    let (queue, go) = (Queue::<i64>::new().unwrap(), Event::new().unwrap());
    let held = Arc::new(());
    let kept = held.clone();
    let p = Process::new(
        |queue: Queue<i64>, go: Event, kept: Arc<()>| {
            go.wait().unwrap();
            queue.put(5).unwrap();
            Arc::strong_count(&kept) > 0
        },
        (queue.clone(), go.clone(), kept),
    )
    .unwrap();
    assert!(matches!(p.join(), Err(Error::NotStarted)) && !p.is_alive().unwrap());
    assert_eq!((p.pid(), p.exitcode()), (None, None));
    p.set_name("worker").unwrap();
    p.start().unwrap();
    assert!(matches!(p.start(), Err(Error::AlreadyStarted)));
    assert!(matches!(p.set_daemon(true), Err(Error::AlreadyStarted)));
    assert!(p.is_alive().unwrap() && p.pid() == Some(std::process::id()));
    assert_eq!(format!("{p:?}"), "DummyProcess(worker, started)");
    let is_listed = || active_children().iter().any(|child| child.name() == "worker");
    assert!(is_listed());
    assert!(!p.join_timeout(Duration::ZERO).unwrap() && p.is_alive().unwrap());
    go.set().unwrap();
    assert_eq!(queue.get_timeout(SOON).unwrap(), 5);
    assert!(p.result_timeout(SOON).unwrap());
    assert!(!is_listed() && !p.is_alive().unwrap());
    assert_eq!((p.exitcode(), Arc::strong_count(&held)), (Some(0), 1));
    p.join().unwrap();

    let panics = Process::spawn(|| -> u8 { panic!("in vain") }, ()).unwrap();
    let Err(Error::Join(JoinError::Panicked { report, .. })) = panics.result() else {
        panic!("it panicked")
    };
    assert_eq!((report.message.as_str(), panics.exitcode()), ("in vain", Some(1)));
    let own = Process::spawn(|| active_children().len() + usize::from(is_named_after_it()), ());
    assert_eq!(own.unwrap().result().unwrap(), 1);
}

/// A child's child is named after it, and a daemon's is one.
fn is_named_after_it() -> bool {
    let child = Process::new(|| (), ()).unwrap();
    child.name() == format!("{}:1", current_process().name())
        && child.is_daemon() == current_process().is_daemon()
}

/// Row proc-16.
#[test]
fn many_are_started_at_once() {
    let children: Vec<_> = (0..100).map(|x| Process::spawn(sqr, (x,)).unwrap()).collect();
    for (x, child) in (0..).zip(&children) {
        assert_eq!((child.result().unwrap(), child.exitcode()), (sqr(x), Some(0)));
    }
}

#[test]
fn a_program_that_ends_waits_for_its_threads_and_not_for_daemons() {
    let name = "threads::a_program_that_ends_waits_for_its_threads_and_not_for_daemons";
    if is_alone(name) {
        let say = |ms: u64, what: &str| {
            std::thread::sleep(Duration::from_millis(ms));
            println!("{what}");
        };
        Process::spawn(say, (300, "from a process")).unwrap();
        Process::builder(say, (60_000, "from a daemon")).daemon(true).start().unwrap();
        let executor = ThreadPoolExecutor::new(1).unwrap();
        drop(executor.submit(say, (300, "from an executor")).unwrap());
        return;
    }
    let output = run(alone_command(name));
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{}", output.stdout);
    for who in ["a process", "an executor"] {
        assert!(output.stdout.contains(&format!("from {who}\n")), "{}", output.stdout);
    }
    assert!(!output.stdout.contains("a daemon"));
}

/// Rows queue-09, queue-10: all handles of a process are closed at once, and so its threads'.
#[test]
fn a_closed_queue_says_so_to_all_threads() {
    let queue = Queue::<u32>::new().unwrap();
    queue.put(1).unwrap();
    let closes = |queue: Queue<u32>| queue.close();
    Process::spawn(closes, (queue.clone(),)).unwrap().result().unwrap();
    assert!(matches!(queue.put(2).unwrap_err().why, PutFault::Closed));
    assert!(matches!(queue.get(), Err(GetError::Closed)));
    assert!(matches!(queue.is_empty(), Err(QueueError::Closed)));
}

/// Row pool-01, and what only threads can: closures that capture.
#[test]
fn apply_gives_what_the_function_returns() {
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.apply(sqr, (5,)).unwrap(), 25);
    let (sum, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (add, see) = (sum.clone(), seen.clone());
    pool.map(move |x: usize| add.fetch_add(x, Ordering::SeqCst), 0..10).unwrap();
    pool.starmap(move |_: u8, y: usize| see.fetch_max(y, Ordering::SeqCst), [(1, 7)]).unwrap();
    assert_eq!((sum.load(Ordering::SeqCst), seen.load(Ordering::SeqCst)), (45, 7));
    let limited = pool.with(TaskOptions::new().timeout(SOON));
    assert!(matches!(limited.apply(sqr, (1,)), Err(Error::Invalid(_))));
}

/// Row pool-16, and the initializer's state.
#[test]
fn a_pool_has_so_many_threads_and_each_its_state() {
    assert!(matches!(Pool::new(0), Err(Error::Invalid(_))));
    assert_eq!(Pool::new(3).unwrap().processes(), 3);
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let initializer = move |from: u64| {
        count.fetch_add(1, Ordering::SeqCst);
        (thread_name(), from)
    };
    let pool = Pool::builder().processes(2).initializer(initializer, (100,)).build().unwrap();
    assert_eq!(made.load(Ordering::SeqCst), 2);
    let next = |state: &mut (String, u64), _: u8| {
        state.1 += 1;
        (state.0 == thread_name(), state.1)
    };
    let results = pool.map_with_state(next, 0..40).unwrap();
    assert!(results.iter().all(|(is_own, count)| *is_own && *count > 100));
    let wrong = pool.map_with_state(|_: &mut String, _: u8| (), 0..2);
    assert!(matches!(wrong, Err(Error::Task(TaskError::NoSuchState { .. }))));
    let fails = Pool::builder().processes(1).initializer(|| panic!("in vain"), ()).build();
    assert!(matches!(fails, Err(Error::Start(_))), "{fails:?}");
}

/// Rows pool-17, pool-25: what has not begun is cancelled, what has goes on.
#[test]
fn terminate_does_not_wait_for_the_queue() {
    for is_dropped in [false, true] {
        let (gate, pool) = (Event::new().unwrap(), Pool::new(3).unwrap());
        let waits = |gate: Event| gate.wait().unwrap();
        let results: Vec<_> =
            (0..10_000).map(|_| pool.apply_async(waits, (gate.clone(),)).unwrap()).collect();
        let begun = Instant::now();
        let pool = if is_dropped {
            drop(pool);
            None
        } else {
            pool.terminate();
            Some(pool)
        };
        assert!(begun.elapsed() < Duration::from_secs(5));
        gate.set().unwrap();
        if let Some(pool) = pool {
            assert!(pool.join_timeout(SOON).unwrap());
        }
        let ends: Vec<_> = results.iter().map(|result| result.get_timeout(SOON)).collect();
        let done = ends.iter().filter(|end| end.is_ok()).count();
        assert!(done <= 3, "{done}");
        let is_cancelled =
            |end: &&Result<(), Error>| matches!(end, Err(Error::Task(TaskError::Cancelled)));
        assert_eq!(ends.iter().filter(is_cancelled).count(), 10_000 - done);
    }
}

/// Row pool-23.
#[test]
fn a_pool_keeps_no_argument_and_no_result() {
    let pool = Pool::new(1).unwrap();
    let held = Arc::new(());
    let results = pool.map(|it: Arc<()>| it, (0..10).map(|_| held.clone())).unwrap();
    assert_eq!(Arc::strong_count(&held), 11, "the results alone");
    drop(results);
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn a_task_that_would_wait_for_its_own_pool_is_told() {
    let pool = Arc::new(Pool::new(1).unwrap());
    let inner = pool.clone();
    let told = pool
        .apply(
            move || {
                let waits = [
                    inner.apply(sqr, (1,)).err(),
                    inner.map(sqr, 0..3).err(),
                    inner.imap(sqr, 0..3).unwrap().next().and_then(Result::err).map(Error::from),
                    inner.apply_async(sqr, (1,)).unwrap().get().err(),
                ];
                waits.into_iter().flatten().map(|error| error.to_string()).collect::<Vec<_>>()
            },
            (),
        )
        .unwrap();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told.iter().all(|text| text.contains("could never end")), "{told:?}");
}

/// Told once; a lazy map ends with that.
#[test]
fn a_lazy_map_in_a_task_of_its_own_pool_ends() {
    let pool = Arc::new(Pool::new(1).unwrap());
    let inner = pool.clone();
    let maps =
        move || inner.imap(sqr, 0..3).unwrap().take(9).map(|result| result.is_err()).collect();
    let errors: Vec<bool> = pool.apply(maps, ()).unwrap();
    assert_eq!(errors, [true]);
}

/// Panics when it is dropped.
struct Bad;

impl Drop for Bad {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "in a drop");
    }
}

/// Neither its thread nor who joins the pool is lost by a value of the user's that panics.
#[test]
fn what_panics_when_it_is_dropped_costs_no_thread() {
    let pool = Pool::builder().processes(1).initializer(|| Bad, ()).build().unwrap();
    // A result that nobody wants any more, and a call that was cancelled.
    let open = Arc::new(Event::new().unwrap());
    let (gate, bad) = (open.clone(), Bad);
    drop(pool.apply_async(move || (gate.wait().unwrap(), Bad).1, ()).unwrap());
    let cancelled = pool.apply_async(move || (&bad, 1).1, ()).unwrap();
    cancelled.cancel();
    open.set().unwrap();
    let next = pool.apply_async(sqr, (3,)).unwrap();
    assert_eq!(next.get_timeout(SOON).unwrap(), 9);
    // One that is dropped undone.
    let (begun, told) = mpsc::channel();
    let (held, bad) = (Arc::new(Event::new().unwrap()), Bad);
    let gate = held.clone();
    let busy = move || {
        begun.send(()).unwrap();
        gate.wait().unwrap();
    };
    let busy = pool.apply_async(busy, ()).unwrap();
    told.recv_timeout(SOON).unwrap();
    drop(pool.apply_async(move || (&bad, 1).1, ()).unwrap());
    pool.terminate();
    held.set().unwrap();
    busy.get_timeout(SOON).unwrap();
    assert!(pool.join_timeout(SOON).unwrap());
}

#[test]
fn pools_of_threads_give_back_all_that_they_held() {
    alone("threads::pools_of_threads_give_back_all_that_they_held", || {
        drop(Process::spawn(|| (), ()).unwrap().result());
        let _ = Event::new().unwrap().is_set();
        let baseline = util::at_rest();
        for _ in 0..3 {
            let pool = Pool::new(2).unwrap();
            let called = pool.apply_async(sqr, (3,)).unwrap().callback(|_| ()).unwrap();
            assert_eq!(called.get().unwrap(), 9);
            pool.close();
            pool.join().unwrap();
            drop(Pool::new(3).unwrap());
            let executor = ThreadPoolExecutor::new(2).unwrap();
            assert_eq!(executor.submit(sqr, (3,)).unwrap().result().unwrap(), 9);
        }
        util::back_to(&baseline);
    });
}

/// Rows tpool-02, tpool-03, tpool-04, exshut-18, exshut-19.
#[test]
fn threads_come_on_demand_up_to_the_most() {
    let most = ThreadPoolExecutor::builder().build().unwrap().max_workers();
    assert_eq!(most, (cpu_count().unwrap() + 4).min(32));
    let executor = ThreadPoolExecutor::new(4).unwrap();
    for x in 0..3 {
        assert_eq!(executor.submit(sqr, (x,)).unwrap().result().unwrap(), x * x);
        assert_eq!(executor.threads(), 1);
    }
    let gate = Event::new().unwrap();
    let waits = |gate: Event| {
        gate.wait().unwrap();
        thread_name()
    };
    let held: Vec<_> = (0..60).map(|_| executor.submit(waits, (gate.clone(),)).unwrap()).collect();
    assert_eq!(executor.threads(), 4);
    gate.set().unwrap();
    let names: HashSet<_> = held.iter().map(|call| call.result().unwrap()).collect();
    let is_default = |name: &&String| {
        let number = name.strip_prefix("ThreadPoolExecutor-").and_then(|it| it.split_once('_'));
        number.is_some_and(|(_, thread)| ["0", "1", "2", "3"].contains(&thread))
    };
    assert!(names.len() <= 4 && names.iter().filter(is_default).count() == names.len());
    let special = ThreadPoolExecutor::builder().max_workers(5).thread_name_prefix("SpecialPool");
    let special = special.build().unwrap();
    let together = Barrier::new(5).unwrap();
    let meets = |together: Barrier| {
        together.wait().unwrap();
        thread_name()
    };
    let all: Vec<_> = (0..5).map(|_| special.submit(meets, (together.clone(),)).unwrap()).collect();
    let mut names: Vec<_> = all.iter().map(|call| call.result().unwrap()).collect();
    names.sort();
    assert!(names.into_iter().eq((0..5).map(|number| format!("SpecialPool_{number}"))));
}

/// What an executor of processes has besides, an executor of threads has as well.
#[test]
fn an_executor_of_threads_maps_as_one_of_processes() {
    let executor = ThreadPoolExecutor::new(2).unwrap();
    let powers: Result<Vec<i64>, _> =
        executor.starmap(i64::pow, [(2, 3), (3, 2), (7, 0)]).unwrap().collect();
    assert_eq!(powers.unwrap(), [8, 9, 1]);
    // Drawn as results are taken.
    let (drawn, few) = (AtomicUsize::new(0), MapOptions::new().chunksize(2).buffersize(3));
    let items = (0..).inspect(|_| {
        drawn.fetch_add(1, Ordering::SeqCst);
    });
    let mut squares = executor.with(few).map(sqr, items).unwrap();
    assert_eq!(drawn.load(Ordering::SeqCst), 6);
    assert!((0..5).all(|x| squares.next().unwrap().unwrap() == x * x));
    assert!((10..=12).contains(&drawn.load(Ordering::SeqCst)));
    drop(squares);
    // The time limit is for all of them, and the last that is told.
    let short = executor.with(MapOptions::new().timeout(Duration::from_millis(100)));
    let gate = Event::new().unwrap();
    let opens = gate.clone();
    let waits = move |x: i64| {
        assert!(x != 1 || gate.wait_timeout(SOON).unwrap());
        x
    };
    let mut results = short.map(waits, 0..3).unwrap();
    assert_eq!(results.next().unwrap().unwrap(), 0);
    assert!(matches!(results.next(), Some(Err(Error::Timeout))) && results.next().is_none());
    opens.set().unwrap();
    assert!(matches!(
        executor.with(MapOptions::new().buffersize(0)).map(sqr, 0..3),
        Err(Error::Invalid(_))
    ));
    procession_runtime::wait::block_on(executor.shutdown_async(false));
    assert!(executor.submit(sqr, (1,)).is_err() && executor.threads() == 0);
}

/// Rows exshut-14, exshut-15, exshut-16, exshut-17.
#[test]
fn an_executor_of_threads_ends_and_its_results_are_complete() {
    let names = |prefix: &str| {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let name = |task: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default()
        };
        tasks.map(name).filter(|name| name.starts_with(prefix)).count()
    };
    for (way, prefix) in ["Waited", "Unwaited", "Dropped"].into_iter().enumerate() {
        let builder = ThreadPoolExecutor::builder().max_workers(3).thread_name_prefix(prefix);
        let executor = builder.build().unwrap();
        let gate = Event::new().unwrap();
        let waits = |gate: Event, x: i64| {
            gate.wait().unwrap();
            x
        };
        let calls: Vec<_> =
            (0..3).map(|x| executor.submit(waits, (gate.clone(), x)).unwrap()).collect();
        until("three threads are there", || names(prefix) == 3);
        let mapped = executor.map(sqr, -5..5).unwrap();
        match way {
            0 => {
                gate.set().unwrap();
                executor.shutdown(true, false).unwrap();
                assert!(calls.iter().all(procession::Future::done));
                let refused = executor.submit(sqr, (1,));
                assert!(matches!(refused, Err(Error::Task(TaskError::NotRunning))));
            }
            1 => executor.shutdown(false, false).unwrap(),
            _ => drop(executor),
        }
        gate.set().unwrap();
        let results: Vec<_> = calls.iter().map(|call| call.result().unwrap()).collect();
        assert_eq!(results, [0, 1, 2]);
        assert_eq!(
            mapped.map(Result::unwrap).collect::<Vec<_>>(),
            (-5..5).map(sqr).collect::<Vec<_>>()
        );
        until("the threads are gone", || names(prefix) == 0);
    }
    let executor = ThreadPoolExecutor::new(1).unwrap();
    let gate = Event::new().unwrap();
    let waits = |gate: Event| gate.wait().unwrap();
    let running = executor.submit(waits, (gate.clone(),)).unwrap();
    until("it runs", || running.running());
    let queued = executor.submit(sqr, (1,)).unwrap();
    executor.shutdown(false, true).unwrap();
    assert!(queued.cancelled() && !running.cancel());
    gate.set().unwrap();
    assert!(executor.shutdown_timeout(SOON, false).unwrap() && running.result().is_ok());
    let broken = ThreadPoolExecutor::builder().initializer(|| panic!("in vain"), ());
    let broken = broken.max_workers(1).build().unwrap();
    let call = broken.submit(sqr, (1,)).unwrap();
    assert!(matches!(call.result(), Err(Error::Task(TaskError::Broken(_)))));
}

/// A callback that waits for a call of the same executor does not keep it from a thread.
#[test]
fn a_callback_may_wait_for_another_call() {
    let executor = Arc::new(ThreadPoolExecutor::new(2).unwrap());
    let (sender, heard) = mpsc::channel();
    let inner = executor.clone();
    let gate = Event::new().unwrap();
    let waits = |gate: Event| gate.wait().unwrap();
    let call = executor.submit(waits, (gate.clone(),)).unwrap();
    call.add_done_callback(move |_| {
        let other = inner.submit(sqr, (4,)).unwrap();
        sender.send(other.result_timeout(SOON).unwrap()).unwrap();
    })
    .unwrap();
    gate.set().unwrap();
    assert_eq!(heard.recv_timeout(SOON).unwrap(), 16);
}

/// Rows tpool-05, tpool-07: pools of processes beside busy threads. Copies of a process with
/// threads are refused, so that none waits for what a thread held.
#[test]
fn pools_of_processes_are_made_beside_busy_threads() {
    let name = "threads::pools_of_processes_are_made_beside_busy_threads";
    alone(name, || {
        let folder = Folder::new("dummy-busy");
        let threads = Pool::new(2).unwrap();
        let file = folder.file("stop");
        let busy = |file: String| {
            while !std::path::Path::new(&file).exists() {
                std::hint::black_box(vec![0u8; 1 << 12]);
            }
        };
        let works: Vec<_> =
            (0..2).map(|_| threads.apply_async(busy, (file.clone(),)).unwrap()).collect();
        for method in util::METHODS {
            for _ in 0..5 {
                let pool = real::Pool::builder().processes(1).start_method(method);
                assert_eq!(pool.build().unwrap().apply(sqr, (3,)).unwrap(), 9);
            }
        }
        let pool = real::Pool::builder().processes(1).start_method(StartMethod::Fork).build();
        assert!(matches!(pool, Err(Error::Start(_))), "{pool:?}");
        let fork = Pool::new(1).unwrap();
        let refused = move || real::Process::fork(|| 1u8).is_err();
        assert!(fork.apply(refused, ()).unwrap());
        util::note(&file, "");
        for work in works {
            work.wait().unwrap();
        }
    });
}

/// Rows conn-02, conn-03, conn-05, conn-07, conn-08 and poll-04, between threads.
#[test]
fn pipes_lead_from_thread_to_thread() {
    let (receiver, sender) = Pipe::one_way().unwrap();
    let p = Process::spawn(
        |sender: Connection| {
            assert!(matches!(sender.recv::<i32>(), Err(PipeError::NotReadable)));
            for word in ["a", "b", "cd"] {
                sender.send_bytes(word.as_bytes()).unwrap();
            }
        },
        (sender.clone(),),
    );
    // The copy here is closed straight after the start; the thread has its own.
    drop(sender);
    assert!(matches!(receiver.send(&1), Err(PipeError::NotWritable)));
    for word in ["a", "b", "cd"] {
        assert!(receiver.poll_timeout(SOON).unwrap());
        assert_eq!(receiver.recv_bytes().unwrap(), word.as_bytes());
    }
    p.unwrap().result().unwrap();
    assert!(matches!(receiver.recv_bytes(), Err(PipeError::EndOfFile)));

    let (mut ours, theirs) = Pipe::duplex().unwrap();
    let p = Process::spawn(
        |end: Connection| {
            let file: Fd = end.recv().unwrap();
            assert!(matches!(end.recv::<Fd>(), Err(PipeError::Decode(_))));
            let mut writer = std::fs::File::from(std::os::fd::OwnedFd::from(file));
            std::io::Write::write_all(&mut writer, b"foo").unwrap();
        },
        (theirs,),
    );
    let (mut reader, writer) = std::io::pipe().unwrap();
    ours.send(&Fd::from(std::os::fd::OwnedFd::from(writer))).unwrap();
    ours.send(&0_u16).unwrap();
    p.unwrap().result().unwrap();
    ours.close();
    assert!(matches!(ours.poll(), Err(PipeError::Closed)));
    let mut text = String::new();
    std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
    assert_eq!(text, "foo");
}

/// Row pool-07 for threads: an argument is handed over as it is, whether or not it could be
/// encoded.
#[test]
fn arguments_for_threads_are_not_encoded() {
    let pool = Pool::new(2).unwrap();
    let (tell, told) = mpsc::channel();
    let senders: Vec<_> = (0..3).map(|number| (number, tell.clone())).collect();
    let sent = pool.starmap(|number: i64, to: mpsc::Sender<i64>| to.send(number).is_ok(), senders);
    assert_eq!(sent.unwrap(), [true; 3]);
    drop(tell);
    assert_eq!(told.iter().sum::<i64>(), 3);
}
