//! What the current thread is: an actor, one of the library's own threads, or neither.
//!
//! Owns the thread-locals behind `WouldDeadlock`, behind an actor's reference to itself,
//! and behind the fate of replies that are dropped unsent. It knows no mailbox and no
//! message type.

use super::error::CallError;
use super::remote::LocalActor;
use procession_protocols::id::ActorId;
use std::cell::{Cell, RefCell};
use std::sync::{Arc, Weak};
use std::thread;

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
    static LIBRARY: Cell<bool> = const { Cell::new(false) };
}

struct Current {
    id: ActorId,
    actor: Weak<dyn LocalActor>,
    unanswered: Unanswered,
}

/// What becomes of a reply that is dropped unsent on the actor's thread.
///
/// ```text
/// Alive --a handler panics: replies are kept--> Alive
/// Alive --ending(error): the kept ones fail so--> Ending --the guard goes--> (no actor)
/// ```
enum Unanswered {
    /// `NoReply`; but one that a panic drops waits here for the actor's exit reason.
    Alive(Vec<Fail>),
    /// The actor is being taken down: all that it still held fails with this.
    Ending(CallError),
}

type Fail = Box<dyn FnOnce(CallError)>;

/// The thread is this actor's until the guard goes.
pub(super) fn enter(id: ActorId, actor: Weak<dyn LocalActor>) -> impl Drop {
    struct Leave(Option<Current>);
    impl Drop for Leave {
        fn drop(&mut self) {
            CURRENT.replace(self.0.take());
        }
    }
    let unanswered = Unanswered::Alive(Vec::new());
    Leave(CURRENT.replace(Some(Current { id, actor, unanswered })))
}

/// From now on replies that are dropped unsent here fail with `error`, and so do those
/// that a panic has dropped.
pub(super) fn ending(error: &CallError) {
    let kept = CURRENT.with_borrow_mut(|current| match current {
        Some(current) => {
            std::mem::replace(&mut current.unanswered, Unanswered::Ending(error.clone()))
        }
        None => Unanswered::Alive(Vec::new()),
    });
    if let Unanswered::Alive(kept) = kept {
        for fail in kept {
            fail(error.clone());
        }
    }
}

/// Replies that `drop_them` drops on this actor's thread fail with `error`.
pub(crate) fn refuse(error: CallError, drop_them: impl FnOnce()) {
    let exchange = |with| {
        CURRENT.with_borrow_mut(|current| {
            current.as_mut().map(|current| std::mem::replace(&mut current.unanswered, with))
        })
    };
    let before = exchange(Unanswered::Ending(error));
    drop_them();
    if let Some(before) = before {
        exchange(before);
    }
}

/// A reply is being dropped unsent: fails it now, or when the actor's end is known.
pub(super) fn abandon(fail: impl FnOnce(CallError) + 'static) {
    // A thread's other locals may drop replies after this one has gone.
    let mut fail = Some(fail);
    let error = CURRENT.try_with(|current| match current.borrow_mut().as_mut() {
        Some(Current { unanswered: Unanswered::Ending(error), .. }) => Some(error.clone()),
        Some(Current { unanswered: Unanswered::Alive(kept), .. }) if thread::panicking() => {
            if let Some(fail) = fail.take() {
                kept.push(Box::new(fail));
            }
            None
        }
        _ => None,
    });
    if let Some(fail) = fail {
        fail(error.ok().flatten().unwrap_or(CallError::NoReply));
    }
}

/// The actor whose thread this is, while a reference to it exists.
pub(super) fn actor() -> Option<Arc<dyn LocalActor>> {
    look(|current| current.actor.upgrade())
}

/// The actor whose thread this is.
pub(crate) fn here() -> Option<ActorId> {
    look(|current| Some(current.id))
}

/// Whether this thread is that actor's.
pub(super) fn is(id: ActorId) -> bool {
    here() == Some(id)
}

/// A thread's other locals may ask after this one has gone; it is nobody's then.
fn look<T>(with: impl FnOnce(&Current) -> Option<T>) -> Option<T> {
    CURRENT.try_with(|current| current.borrow().as_ref().and_then(with)).ok()?
}

/// Makes the current thread one of the library's own, on which nothing may wait for an
/// actor: what it waits for might be its own work.
pub fn mark_library_thread() {
    LIBRARY.set(true);
}

/// Refuses a wait on the library's own threads.
pub(super) fn may_block() -> Result<(), CallError> {
    if LIBRARY.get() { Err(CallError::WouldDeadlock) } else { Ok(()) }
}

/// Refuses a wait for `target` that would never end.
pub(super) fn may_wait_for(target: ActorId) -> Result<(), CallError> {
    if is(target) { Err(CallError::WouldDeadlock) } else { may_block() }
}
