//! How a manager lives: start, scope, shutdown, its starter's end.

use crate::util::{Folder, SOON, lines, lives, note, signal, until};
use nix::sys::signal::Signal;
use procession::manager::{DictProxy, Fault};
use procession::{Manager, ManagerError, Process};
use std::time::Duration;

#[test]
fn a_manager_ends_when_it_is_told_any_number_of_times() {
    let manager = Manager::start().unwrap();
    assert!(manager.process().unwrap().name().starts_with("SyncManager-"));
    let dict = manager.dict::<u8, u8>().unwrap();
    dict.insert(&1, &1).unwrap();
    manager.shutdown().unwrap();
    manager.shutdown().unwrap();
    assert_eq!(manager.process().unwrap().exitcode(), Some(0));
    assert!(manager.join_timeout(SOON).unwrap());
    let gone = dict.get(&1).unwrap_err();
    assert!(matches!(gone, ManagerError::OwnerGone { .. }), "{gone}");
    assert!(manager.list([1]).is_err());
}

#[test]
fn a_scope_ends_its_manager() {
    let manager = Manager::start().unwrap();
    let process = manager.process().unwrap().clone();
    let len = manager.scope(|manager| manager.list([1, 2]).unwrap().len().unwrap()).unwrap();
    assert_eq!(len, 2);
    assert_eq!(process.exitcode(), Some(0));
}

#[test]
fn a_dropped_manager_ends() {
    let manager = Manager::start().unwrap();
    let process = manager.process().unwrap().clone();
    drop(manager);
    assert!(process.join_timeout(SOON).unwrap());
    assert_eq!(process.exitcode(), Some(0));
}

/// Row shm-08: Ctrl-C comes to all processes of a terminal, and the server is still needed then.
#[test]
fn an_interrupt_is_ignored_by_the_server() {
    let manager = Manager::start().unwrap();
    let list = manager.list([1]).unwrap();
    let pid = manager.process().unwrap().pid().unwrap();
    for n in 2..4 {
        signal(pid, Signal::SIGINT);
        // It answers behind the signal, with what it had before.
        list.append(&n).unwrap();
    }
    // What is ignored is never pending, so it cannot come later either.
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    let bit = 1 << (Signal::SIGINT as u32 - 1);
    assert_ne!(u64::from_str_radix(ignored, 16).unwrap() & bit, 0, "{ignored}");
    assert_eq!(list.to_vec().unwrap(), [1, 2, 3]);
    manager.shutdown().unwrap();
    assert_eq!(manager.process().unwrap().exitcode(), Some(0));
}

#[test]
fn a_manager_dies_with_its_starter() {
    let main = Manager::start().unwrap();
    let pids = main.queue::<u32>().unwrap();
    let starter = |pids: procession::manager::QueueProxy<u32>| {
        let manager = Manager::start().unwrap();
        pids.put(manager.process().unwrap().pid().unwrap()).unwrap();
        std::thread::sleep(SOON);
    };
    let starter = Process::spawn(starter, (pids.clone(),)).unwrap();
    let pid = pids.get_timeout(SOON).unwrap();
    starter.as_ref().kill().unwrap();
    let path = format!("/proc/{pid}");
    until("the manager is gone", || !std::path::Path::new(&path).exists());
}

#[test]
fn an_initializer_runs_once_in_the_server() {
    let other = Manager::start().unwrap();
    let seen = other.dict::<String, u32>().unwrap();
    let begin = |seen: DictProxy<String, u32>| {
        seen.update_entry(
            &"runs".into(),
            |n: &mut Option<u32>, (): ()| *n = Some(n.unwrap_or(0) + 1),
            (),
        )
        .unwrap();
        seen.insert(&"pid".into(), &std::process::id()).unwrap();
    };
    let manager = Manager::builder().initializer(begin, (seen.clone(),)).start().unwrap();
    assert_eq!(seen.get(&"runs".into()).unwrap(), Some(1));
    assert_eq!(seen.get(&"pid".into()).unwrap(), manager.process().unwrap().pid());
    let fails = Manager::builder().initializer(|| assert_eq!(1, 2, "no way"), ()).start();
    assert!(fails.unwrap_err().to_string().contains("no way"));
}

/// What a start that came to nothing has started does not live on, whatever it is at.
#[test]
fn a_manager_that_does_not_start_leaves_nothing() {
    let folder = Folder::new("manager-start");
    let file = folder.file("pid");
    let begin = |file: String| {
        note(&file, &std::process::id().to_string());
        std::thread::sleep(Duration::from_mins(1));
    };
    let started = Manager::builder().initializer(begin, (file.clone(),)).start();
    assert!(started.is_err(), "{started:?}");
    assert!(!lives(lines(&file, 1)[0].parse().unwrap()));
}

#[test]
fn functions_run_in_the_server() {
    let manager = Manager::start().unwrap();
    let pid = manager.call(std::process::id, ()).unwrap();
    assert_eq!(Some(pid), manager.process().unwrap().pid());
    assert_eq!(manager.call(|a: u32, b: u32| a * b, (6, 7)).unwrap(), 42);
    let unknown = manager.get::<u32>("nothing");
    assert!(matches!(unknown, Err(ManagerError::Fault(Fault::NoSuchObject(_)))));
}
