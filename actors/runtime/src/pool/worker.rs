//! A worker's process: its main thread takes tasks from its stream until that ends.
//!
//! Owns the worker's end of the stream. It begins each task through the word that it
//! shares with the owner, and throws away those that the owner has taken back. It must
//! never print what a task's panic says: that goes to whoever waits for the task.

use super::error::TaskError;
use super::staff::Beginnings;
use super::task::{self, Batch, State, TaskBody};
use crate::codec::{self, Encoded};
use crate::function::{BODY_TAG, Body, Ending, FunctionRef, NotInImage, Start, body_ref};
use crate::launcher::hello::{Report, StartFault};
use crate::link::{Frame, Link, LinkError};
use crate::sys::function::Descriptor;
use procession_protocols::pool::word;
use procession_protocols::wire::{Header, Kind};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::os::fd::OwnedFd;

/// What a worker is started with. Its descriptors come beside it: the stream, the word's
/// memory, and those of the initializer's arguments.
#[derive(Serialize, Deserialize)]
pub(super) struct WorkerArgs {
    /// The initializer, and its encoded arguments.
    pub(super) initializer: Option<(FunctionRef, Vec<u8>)>,
}

/// A reply with this flag carries a [`TaskError`] in place of results.
pub(super) const FAILED: u8 = 1;

/// Tells a worker what a number stands for: the payload is the function's name.
pub(super) const DEFINE: Kind = Kind::Control;

/// The name of a worker's body.
pub(super) fn entry() -> Result<FunctionRef, NotInImage> {
    struct PoolWorker;
    body_ref::<PoolWorker>(const { &Descriptor::new(BODY_TAG, run as Body) })
}

/// The header of a task: how many calls of which function, under which number.
pub(super) fn task_header(
    len: usize,
    function: u32,
    items: u32,
    number: u32,
) -> Result<Header, TaskError> {
    let mut header = header(Kind::Call, len)?;
    header.target = u64::from(items) << 32 | u64::from(function);
    header.call = u64::from(number);
    Ok(header)
}

pub(super) fn header(kind: Kind, len: usize) -> Result<Header, TaskError> {
    Header::new(kind, len).map_err(|error| {
        TaskError::Encode(codec::EncodeError { type_name: "task".into(), why: error.to_string() })
    })
}

fn run(mut start: Start<'_>) -> Result<Ending, StartFault> {
    let failed = |why: &dyn std::fmt::Display| StartFault::Failed(why.to_string());
    let rest = start.fds.split_off(start.fds.len().min(2));
    let Ok([stream, memory]) = <[OwnedFd; 2]>::try_from(std::mem::take(&mut start.fds)) else {
        return Err(StartFault::Arguments("a worker's descriptors did not come".into()));
    };
    let args: WorkerArgs = start.decode()?;
    let beginnings = Beginnings::of(memory).map_err(|error| failed(&error))?;
    let state: State = match &args.initializer {
        Some((function, args)) => {
            let initialize = task::init_body(function).ok_or(StartFault::NoSuchFunction)?;
            initialize(args, rest).map_err(StartFault::Arguments)?
        }
        None => Box::new(()),
    };
    (start.ready)();
    let stream = Link::new(stream);
    Worker { stream, beginnings, functions: HashMap::new(), state }.serve();
    Ok(Ending::said(Report::Returned { failed: false }))
}

struct Worker {
    stream: Link,
    beginnings: Beginnings,
    functions: HashMap<u32, Option<TaskBody>>,
    state: State,
}

impl Worker {
    /// Until the owner says so, or is gone.
    fn serve(&mut self) {
        while let Ok(frame) = self.stream.recv_alone() {
            let served = match frame.header.kind {
                Kind::Call => self.task(frame),
                DEFINE => {
                    self.define(frame);
                    Ok(())
                }
                Kind::Stop => return,
                _ => Ok(()),
            };
            if served.is_err() {
                return;
            }
        }
    }

    fn define(&mut self, frame: Frame) {
        if let Ok((number, function)) =
            codec::decode::<(u32, FunctionRef)>(&frame.payload, frame.fds)
        {
            self.functions.insert(number, task::body(&function));
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the halves of the field")]
    fn task(&mut self, frame: Frame) -> Result<(), LinkError> {
        let Header { target, call, .. } = frame.header;
        if !word::begin(&self.beginnings, call as u32) {
            return Ok(());
        }
        let (items, function) = ((target >> 32) as u32, target as u32);
        let results = match self.functions.get(&function).copied().flatten() {
            Some(run) => {
                let span = tracing::trace_span!(target: "procession", "task", number = call, items);
                let _entered = span.entered();
                run(Batch { items, args: &frame.payload, fds: frame.fds, state: &mut self.state })
            }
            None => Err(TaskError::NotInImage),
        };
        self.reply(call, results)
    }

    fn reply(&self, call: u64, results: Result<Encoded, TaskError>) -> Result<(), LinkError> {
        let sendable = results.and_then(|encoded| {
            header(Kind::Reply, encoded.bytes.len()).map(|header| (header, encoded))
        });
        let (mut header, encoded) = match sendable {
            Ok(sendable) => sendable,
            Err(error) => {
                let encoded = codec::encode(&error).map_err(std::io::Error::other)?;
                let length = encoded.bytes.len();
                let mut header = Header::new(Kind::Reply, length).map_err(std::io::Error::other)?;
                header.flags = FAILED;
                (header, encoded)
            }
        };
        header.call = call;
        self.stream.send(header, &encoded, None)
    }
}
