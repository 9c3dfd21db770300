//! `ImapStream` of a pool of threads: the results of a lazy map as an async stream.
//!
//! Owns only that form; what is drawn and in which order is `imap.rs`'s.

use super::imap::Imap;
use futures_core::Stream;
use procession_runtime::pool::TaskError;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The results of a lazy map as an async stream; see [`Imap::into_stream`].
///
/// Inputs are drawn when it is polled, and only then. After an error the later results
/// still come.
#[must_use = "a stream does nothing unless it is polled"]
pub struct ImapStream<'a, R: Send + 'static> {
    results: Imap<'a, R>,
}

impl<'a, R: Send + 'static> ImapStream<'a, R> {
    pub(super) fn new(results: Imap<'a, R>) -> Self {
        Self { results }
    }
}

/// Nothing in it is pinned.
impl<R: Send + 'static> Unpin for ImapStream<'_, R> {}

impl<R: Send + 'static> Stream for ImapStream<'_, R> {
    type Item = Result<R, TaskError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().results.poll_next(context)
    }
}

impl<R: Send + 'static> fmt::Debug for ImapStream<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ImapStream").field(&self.results).finish()
    }
}
