//! The fork method: a copy of this process, with the closure that it is to run.
//!
//! Owns the counting of threads, the moment of the fork, and the child's first steps.
//! A lock that is held at the fork is held in the child for ever, by a thread that the
//! child does not have. So it forks from the launcher thread, while the caller waits for
//! it, the hidden thread is parked, the library's own locks are held here and let go on
//! both sides, and no other thread exists: with others it refuses, unless told by an
//! `unsafe` promise. It must never drop what the child inherits of runtimes and nodes.
//! Neighbours: `child` is what the copy becomes, `node::hidden` parks.

use super::child::{
    HELLO_TIMEOUT, REFUSED_CODE, fill_standard_streams, receive_hello, serve, serve_work,
};
use super::hello::StartFault;
use super::spec::{OpenStdio, above_standard};
use super::{Ends, Raw, StartError};
use crate::codec::Encoded;
use crate::function::{Ending, Start};
use crate::link::Link;
use crate::sync::after;
use crate::sys::{clone, exit, memory, process};
use crate::{finalizer, link, log, node, share};
use nix::sys::signal::SigSet;
use serde::Serialize;
use std::ffi::CString;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;
use std::time::Duration;

/// The library's threads do nothing that takes so long, but wait for a standard error that
/// nobody reads.
const PARK_TIMEOUT: Duration = Duration::from_secs(5);

type Run = dyn FnOnce(Start<'_>) -> Result<Ending, StartFault> + Send;

/// What a forked child runs: a closure, which may have captured anything.
pub struct Work {
    run: Box<Run>,
    pub(super) is_unchecked: bool,
}

impl Work {
    /// Runs `closure` and gives the parent what it returns. `is_unchecked` says that
    /// other threads are no hindrance.
    pub fn new<R: Serialize>(
        closure: impl FnOnce() -> R + Send + 'static,
        is_unchecked: bool,
    ) -> Self {
        let run = move |start: Start<'_>| {
            (start.ready)();
            Ok(Ending::returned(&closure()))
        };
        Self { run: Box::new(run), is_unchecked }
    }

    /// The arguments that go with it: none.
    pub fn arguments() -> Encoded {
        Encoded::default()
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("is_unchecked", &self.is_unchecked).finish_non_exhaustive()
    }
}

/// The thread that asks for a start.
pub(super) struct Caller {
    thread: i32,
    pub(super) mask: SigSet,
}

impl Caller {
    pub(super) fn this_thread() -> io::Result<Self> {
        Ok(Self { thread: clone::thread_id(), mask: SigSet::thread_get_mask()? })
    }
}

/// Forks. `None` is the child, which has let go of everything but its descriptors.
pub(super) fn copy(caller: &Caller, is_unchecked: bool) -> Result<Option<Raw>, StartError> {
    if !is_unchecked {
        check_threads(caller)?;
    }
    let name = std::fs::read_to_string(format!("/proc/{}/comm", std::process::id()));
    let heirlooms = share::fork::before_fork()?;
    let deadline = after(PARK_TIMEOUT);
    let parked = node::hidden::hold_parked(deadline)?;
    let written = log::relayed::hold_for_fork(deadline)?;
    // A thread that we were told not to mind may be printing. Without such threads only the
    // caller can hold these, and it waits for us.
    let printing = is_unchecked.then(|| (io::stdout().lock(), io::stderr().lock()));
    let (inbox, nodes) = (super::thread::hold_for_fork(), node::hold_for_fork());
    let parked = (parked, written, crate::threads::hold_for_fork());
    let links = link::hold_for_fork();
    let finalizers = finalizer::hold_for_fork();
    let logging = log::hold_for_fork();
    let servers = super::forkserver::hold_for_fork();
    let mut kept = memory::kept_from_copies();
    let making = super::MAKING.write().unwrap_or_else(PoisonError::into_inner);
    let Some(pid) = clone::fork()? else {
        drop((parked, printing, inbox, nodes, servers, making));
        node::forget_inherited();
        finalizers.clear();
        logging.renew();
        if links.give_up().is_err() {
            // Siblings would outlive a parent whose end of their links we keep.
            exit::now(REFUSED_CODE);
        }
        kept.leave();
        drop(kept);
        heirlooms.inherit();
        // The main thread of the child is our launcher thread, which nobody should see.
        if let Some(name) = name.ok().and_then(|name| CString::new(name.trim_end()).ok()) {
            let _ = nix::sys::prctl::set_name(&name);
        }
        return Ok(None);
    };
    drop((parked, printing, inbox, nodes, servers, making, links, finalizers, logging, kept));
    // It shall not take the place of a standard stream that is closed: the next copy would
    // print into it.
    match process::pidfd_open(pid.cast_signed()).and_then(above_standard) {
        Ok(pidfd) => Ok(Some(Raw { pid, pidfd })),
        Err(error) => {
            super::end_unheld(pid.cast_signed());
            Err(error.into())
        }
    }
}

/// Refuses when there is a thread beside the caller and the library's own.
fn check_threads(caller: &Caller) -> Result<(), StartError> {
    let others = clone::settled(|| foreign_threads(caller), Vec::is_empty)?;
    if others.is_empty() {
        return Ok(());
    }
    let name = |id: &i32| std::fs::read_to_string(format!("/proc/self/task/{id}/comm"));
    let mut names: Vec<String> = others.iter().filter_map(|id| name(id).ok()).collect();
    for name in &mut names {
        name.truncate(name.trim_end().len());
    }
    Err(StartError::ForeignThreads { count: others.len(), names: names.join(", ") })
}

fn foreign_threads(caller: &Caller) -> io::Result<Vec<i32>> {
    let mut threads = clone::threads()?;
    threads.retain(|thread| *thread != caller.thread);
    crate::threads::remove_ours(&mut threads);
    Ok(threads)
}

/// What the launcher thread has in its hands when it finds itself in the child.
pub(super) struct Inheritance {
    pub(super) ends: Ends,
    pub(super) stdio: OpenStdio,
    /// The caller's signal mask.
    pub(super) mask: SigSet,
    pub(super) work: Option<Work>,
}

/// Runs as the child until the end of the process.
pub(super) fn become_child(inheritance: Inheritance) -> ! {
    // Below are frames of the launcher thread, which must not go on in this process.
    let _ = catch_unwind(AssertUnwindSafe(|| run(inheritance)));
    exit::now(REFUSED_CODE)
}

fn run(Inheritance { ends, stdio, mask, work }: Inheritance) {
    let (control, data) = (Link::new(ends.control.1), Link::new(ends.data.1));
    drop((ends.control.0, ends.data.0));
    if let Err(error) = take_streams(&stdio).and_then(|()| Ok(mask.thread_set_mask()?)) {
        eprintln!("procession: a forked child cannot take its descriptors: {error}");
        return;
    }
    drop(stdio);
    // An error says that the parent gave this start up, or died.
    let Ok((hello, _)) = receive_hello(&control, after(HELLO_TIMEOUT)) else { return };
    match work {
        Some(work) => serve_work(control, data, &hello, work.run),
        None => serve(control, data, &hello, || {}),
    }
}

fn take_streams(stdio: &OpenStdio) -> io::Result<()> {
    // An error says that no number is free, and so none of these.
    let _ = fill_standard_streams();
    let [input, output, errors] = &stdio.child;
    input.as_ref().map_or(Ok(()), nix::unistd::dup2_stdin)?;
    output.as_ref().map_or(Ok(()), nix::unistd::dup2_stdout)?;
    errors.as_ref().map_or(Ok(()), nix::unistd::dup2_stderr)?;
    Ok(())
}
