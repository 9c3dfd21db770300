//! Inputs on their way into tasks.
//!
//! Owns how many of them make a chunk, and their drawing and encoding, in the calling thread.
//! It submits nothing: `tasks.rs` and `imap.rs` do.

use super::imap::Then;
use procession_runtime::pool::{Arguments, ArgumentsBuilder, TaskError};
use serde::Serialize;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// By default a `map` is cut into so many chunks for each worker, as in Python.
const CHUNKS_PER_WORKER: usize = 4;

/// But never larger, so that the workers begin early.
const LARGEST_CHUNK: usize = 8192;

/// How many inputs make a chunk by default.
pub(crate) fn share(items: usize, workers: usize) -> usize {
    items.div_ceil(workers.saturating_mul(CHUNKS_PER_WORKER)).clamp(1, LARGEST_CHUNK)
}

pub(super) fn input<A, E: fmt::Display>(
    item: std::result::Result<A, E>,
) -> std::result::Result<A, TaskError> {
    item.map_err(|error| TaskError::Input(error.to_string()))
}

/// As [`input`], the arguments of a function of one: what is encoded is of the very type that
/// a worker decodes.
pub(super) fn input_alone<T, E: fmt::Display>(
    item: std::result::Result<T, E>,
) -> std::result::Result<(T,), TaskError> {
    input(item).map(|item| (item,))
}

/// Encodes the next inputs, as they are drawn: so many, or fewer that are heavy. Says how that
/// went on.
pub(super) fn draw<T: Serialize + 'static>(
    items: &mut impl Iterator<Item = std::result::Result<T, TaskError>>,
    size: usize,
    only_light: bool,
) -> (Option<Arguments>, Then) {
    let mut args = ArgumentsBuilder::default();
    // Those before one whose drawing or encoding panics are not lost.
    let drawn = catch_unwind(AssertUnwindSafe(|| fill(&mut args, items, size, only_light)));
    let then = drawn.unwrap_or_else(|panic| {
        args.keep_whole();
        Then::Panicked(panic)
    });
    if args.count() == 0 {
        return (None, then);
    }
    match args.finish() {
        Ok(args) => (Some(args), then),
        Err(_) if matches!(then, Then::Panicked(_)) => (None, then),
        Err(error) => (None, Then::Failed(error.into())),
    }
}

fn fill<T: Serialize + 'static>(
    args: &mut ArgumentsBuilder,
    items: &mut impl Iterator<Item = std::result::Result<T, TaskError>>,
    size: usize,
    only_light: bool,
) -> Then {
    loop {
        if args.count() as usize == size || only_light && args.is_heavy() {
            return Then::More;
        }
        match items.next() {
            Some(Err(error)) => return Then::Failed(error),
            Some(Ok(item)) => {
                if let Err(error) = args.push(&item) {
                    return Then::Unencodable(error.into());
                }
                if args.count() == 1 {
                    args.expect(size - 1);
                }
            }
            None => return Then::End,
        }
    }
}
