//! What a child takes over from its hello beside its identity: logging, the watch over
//! its parent, the adoption of orphans.
//!
//! Owns the two jobs that the hidden thread of some children has: to end in good order
//! when the parent is gone ([`ParentDeath::Grace`]), and to reap the orphans that a
//! containing process adopts. A child that asked for neither starts no thread here. It
//! must never run user code on the hidden thread. Above it stands the launcher's child
//! side; below it `proc_tree` and `super::leave`.

use super::{Node, control, hidden};
use crate::launcher::hello::{self, Hello, LogSettings, ToParent};
use crate::launcher::{ParentDeath, StartMethod};
use crate::link::LinkError;
use crate::proc_tree::{self, AdoptionWatch};
use crate::sync::lock;
use crate::sys::socket::duplicate;
use crate::sys::watch::{Ending, Held, watch};
use crate::{log, prctl};
use nix::sys::signal::Signal;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::time::sleep;

/// Exit code of a process that ends because its parent is gone.
const ORPHANED_CODE: i32 = 1;

/// A long log line waits so long for a parent that reads nothing before it is asked whether
/// that one has been stopped; then the child writes it itself. One that is at work reads when
/// the reader of standard error lets it: written here, the line would wait for that reader as
/// well, and come before its predecessors, or between the halves of another's.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// A line above this size does not go through the parent, in bytes.
const LOG_LIMIT: usize = 16 * 1024 * 1024;

/// A containing process looks for orphans this often.
const ADOPTION_PERIOD: Duration = Duration::from_millis(100);

/// And at least this often: an orphan whose parent lived for less between two looks is
/// not known as one.
const ADOPTION_PERIOD_MAX: Duration = Duration::from_millis(500);

/// Looking should take at most one part in so many of the time.
const ADOPTION_SHARE: u32 = 20;

/// The names of the spans that our parent was in when it started us.
static PARENT_SPANS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Takes over what the hello says. Once, before user code, when the node is born.
pub(crate) fn install(hello: &Hello) {
    install_log(&hello.name, &hello.log);
    if let ParentDeath::Grace(grace) = hello.on_parent_death
        && let Err(error) = watch_parent(grace)
    {
        // Better no grace than an orphan.
        tracing::warn!(target: "procession", %error, "no grace: the parent's death kills");
        let _ = prctl::die_with_parent(Signal::SIGKILL, hello.parent_pid.cast_signed());
    }
    if hello.contain
        && let Err(error) = watch_orphans()
    {
        tracing::warn!(target: "procession", %error, "adopted orphans will not be reaped");
    }
}

/// The span in which this process runs: who it is, and what its parent was doing when
/// it started it.
pub fn root_span() -> tracing::Span {
    let ppid = super::current().parent().map_or(0, |parent| parent.pid);
    log::child_root_span(&parent_spans(), ppid)
}

fn install_log(name: &str, settings: &LogSettings) {
    log::set_process_name(name);
    log::show_pid(settings.show_pid);
    lock(&PARENT_SPANS).clone_from(&settings.spans);
    let level = settings.level.unwrap_or(log::LogLevel::NotSet);
    // A subscriber that a constructor of the user's installed stays; the level counts
    // for our layer, should it be part of it.
    if !settings.to_stderr || log::install_in_child(level).is_err() {
        log::set_level(level);
    }
    if settings.shared_stderr {
        log::set_long_line_sink(Some(Box::new(through_parent)));
    }
}

/// Gives a long line to the parent to write; false when it cannot take it.
fn through_parent(line: &[u8]) -> bool {
    if line.len() > LOG_LIMIT {
        return false;
    }
    let node = super::current();
    let Some(parent) = node.parent() else { return false };
    // The hidden thread does not wait.
    let patience = if hidden::is_current() { Duration::ZERO } else { LOG_PATIENCE };
    let message = ToParent::Log(line.to_vec());
    loop {
        match hello::send_to_reader(&parent.control, &message, patience) {
            Err(LinkError::Timeout) if !patience.is_zero() && is_at_work(parent.pid) => {}
            outcome => return outcome.is_ok(),
        }
    }
}

/// Whether the parent is there, and not stopped.
fn is_at_work(parent: u32) -> bool {
    let entry = proc_tree::entry(parent.cast_signed());
    entry.is_ok_and(|entry| entry.is_some_and(|entry| !b"TtZX".contains(&entry.state)))
}

/// Ends this process in good order, within `grace`, when its parent is gone.
fn watch_parent(grace: Duration) -> io::Result<()> {
    let node = super::current();
    let (pidfd, control) = parent_descriptors(&node);
    if pidfd.is_none() && control.is_none() {
        return Err(io::Error::other("no descriptor of the parent"));
    }
    hidden::handle()?.spawn(async move {
        tokio::select! {
            () = process_ended(pidfd) => {}
            () = socket_ended(control) => {}
        }
        tracing::info!(target: "procession", "the parent is gone");
        let leave = || {
            let exit = std::thread::Builder::new().name("procession-exit".into());
            let method = node.method.unwrap_or(StartMethod::Spawn);
            exit.spawn(move || crate::launcher::child::leave(method, ORPHANED_CODE)).is_ok()
        };
        // An actor ends by itself, and leaves then.
        if control::shut_down() || leave() {
            sleep(grace).await;
        }
        let _ = nix::sys::signal::raise(Signal::SIGKILL);
    });
    Ok(())
}

/// Copies, since others of this runtime may watch the descriptors themselves.
fn parent_descriptors(node: &Node) -> (Option<OwnedFd>, Option<OwnedFd>) {
    let Some(parent) = node.parent() else { return (None, None) };
    let pidfd = parent.pidfd.as_ref().and_then(|pidfd| duplicate(pidfd).ok());
    (pidfd, duplicate(&parent.control.as_fd()).ok())
}

/// Waits until the process of a pidfd has ended; for ever when there is none.
async fn process_ended(pidfd: Option<OwnedFd>) {
    match pidfd {
        Some(pidfd) => Ending::new(pidfd).comes().await,
        None => std::future::pending().await,
    }
}

/// Waits until a socket's other end is closed; for ever when there is none. What comes
/// in the meantime is not taken: it is not ours.
async fn socket_ended(socket: Option<OwnedFd>) {
    if let Some(socket) = socket
        && let Ok(socket) = watch(Held::own(socket), Interest::READABLE)
    {
        while let Ok(mut ready) = socket.readable().await {
            if ready.ready().is_read_closed() {
                return;
            }
            ready.clear_ready();
        }
    }
    std::future::pending::<()>().await;
}

/// Reaps adopted orphans from now on.
fn watch_orphans() -> io::Result<()> {
    hidden::handle()?.spawn(async {
        let mut orphans = AdoptionWatch::new(std::process::id().cast_signed());
        loop {
            let begun = Instant::now();
            if let Err(error) = orphans.sweep() {
                tracing::debug!(target: "procession", %error, "looking for orphans");
            }
            let pause = begun.elapsed() * ADOPTION_SHARE;
            sleep(pause.clamp(ADOPTION_PERIOD, ADOPTION_PERIOD_MAX)).await;
        }
    });
    Ok(())
}

/// The names of the spans that our parent was in when it started us, outermost first.
pub fn parent_spans() -> Vec<String> {
    lock(&PARENT_SPANS).clone()
}
