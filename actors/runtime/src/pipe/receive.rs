//! Receiving: exactly one message, off a descriptor that others read too.
//!
//! Owns what this process has *seen* of the stream without taking it, and a large message
//! that it has taken in part. What was seen is worth nothing once somebody else has taken
//! something off the stream, which the turn's count tells; what has been received of it and
//! still stands there is the business of `owed`. No lock is held across a wait, but for the turn
//! itself in the middle of a large message; whichever thread of this process receives next
//! then goes on with it. Neighbours: `turn`, `ready` (the waits).

use super::error::{of_read, would_block};
use super::midway::{Midway, WRITER_PATIENCE};
use super::ready::{self, Until};
use super::sealed::refuse;
use super::turn::{Attempt, Turn};
use super::{End, FITS, PipeError};
use crate::sync::lock;
use crate::sys::stream::{self, Kind, Seen};
use nix::poll::PollFlags;
use nix::sys::socket::Shutdown;
use procession_protocols::pipe::debt::Debt;
use procession_protocols::pipe::{Head, Incoming, LONGEST_HEAD, LONGEST_MESSAGE};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

/// How far this process looks ahead, in bytes: a look at many small messages is one system
/// call, and a message up to this size is taken whole by another. Behind a larger message it
/// looks for a head only.
pub(super) const LOOK: usize = 4096;

/// More than the kernel puts into one buffer of a socket's queue, on any machine, in bytes.
const AT_ONCE: usize = 4 * FITS;

/// One message as it arrived.
#[derive(Debug)]
pub struct Message {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The descriptors that came beside it.
    pub fds: Vec<OwnedFd>,
}

/// Where the receiving of one end stands in this process.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// What has been seen of the stream, and how much of it has been taken since. What is owed
    /// comes behind that.
    seen: Vec<u8>,
    taken: usize,
    /// Descriptors stand beside some of it.
    seen_fds: bool,
    /// Large messages come.
    is_large: bool,
    /// Memory for small messages as they are taken.
    pub(super) scratch: Vec<u8>,
    /// The turn's count when it was seen.
    pub(super) at: u64,
    midway: Option<Midway>,
    pub(super) refused: bool,
}

/// What an attempt has come to.
enum Step {
    Message(Message),
    /// There is none.
    Nothing,
    /// The rest of one has not arrived.
    Midway,
    /// It is another's turn.
    Busy(u64),
    /// There is one that is to be taken straight into a buffer; it is our turn.
    Announced(Head),
}

/// What [`End::receive_or_announce`] gives.
enum Received {
    Message(Message),
    Announced(Head),
}

impl Reading {
    /// Whether this process holds the turn, and half a message.
    pub(super) fn is_midway(&mut self) -> bool {
        // What a fork copied of its parent's is the parent's.
        self.midway.take_if(|midway| !midway.is_ours());
        self.midway.is_some()
    }

    /// What nobody has received of what was seen.
    pub(super) fn ahead(&self, turn: Turn<'_>, debt: Debt<'_, AtomicU64>) -> &[u8] {
        if self.at != turn.passed() {
            return &[];
        }
        let owed = usize::try_from(debt.bytes()).unwrap_or(usize::MAX);
        self.seen.get(self.taken.saturating_add(owed)..).unwrap_or(&[])
    }

    /// Whether what was seen starts with the front of the stream as it is now.
    fn is_fresh(&self, turn: Turn<'_>) -> bool {
        self.taken == 0 && self.at == turn.passed() && !self.seen.is_empty()
    }

    /// So many bytes of what was seen have been taken, and the turn has counted that.
    pub(super) fn advance(&mut self, came: usize, turn: Turn<'_>) {
        self.at = turn.passed();
        self.taken = self.seen.len().min(self.taken.saturating_add(came));
    }

    /// Forgets what was seen; gives the memory for another look.
    fn forget(&mut self) -> Vec<u8> {
        self.taken = 0;
        let mut seen = std::mem::take(&mut self.seen);
        seen.clear();
        seen
    }

    fn see(&mut self, seen: Vec<u8>, has_fds: bool, at: u64) {
        (self.seen, self.seen_fds, self.taken, self.at) = (seen, has_fds, 0, at);
    }

    /// How far to look.
    fn reach(&self) -> usize {
        if self.is_large { LONGEST_HEAD } else { LOOK }
    }
}

impl End {
    /// Receives one message; longer than `max` bytes it is an error. Waits until the
    /// deadline.
    ///
    /// # Errors
    /// [`PipeError`]'s variants say which there are.
    pub fn receive(&self, max: u64, deadline: Option<Instant>) -> Result<Message, PipeError> {
        match self.receive_or_announce(max, deadline, 0)? {
            Received::Message(message) => Ok(message),
            Received::Announced(_) => unreachable!("there is no room to announce a message for"),
        }
    }

    /// Receives one message into `buffer`, from its start, and says how long it is.
    ///
    /// # Errors
    /// [`PipeError::BufferTooShort`], and as [`receive`](Self::receive).
    pub fn receive_into(&self, buffer: &mut [u8]) -> Result<usize, PipeError> {
        let bytes = match self.receive_or_announce(LONGEST_MESSAGE, None, buffer.len())? {
            Received::Announced(head) => {
                return self.fill(head, &mut buffer[..head.body()]).map(|()| head.body());
            }
            Received::Message(message) => message.bytes,
        };
        match buffer.get_mut(..bytes.len()) {
            Some(part) => {
                part.copy_from_slice(&bytes);
                Ok(bytes.len())
            }
            None => Err(PipeError::BufferTooShort(bytes)),
        }
    }

    /// Receives one message, or says that one is there that is worth being taken straight
    /// into a buffer of `room` bytes: then it is our turn.
    fn receive_or_announce(
        &self,
        max: u64,
        deadline: Option<Instant>,
        room: usize,
    ) -> Result<Received, PipeError> {
        ready::may_block()?;
        // Without a deadline, the wait is a look: it shows what it has waited for.
        let mut look = deadline.is_some() || self.kind == Kind::Other;
        loop {
            let in_time = match self.step(max, look, room)? {
                Step::Message(message) => return Ok(Received::Message(message)),
                Step::Announced(head) => return Ok(Received::Announced(head)),
                Step::Nothing if look => ready::poll_until(self.fd(), PollFlags::POLLIN, deadline)?,
                Step::Nothing => {
                    look = !self.look_and_wait()?;
                    true
                }
                Step::Midway => self.wait_for_the_rest(deadline)?,
                Step::Busy(held) => self.read_turn().wait(held, deadline),
            };
            if !in_time {
                return Err(PipeError::Timeout);
            }
        }
    }

    /// As [`receive`](Self::receive), without blocking the thread.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: what has arrived of a message is kept for the next
    /// receive.
    pub async fn receive_async(&self, max: u64) -> Result<Message, PipeError> {
        loop {
            match self.step(max, true, 0)? {
                Step::Message(message) => return Ok(message),
                Step::Announced(_) => {
                    unreachable!("there is no room to announce a message for")
                }
                Step::Nothing => ready::ready(self.fd(), Until::Readable).await?,
                Step::Midway => {
                    let look = Some(WRITER_PATIENCE);
                    if !ready::ready_within(self.fd(), Until::Readable, look).await? {
                        self.look_after_the_writer();
                    }
                }
                Step::Busy(held) => ready::nap(|| self.read_turn().free_of_the_dead(held)).await?,
            }
        }
    }

    /// One attempt, without a wait. Without `look` it goes by what has been seen before. A
    /// large message that has at most `room` bytes is announced, not taken.
    fn step(&self, max: u64, look: bool, room: usize) -> Result<Step, PipeError> {
        self.readable()?;
        let reading = &mut *lock(&self.reading);
        if reading.refused {
            return Err(PipeError::Refused);
        }
        let (turn, debt) = (self.read_turn(), self.debt());
        let result = if reading.is_midway() {
            self.go_on(turn, reading)
        } else {
            if !look && debt.bytes() == 0 && reading.ahead(turn, debt).is_empty() {
                return Ok(Step::Nothing);
            }
            match turn.try_take() {
                Attempt::Busy(held) => return Ok(Step::Busy(held)),
                Attempt::Broken => {
                    // Those who send here shall know that nobody will receive it.
                    self.shut(Shutdown::Read);
                    Err(PipeError::Damaged)
                }
                Attempt::Taken => {
                    let (max, room) = self.bounds(max, room);
                    self.begin(turn, reading, max, look, room)
                }
            }
        };
        let result = match result {
            Ok(Step::Message(message)) => self.open(turn, reading, message).map(Step::Message),
            result => result,
        };
        if reading.midway.is_none() && !matches!(result, Ok(Step::Announced(_))) {
            turn.release();
            if debt.is_forbidden() {
                // Since it was looked at; else nothing is owed.
                self.settle(reading);
            }
        }
        result
    }

    /// Takes the message at the front; it is our turn.
    fn begin(
        &self,
        turn: Turn<'_>,
        reading: &mut Reading,
        max: u64,
        look: bool,
        room: usize,
    ) -> Result<Step, PipeError> {
        if self.kind == Kind::Other {
            let now = Some(Instant::now());
            if !ready::poll_until(self.fd(), PollFlags::POLLIN, now)? {
                return Ok(Step::Nothing);
            }
            return self.start(turn, reading, Midway::new(Incoming::new(max), None));
        }
        let debt = self.debt();
        loop {
            let ahead = reading.ahead(turn, debt);
            let is_there = |head: &Head| ahead.len() >= head.whole();
            let head = match Head::read(ahead, max) {
                Ok(Some(head)) if is_there(&head) && !reading.seen_fds && self.may_owe() => {
                    let message = self.owe(ahead, &head);
                    reading.is_large = false;
                    return Ok(Step::Message(message));
                }
                Ok(head) => head,
                Err(error) => return Err(refuse(reading, error.into())),
            };
            let is_seen = head.as_ref().is_some_and(is_there);
            if let Some(head) = &head {
                reading.is_large = head.whole() > LOOK;
            }
            if debt.bytes() > 0 {
                self.pay(turn, reading)?;
                continue;
            }
            match head {
                Some(head) if is_seen => {
                    if let Some(fds) = self.descriptors(reading, head)? {
                        return self.take_whole(turn, reading, head, Some(fds));
                    }
                    if let Some(message) = self.take_small(turn, reading, head)? {
                        return Ok(Step::Message(message));
                    }
                }
                // It is larger than a look, or has not arrived as a whole.
                Some(head) if reading.is_fresh(turn) => {
                    // What is larger than a writer sends at once is begun as what it is.
                    let may_be_there = head.whole() <= FITS;
                    let is_there = may_be_there && stream::waiting(self.fd())? >= head.whole();
                    if head.body() > LOOK && head.body() <= room {
                        if !is_there {
                            turn.set_midway();
                        }
                        return Ok(Step::Announced(head));
                    }
                    let fds = self.descriptors(reading, head)?;
                    if is_there {
                        return self.take_whole(turn, reading, head, fds);
                    }
                    let midway = Midway::new(Incoming::announced(head), fds);
                    return self.start(turn, reading, midway);
                }
                None if reading.is_fresh(turn) => {
                    return self.start(turn, reading, Midway::new(Incoming::new(max), None));
                }
                _ if !look => return Ok(Step::Nothing),
                _ => {}
            }
            let reach = reading.reach();
            let mut seen = reading.forget();
            match stream::peek(self.fd(), &mut seen, reach, false) {
                Ok(Seen { count: 0, .. }) => return Err(PipeError::EndOfFile),
                Ok(Seen { has_fds, .. }) => reading.see(seen, has_fds, turn.passed()),
                Err(error) if would_block(&error) => return Ok(Step::Nothing),
                Err(error) => return Err(of_read(error)),
            }
        }
    }

    /// Copies of the descriptors that stand beside the message at the front, if what was seen
    /// has any; nothing is taken. So who has no numbers for them loses nothing.
    fn descriptors(&self, reading: &Reading, head: Head) -> io::Result<Option<VecDeque<OwnedFd>>> {
        let len = head.whole().min(AT_ONCE);
        reading.seen_fds.then(|| stream::descriptors(self.fd(), len)).transpose()
    }

    /// As [`take_whole`](Self::take_whole), a message that has been seen as a whole, and no
    /// descriptors beside it. `None` when somebody who knows nothing of turns has emptied the
    /// stream since.
    fn take_small(
        &self,
        turn: Turn<'_>,
        reading: &mut Reading,
        head: Head,
    ) -> Result<Option<Message>, PipeError> {
        reading.scratch.clear();
        let came = match stream::take_bare(self.fd(), &mut reading.scratch, head.whole()) {
            Ok(came) => came,
            Err(error) if would_block(&error) => return Ok(None),
            Err(error) => return Err(of_read(error)),
        };
        turn.pass();
        reading.advance(came, turn);
        match reading.scratch.strip_prefix(head.bytes()) {
            Some(body) if came == head.whole() => {
                Ok(Some(Message { bytes: body.to_vec(), fds: Vec::new() }))
            }
            // Such a one took a part of what was seen, and we a part of something else.
            _ => {
                reading.refused = true;
                turn.break_off();
                self.shut(Shutdown::Read);
                Err(PipeError::Damaged)
            }
        }
    }

    /// Takes a message that is there as a whole, by one system call. Whoever is killed around
    /// it has taken the message or not.
    fn take_whole(
        &self,
        turn: Turn<'_>,
        reading: &mut Reading,
        head: Head,
        fds: Option<VecDeque<OwnedFd>>,
    ) -> Result<Step, PipeError> {
        let mut midway = Midway::new(Incoming::announced(head), fds);
        let came = midway.take(self)?;
        if !midway.incoming.is_whole() {
            // Not for long: the rest was there a moment ago.
            reading.midway = Some(midway);
            turn.set_midway();
            return self.go_on(turn, reading);
        }
        turn.pass();
        reading.advance(came, turn);
        midway.finish().map(Step::Message)
    }

    /// Begins with a message that may take a while.
    fn start(
        &self,
        turn: Turn<'_>,
        reading: &mut Reading,
        midway: Midway,
    ) -> Result<Step, PipeError> {
        turn.set_midway();
        reading.midway = Some(midway);
        self.go_on(turn, reading)
    }

    /// Takes what has arrived of a message that has been begun.
    fn go_on(&self, turn: Turn<'_>, reading: &mut Reading) -> Result<Step, PipeError> {
        let Some(mut midway) = reading.midway.take() else { return Ok(Step::Nothing) };
        loop {
            if midway.incoming.is_whole() {
                turn.settle();
                turn.pass();
                return midway.finish().map(Step::Message);
            }
            match midway.take(self) {
                Ok(0) => {
                    turn.settle();
                    turn.pass();
                    let begun = midway.incoming.is_begun();
                    return Err(if begun { PipeError::Truncated } else { PipeError::EndOfFile });
                }
                Ok(_) => {}
                Err(PipeError::Io(error)) if would_block(&error) => {
                    if !midway.incoming.is_begun() {
                        turn.settle();
                        return Ok(Step::Nothing);
                    }
                    reading.midway = Some(midway);
                    return Ok(Step::Midway);
                }
                Err(error) => {
                    // Where the next message begins, nobody knows any more.
                    turn.break_off();
                    self.shut(Shutdown::Read);
                    return Err(refuse(reading, error));
                }
            }
        }
    }

    /// Takes an announced message straight into the caller's buffer. It is our turn until it
    /// is through; descriptors beside it are closed.
    fn fill(&self, head: Head, body: &mut [u8]) -> Result<(), PipeError> {
        let turn = self.read_turn();
        let mut space = [0; LONGEST_HEAD];
        let (in_head, whole, mut taken) = (head.bytes().len(), head.whole(), 0);
        let result = loop {
            let head = &mut space[taken.min(in_head)..in_head];
            let body = &mut body[taken.saturating_sub(in_head)..];
            match stream::receive_into(self.fd(), head, body) {
                Ok(0) => break Err(PipeError::Truncated),
                Ok(count) if taken + count == whole => break Ok(()),
                // The rest is not there yet.
                Ok(count) => taken += count,
                Err(error) if would_block(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    break Err(PipeError::Truncated);
                }
                Err(error) => break Err(error.into()),
            }
            turn.set_midway();
            if let Err(error) = self.wait_for_the_rest(None) {
                break Err(error);
            }
        };
        turn.pass();
        if matches!(result, Ok(()) | Err(PipeError::Truncated)) {
            turn.settle();
        } else {
            turn.break_off();
            self.shut(Shutdown::Read);
        }
        turn.release();
        result
    }

    /// Waits until there is something, and looks at it. False when that is not the way: at
    /// the end of the stream, and with a descriptor that does not wait.
    fn look_and_wait(&self) -> Result<bool, PipeError> {
        // First the count, then the look: what is taken in between changes the count.
        let at = self.read_turn().passed();
        let (mut seen, reach) = {
            let reading = &mut *lock(&self.reading);
            (reading.forget(), reading.reach())
        };
        match stream::peek(self.fd(), &mut seen, reach, true) {
            Ok(Seen { count: 0, .. }) => Ok(false),
            Ok(Seen { has_fds, .. }) => {
                lock(&self.reading).see(seen, has_fds, at);
                Ok(true)
            }
            Err(error) if would_block(&error) => Ok(false),
            Err(error) => Err(of_read(error)),
        }
    }
}
