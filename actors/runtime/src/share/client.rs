//! A client as an owner knows it, and the answers that it waits for.
//!
//! Owns the owner's picture of one attached process: its number, its name, the sending
//! side of its connection. It must never wait for a client: what a client does not read is
//! kept up to a limit, and beyond it the connection ends. Neighbour: `host` reads what clients send.

use super::extensions::Extensions;
use super::message::{self, Refusal};
use crate::codec::{self, Encoded};
use crate::link::{Link, LinkError};
use crate::sync::lock;
use procession_protocols::custody::ClientId;
use procession_protocols::wire::Kind as FrameKind;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// A process that uses objects of this one.
pub struct Client {
    /// Its number here. Nobody else gets it before its death has been repaired.
    pub id: ClientId,
    /// Its process id.
    pub pid: u32,
    /// Its name when it attached.
    pub name: String,
    pub(super) pidfd: OwnedFd,
    pub(super) link: Arc<Link>,
    /// Wakes who writes what found no room.
    pub(super) wake: Arc<Notify>,
    pub(super) extensions: Extensions,
    pub(super) other_ways: Mutex<Vec<OtherWay>>,
}

/// Reads out a way by which a client's messages come beside its connection.
type OtherWay = Arc<dyn Fn() + Send + Sync>;

impl Client {
    /// What a kind keeps for this client, over all objects of that kind; made when it is
    /// first asked for, and dropped after the client's death, when that is repaired.
    pub fn extension<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        self.extensions.get()
    }

    /// Messages of this client come another way too, which `read_out` empties: what came
    /// before a release or a death counts. It must not block.
    pub fn also_reads(&self, read_out: impl Fn() + Send + Sync + 'static) {
        lock(&self.other_ways).push(Arc::new(read_out));
    }

    /// Takes what has come by other ways.
    pub(super) fn catch_up(&self) {
        let ways = lock(&self.other_ways).clone();
        for read_out in ways {
            read_out();
        }
    }

    fn post(&self, kind: FrameKind, call: u64, message: Encoded) {
        // One that has gone needs none; one that has taken no answer for so long is not to
        // wait for this one for ever.
        if let Err(LinkError::Full) = message::post(&self.link, kind, 0, call, message) {
            self.link.shut_down();
        }
        if self.link.wants_write() {
            self.wake.notify_one();
        }
    }

    pub(super) fn reply(&self, call: u64, result: Result<Encoded, Refusal>) {
        match result {
            Ok(message) => self.post(FrameKind::Reply, call, message),
            Err(refusal) => {
                if let Ok(message) = codec::encode(&refusal) {
                    self.post(FrameKind::Refused, call, message);
                }
            }
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, pid, name, .. } = self;
        f.debug_struct("Client")
            .field("id", id)
            .field("pid", pid)
            .field("name", name)
            .finish_non_exhaustive()
    }
}

/// Where the answer to a request goes. Dropped, it tells the client that there is none.
#[derive(Debug)]
pub struct ReplyTo {
    client: Arc<Client>,
    call: Option<u64>,
    number: u64,
}

impl ReplyTo {
    pub(super) fn new(client: &Arc<Client>, call: u64) -> Self {
        Self { client: client.clone(), call: Some(call), number: call }
    }

    /// The client that asks.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The request's number among those of its client, as
    /// [`Stock::cancel`](super::Stock::cancel) names it.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Answers. From any thread; never waits.
    pub fn send(mut self, answer: Encoded) {
        if let Some(call) = self.call.take() {
            self.client.reply(call, Ok(answer));
        }
    }

    /// Says that the request failed; the client gets the error.
    pub fn fail(self, error: &io::Error) {
        self.refuse(Refusal::of(error));
    }

    pub(super) fn refuse(mut self, refusal: Refusal) {
        if let Some(call) = self.call.take() {
            self.client.reply(call, Err(refusal));
        }
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            self.client.reply(call, Err(Refusal::NoReply));
        }
    }
}
