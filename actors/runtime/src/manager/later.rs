//! Answers of functions that wait for something.
//!
//! Owns the wait: a function that a server runs says what its answer waits for, and returns. Its
//! thread is another's then; when what it waits for has come, or its time is up, a thread of
//! `workers` computes the answer. It must never compute it for a client that has gone: what
//! it would have taken is for others. Neighbours: `door` runs functions, `asker` has who asks.

use super::asker::Asker;
use super::door::Reception;
use super::stored::Stored;
use super::{function, workers};
use crate::node::hidden;
use crate::share;
use crate::sync::{after, lock};
use crate::wait;
use procession_protocols::manager::{Fault, Reply};
use serde::Serialize;
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Who waits for the answer of a function, until he has it.
type Cell = Arc<Mutex<Option<Asker>>>;

thread_local! {
    /// Of the function that this thread runs.
    static ASKED: RefCell<Option<(Cell, Reception)>> = const { RefCell::new(None) };
}

/// Runs a function whose answer may come later; a thread of the server's runs it.
pub(super) fn run(reception: Reception, asker: Asker, run: impl FnOnce() -> Result<Stored, Fault>) {
    let cell: Cell = Arc::new(Mutex::new(Some(asker)));
    Reception::settle(Some(reception.clone()));
    ASKED.set(Some((cell.clone(), reception)));
    let reply = run().map_or_else(Reply::Fault, Reply::Value);
    ASKED.take();
    Reception::settle(None);
    // Without it, its answer comes later.
    let asker = lock(&cell).take();
    if let Some(asker) = asker {
        asker.answer(reply);
    }
}

/// In a function that a server runs: has its caller answered by what `then` gives, on a thread
/// for functions, when `over` completes or the time is up; it is told whether `over` has.
/// `None` when that is later: what the function returns is nobody's answer then.
pub fn answer_when<T: Serialize>(
    over: impl Future<Output = ()> + Send + 'static,
    limit: Option<Duration>,
    then: impl FnOnce(bool) -> T + Send + 'static,
) -> Option<T> {
    let mut over = Box::pin(over);
    if let Poll::Ready(()) = over.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return Some(then(true));
    }
    let here = ASKED.take().zip(hidden::handle().ok());
    let here = here.and_then(|((cell, reception), handle)| {
        let asker = lock(&cell).take();
        Some((asker?, reception, handle))
    });
    let Some((asker, reception, handle)) = here else {
        return Some(then(wait::block_on_by(over, limit.and_then(after)).is_some()));
    };
    handle.spawn(async move {
        let is_over = match limit {
            None => {
                over.await;
                true
            }
            Some(limit) => tokio::time::timeout(limit, over).await.is_ok(),
        };
        answer(asker, reception, move || function::store(&then(is_over)));
    });
    None
}

fn answer(
    asker: Asker,
    reception: Reception,
    compute: impl FnOnce() -> Result<Stored, Fault> + Send + 'static,
) {
    workers::run_soon(asker, move |asker| {
        let client = asker.number().map(|(client, _)| client);
        if client.is_none_or(share::is_there) {
            run(reception, asker, || function::catch(compute));
        }
    });
}

/// Something that will be over, and that any number wait for.
pub struct Due {
    is_over: watch::Receiver<bool>,
    watches: AbortHandle,
}

impl Due {
    /// What is over when this completes, which the hidden thread polls.
    ///
    /// # Errors
    /// There is no such thread.
    pub fn new(over: impl Future<Output = ()> + Send + 'static) -> io::Result<Self> {
        let (says, is_over) = watch::channel(false);
        let watches = async move {
            over.await;
            // An error means that nobody waits.
            let _ = says.send(true);
        };
        Ok(Self { is_over, watches: hidden::handle()?.spawn(watches).abort_handle() })
    }

    /// Completes when it is over.
    ///
    /// # Cancel safety
    /// Dropping the future ends only the wait.
    pub fn over(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut is_over = self.is_over.clone();
        async move {
            // An error means that it is never over, and that this is its end.
            let _ = is_over.wait_for(|is| *is).await;
        }
    }
}

impl Drop for Due {
    fn drop(&mut self) {
        self.watches.abort();
    }
}

impl fmt::Debug for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Due").field("is_over", &*self.is_over.borrow()).finish_non_exhaustive()
    }
}
