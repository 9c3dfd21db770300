//! Copies that the user makes by a fork of his own.

use crate::{SOON, sleeper};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::ForkResult;
use procession::{ChildSpec, Process, StartMethod, Strategy, Supervisor, context};
use std::time::{Duration, Instant};

/// Such a copy is a program of its own, with no children but those that it starts.
pub(crate) fn a_copy_made_by_the_users_own_fork_leaves_the_others_children_alone() {
    fn original() -> bool {
        let daemon = context(StartMethod::Spawn).builder(sleeper, ()).daemon(true).start().unwrap();
        let child = context(StartMethod::Spawn).spawn(sleeper, ()).unwrap();
        let tree = Supervisor::new(Strategy::OneForOne)
            .child(ChildSpec::process("supervised", sleeper, ()))
            .start()
            .unwrap();
        std::thread::sleep(Duration::from_millis(100));
        #[allow(unsafe_code, reason = "what is tested")]
        // SAFETY: the other threads of this process are the library's, and at rest.
        let copy = match unsafe { nix::unistd::fork() }.unwrap() {
            ForkResult::Child => {
                assert!(procession::active_children().is_empty());
                let own = context(StartMethod::Spawn).spawn(|| 5, ()).unwrap();
                std::process::exit(own.result_timeout(SOON).unwrap());
            }
            ForkResult::Parent { child } => child,
        };
        let has_ended = || {
            let status = waitpid(copy, Some(WaitPidFlag::WNOHANG)).unwrap();
            (status != WaitStatus::StillAlive).then_some(status)
        };
        let begun = Instant::now();
        let mut status = has_ended();
        while status.is_none() && begun.elapsed() < SOON / 3 {
            std::thread::sleep(Duration::from_millis(5));
            status = has_ended();
        }
        if status.is_none() {
            nix::sys::signal::kill(copy, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        let all_live = daemon.is_alive().unwrap() && child.is_alive().unwrap();
        let is_supervised = tree.count_children().active == 1;
        child.kill().unwrap();
        tree.stop().unwrap();
        assert_eq!(status, Some(WaitStatus::Exited(copy, 5)));
        all_live && is_supervised
    }
    let process = context(StartMethod::Spawn).spawn(original, ()).unwrap();
    assert!(process.result_timeout(SOON).unwrap());
}

/// A tree runs in the process that started it: its copy asks nobody, and waits for nobody.
pub(crate) fn a_copy_has_no_part_in_a_supervision_tree() {
    let sleepers =
        || Supervisor::new(Strategy::OneForOne).child(ChildSpec::process("sleeper", sleeper, ()));
    let tree = sleepers().child(ChildSpec::supervisor("nested", sleepers())).start().unwrap();
    let captured = tree.clone();
    let process = Process::fork(move || {
        let own = Supervisor::new(Strategy::OneForOne)
            .child(ChildSpec::process("sleeper", sleeper, ()))
            .start()
            .unwrap();
        let nested = captured.supervisor("nested").unwrap();
        let is_told = [captured.stop(), captured.join(), nested.stop(), nested.join()];
        assert!(captured.terminate_child("sleeper").is_err());
        assert!(captured.which_children().is_empty());
        drop((captured, nested));
        own.stop().unwrap();
        is_told.map(|outcome| outcome.is_err())
    })
    .unwrap();
    let outcome = process.result_timeout(SOON / 2);
    process.kill().unwrap();
    assert_eq!(outcome.unwrap(), [true; 4]);
    assert_eq!(tree.count_children().active, 2);
    tree.stop().unwrap();
}
