//! The life of a process from `new` to `close`, with real processes.
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

use nix::sys::signal::Signal;
use procession::{Error, ExitReason, JoinError, Process, StartMethod, active_children, context};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

fn sleeper() {
    std::thread::sleep(Duration::from_mins(10));
}

#[test]
fn returns_what_the_function_returns() {
    let p = Process::spawn(|a: u64, b: String| format!("{b}{a}"), (7, "x".to_string())).unwrap();
    assert_eq!(p.result_timeout(SOON).unwrap(), "x7");
    assert_eq!(p.exitcode(), Some(0));
    assert!(matches!(p.result(), Err(Error::Join(JoinError::Lost { .. }))), "taken once");
}

#[test]
fn large_arguments_and_results_travel() {
    let data = vec![7u32; 1 << 20];
    let p = Process::spawn(
        |mut v: Vec<u32>| {
            v.reverse();
            v.push(1);
            v
        },
        (data.clone(),),
    );
    let back = p.unwrap().result_timeout(SOON).unwrap();
    assert_eq!(back.len(), data.len() + 1);
    assert_eq!(back[..4], [7, 7, 7, 7]);
}

#[test]
fn a_large_result_does_not_keep_a_child_that_nobody_joins() {
    let p = Process::spawn(|| vec![3u32; 4 << 20], ()).unwrap();
    let begun = Instant::now();
    while p.is_alive().unwrap() {
        assert!(begun.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(p.result().unwrap().len(), 4 << 20);
}

#[test]
fn a_panic_comes_back_with_message_and_place() {
    let p = Process::builder(|| -> u32 { panic!("no {}", "luck") }, ())
        .stderr(procession::Stdio::Relay)
        .start()
        .unwrap();
    let error = p.result_timeout(SOON).unwrap_err();
    let Error::Join(JoinError::Panicked { report, name }) = error else { panic!("{error:?}") };
    assert_eq!(report.message, "no luck");
    assert!(report.location.contains("tests/process/life.rs"), "{}", report.location);
    assert!(report.backtrace.contains("run_entry"), "{}", report.backtrace);
    assert_eq!(p.exitcode(), Some(1));
    assert!(p.stderr_tail().contains(&format!("Process {name}:")), "{}", p.stderr_tail());
}

#[test]
fn a_returned_error_is_printed_and_gives_one() {
    let p = Process::builder(|| -> Result<u8, String> { Err("ignore this".into()) }, ())
        .stderr(procession::Stdio::Relay)
        .start()
        .unwrap();
    assert_eq!(p.result_timeout(SOON).unwrap(), Err("ignore this".to_string()));
    assert_eq!(p.exitcode(), Some(1));
    assert!(p.stderr_tail().contains("ignore this"));
}

#[test]
fn exit_codes_are_the_childs_own() {
    for code in [0, 1, 8, 255] {
        let p = Process::spawn(|code: i32| -> () { procession::exit(code) }, (code,)).unwrap();
        assert!(p.join_timeout(SOON).unwrap());
        assert_eq!(p.exitcode(), Some(code));
    }
    let p = Process::spawn(|| -> () { std::process::exit(9) }, ()).unwrap();
    p.join().unwrap();
    assert_eq!(p.exitcode(), Some(9));
}

#[test]
fn signals_end_it_with_python_codes() {
    let p = Process::spawn(sleeper, ()).unwrap();
    assert!(p.is_alive().unwrap());
    assert!(!p.join_timeout(Duration::ZERO).unwrap());
    p.terminate().unwrap();
    assert!(p.join_timeout(SOON).unwrap());
    assert_eq!(p.exitcode(), Some(-15));
    assert_eq!(format!("{p:?}"), format!("Process({}, stopped[SIGTERM])", p.name()));
    p.join().unwrap();
    p.terminate().unwrap();

    let p = Process::spawn(sleeper, ()).unwrap();
    p.kill().unwrap();
    assert!(p.join_timeout(SOON).unwrap());
    assert_eq!(p.exitcode(), Some(-9));

    let p = Process::spawn(sleeper, ()).unwrap();
    p.interrupt().unwrap();
    assert!(p.join_timeout(SOON).unwrap());
    assert_eq!(p.exitcode(), Some(-2));
}

#[test]
fn a_stopped_child_is_terminated_too() {
    let p = Process::spawn(sleeper, ()).unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(p.pid().unwrap().cast_signed()),
        Signal::SIGSTOP,
    )
    .unwrap();
    assert_eq!(p.stop(SOON).unwrap().reason, ExitReason::Shutdown);
}

#[test]
fn states_follow_python() {
    let p = Process::noop().unwrap();
    assert!(format!("{p:?}").ends_with(", initial)"), "{p:?}");
    assert!(!p.is_alive().unwrap());
    assert_eq!((p.pid(), p.exitcode()), (None, None));
    assert!(matches!(p.join(), Err(Error::NotStarted)));
    assert!(matches!(p.terminate(), Err(Error::NotStarted)));
    assert!(matches!(p.sentinel(), Err(Error::NotStarted)));
    p.start().unwrap();
    assert!(matches!(p.start(), Err(Error::AlreadyStarted)));
    assert!(matches!(p.set_daemon(true), Err(Error::AlreadyStarted)));
    assert!(p.join_timeout(SOON).unwrap());
    p.close().unwrap();
    p.close().unwrap();
    assert!(matches!(p.is_alive(), Err(Error::Closed)));
    assert!(matches!(p.join(), Err(Error::Closed)));
    assert!(matches!(p.terminate(), Err(Error::Closed)));
    assert_eq!(p.exitcode(), Some(0));

    let p = Process::spawn(sleeper, ()).unwrap();
    assert!(matches!(p.close(), Err(Error::StillRunning)));
    p.kill().unwrap();
    p.join().unwrap();
}

#[test]
fn names_follow_python() {
    let p = Process::builder(|| procession::current_process().name(), ()).build().unwrap();
    assert!(p.name().starts_with("Process-"), "{}", p.name());
    p.set_name("fred").unwrap();
    p.start().unwrap();
    assert_eq!(p.result_timeout(SOON).unwrap(), "fred");

    let p = Process::spawn(
        || {
            let inner = Process::spawn(|| procession::current_process().name(), ()).unwrap();
            (procession::current_process().name(), inner.result().unwrap())
        },
        (),
    )
    .unwrap();
    let (child, grandchild) = p.result_timeout(SOON).unwrap();
    assert_eq!(child, p.name());
    assert_eq!(grandchild, format!("{child}:1"));
}

#[test]
fn parent_and_children_know_each_other() {
    let me = std::process::id();
    let p = Process::spawn(
        || {
            let parent = procession::parent_process().unwrap();
            (parent.pid(), parent.name(), parent.is_alive(), std::process::id())
        },
        (),
    )
    .unwrap();
    let pid = p.pid().unwrap();
    assert_eq!(p.result_timeout(SOON).unwrap(), (me, "MainProcess".to_string(), true, pid));
    assert!(procession::parent_process().is_none());

    let p = Process::spawn(sleeper, ()).unwrap();
    let listed = |pid| active_children().iter().any(|child| child.pid() == Some(pid));
    assert!(listed(p.pid().unwrap()));
    p.kill().unwrap();
    p.join().unwrap();
    assert!(!listed(p.pid().unwrap()));
}

#[test]
fn daemons_have_no_children() {
    let p = Process::builder(|| Process::noop().unwrap().start().unwrap_err().to_string(), ())
        .daemon(true)
        .start()
        .unwrap();
    assert!(p.result_timeout(SOON).unwrap().contains("may not have children"));
}

#[test]
fn standard_input_is_empty_unless_asked_for() {
    use std::io::{Read, Write};
    let read = || {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).unwrap();
        text
    };
    assert_eq!(Process::spawn(read, ()).unwrap().result_timeout(SOON).unwrap(), "");
    let p = Process::builder(read, ()).stdin(procession::Stdio::Piped).start().unwrap();
    let mut stdin = std::fs::File::from(p.take_stdin().unwrap());
    stdin.write_all(b"from the parent").unwrap();
    drop(stdin);
    assert_eq!(p.result_timeout(SOON).unwrap(), "from the parent");
}

#[test]
fn surroundings_are_as_asked() {
    let p = Process::builder(
        || {
            let here = std::env::current_dir().unwrap();
            (here, std::env::var("COLOUR").ok(), std::env::var_os("PROCESSION_CHILD").is_none())
        },
        (),
    )
    .env("COLOUR", "blue")
    .current_dir("/")
    .nice(3)
    .start()
    .unwrap();
    let (here, colour, unmarked) = p.result_timeout(SOON).unwrap();
    assert_eq!((here.to_str(), colour.as_deref(), unmarked), (Some("/"), Some("blue"), true));

    let error = Process::builder(|| (), ()).current_dir("/no/such/place").start().unwrap_err();
    assert!(error.to_string().contains("working directory"), "{error}");
}

/// Names of files are bytes.
#[test]
fn a_working_directory_may_have_any_name() {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut name = format!("procession-bytes-{}-", std::process::id()).into_bytes();
    name.push(0xff);
    let path = std::env::temp_dir().join(std::ffi::OsStr::from_bytes(&name));
    std::fs::create_dir(&path).unwrap();
    let here = || std::env::current_dir().unwrap().into_os_string().into_vec();
    let started = Process::builder(here, ()).current_dir(&path).start();
    let seen = started.and_then(|p| p.result_timeout(SOON));
    std::fs::remove_dir(&path).unwrap();
    assert!(seen.unwrap().ends_with(&name));
}

#[test]
fn arguments_that_cannot_travel_are_errors_before_anything_starts() {
    #[derive(serde::Deserialize)]
    struct Stubborn;
    impl serde::Serialize for Stubborn {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not today"))
        }
    }
    let error = Process::new(|_: Stubborn| (), (Stubborn,)).unwrap_err();
    assert!(matches!(&error, Error::Encode(_)), "{error}");
    assert!(error.to_string().contains("not today"));
}

#[test]
fn arguments_that_cannot_be_decoded_fail_the_start() {
    #[derive(serde::Serialize)]
    struct Picky;
    impl<'de> serde::Deserialize<'de> for Picky {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Err(serde::de::Error::custom("not here"))
        }
    }
    let error = Process::spawn(|_: Picky| (), (Picky,)).unwrap_err();
    assert!(error.to_string().contains("not here"), "{error}");
}

#[test]
fn a_child_that_dies_before_it_is_ready_is_an_error() {
    #[derive(serde::Serialize)]
    struct Deadly;
    impl<'de> serde::Deserialize<'de> for Deadly {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            eprintln!("last words");
            std::process::abort()
        }
    }
    let p = Process::builder(|_: Deadly| (), (Deadly,)).stderr(procession::Stdio::Relay);
    let error = p.start().unwrap_err().to_string();
    assert!(error.contains("SIGABRT") && error.contains("last words"), "{error}");
}

#[test]
fn a_child_that_is_never_ready_is_killed_in_time() {
    #[derive(serde::Serialize)]
    struct Slow;
    impl<'de> serde::Deserialize<'de> for Slow {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            sleeper();
            Ok(Slow)
        }
    }
    let begun = Instant::now();
    let p = Process::builder(|_: Slow| (), (Slow,)).start_timeout(Duration::from_millis(100));
    let error = p.start().unwrap_err();
    assert!(error.to_string().contains("100ms"), "{error}");
    assert!(begun.elapsed() < SOON);
}

/// It is neither closed under the hands of the thread that starts it, nor opened again.
#[test]
fn a_handle_is_not_closed_while_it_is_started() {
    #[derive(serde::Serialize)]
    struct Slow;
    impl<'de> serde::Deserialize<'de> for Slow {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            std::thread::sleep(Duration::from_millis(500));
            Ok(Slow)
        }
    }
    let p = Process::new(|_: Slow| (), (Slow,)).unwrap();
    std::thread::scope(|scope| {
        let start = scope.spawn(|| p.start());
        while p.set_name("new").is_ok() {
            std::thread::yield_now();
        }
        assert!(matches!(p.close(), Err(Error::StillRunning)));
        start.join().unwrap().unwrap();
    });
    p.join().unwrap();
    p.close().unwrap();
    assert!(matches!(p.join(), Err(Error::Closed)));
    // One whose start failed may be closed.
    let p = Process::builder(|_: Slow| (), (Slow,)).start_timeout(Duration::from_millis(50));
    let p = p.build().unwrap();
    p.start().unwrap_err();
    p.close().unwrap();
    assert!(matches!(p.start(), Err(Error::Closed)));
}

#[test]
fn contexts_leave_the_program_alone() {
    let spawn = context(StartMethod::Spawn);
    let p = spawn.spawn(|| procession::current_process().start_method(), ()).unwrap();
    assert_eq!(p.result_timeout(SOON).unwrap(), Some(StartMethod::Spawn));
}

#[tokio::test]
async fn the_async_forms_agree() {
    let p = Process::builder(|x: u32| x * 2, (21,)).start_async().await.unwrap();
    assert_eq!(p.result_async().await.unwrap(), 42);
    p.join_async().await.unwrap();
    let p = Process::builder(sleeper, ()).start_async().await.unwrap();
    assert_eq!(p.stop_async(SOON).await.unwrap().reason, ExitReason::Shutdown);
}

#[test]
fn many_at_once() {
    let all: Vec<_> = (0..50u32).map(|i| Process::spawn(|i: u32| i, (i,)).unwrap()).collect();
    for (i, p) in (0..).zip(&all) {
        assert_eq!(p.result_timeout(SOON).unwrap(), i);
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Shouter {
    words: Vec<String>,
}

impl procession::Run for Shouter {
    type Output = Vec<String>;

    fn run(self) -> Vec<String> {
        let name = procession::current_process().name();
        self.words.iter().map(|word| word.to_uppercase()).chain([name]).collect()
    }
}

#[test]
fn a_type_of_ones_own_runs_as_a_process_named_after_it() {
    use procession::Run;
    let p = Shouter { words: vec!["hello".into(), "world".into()] }.into_process();
    let p = p.start().unwrap();
    let said = p.result_timeout(SOON).unwrap();
    assert_eq!(said[..2], ["HELLO", "WORLD"]);
    assert_eq!(said[2], p.name());
    assert!(p.name().starts_with("Shouter-"), "{}", p.name());
}

#[test]
fn a_start_may_have_all_the_time_there_is() {
    let p = Process::builder(|| 1u8, ()).start_timeout(Duration::MAX).start().unwrap();
    assert_eq!(p.result_timeout(SOON).unwrap(), 1);
}

#[test]
fn variables_that_no_environment_can_have_are_errors() {
    for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0y")] {
        let error = Process::builder(|| (), ()).env(name, value).start().unwrap_err();
        let Error::Start(procession::StartError::Io(error)) = error else { panic!("{error}") };
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
    }
}

#[test]
fn a_daemon_is_one_in_every_state() {
    let p = Process::builder(|| (), ()).daemon(true).build().unwrap();
    assert!(format!("{p:?}").ends_with(", initial, daemon)"), "{p:?}");
    p.start().unwrap();
    assert!(p.join_timeout(SOON).unwrap());
    p.close().unwrap();
    assert!(p.is_daemon());
    assert!(format!("{p:?}").ends_with(", closed, daemon)"), "{p:?}");
}
