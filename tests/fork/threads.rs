//! Threads that have ended, as a fork finds them.

use crate::SOON;
use procession::{Event, Process};
use std::path::PathBuf;
use std::ptr::null_mut;
use std::sync::mpsc::channel;

/// Holds a thread of another process in its hands, also when that has ended.
fn trace(thread: i32, is_held: Event) {
    let none = null_mut::<libc::c_void>();
    #[allow(unsafe_code, reason = "nix has no such call without its feature")]
    // SAFETY: no memory of this process or of the other is given.
    let outcome = unsafe { libc::ptrace(libc::PTRACE_SEIZE, thread, none, none) };
    assert_eq!(outcome, 0, "{}", std::io::Error::last_os_error());
    is_held.set().unwrap();
    std::thread::sleep(SOON * 10);
}

/// On a busy machine the kernel takes a thread away long after it has been joined. Here a
/// debugger that looks elsewhere keeps it from doing so.
pub(crate) fn a_thread_that_has_been_joined_stands_in_nobodys_way() {
    let (tell, told) = channel();
    let (stop, stopped) = channel::<()>();
    let thread = std::thread::spawn(move || {
        tell.send(nix::unistd::gettid().as_raw()).unwrap();
        let _ = stopped.recv();
    });
    let id = told.recv().unwrap();
    #[allow(unsafe_code, reason = "nix has no such call")]
    // SAFETY: it only says who may trace this process. Where nobody asks, it is an error.
    let _ = unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY) };
    let is_held = Event::new().unwrap();
    let tracer = Process::spawn(trace, (id, is_held.clone())).unwrap();
    assert!(is_held.wait_timeout(SOON).unwrap());
    drop(stop);
    thread.join().unwrap();
    assert!(PathBuf::from(format!("/proc/self/task/{id}")).exists(), "or nothing is tested");
    let process = Process::fork(|| 7).unwrap();
    assert_eq!(process.result_timeout(SOON).unwrap(), 7);
    tracer.kill().unwrap();
    tracer.join().unwrap();
}
