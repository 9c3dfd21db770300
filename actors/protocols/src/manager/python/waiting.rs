//! Queues, locks, semaphores, conditions, events and barriers, by Python's methods.
//!
//! Owns which call each method is, and how long it may wait.

use super::args::{Args, Refused, error, to_ms};
use super::{OfBarrier, Step, Then};
use crate::dynamic::Exception;
use crate::manager::{BarrierCall, Call, EventCall, LockCall, QueueCall, SemaphoreCall};

/// Python has one class for both kinds.
pub(super) const QUEUE: &[&str] = &[
    "empty",
    "full",
    "get",
    "get_nowait",
    "join",
    "put",
    "put_nowait",
    "qsize",
    "shutdown",
    "task_done",
];

/// `block` and `timeout` of a queue's methods: how long it may wait, in milliseconds.
fn patience(args: &mut Args) -> Result<Option<u64>, Exception> {
    let blocks = args.flag("block", true)?;
    match args.seconds("timeout")? {
        Some(limit) if blocks && limit < 0.0 => {
            Err(error("ValueError", "'timeout' must be a non-negative number"))
        }
        limit => Ok(if blocks { limit.map(to_ms) } else { Some(0) }),
    }
}

pub(super) fn queue(method: &str, mut args: Args) -> Result<Step, Refused> {
    // The queue keeps an item until it is known to have left.
    let get = QueueCall::Get { kept: true };
    let (call, limit_ms, then) = match method {
        "put" => {
            let item = args.take("item")?;
            (QueueCall::Put(item), patience(&mut args)?, Then::Nothing)
        }
        "put_nowait" => (QueueCall::Put(args.take("item")?), Some(0), Then::Nothing),
        "get" => (get, patience(&mut args)?, Then::Itself),
        "get_nowait" => (get, Some(0), Then::Itself),
        "qsize" => (QueueCall::Len, None, Then::Itself),
        "empty" => (QueueCall::Len, None, Then::IsZero),
        "full" => (QueueCall::IsFull, None, Then::Itself),
        "shutdown" => {
            let immediate = args.flag("immediate", false)?;
            (QueueCall::Shutdown { immediate }, None, Then::Nothing)
        }
        "task_done" => (QueueCall::TaskDone, None, Then::Nothing),
        "join" => (QueueCall::Join, None, Then::Nothing),
        _ => return Err(Refused::NoSuchMethod),
    };
    args.end()?;
    Ok(Step::Call { call: Call::Queue(call), limit_ms, then })
}

/// `blocking` and `timeout` of a lock's `acquire`, where -1 is as long as it takes.
fn patience_for_lock(args: &mut Args) -> Result<Option<u64>, Exception> {
    match (args.flag("blocking", true)?, args.seconds("timeout")?) {
        (blocks, None | Some(-1.0)) => Ok(if blocks { None } else { Some(0) }),
        (false, Some(_)) => {
            Err(error("ValueError", "can't specify a timeout for a non-blocking call"))
        }
        (true, Some(limit)) if limit < 0.0 => {
            Err(error("ValueError", "timeout value must be a non-negative number"))
        }
        (true, Some(limit)) => Ok(Some(to_ms(limit))),
    }
}

/// The same of a semaphore, where a negative time is none.
fn patience_for_permit(args: &mut Args) -> Result<Option<u64>, Exception> {
    match (args.flag("blocking", true)?, args.seconds("timeout")?) {
        (true, limit) => Ok(limit.map(to_ms)),
        (false, None) => Ok(Some(0)),
        (false, Some(_)) => {
            Err(error("ValueError", "can't specify timeout for non-blocking acquire"))
        }
    }
}

pub(super) fn lock(method: &str, mut args: Args) -> Result<Step, Refused> {
    let (call, limit_ms, then) = match method {
        "acquire" => (LockCall::Acquire, patience_for_lock(&mut args)?, Then::Itself),
        "release" => (LockCall::Release, None, Then::Nothing),
        "locked" => (LockCall::IsLocked, None, Then::Itself),
        _ => return Err(Refused::NoSuchMethod),
    };
    args.end()?;
    Ok(Step::Call { call: Call::Lock(call), limit_ms, then })
}

pub(super) fn condition(number: u32, method: &str, mut args: Args) -> Result<Step, Refused> {
    let (call, limit_ms, then) = match method {
        "wait" => (LockCall::Wait(number), args.time("timeout")?, Then::Itself),
        "notify" => {
            let most = args.maybe("n").map_or(Ok(1), |n| super::args::int(&n))?;
            (LockCall::Notify(number, u64::try_from(most).unwrap_or(0)), None, Then::Nothing)
        }
        "notify_all" => (LockCall::Notify(number, u64::MAX), None, Then::Nothing),
        _ => return lock(method, args),
    };
    args.end()?;
    Ok(Step::Call { call: Call::Lock(call), limit_ms, then })
}

pub(super) fn semaphore(method: &str, mut args: Args) -> Result<Step, Refused> {
    let (call, limit_ms, then) = match method {
        "acquire" => (SemaphoreCall::Acquire, patience_for_permit(&mut args)?, Then::Itself),
        "release" => {
            let count = args.maybe("n").map_or(Ok(1), |n| super::args::int(&n))?;
            let count = u64::try_from(count).ok().filter(|count| *count > 0);
            let count = count.ok_or_else(|| error("ValueError", "n must be one or more"))?;
            (SemaphoreCall::Release(count), None, Then::Nothing)
        }
        "locked" => (SemaphoreCall::IsLocked, None, Then::Itself),
        _ => return Err(Refused::NoSuchMethod),
    };
    args.end()?;
    Ok(Step::Call { call: Call::Semaphore(call), limit_ms, then })
}

pub(super) fn event(method: &str, mut args: Args) -> Result<Step, Refused> {
    let (call, limit_ms, then) = match method {
        "is_set" => (EventCall::IsSet, None, Then::Itself),
        "set" => (EventCall::Set, None, Then::Nothing),
        "clear" => (EventCall::Clear, None, Then::Nothing),
        "wait" => (EventCall::Wait, args.time("timeout")?, Then::Itself),
        _ => return Err(Refused::NoSuchMethod),
    };
    args.end()?;
    Ok(Step::Call { call: Call::Event(call), limit_ms, then })
}

pub(super) fn barrier(method: &str, mut args: Args) -> Result<Step, Refused> {
    let (call, limit_ms, then) = match method {
        "wait" => (BarrierCall::Wait, args.time("timeout")?, Then::Itself),
        "abort" => (BarrierCall::Abort, None, Then::Nothing),
        "reset" => (BarrierCall::Reset, None, Then::Nothing),
        "__getattribute__" => {
            let name = args.text("name")?;
            let what = match name.as_str() {
                "parties" => OfBarrier::Parties,
                "n_waiting" => OfBarrier::Waiting,
                "broken" => OfBarrier::IsBroken,
                _ => return Err(error("AttributeError", name).into()),
            };
            (BarrierCall::State, None, Then::OfBarrier(what))
        }
        _ => return Err(Refused::NoSuchMethod),
    };
    args.end()?;
    Ok(Step::Call { call: Call::Barrier(call), limit_ms, then })
}
