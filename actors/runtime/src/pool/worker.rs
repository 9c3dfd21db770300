//! A worker's process: its main thread takes tasks from its stream until that ends.
//!
//! Owns the worker's end. It begins each item through the word that it shares with the
//! owner, throws away what the owner has taken back, and puts each result into the outbox
//! before it begins the next item. It must never print what a task's panic says: that goes
//! to whoever waits for the task.

use super::error::TaskError;
use super::large::{self, Filed};
use super::memory;
use super::outbox::{LARGEST, Outbox};
use super::task::{self, Definition, State, TaskBody};
use crate::codec::{self, BatchDecoder, BatchEncoder, EncodeError, Encoded, Packed, with_frame};
use crate::function::{BODY_TAG, Body, Ending, FunctionRef, NotInImage, Start, body_ref};
use crate::launcher::hello::{Report, StartFault};
use crate::link::{Frame, Link, LinkError};
use crate::sync::{after, poll};
use crate::sys::function::Descriptor;
use nix::poll::{PollFd, PollFlags};
use procession_protocols::exit::PanicReport;
use procession_protocols::wire::{Header, Kind};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// What a worker is started with. Its descriptors come beside it: the stream, the
/// outbox's memory, and those of the initializer's arguments.
#[derive(Serialize, Deserialize)]
pub(super) struct WorkerArgs {
    /// The initializer, and its encoded arguments.
    pub(super) initializer: Option<(FunctionRef, Vec<u8>)>,
    /// How many bytes of memory it may use.
    pub(super) max_memory: Option<u64>,
}

/// A task with this flag has its results looked at one by one: its items have a time limit.
pub(super) const WATCHED: u8 = 1;

/// The calls of a frame with this flag are tasks of their own: after each of them it is looked
/// whether the owner sleeps for it.
pub(super) const JOINED: u8 = 1 << 1;

/// Where descriptors find no room it is tried again so soon.
const CROWDED: Duration = Duration::from_millis(1);

/// Ends the other side's sleep: there is a result, or there is room for one.
pub(super) const RING: Kind = Kind::Credit;

/// Tells a worker what a number stands for: the payload is the function's name.
pub(super) const DEFINE: Kind = Kind::Control;

/// The name of a worker's body.
pub(super) fn entry() -> Result<FunctionRef, NotInImage> {
    struct PoolWorker;
    body_ref::<PoolWorker>(const { &Descriptor::new(BODY_TAG, run as Body) })
}

/// The header of a task: how many calls of which function, from which number on.
pub(super) fn task_header(len: usize, function: u32, items: u32, number: u32) -> Option<Header> {
    let mut header = Header::new(Kind::Call, len).ok()?;
    header.target = u64::from(items) << 32 | u64::from(function);
    header.call = u64::from(number);
    Some(header)
}

fn run(mut start: Start<'_>) -> Result<Ending, StartFault> {
    let failed = |why: &dyn std::fmt::Display| StartFault::Failed(why.to_string());
    let rest = start.fds.split_off(start.fds.len().min(2));
    let Ok([stream, memory]) = <[OwnedFd; 2]>::try_from(std::mem::take(&mut start.fds)) else {
        return Err(StartFault::Arguments("a worker's descriptors did not come".into()));
    };
    let args: WorkerArgs = start.decode()?;
    let outbox = Outbox::map(memory).map_err(|error| failed(&error))?;
    let state: State = match &args.initializer {
        Some((function, args)) => {
            let initialize = task::init_body(function).ok_or(StartFault::NoSuchFunction)?;
            initialize(args, rest).map_err(StartFault::Arguments)?
        }
        None => Box::new(()),
    };
    (start.ready)();
    let desk = Desk {
        stream: Link::new(stream),
        outbox,
        inbox: VecDeque::new(),
        encoder: BatchEncoder::default(),
        has_failed: false,
    };
    let max_memory = args.max_memory;
    Worker { desk, functions: HashMap::new(), state, max_memory }.serve();
    Ok(Ending::said(Report::Returned { failed: false }))
}

struct Worker {
    desk: Desk,
    functions: HashMap<u32, (Definition, Option<TaskBody>)>,
    state: State,
    max_memory: Option<u64>,
}

/// What comes in and goes out.
struct Desk {
    stream: Link,
    outbox: Outbox,
    /// Frames that came while there was no room for a result.
    inbox: VecDeque<Frame>,
    encoder: BatchEncoder,
    /// A result has not gone out: nothing that follows it would be understood.
    has_failed: bool,
}

/// The calls of one task.
pub(super) struct Calls<'a> {
    desk: &'a mut Desk,
    state: &'a mut State,
    /// The function to be called, where that is a value.
    value: Option<&'a FunctionRef>,
    args: BatchDecoder,
    next: u32,
    left: u32,
    /// Whether a call has been begun and its result is not handed over.
    is_open: bool,
    is_watched: bool,
    is_joined: bool,
}

impl Worker {
    /// Until the owner says so, is gone, or cannot be answered.
    fn serve(&mut self) {
        while !self.desk.has_failed
            && let Ok(frame) = self.desk.next_frame()
        {
            match frame.header.kind {
                // None of its calls has been begun: another worker gets them.
                Kind::Call if large::is_cut(&frame) => {
                    tracing::warn!(target: "procession", "no descriptor is free for a task");
                    return;
                }
                Kind::Call => self.task(frame),
                DEFINE => self.define(frame),
                Kind::Stop => return,
                _ => {}
            }
        }
    }

    fn define(&mut self, frame: Frame) {
        if let Ok((number, function)) =
            codec::decode::<(u32, Definition)>(&frame.payload, frame.fds)
        {
            let body = task::body(&function.body);
            self.functions.insert(number, (function, body));
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the halves of the field")]
    fn task(&mut self, frame: Frame) {
        let Header { target, call, flags, .. } = frame.header;
        let args = large::take_out(frame).unwrap_or_else(|error| {
            // The calls below find no arguments.
            tracing::warn!(target: "procession", %error, "a task's arguments are lost");
            Packed::default()
        });
        let (items, function) = ((target >> 32) as u32, target as u32);
        let known = self.functions.get(&function);
        let (function, body) = known.map(|(function, body)| (function, *body)).unzip();
        let value = function.and_then(|function| function.value.as_ref());
        let mut calls = Calls {
            desk: &mut self.desk,
            state: &mut self.state,
            value,
            args: BatchDecoder::new(args),
            next: call as u32,
            left: items,
            is_open: false,
            is_watched: flags & WATCHED != 0,
            is_joined: flags & JOINED != 0,
        };
        {
            let name = value.or(function.map(|function| &function.body)).map(|one| &*one.name);
            let span = tracing::debug_span!(target: "procession", "task", name, call, items);
            let _entered = span.entered();
            match body.flatten() {
                Some(run) => run(&mut calls),
                None => while calls.begin() && calls.answer_error(&TaskError::NotInImage) {},
            }
        }
        let is_outgrown = self.max_memory.is_some_and(|most| memory::of_this_process() > most);
        let outbox = &mut self.desk.outbox;
        let must_ring = if is_outgrown {
            outbox.outgrow();
            outbox.must_ring()
        } else {
            outbox.must_ring_after((call as u32).wrapping_add(items).wrapping_sub(1))
        };
        if must_ring {
            // The next read finds out whether the owner is gone.
            let _ = self.desk.ring();
        }
    }
}

impl<'a> Calls<'a> {
    /// Begins the next call. False when there is none, or the owner has taken it back and
    /// with it all that follow.
    #[inline]
    pub(super) fn begin(&mut self) -> bool {
        let begins = self.left > 0 && self.desk.outbox.begin(self.next);
        if begins {
            self.left -= 1;
            self.next = self.next.wrapping_add(1);
            self.is_open = true;
        }
        begins
    }

    /// The function to be called, where that is a value.
    pub(super) fn value(&self) -> Option<&'a FunctionRef> {
        self.value
    }

    /// What the call is to be made with.
    #[inline]
    pub(super) fn next(&mut self) -> (&mut BatchDecoder, &mut State) {
        (&mut self.args, self.state)
    }

    /// Hands over what the call returned. False when the owner is gone. Panics as the
    /// `Serialize` of the value does.
    #[inline]
    pub(super) fn answer<R: Serialize + 'static>(&mut self, value: &R) -> bool {
        // A number goes straight into the outbox, if there is room for it.
        if let Some(true) = with_frame(value, |frame| self.desk.outbox.put(frame)) {
            return self.hand_over(Ok(()), true);
        }
        if let Some(filed) = codec::as_bytes(value).and_then(Filed::bare) {
            let spilled = self.desk.spill_filed(filed);
            let handed_over = self.desk.note(spilled);
            self.is_open = false;
            return handed_over;
        }
        self.desk.encoder.clear();
        let encoded = self.desk.encoder.push(value);
        let is_put = encoded.is_ok() && self.desk.put();
        self.hand_over(encoded, is_put)
    }

    /// Hands over an error in place of a value. False when the owner is gone.
    #[cold]
    pub(super) fn answer_error(&mut self, error: &TaskError) -> bool {
        self.desk.encoder.clear();
        let encoded = self.desk.encoder.push_marked(error);
        let is_put = encoded.is_ok() && self.desk.put();
        self.hand_over(encoded, is_put)
    }

    /// Hands over that the call panicked, or the `Serialize` of its result. When the drop of
    /// a result did, that has been handed over. False when the owner is gone.
    #[cold]
    pub(super) fn answer_for_panic(&mut self, report: PanicReport) -> bool {
        !self.is_open || self.answer_error(&report.into())
    }

    /// Does what is left to do for an answer: most often nothing, once it is in the outbox.
    #[inline]
    fn hand_over(&mut self, encoded: Result<(), EncodeError>, is_put: bool) -> bool {
        let is_done = is_put && !self.is_watched && !self.desk.outbox.is_heavy();
        let handed_over = is_done || {
            let handed_over = self.desk.hand_over_slowly(encoded, is_put);
            self.desk.note(handed_over)
        };
        self.is_open = false;
        // Of many calls of one task, which make the time, no more is asked.
        if self.is_joined { self.tell_of_one() && handed_over } else { handed_over }
    }

    /// Ends the owner's sleep, if it is for the call that has just been answered.
    #[inline(never)]
    fn tell_of_one(&mut self) -> bool {
        let is_slept_for = self.desk.outbox.must_ring_after(self.next.wrapping_sub(1));
        !is_slept_for || self.desk.ring().is_ok()
    }
}

impl Desk {
    fn next_frame(&mut self) -> Result<Frame, LinkError> {
        self.inbox.pop_front().map_or_else(|| self.stream.recv_alone(), Ok)
    }

    /// Whether a result went out. One that did not leaves a mark in the outbox that nothing
    /// comes for: the owner learns by this process's end which one it was.
    #[cold]
    fn note(&mut self, handed_over: Result<(), LinkError>) -> bool {
        self.has_failed |= handed_over.is_err();
        match handed_over {
            Err(LinkError::Closed) => false,
            Err(error) => {
                tracing::warn!(target: "procession", %error, "a result cannot be sent");
                false
            }
            Ok(()) => true,
        }
    }

    /// Puts what is encoded into the outbox. False when it does not go there, or not now.
    #[inline]
    fn put(&mut self) -> bool {
        self.encoder.plain().is_some_and(|frame| frame.len() <= LARGEST && self.outbox.put(frame))
    }

    /// What it takes besides, when that was not all.
    #[cold]
    fn hand_over_slowly(
        &mut self,
        encoded: Result<(), EncodeError>,
        mut is_put: bool,
    ) -> Result<(), LinkError> {
        if let Err(error) = encoded {
            self.put_in_place(error.into())?;
        }
        while !is_put {
            if self.encoder.plain().is_none_or(|frame| frame.len() > LARGEST) {
                return self.spill();
            }
            is_put = self.put();
            if !is_put {
                self.wait_for_room()?;
            }
        }
        // A watched result is looked at now, and so are many that have come together.
        if self.outbox.must_ring() {
            self.ring()?;
        }
        Ok(())
    }

    /// The error is what came of the call.
    fn put_in_place(&mut self, error: TaskError) -> Result<(), LinkError> {
        self.encoder.clear();
        Ok(self.encoder.push_marked(&error).map_err(io::Error::other)?)
    }

    /// Sends a result over the stream that is large, or has descriptors beside it.
    fn spill(&mut self) -> Result<(), LinkError> {
        let encoded = match self.encoder.finish() {
            Ok(encoded) => encoded,
            Err(error) => {
                self.put_in_place(error.into())?;
                self.encoder.finish().map_err(io::Error::other)?
            }
        };
        if let Some(filed) = Filed::batch(&encoded.bytes, &encoded.fds) {
            return self.spill_filed(filed);
        }
        self.keep_place()?;
        let header = Header::new(Kind::Reply, encoded.bytes.len()).map_err(io::Error::other)?;
        self.send(header, &encoded)
    }

    /// Sends a result that is in a file.
    fn spill_filed(&mut self, filed: Filed) -> Result<(), LinkError> {
        self.keep_place()?;
        let header = Header::new(Kind::Reply, 0).map_err(io::Error::other)?;
        let (header, payload, file) = filed.frame(header);
        let encoded = Encoded { bytes: payload.to_vec(), fds: vec![file] };
        self.send(header, &encoded)
    }

    /// Sends it as soon as its descriptors find room, unless the owner is gone.
    fn send(&self, header: Header, encoded: &Encoded) -> Result<(), LinkError> {
        loop {
            let sent = self.stream.send(header, encoded, None);
            if !large::is_crowded(&sent) {
                return sent;
            }
            let is_gone = &mut [PollFd::new(self.stream.as_fd(), PollFlags::empty())];
            if poll(is_gone, after(CROWDED))? {
                return Err(LinkError::Closed);
            }
        }
    }

    fn keep_place(&mut self) -> Result<(), LinkError> {
        while !self.outbox.put_spilled() {
            self.wait_for_room()?;
        }
        Ok(())
    }

    /// Until the owner has taken something out of the outbox. New tasks may come meanwhile.
    fn wait_for_room(&mut self) -> Result<(), LinkError> {
        while self.outbox.wants_room() {
            if self.outbox.must_ring() {
                self.ring()?;
            }
            let frame = self.stream.recv_alone()?;
            if frame.header.kind != RING {
                self.inbox.push_back(frame);
            }
        }
        Ok(())
    }

    fn ring(&self) -> Result<(), LinkError> {
        let header = Header::new(RING, 0).map_err(io::Error::other)?;
        self.stream.send(header, &Encoded::default(), None)
    }
}
