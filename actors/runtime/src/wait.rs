//! Waiting for a future on a plain thread.
//!
//! Owns the one way in which blocking calls wait inside a process: they poll the same
//! future as the async forms do, and park. No tokio runtime is needed. It must never
//! pump a link: whoever waits for another process polls descriptors instead
//! (`actor::remote::Remote::wait`).

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Blocks until `future` completes.
pub fn block_on<F: Future>(future: F) -> F::Output {
    drive(future, || {
        thread::park();
        true
    })
    .unwrap_or_else(|| unreachable!("a wait without a deadline ends only by its future"))
}

/// Blocks until `future` completes (`Some`) or until `deadline` (`None`). The future is
/// polled at least once.
pub fn block_on_until<F: Future>(future: F, deadline: Instant) -> Option<F::Output> {
    drive(future, || {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        thread::park_timeout(left);
        true
    })
}

/// As [`block_on_until`]; without a deadline as [`block_on`].
pub fn block_on_by<F: Future>(future: F, deadline: Option<Instant>) -> Option<F::Output> {
    match deadline {
        Some(deadline) => block_on_until(future, deadline),
        None => Some(block_on(future)),
    }
}

/// Runs a future that is ready at its first poll, as one is that waits in the caller's
/// thread.
///
/// # Panics
/// When it is not.
pub fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("a blocking call waits in its own thread"),
    }
}

/// `now + timeout`; `None`, which means never, when the clock cannot express it.
pub fn deadline(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// Polls until ready or until `sleep` says that time is up.
///
/// A wake between a poll and the sleep is not lost: it leaves the thread's park token.
/// The future runs unconstrained, for in a task of a tokio runtime whose budget is used
/// up each poll would be pending and wake itself, and this loop would spin for ever.
fn drive<F: Future>(future: F, mut sleep: impl FnMut() -> bool) -> Option<F::Output> {
    let mut future = pin!(tokio::task::unconstrained(future));
    let waker = waker();
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        if !sleep() {
            return None;
        }
    }
}

/// Ends this thread's park.
pub(crate) fn waker() -> Waker {
    Waker::from(Arc::new(Unpark(thread::current())))
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[test]
    fn a_value_from_another_thread_ends_the_wait() {
        let (sender, receiver) = oneshot::channel();
        let thread = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            sender.send(7).unwrap();
        });
        let deadline = Instant::now() + Duration::from_secs(10);
        assert_eq!(block_on_until(receiver, deadline), Some(Ok(7)));
        thread.join().unwrap();
    }

    #[test]
    fn the_deadline_ends_the_wait() {
        let (_sender, receiver) = oneshot::channel::<()>();
        let start = Instant::now();
        assert_eq!(block_on_until(receiver, start + Duration::from_millis(30)), None);
        assert!(start.elapsed() >= Duration::from_millis(30));
    }

    #[test]
    fn a_deadline_in_the_past_still_polls_once() {
        assert_eq!(block_on_until(std::future::ready(1), Instant::now()), Some(1));
    }
}
