//! What a manager keeps of pools and results, and the functions by which they are used there.
//!
//! Owns the numbers under which they are kept, and that each goes with its last reference. It
//! must never run in another process than the manager's. Neighbour: `pool`, the handles.

use super::{Carried, Task};
use crate::error::Error;
use crate::manager::IteratorProxy;
use crate::pool::{AsyncResult, Pool};
use crate::{Actor, methods};
use procession_runtime::actor::ActorRef;
use procession_runtime::manager::host_as_object;
use procession_runtime::pool::TaskError;
use procession_runtime::sync::lock;
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

pub(super) fn apply<A: Carried, R: Carried>(task: Task<A, R>, args: A) -> Outcome<R> {
    let Task { pool, options, function } = task;
    find::<Pool>(pool)?.with(options).apply(function, args).map_err(failed)
}

pub(super) fn apply_async<A: Carried, R: Carried>(task: Task<A, R>, args: A) -> Started {
    let Task { pool, options, function } = task;
    let pool = find::<Pool>(pool)?;
    enter(Arc::new(pool.with(options).apply_async(function, args).map_err(failed)?))
}

pub(super) fn map<A: Carried, R: Carried>(task: Task<A, R>, items: Vec<A>) -> Outcome<Vec<R>> {
    let Task { pool, options, function } = task;
    find::<Pool>(pool)?.with(options).starmap(function, items).map_err(failed)
}

pub(super) fn map_async<A: Carried, R: Carried>(task: Task<A, R>, items: Vec<A>) -> Started {
    let Task { pool, options, function } = task;
    let pool = find::<Pool>(pool)?;
    enter(Arc::new(pool.with(options).starmap_async(function, items).map_err(failed)?))
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
    find::<Pool>(pool)?.join().map_err(failed)
}

pub(super) fn get<R: Carried>(result: u64, timeout: Option<Duration>) -> Outcome<Option<R>> {
    let result = find::<AsyncResult<R>>(result)?;
    let got = match timeout {
        None => result.get(),
        Some(timeout) => result.get_timeout(timeout),
    };
    match got {
        Ok(value) => Ok(Some(value)),
        Err(Error::Timeout) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

pub(super) fn wait<R: Carried>(result: u64, timeout: Duration) -> Outcome<bool> {
    find::<AsyncResult<R>>(result)?.wait_timeout(timeout).map_err(failed)
}

pub(super) fn successful<R: Carried>(result: u64) -> Outcome<Option<bool>> {
    match find::<AsyncResult<R>>(result)?.successful() {
        Ok(is) => Ok(Some(is)),
        Err(Error::NotReady) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}
