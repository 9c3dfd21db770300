//! What a manager keeps of pools and results, and the functions by which they are used there.
//!
//! Owns the numbers under which they are kept, and that each goes with its last reference. Who
//! waits for a result, or for a pool's end, keeps no thread of the manager's. It must never run
//! in another process than the manager's. Neighbour: `pool`, the handles.

use super::{Carried, Task};
use crate::error::Error;
use crate::manager::IteratorProxy;
use crate::pool::{AsyncResult, Pool};
use crate::{Actor, methods};
use procession_runtime::actor::ActorRef;
use procession_runtime::manager::{Due, answer_when, host_as_object};
use procession_runtime::pool::TaskError;
use procession_runtime::sync::lock;
use serde::Serialize;
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// So many results of an `imap` wait for who steps it.
const LOOK_AHEAD: usize = 16;

/// The pools, and the results that they owe.
static KEPT: Mutex<BTreeMap<u64, Arc<dyn Any + Send + Sync>>> = Mutex::new(BTreeMap::new());

type Outcome<R> = std::result::Result<R, TaskError>;

/// A number, and what keeps it.
pub(super) type Started = Outcome<(u64, ActorRef<Keeper>)>;

/// Lives as long as anybody has a reference to it, and then lets go of what it keeps.
#[derive(Actor)]
pub(super) struct Keeper(u64);

#[methods]
impl Keeper {}

impl Drop for Keeper {
    fn drop(&mut self) {
        let Some(gone) = lock(&KEPT).remove(&self.0) else { return };
        // Who uses it just now has it too. The last who has a pool drops it, and says so if it
        // is busy then.
        if Arc::strong_count(&gone) > 1
            && let Some(pool) = gone.downcast_ref::<Pool>()
        {
            pool.terminate();
        }
    }
}

fn enter(kept: Arc<dyn Any + Send + Sync>) -> Started {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let id = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    lock(&KEPT).insert(id, kept);
    let keeper = host_as_object(Keeper(id), Keeper::NAME, Keeper::MAILBOX, None);
    // One that was not hosted has been dropped, and has let go.
    keeper.map(|keeper| (id, keeper)).map_err(said)
}

fn find<T: Any + Send + Sync>(id: u64) -> Outcome<Arc<T>> {
    let kept = lock(&KEPT).get(&id).cloned();
    kept.and_then(|kept| kept.downcast().ok()).ok_or(TaskError::NotRunning)
}

fn failed(error: Error) -> TaskError {
    match error {
        Error::Task(error) => error,
        other => said(other),
    }
}

fn said(error: impl fmt::Display) -> TaskError {
    TaskError::Failed(error.to_string())
}

pub(super) fn start(processes: usize) -> Started {
    enter(Arc::new(Pool::new(processes).map_err(failed)?))
}

/// A result, and when it is there.
struct Owed<R> {
    result: AsyncResult<R>,
    due: Due,
}

fn owed<R: Carried>(result: crate::Result<AsyncResult<R>>) -> Outcome<Arc<Owed<R>>> {
    let result = result.map_err(failed)?;
    let due = Due::new(result.done()).map_err(said)?;
    Ok(Arc::new(Owed { result, due }))
}

impl<R: Carried> Owed<R> {
    /// What is there; `None` when nothing is.
    fn take(&self) -> Outcome<Option<R>> {
        match self.result.get_timeout(Duration::ZERO) {
            Ok(value) => Ok(Some(value)),
            Err(Error::Timeout) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// The result, for a caller who waits for it.
    fn wait<T: Serialize>(
        self: Arc<Self>,
        limit: Option<Duration>,
        then: impl FnOnce(&Self) -> Outcome<T> + Send + 'static,
    ) -> Outcome<T> {
        later(self.due.over(), limit, move || then(&self))
    }
}

/// What `then` gives when `over` completes or the time is up. No thread waits for that: what
/// this gives before is nobody's answer.
fn later<T: Serialize>(
    over: impl Future<Output = ()> + Send + 'static,
    limit: Option<Duration>,
    then: impl FnOnce() -> Outcome<T> + Send + 'static,
) -> Outcome<T> {
    answer_when(over, limit, |_| then()).unwrap_or(Err(TaskError::NotRunning))
}

pub(super) fn apply<A: Carried, R: Carried>(task: Task<A, R>, args: A) -> Outcome<R> {
    let Task { pool, options, function } = task;
    let result = find::<Pool>(pool)?.with(options).apply_async(function, args);
    owed(result)?.wait(None, |owed| owed.take()?.ok_or(TaskError::Taken))
}

pub(super) fn apply_async<A: Carried, R: Carried>(task: Task<A, R>, args: A) -> Started {
    let Task { pool, options, function } = task;
    enter(owed(find::<Pool>(pool)?.with(options).apply_async(function, args))?)
}

pub(super) fn map<A: Carried, R: Carried>(task: Task<A, R>, items: Vec<A>) -> Outcome<Vec<R>> {
    let Task { pool, options, function } = task;
    let tasks = find::<Pool>(pool)?.with(options);
    if options.progress {
        // The thread that waits shows it.
        return tasks.starmap(function, items).map_err(failed);
    }
    let results = owed(tasks.starmap_async(function, items))?;
    results.wait(None, |owed| owed.take()?.ok_or(TaskError::Taken))
}

pub(super) fn map_async<A: Carried, R: Carried>(task: Task<A, R>, items: Vec<A>) -> Started {
    let Task { pool, options, function } = task;
    enter(owed(find::<Pool>(pool)?.with(options).starmap_async(function, items))?)
}

pub(super) fn imap<T: Carried, R: Carried>(
    task: Task<(T,), R>,
    items: Vec<T>,
    in_order: bool,
) -> Outcome<IteratorProxy<Outcome<R>>> {
    let Task { pool, options, function } = task;
    let pool = find::<Pool>(pool)?;
    let (results, came) = mpsc::sync_channel(LOOK_AHEAD);
    let feed = move || {
        let pool = pool.with(options);
        let started = if in_order {
            pool.imap(function, items)
        } else {
            pool.imap_unordered(function, items)
        };
        match started {
            // Nobody steps it any more when a result cannot be sent.
            Ok(found) => drop(found.map(|one| results.send(one)).take_while(Result::is_ok).count()),
            Err(error) => drop(results.send(Err(failed(error)))),
        }
    };
    let thread = std::thread::Builder::new().name("procession-imap".into());
    thread.spawn(feed).map_err(said)?;
    IteratorProxy::new(came).map_err(said)
}

pub(super) fn close(pool: u64) -> Outcome<()> {
    find::<Pool>(pool)?.close();
    Ok(())
}

pub(super) fn terminate(pool: u64) -> Outcome<()> {
    find::<Pool>(pool)?.terminate();
    Ok(())
}

pub(super) fn join(pool: u64) -> Outcome<()> {
    let pool = find::<Pool>(pool)?;
    // One that runs says so at once.
    let ended = pool.ended().map_err(failed)?;
    later(ended, None, move || pool.join().map_err(failed))
}

pub(super) fn get<R: Carried>(result: u64, timeout: Option<Duration>) -> Outcome<Option<R>> {
    let owed = find::<Owed<R>>(result)?;
    // A look sees more than has been said to who waits.
    if timeout == Some(Duration::ZERO) { owed.take() } else { owed.wait(timeout, Owed::take) }
}

pub(super) fn wait<R: Carried>(result: u64, timeout: Option<Duration>) -> Outcome<bool> {
    let owed = find::<Owed<R>>(result)?;
    // As for what is got.
    if timeout == Some(Duration::ZERO) {
        return Ok(owed.result.ready());
    }
    owed.wait(timeout, |owed| Ok(owed.result.ready()))
}

pub(super) fn successful<R: Carried>(result: u64) -> Outcome<Option<bool>> {
    match find::<Owed<R>>(result)?.result.successful() {
        Ok(is) => Ok(Some(is)),
        Err(Error::NotReady) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}
