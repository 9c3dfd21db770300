//! What a child says on its control link, and what it leaves behind there.
//!
//! Owns the taking of its words: turn by turn, as long as there is room for its log lines, and
//! numbers for the descriptors that come with them. Until then they stay in the socket, and
//! the link lives on. It must never wait. Neighbours: `super` decides when,
//! `crate::log::relayed` has the lines.

use super::{Child, State};
use crate::down::Down;
use crate::launcher::hello::{self, Report, ToParent};
use crate::link::LinkError;
use crate::log::relayed::{Source, TURN};
use crate::sync::lock;
use crate::sys::watch::LOOK_PERIOD;
use procession_protocols::wire::Kind;
use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What a child's body left behind.
#[derive(Debug)]
pub enum Outcome {
    /// It returned; these are its value's bytes and descriptors.
    Returned(Vec<u8>, Vec<OwnedFd>),
    /// It returned a value that could not be encoded, or that was taken already.
    Lost(String),
    /// It ended otherwise.
    Ended(Arc<Down>),
}

impl Child {
    /// Takes what its body returned. To be called after its end.
    ///
    /// # Errors
    /// `EMFILE`: no number is free for a descriptor of the value, which stays for another time.
    pub fn take_outcome(&self, down: Arc<Down>) -> io::Result<Outcome> {
        let state = &mut *lock(&self.state);
        if state.lacks_number {
            self.drain(state, true);
        }
        if state.lacks_number {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        Ok(match (&state.report, state.value.take()) {
            (Some(Report::Returned { .. }), Some((bytes, fds))) => {
                state.value_taken = true;
                Outcome::Returned(bytes, fds)
            }
            (Some(Report::Returned { .. }), None) if state.value_taken => {
                Outcome::Lost("the result has been taken already".into())
            }
            // It ended between the word that it returned and the value.
            (Some(Report::Unencodable(why)), _) => Outcome::Lost(why.clone()),
            _ => Outcome::Ended(down),
        })
    }

    /// Takes what has come on the control link, up to the word that it is ready: what
    /// follows that needs a child that this node knows.
    pub(crate) fn drain_until_ready(&self) {
        let state = &mut *lock(&self.state);
        state.lacks_number = self.drain_while(state, |state| state.start.is_none());
    }

    /// Takes what has come on the control link. False when no more will come.
    pub(crate) fn drain_control(&self) -> bool {
        let state = &mut *lock(&self.state);
        self.drain(state, false);
        let _ = self.settle(state);
        !state.control_ended
    }

    /// Whether something was left on the control link, to be taken in another turn.
    pub(crate) fn has_more(&self) -> bool {
        lock(&self.state).has_more
    }

    /// Whether what has come waits for a number for a descriptor. No descriptor tells when
    /// there is one.
    pub(crate) fn lacks_number(&self) -> bool {
        lock(&self.state).lacks_number
    }

    /// Ends when what was left is to be taken: others have had their turn, and there may be
    /// room.
    pub(crate) async fn turn(&self) {
        if self.lacks_number() {
            tokio::time::sleep(LOOK_PERIOD).await;
        } else {
            self.lines.turn().await;
        }
    }

    /// Whether the caller is to have the hidden thread hear it out: something was left, and
    /// it does not do so yet.
    pub(crate) fn begin_hearing_out(&self) -> bool {
        let state = &mut *lock(&self.state);
        state.has_more && !std::mem::replace(&mut state.is_heard_out, true)
    }

    /// Whether it has been heard out: nothing was left, or it has ended.
    pub(crate) fn ends_hearing_out(&self) -> bool {
        let state = &mut *lock(&self.state);
        state.is_heard_out = state.has_more && state.down.is_none();
        !state.is_heard_out
    }

    /// Takes `all` that has come, or one turn's worth, as long as there is room for log lines.
    pub(super) fn drain(&self, state: &mut State, all: bool) {
        let (mut taken, has_more) = (0, Cell::new(false));
        state.lacks_number = self.drain_while(state, |_| {
            has_more.set(!all && (taken == TURN || self.lines.is_full()));
            taken += 1;
            !has_more.get()
        });
        state.has_more = has_more.get() || state.lacks_number;
    }

    /// Takes what has come for as long as it is wanted. True when it ended for want of a
    /// number for a descriptor.
    fn drain_while(&self, state: &mut State, mut wanted: impl FnMut(&State) -> bool) -> bool {
        while !state.control_ended && wanted(state) {
            match self.control.try_recv_or_leave() {
                Ok(Some(frame)) if frame.header.kind == Kind::Payload => {
                    match take_value(frame.header.flags, frame.payload, frame.fds) {
                        Ok(value) => state.value = Some(value),
                        Err(error) => {
                            state.report =
                                Some(Report::Unencodable(format!("unreadable: {error}")));
                        }
                    }
                }
                Ok(Some(frame)) => match hello::read(frame) {
                    Ok(message) => state.heard(message, &self.lines),
                    Err(error) => {
                        tracing::warn!(target: "procession", name = self.name, %error,
                            "a child sent what cannot be read");
                    }
                },
                Ok(None) => return false,
                Err(LinkError::Io(error)) if error.raw_os_error() == Some(libc::EMFILE) => {
                    return true;
                }
                Err(_) => state.control_ended = true,
            }
        }
        false
    }
}

impl State {
    fn heard(&mut self, message: ToParent, lines: &Source) {
        match message {
            ToParent::Ready => self.start = Some(Ok(())),
            ToParent::Refused(fault) => self.start = Some(Err(fault)),
            ToParent::Report(report) => self.report = Some(report),
            ToParent::Pong(pong) => self.pong = Some(pong),
            ToParent::Log(line) => lines.enqueue(line),
            ToParent::Routed(message) => crate::node::routes::pass_on(message),
            // It is known already.
            ToParent::Cloned(_) | ToParent::NotCloned(_) | ToParent::Born(_) => {}
        }
    }
}

/// A payload frame with this flag carries a descriptor of a memory file in place of the
/// bytes, which are too many for the socket.
pub(crate) const IN_MEMORY_FILE: u8 = 1;

fn take_value(
    flags: u8,
    payload: Vec<u8>,
    mut fds: Vec<OwnedFd>,
) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    if flags & IN_MEMORY_FILE == 0 {
        return Ok((payload, fds));
    }
    let file = fds.pop().ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::fs::File::from(file), &mut bytes)?;
    Ok((bytes, fds))
}
