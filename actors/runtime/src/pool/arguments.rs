//! What calls are made with, encoded by whoever submits them.
//!
//! Owns the bytes until their task has ended: it may have to be sent again. A few are kept in
//! place, many are shared by all who hold them. Neighbours: `task` decodes them, in a worker;
//! `staff` sends them.

use super::large::SHORTEST;
use crate::codec::{BatchEncoder, EncodeError, Encoded, Short, head_of_bytes};
use castaway::cast;
use serde::Serialize;
use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The arguments of one call or of several, ready to travel. A clone has the same bytes.
#[derive(Debug, Clone)]
pub struct Arguments {
    body: Body,
    count: u32,
}

#[derive(Debug, Clone)]
enum Body {
    Short(Short),
    Long(Arc<Long>),
}

#[derive(Debug)]
struct Long {
    batch: Encoded,
    /// What follows the batch's bytes: the rest of the only argument, where that is large
    /// bytes, as the caller had them.
    tail: Vec<u8>,
}

thread_local! {
    /// In which arguments of one call are encoded, one after another.
    static SPARE: Cell<BatchEncoder> = Cell::default();
}

impl Arguments {
    /// Those of one call.
    ///
    /// # Errors
    /// What their `Serialize` says.
    pub fn one<A: Serialize + 'static>(args: A) -> Result<Self, EncodeError> {
        // A `Serialize` may submit calls itself: these find none to spare. So do those of a
        // thread's other locals, which it drops later than this.
        let mut batch = SPARE.try_with(Cell::take).unwrap_or_default();
        match cast!(args, (Vec<u8>,)) {
            Ok((tail,)) if tail.len() >= SHORTEST => {
                let batch = Encoded { bytes: head_of_bytes(tail.len())?, fds: Vec::new() };
                return Ok(Self { body: Body::Long(Arc::new(Long { batch, tail })), count: 1 });
            }
            Ok(short) => batch.push(&short)?,
            Err(args) => batch.push(&args)?,
        }
        if let Some(short) = batch.plain().and_then(Short::new) {
            batch.clear();
            let _ = SPARE.try_with(|spare| spare.set(batch));
            return Ok(Self { body: Body::Short(short), count: 1 });
        }
        Ok(Self::of(batch.finish()?, 1))
    }

    fn of(batch: Encoded, count: u32) -> Self {
        let short = if batch.fds.is_empty() { Short::new(&batch.bytes) } else { None };
        let long = || Body::Long(Arc::new(Long { batch, tail: Vec::new() }));
        Self { body: short.map_or_else(long, Body::Short), count }
    }

    /// The frames of all calls: their bytes, what follows these, and the descriptors beside
    /// them.
    pub(super) fn parts(&self) -> (&[u8], &[u8], &[OwnedFd]) {
        match &self.body {
            Body::Short(short) => (short.bytes(), &[], &[]),
            Body::Long(long) => (&long.batch.bytes, &long.tail, &long.batch.fds),
        }
    }

    /// Bytes of all of them.
    pub(super) fn len(&self) -> usize {
        let (bytes, tail, _) = self.parts();
        bytes.len() + tail.len()
    }

    /// For how many calls they are.
    pub fn count(&self) -> u32 {
        self.count
    }
}

/// So many bytes of arguments are enough for one task.
const HEAVY: usize = 64 * 1024;

/// Puts the arguments of several calls together, for one task.
#[derive(Default)]
pub struct ArgumentsBuilder {
    batch: BatchEncoder,
    count: u32,
}

impl ArgumentsBuilder {
    /// Adds those of one call.
    ///
    /// # Errors
    /// What their `Serialize` says; the others are as they were.
    #[inline]
    pub fn push<A: Serialize + 'static>(&mut self, args: &A) -> Result<(), EncodeError> {
        self.batch.push(args)?;
        self.count += 1;
        Ok(())
    }

    /// Makes room for those of so many calls more, which are like those so far.
    pub fn expect(&mut self, count: usize) {
        self.batch.expect(count);
    }

    /// For how many calls they are so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether they are as many bytes as should travel together, or have descriptors beside
    /// them.
    pub fn is_heavy(&self) -> bool {
        self.count > 0 && self.batch.plain().is_none_or(|bytes| bytes.len() > HEAVY)
    }

    /// Leaves out what a panic has left of the arguments of one more call.
    pub fn keep_whole(&mut self) {
        self.batch.keep(self.count);
    }

    /// Those of all calls so far.
    ///
    /// # Errors
    /// Too many descriptors for one message.
    pub fn finish(self) -> Result<Arguments, EncodeError> {
        let Self { mut batch, count } = self;
        Ok(Arguments::of(batch.finish()?, count))
    }
}
