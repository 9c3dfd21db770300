//! The fork method. It needs a process without foreign threads, which the test harness
//! has; so this file is its own (`harness = false`) and runs one test after the other.
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

#[path = "util/counter.rs"]
mod counter;
#[path = "fork/far.rs"]
mod far;
#[path = "fork/full.rs"]
mod full;
#[path = "util/harness.rs"]
mod harness;
#[path = "fork/own.rs"]
mod own;
#[path = "fork/pipes.rs"]
mod pipes;
#[path = "util/python.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod python;
#[path = "fork/rows.rs"]
mod rows;
#[path = "fork/threads.rs"]
mod threads;

use counter::Counter;
use far::{
    a_copy_has_a_connection_of_its_own_to_a_python_manager,
    a_copy_leaves_the_others_connection_to_a_manager_alone,
};
use full::a_lack_of_processes_is_an_error;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::ForkResult;
use own::{
    a_copy_has_no_part_in_a_supervision_tree,
    a_copy_made_by_the_users_own_fork_leaves_the_others_children_alone,
};
use pipes::{a_copy_receives_what_its_parent_has_not, ends_of_pipes_are_captured};
use procession::futures::{ReturnWhen, wait};
use procession::{
    Context, Error, JoinError, Pool, Process, ProcessPoolExecutor, StartError, StartMethod, Stdio,
    TaskError, context,
};
use procession_runtime::wait::block_on;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use threads::a_thread_that_has_been_joined_stands_in_nobodys_way;

const SOON: Duration = Duration::from_secs(30);

fn fork() -> Context {
    context(StartMethod::Fork)
}

fn sleeper() {
    std::thread::sleep(Duration::from_mins(10));
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn a_closure_keeps_what_it_captured() {
    let shared = Arc::new(Mutex::new(vec![1, 2, 3]));
    let theirs = shared.clone();
    let process = Process::fork(move || {
        theirs.lock().unwrap().push(4);
        theirs.lock().unwrap().clone()
    })
    .unwrap();
    assert_eq!(process.result_timeout(SOON).unwrap(), [1, 2, 3, 4]);
    assert_eq!(*shared.lock().unwrap(), [1, 2, 3], "memory is copied, not shared");
    assert_eq!(Arc::strong_count(&shared), 1, "the parent's copy of the closure is dropped");
}

fn a_function_and_its_arguments_travel_as_by_every_method() {
    let process = fork().spawn(|a: u64, b: String| format!("{b}{a}"), (7, "x".to_owned()));
    assert_eq!(process.unwrap().result_timeout(SOON).unwrap(), "x7");
    let process = Process::builder(|| procession::current_process().start_method(), ())
        .start_method(StartMethod::Fork)
        .start()
        .unwrap();
    assert_eq!(process.result_timeout(SOON).unwrap(), Some(StartMethod::Fork));
}

fn a_pool_of_copies_works_and_is_replaced() {
    let pool = Pool::builder().processes(3).start_method(StartMethod::Fork).build().unwrap();
    assert_eq!(pool.map(|x: u64| x * x, [1, 2, 3]).unwrap(), [1, 4, 9]);
    let died = pool.apply(|| -> u8 { std::process::exit(3) }, ());
    assert!(matches!(died, Err(Error::Task(TaskError::Died(_)))), "{died:?}");
    eventually("the dead one is replaced", || pool.pids().len() == 3);
    assert_eq!(pool.map(|x: u64| x + 1, 0..100).unwrap().len(), 100);
    pool.close();
    pool.join().unwrap();
}

/// A copy has its parent's pool and none of its workers: it can do nothing to them.
fn a_copy_of_a_pools_owner_leaves_the_workers_alone() {
    let pool = Pool::builder().processes(1).start_method(StartMethod::Spawn).build().unwrap();
    let pool = Arc::new(pool);
    let executor = Arc::new(ProcessPoolExecutor::new(1).unwrap());
    let slow = || {
        std::thread::sleep(Duration::from_millis(1_500));
        1
    };
    let (pooled, called) =
        (pool.apply_async(slow, ()).unwrap(), executor.submit(slow, ()).unwrap());
    let queued = Arc::new(pool.apply_async(|| 2, ()).unwrap());
    eventually("both are at it", || called.running());
    let before = (pool.pids(), executor.pids());
    let (theirs, their_executor, their_queued) = (pool.clone(), executor.clone(), queued.clone());
    let their_called = called.clone();
    let process = Process::fork(move || {
        let refused = matches!(theirs.apply(|| 1, ()), Err(Error::Task(TaskError::NotRunning)));
        let is_ready = their_queued.ready();
        their_queued.cancel();
        let waited = matches!(their_queued.get(), Err(Error::Task(TaskError::NotRunning)));
        their_executor.terminate_workers();
        their_executor.kill_workers();
        theirs.terminate();
        // Nor does it wait for ever for what comes to its parent.
        let all = wait([&their_called], None, ReturnWhen::AllCompleted).unwrap();
        let awaited = matches!(block_on(their_called), Err(Error::Task(TaskError::NotRunning)));
        drop((theirs, their_executor, their_queued));
        (refused, is_ready, waited, all.done.len(), awaited)
    });
    assert_eq!(process.unwrap().result_timeout(SOON).unwrap(), (true, false, true, 1, true));
    assert_eq!(pooled.get_timeout(SOON).unwrap(), 1);
    assert_eq!(called.result_timeout(SOON).unwrap(), 1);
    assert_eq!(queued.get_timeout(SOON).unwrap(), 2);
    assert_eq!((pool.pids(), executor.pids()), before);
    executor.shutdown(true, false).unwrap();
}

fn the_child_is_a_node_of_its_own() {
    let other = Process::spawn(sleeper, ()).unwrap();
    let here = procession::current_process();
    let process = Process::fork_builder(move || {
        let me = procession::current_process();
        let parent = procession::parent_process().unwrap();
        let refused = matches!(other.join(), Err(Error::NotOwnChild));
        let children = procession::active_children().len();
        // proc-08: the id of the main thread is the process's, not the parent's.
        let ids = (nix::unistd::gettid().as_raw(), std::process::id());
        (me.name(), me.is_daemon(), parent.pid(), (refused, other.exitcode()), children, ids)
    })
    .name("fred")
    .daemon(true)
    .start()
    .unwrap();
    let pid = process.pid().unwrap();
    let seen = process.result_timeout(SOON).unwrap();
    let ids = (pid.cast_signed(), pid);
    assert_eq!(seen, ("fred".to_owned(), true, here.pid(), (true, None), 0, ids));
    for child in procession::active_children() {
        child.kill().unwrap();
        child.join().unwrap();
    }
}

// start-12
fn threads_runtimes_and_children_can_be_made_in_the_child() {
    let process = Process::fork(|| {
        let thread = std::thread::spawn(|| 1);
        let inner: Vec<u32> = [StartMethod::Spawn, StartMethod::ForkServer]
            .map(|method| context(method).spawn(|| 2, ()).unwrap().result_timeout(SOON).unwrap())
            .to_vec();
        // The library's threads are no hindrance in the child either.
        let joined = thread.join().unwrap();
        let grandchild = Process::fork(move || joined + 2).unwrap();
        (inner, grandchild.result_timeout(SOON).unwrap())
    })
    .unwrap();
    assert_eq!(process.result_timeout(SOON).unwrap(), (vec![2, 2], 3));
}

fn a_panic_is_the_childs() {
    let process =
        Process::fork_builder(|| -> u8 { panic!("no luck") }).stderr(Stdio::Relay).start().unwrap();
    let error = process.result_timeout(SOON).unwrap_err();
    let Error::Join(JoinError::Panicked { report, .. }) = error else { panic!("{error:?}") };
    assert_eq!(report.message, "no luck");
    assert_eq!(process.exitcode(), Some(1));
}

fn exit_codes_and_signals_are_pythons() {
    let process = Process::fork(|| -> () { procession::exit(8) }).unwrap();
    assert!(process.join_timeout(SOON).unwrap());
    assert_eq!(process.exitcode(), Some(8));
    let process = Process::fork(sleeper).unwrap();
    process.terminate().unwrap();
    assert!(process.join_timeout(SOON).unwrap());
    assert_eq!(process.exitcode(), Some(-15));
    let process = Process::fork(sleeper).unwrap();
    process.interrupt().unwrap();
    assert!(process.join_timeout(SOON).unwrap());
    assert_eq!(process.exitcode(), Some(-2));
    let process = Process::fork(sleeper).unwrap();
    process.kill().unwrap();
    assert!(process.join_timeout(SOON).unwrap());
    assert_eq!(process.exitcode(), Some(-9));
}

/// As a shell has it for what runs in the background.
fn a_program_that_ignores_interrupts_has_children_that_do_not() {
    let program = std::env::current_exe().unwrap();
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "trap '' INT; exec \"$0\" --exact exit_codes_and_signals_are_pythons"]);
    assert!(shell.arg(program).status().unwrap().success());
}

// sent-01, close-01, active-01
fn a_handle_goes_through_its_states() {
    let is_ready = |sentinel: &procession::Sentinel, timeout: Duration| {
        let mut fds = [PollFd::new(sentinel.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::try_from(timeout).unwrap()).unwrap() == 1
    };
    let pids = || -> Vec<_> {
        procession::active_children().iter().filter_map(procession::ProcessRef::pid).collect()
    };
    let process = Process::fork_builder(sleeper).build().unwrap();
    assert!(matches!(process.join(), Err(Error::NotStarted)));
    assert!(matches!(process.sentinel(), Err(Error::NotStarted)));
    process.start().unwrap();
    assert!(matches!(process.start(), Err(Error::AlreadyStarted)));
    assert_eq!(pids(), [process.pid().unwrap()]);
    let sentinel = process.sentinel().unwrap();
    assert!(!is_ready(&sentinel, Duration::ZERO));
    assert!(matches!(process.close(), Err(Error::StillRunning)));
    process.kill().unwrap();
    assert!(is_ready(&sentinel, SOON));
    assert!(process.join_timeout(SOON).unwrap());
    assert!(pids().is_empty());
    process.close().unwrap();
    assert!(matches!(process.join(), Err(Error::Closed)));
    assert!(is_ready(&sentinel, Duration::ZERO));
}

// exit-04
fn hooks_run_in_the_child_that_set_them() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let process = Process::fork(move || {
        procession::at_exit(0, move || {
            let _ = std::io::Write::write_all(&mut &writer, b"once");
        });
    });
    assert!(process.unwrap().join_timeout(SOON).unwrap());
    let mut text = String::new();
    std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
    assert_eq!(text, "once");
}

// log-02
fn the_level_of_the_log_is_inherited() {
    let before = procession::log::effective_level().value();
    procession::log::set_level(procession::log::LogLevel::Other(37));
    let process = Process::fork(|| procession::log::effective_level().value()).unwrap();
    assert_eq!(process.result_timeout(SOON).unwrap(), 37);
    procession::log::set_level(procession::log::LogLevel::NotSet);
    assert_eq!(procession::log::effective_level().value(), before);
}

extern "C" fn handler_of_the_parent() {
    // Runs at the end of this program as well, where nobody reads it.
    if let Some(path) = std::env::var_os("HANDLER_RAN") {
        let _ = std::fs::write(path, "");
    }
}

fn output_is_printed_once_and_the_parents_exit_handlers_do_not_run() {
    let path = std::env::temp_dir().join(format!("procession-fork-{}", std::process::id()));
    #[allow(unsafe_code, reason = "no safe form exists")]
    // SAFETY: a plain function of this program.
    let registered = unsafe { libc::atexit(handler_of_the_parent) };
    assert_eq!(registered, 0);
    // Not a whole line, so that it waits in the buffer.
    print!("(printed by the parent) ");
    let process = Process::fork_builder(|| print!("by the child"))
        .stdout(Stdio::Piped)
        .env("HANDLER_RAN", &path)
        .start()
        .unwrap();
    let mut text = String::new();
    let mut stdout = std::fs::File::from(process.take_stdout().unwrap());
    std::io::Read::read_to_string(&mut stdout, &mut text).unwrap();
    assert!(process.join_timeout(SOON).unwrap());
    assert_eq!(text, "by the child");
    assert!(!path.exists());
}

// exit-05
fn descriptors_are_inherited_but_for_the_links_of_others() {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let process = Process::fork(move || {
        std::io::Write::write_all(&mut &theirs, b"x").unwrap();
        sleeper();
    })
    .unwrap();
    let mut byte = [0];
    std::io::Read::read_exact(&mut &ours, &mut byte).unwrap();
    assert_eq!(&byte, b"x");
    process.kill().unwrap();
    process.join().unwrap();

    // A child of a node that dies is told by the end of its link, though a forked sibling
    // that outlives the node inherited all that the node had.
    let process = context(StartMethod::Spawn)
        .spawn(
            || {
                let sockets = || {
                    let process = Process::fork(|| {
                        std::fs::read_dir("/proc/self/fd")
                            .unwrap()
                            .flatten()
                            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
                            .filter(|link| link.to_string_lossy().starts_with("socket:"))
                            .count()
                    });
                    process.unwrap().result_timeout(SOON).unwrap()
                };
                // What runtimes have for themselves is there after the first.
                sockets();
                let before = sockets();
                let sibling = context(StartMethod::ForkServer).spawn(sleeper, ()).unwrap();
                let beside = sockets();
                sibling.kill().unwrap();
                sibling.join().unwrap();
                (before, beside)
            },
            (),
        )
        .unwrap();
    let (before, beside) = process.result_timeout(SOON).unwrap();
    assert_eq!(before, beside, "no ends of a sibling's links, nor of the fork server's");
}

fn foreign_threads_are_a_typed_error_unless_promised_to_do_no_harm() {
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::Builder::new().name("stranger".into());
    let thread = thread.spawn(move || stopped.recv()).unwrap();
    let error = Process::fork(|| 1).unwrap_err();
    let Error::Start(StartError::ForeignThreads { count, names }) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(*count, 1);
    assert!(names.contains("stranger"), "{names}");
    let captured = "late".to_owned();
    let late = Process::fork_builder(move || captured).build().unwrap();
    assert!(matches!(late.start(), Err(Error::Start(StartError::ForeignThreads { .. }))));
    #[allow(unsafe_code, reason = "what is tested")]
    // SAFETY: the other thread waits on a channel, and holds nothing that the closure uses.
    let process = unsafe { Process::fork_unchecked(|| 7) }.unwrap();
    assert_eq!(process.result_timeout(SOON).unwrap(), 7);
    drop(stop);
    let _ = thread.join().unwrap();
    assert_eq!(Process::fork(|| 8).unwrap().result_timeout(SOON).unwrap(), 8);
    late.start().unwrap();
    assert_eq!(late.result_timeout(SOON).unwrap(), "late", "the closure was kept");
}

fn the_async_form_forks_too() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(async {
        let text = "captured".to_owned();
        let process = Process::fork_builder(move || text.len()).start_async().await.unwrap();
        process.result_async().await.unwrap()
    });
    assert_eq!(result, 8);
}

/// Its writer is a thread of the library's, which a fork finds idle.
fn relayed_lines_do_not_stand_in_the_way() {
    for _ in 0..3 {
        let process = Process::builder(|| eprintln!("(relayed)"), ()).stderr(Stdio::Relay);
        let process = process.start().unwrap();
        assert_eq!(Process::fork(|| 9).unwrap().result_timeout(SOON).unwrap(), 9);
        assert!(process.join_timeout(SOON).unwrap());
        assert_eq!(Process::fork(|| 9).unwrap().result_timeout(SOON).unwrap(), 9);
    }
}

fn surroundings_and_signal_mask_are_the_callers() {
    let mut mask = nix::sys::signal::SigSet::empty();
    mask.add(nix::sys::signal::Signal::SIGUSR1);
    let old = mask.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_SETMASK).unwrap();
    let process = Process::fork_builder(|| {
        let blocked = nix::sys::signal::SigSet::thread_get_mask().unwrap();
        let blocked: Vec<i32> = blocked.iter().map(|signal| signal as i32).collect();
        (blocked, std::env::var("COLOUR").ok(), std::env::current_dir().unwrap())
    })
    .env("COLOUR", "blue")
    .current_dir("/")
    .start();
    old.thread_set_mask().unwrap();
    let (blocked, colour, here) = process.unwrap().result_timeout(SOON).unwrap();
    assert_eq!(blocked, [libc::SIGUSR1]);
    assert_eq!((colour.as_deref(), here.to_str()), (Some("blue"), Some("/")));
}

/// A copy that the library did not make has no way to the owner, not even to itself.
fn handles_say_that_a_copy_was_made_by_the_users_own_fork() {
    fn is_told(counters: &[&Counter]) -> bool {
        use procession_runtime::share::ShareError;
        counters.iter().all(|counter| matches!(counter.add(1), Err(ShareError::Forked)))
    }
    let theirs = Counter::new();
    let captured = theirs.clone();
    let process = Process::fork(move || {
        let own = Counter::new();
        assert_eq!((own.add(1).unwrap(), captured.add(1).unwrap()), (1, 1));
        #[allow(unsafe_code, reason = "what is tested")]
        // SAFETY: the copy asks its handles, whose tables it has anew, and ends.
        match unsafe { nix::unistd::fork() }.unwrap() {
            ForkResult::Child => {
                let code = if is_told(&[&own, &captured]) { 7 } else { 8 };
                drop((own, captured));
                #[allow(unsafe_code, reason = "the end of the copy")]
                // SAFETY: ends the process and touches nothing.
                unsafe {
                    libc::_exit(code)
                }
            }
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 7));
            }
        }
        // The original's are what they were.
        (own.add(1).unwrap(), captured.add(1).unwrap())
    });
    assert_eq!(process.unwrap().result_timeout(SOON).unwrap(), (2, 2));
    assert_eq!(theirs.get(), 2);
}

/// The copy holds the owner's ends of all connections, so that they do not end with it.
fn an_owners_death_is_told_though_a_copy_of_it_lives_on() {
    use procession_runtime::share::ShareError;
    let (here, there) = procession::Pipe::duplex().unwrap();
    let owner = Process::fork(move || {
        let counter = Counter::new();
        there.send(&counter).unwrap();
        // The client is attached.
        there.recv::<()>().unwrap();
        #[allow(unsafe_code, reason = "what is tested")]
        // SAFETY: the copy only sleeps, and is killed.
        match unsafe { nix::unistd::fork() }.unwrap() {
            ForkResult::Child => sleeper(),
            ForkResult::Parent { child } => there.send(&child.as_raw()).unwrap(),
        }
        sleeper();
    })
    .unwrap();
    let counter: Counter = here.recv_timeout(SOON).unwrap();
    assert_eq!(counter.add(1).unwrap(), 1);
    here.send(&()).unwrap();
    let copy: i32 = here.recv_timeout(SOON).unwrap();
    let waiter = counter.clone();
    let waits = std::thread::spawn(move || (waiter.reaches(9, SOON), Instant::now()));
    // The owner answers in order, so the wait has begun when this is answered.
    eventually("it waits", || counter.seen().waiting == 1);
    let killed = Instant::now();
    owner.kill().unwrap();
    let (result, told) = waits.join().unwrap();
    assert!(matches!(result, Err(ShareError::OwnerGone { .. })), "{result:?}");
    assert!(told - killed < Duration::from_millis(100), "{:?}", told - killed);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(copy), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    assert!(owner.join_timeout(SOON).unwrap());
}

fn three_hundred_forks_hang_never_and_leave_nothing() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    for number in 0..300u32 {
        let process = Process::fork(move || number + 1).unwrap();
        assert_eq!(process.result_timeout(SOON).unwrap(), number + 1);
    }
    eventually("all descriptors are closed", || descriptors() <= before);
    assert!(procession::active_children().is_empty());
}

/// track-11, -13, -15: a copy of the maker of named memory, by the library's fork or by its
/// own, holds the socket to its fork server too. Neither its end nor the removal of its
/// names waits for the copy.
fn a_copy_that_lives_on_does_not_keep_names_or_the_fork_server() {
    /// Leaves a name and a copy of itself, and the copy's number in `note`.
    fn make_and_copy(note: procession::SharedMemory, name: String, is_own: bool, stays: bool) {
        std::mem::forget(procession::SharedMemory::create(&name, 1).unwrap());
        let copy = if is_own {
            #[allow(unsafe_code, reason = "what is tested")]
            // SAFETY: the copy does nothing but sleep.
            let copy = unsafe { libc::fork() };
            if copy == 0 {
                sleeper();
            }
            copy.cast_unsigned()
        } else {
            Process::fork_builder(sleeper).detached().start().unwrap().pid().unwrap()
        };
        note.view::<u32>(0, 1).unwrap().set(0, copy).unwrap();
        if stays {
            sleeper();
        }
    }
    for (is_own, stays) in [(true, false), (true, true), (false, false), (false, true)] {
        let name = format!("procession-copy-{}", std::process::id());
        let note = procession::SharedMemory::anonymous(4).unwrap();
        let args = (note.clone(), name.clone(), is_own, stays);
        let process = context(StartMethod::Spawn).builder(make_and_copy, args);
        let process = process.stderr(Stdio::Null).start().unwrap();
        let copy = || note.view::<u32>(0, 1).unwrap().get(0).unwrap();
        eventually("there is a copy", || copy() != 0);
        if stays {
            process.kill().unwrap();
        }
        assert!(process.join_timeout(SOON).unwrap());
        assert_eq!(process.exitcode(), Some(if stays { -9 } else { 0 }));
        let path = std::path::Path::new("/dev/shm").join(&name);
        eventually("the name is gone", || !path.exists());
        let copy = nix::unistd::Pid::from_raw(copy().cast_signed());
        nix::sys::signal::kill(copy, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
}

macro_rules! tests {
    ($($name:ident)*) => {
        const TESTS: &[(&str, fn())] = &[$((stringify!($name), $name)),*];
    };
}

tests! {
    a_closure_keeps_what_it_captured
    a_copy_receives_what_its_parent_has_not
    a_function_and_its_arguments_travel_as_by_every_method
    a_pool_of_copies_works_and_is_replaced
    a_copy_of_a_pools_owner_leaves_the_workers_alone
    the_child_is_a_node_of_its_own
    threads_runtimes_and_children_can_be_made_in_the_child
    a_panic_is_the_childs
    exit_codes_and_signals_are_pythons
    a_program_that_ignores_interrupts_has_children_that_do_not
    a_handle_goes_through_its_states
    hooks_run_in_the_child_that_set_them
    the_level_of_the_log_is_inherited
    output_is_printed_once_and_the_parents_exit_handlers_do_not_run
    descriptors_are_inherited_but_for_the_links_of_others
    foreign_threads_are_a_typed_error_unless_promised_to_do_no_harm
    a_thread_that_has_been_joined_stands_in_nobodys_way
    a_lack_of_processes_is_an_error
    ends_of_pipes_are_captured
    the_async_form_forks_too
    relayed_lines_do_not_stand_in_the_way
    surroundings_and_signal_mask_are_the_callers
    a_copy_that_lives_on_does_not_keep_names_or_the_fork_server
    handles_say_that_a_copy_was_made_by_the_users_own_fork
    a_copy_made_by_the_users_own_fork_leaves_the_others_children_alone
    a_copy_has_no_part_in_a_supervision_tree
    a_copy_leaves_the_others_connection_to_a_manager_alone
    a_copy_has_a_connection_of_its_own_to_a_python_manager
    an_owners_death_is_told_though_a_copy_of_it_lives_on
    three_hundred_forks_hang_never_and_leave_nothing
}

fn main() {
    harness::main(&[TESTS, rows::TESTS].concat(), harness::Order::OneByOne);
}
