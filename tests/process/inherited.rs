//! What a child has from its parent, and what it was given instead: key, place in the tree,
//! daemon flag, environment, processors.
//!
//! Neighbours: `life.rs` has the working directory and niceness, `start_methods.rs` the method,
//! `../forkserver.rs` what the system itself hands down.

use crate::util::{METHODS, SOON};
use procession::{Error, Process, context, current_process};

/// What a process says of itself, and the same of a child that it starts.
type Said = (Vec<u8>, Vec<u32>);

fn says() -> Said {
    (current_process().authkey(), current_process().identity())
}

fn says_with_child() -> (Said, Said) {
    let child = Process::spawn(says, ()).unwrap();
    (says(), child.result_timeout(SOON).unwrap())
}

#[test]
fn a_key_is_inherited_unless_another_is_set() {
    for method in METHODS {
        let context = context(method);
        let ((own, place), (below, place_below)) =
            context.spawn(says_with_child, ()).unwrap().result_timeout(SOON).unwrap();
        let root = current_process().authkey();
        assert!(own == root && below == root && root.len() == 32, "{method}");
        assert_eq!((place.len(), place_below), (1, [&place[..], &[1]].concat()), "{method}");

        let other = context.builder(says_with_child, ()).authkey("of its own").start().unwrap();
        let ((own, _), (below, _)) = other.result_timeout(SOON).unwrap();
        assert_eq!((&own[..], &below[..]), (&b"of its own"[..], &b"of its own"[..]), "{method}");

        let later = context.builder(says_with_child, ()).build().unwrap();
        later.set_authkey("set before the start").unwrap();
        assert_eq!(later.authkey().unwrap(), b"set before the start");
        later.start().unwrap();
        assert!(matches!(later.set_authkey("late"), Err(Error::AlreadyStarted)));
        let ((own, _), _) = later.result_timeout(SOON).unwrap();
        assert_eq!(own, b"set before the start", "{method}");
    }
    assert!(current_process().identity().is_empty(), "the root has no place below another");
}

/// A process that sets its own key hands that down, and tells nobody above.
#[test]
fn a_key_that_a_process_sets_for_itself_goes_to_its_children() {
    let before = current_process().authkey();
    let sets = || {
        current_process().set_authkey("new");
        says_with_child()
    };
    let ((own, _), (below, _)) = Process::spawn(sets, ()).unwrap().result_timeout(SOON).unwrap();
    assert_eq!((&own[..], &below[..]), (&b"new"[..], &b"new"[..]));
    assert_eq!(current_process().authkey(), before);
}

#[test]
fn a_daemon_has_children_only_if_it_may_and_they_are_daemons() {
    let starts = || match Process::spawn(|| current_process().is_daemon(), ()) {
        Ok(child) => Ok(child.result_timeout(SOON).unwrap()),
        Err(error) => Err(error.to_string()),
    };
    for method in METHODS {
        let daemon = || context(method).builder(starts, ()).daemon(true);
        let refused = daemon().start().unwrap().result_timeout(SOON).unwrap().unwrap_err();
        assert!(refused.contains("daemon"), "{method}: {refused}");
        let allowed = daemon().allow_nested().start().unwrap().result_timeout(SOON).unwrap();
        assert_eq!(allowed, Ok(true), "{method}");
    }
}

#[test]
fn an_environment_is_changed_or_made_anew() {
    let look = || {
        let mut names: Vec<_> = std::env::vars().collect();
        names.sort();
        names
    };
    for method in METHODS {
        let ours = context(method).spawn(look, ()).unwrap().result_timeout(SOON).unwrap();
        let path = ours.iter().find(|(name, _)| name == "PATH").expect("tests are run with one");
        let builder = || context(method).builder(look, ());
        let without = builder().env_remove("PATH").start().unwrap().result_timeout(SOON).unwrap();
        assert!(!without.contains(path) && without.len() + 1 == ours.len(), "{method}");
        let cleared = builder().env("LOST", "1").env_clear().env("KEPT", "2").start().unwrap();
        let kept = [("KEPT".to_owned(), "2".to_owned())];
        assert_eq!(cleared.result_timeout(SOON).unwrap(), kept, "{method}");
    }
}

#[test]
fn a_child_runs_on_the_processors_that_it_was_given() {
    let look = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("Cpus_allowed_list:")).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    // One that we may use.
    let ours = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
    let one = (0..1024).find(|&number| ours.is_set(number).unwrap_or(false)).unwrap();
    for method in METHODS {
        let pinned = context(method).builder(look, ()).affinity([one]).start().unwrap();
        assert_eq!(pinned.result_timeout(SOON).unwrap(), one.to_string(), "{method}");
        let nowhere = context(method).builder(look, ()).affinity([]).start();
        assert!(nowhere.is_err(), "{method}: there is no processor to run on");
    }
}
