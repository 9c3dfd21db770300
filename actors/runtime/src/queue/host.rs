//! How the owner serves clients: attaching, requests, ends.
//!
//! Owns the messages that go over a client's connection: what is too rare for the page.
//! Before a request is answered, all that clients have put is read. It must never wait: a
//! request that must is due, and answered when the machine says so. Neighbour: `own`.

use super::bells::Bells;
use super::cell::{Cell, Outcome};
use super::channel::Channel;
use super::chunks;
use super::own::Own;
use super::page::Page;
use super::parcel::{Bytes, Parcel};
use super::streams::Stream;
use crate::codec::{self, DecodeError, Encoded};
use crate::node::hidden;
use crate::share::{BadMessage, Client, ReplyTo, Stock};
use crate::sync::lock;
use crate::sys::watch::{Held, Watched};
use procession_protocols::queue::{Entry, Holder, Waiter};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use tokio::io::Interest;

/// What a client asks.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// How many items there are.
    Len,
    /// One item is finished.
    TaskDone,
    /// To be answered when all are, or at once.
    Join {
        waits: bool,
    },
    Shutdown {
        immediate: bool,
    },
    /// An item that stays with the owner; to be answered when there is one, or at once.
    Lease {
        waits: bool,
    },
    /// A leased item is finished, or comes back. No answer.
    EndLease {
        lease: Waiter,
        is_finished: bool,
    },
}

/// What the owner answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Len(u64),
    Done,
    TooManyDone,
    Leased {
        lease: Waiter,
        redelivered: bool,
        tag: u32,
        /// How many bytes stand in the last descriptor's file; else they follow.
        file: Option<u32>,
    },
    Empty,
    Shutdown,
}

/// Who waits for an outcome.
#[derive(Debug)]
pub(super) enum Due {
    /// A thread or future of this process.
    Cell(Arc<Cell>),
    /// A client's request.
    Reply(ReplyTo),
}

/// What a client needs to attach.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Welcome {
    pub(super) capacity: Option<u64>,
}

/// Reads an answer; what follows it are the bytes of an item.
pub(super) fn open(message: Encoded) -> Result<(Answer, Encoded), DecodeError> {
    let mut rest = Vec::new();
    let answer = codec::decode_with(&message.bytes, Vec::new(), |decoder| {
        let answer = decoder.value()?;
        rest = decoder.value()?;
        Ok(answer)
    })?;
    Ok((answer, Encoded { bytes: rest, fds: message.fds }))
}

fn answer(answer: &Answer, bytes: &[u8], fds: Vec<OwnedFd>) -> Encoded {
    let encoded = codec::encode_with(|encoder| {
        encoder.value(answer)?;
        encoder.value(bytes)
    });
    // Such plain values always encode.
    encoded.map_or_else(|_| Encoded::default(), |encoded| Encoded { bytes: encoded.bytes, fds })
}

fn leased(lease: Waiter, entry: &Entry<Parcel>) -> io::Result<Encoded> {
    let Entry { item, redelivered, .. } = entry;
    let mut fds = item.fds().iter().map(OwnedFd::try_clone).collect::<io::Result<Vec<_>>>()?;
    let (file, bytes) = match (item.bytes(), item.bytes().here().unwrap_or_default()) {
        (Bytes::File(file, len), _) => {
            fds.push(file.0.try_clone()?.into());
            (Some(*len), [].as_slice())
        }
        (_, bytes) if bytes.len() <= super::page::INLINE => (None, bytes),
        (_, bytes) => {
            fds.push(chunks::file_of([bytes, &[]])?.into());
            (u32::try_from(bytes.len()).ok(), [].as_slice())
        }
    };
    let words = Answer::Leased { lease, redelivered: *redelivered, tag: item.tag(), file };
    Ok(answer(&words, bytes, fds))
}

impl Due {
    fn reply(self) -> Option<ReplyTo> {
        match self {
            Self::Reply(reply) => Some(reply),
            Self::Cell(_) => None,
        }
    }
}

/// Answers a request that was due.
pub(super) fn send(reply: ReplyTo, outcome: Outcome, waiter: Waiter) {
    let words = match outcome {
        Outcome::Item(entry) => match leased(waiter, &entry) {
            Ok(encoded) => return reply.send(encoded),
            Err(error) => return reply.fail(&error),
        },
        Outcome::Joined | Outcome::Admitted => Answer::Done,
        Outcome::Ended => Answer::Shutdown,
    };
    reply.send(answer(&words, &[], Vec::new()));
}

impl Own {
    fn bells(&self) -> io::Result<&Arc<Bells>> {
        if let Some(bells) = self.bells.get() {
            return Ok(bells);
        }
        let bells = Arc::new(Bells::new()?);
        let gate = Held::new(&bells, Bells::gate);
        let (own, heard) = (self.weak(), bells.clone());
        hidden::handle()?.spawn(serve(own, heard, gate));
        Ok(self.bells.get_or_init(|| bells))
    }

    fn gone(&self, client: &Arc<Client>) {
        let core = &mut *lock(&self.core);
        let id = client.id.0;
        // All that it had put, also beyond what a heavy queue reads.
        while let Some(stream) = core.clients.0.get_mut(&id) {
            if !stream.look(true, |parcel| core.machine.put(id, parcel)).more {
                break;
            }
        }
        core.machine.gone(id, &mut core.clients);
        if let Some(stream) = core.clients.0.remove(&id) {
            if let Some(bells) = self.bells.get() {
                bells.remove(stream.channel.as_fd());
            }
            if stream.is_stuck {
                core.left.push(stream);
                self.look_at_left(core);
            }
        }
        core.due.retain(|_, due| match due {
            Due::Reply(reply) => reply.client().id != client.id,
            Due::Cell(_) => true,
        });
        core.leases.retain(|_, (holder, _)| *holder != id);
        self.has_clients.store(!core.clients.0.is_empty(), Ordering::Relaxed);
        self.settle(core);
    }
}

/// Hears the clients while no thread of the owner does.
async fn serve(own: Weak<Own>, bells: Arc<Bells>, gate: Held) {
    let gate = Watched::new(Ok(gate), Interest::READABLE);
    loop {
        gate.readable().await;
        loop {
            let Some(own) = own.upgrade() else { return };
            let is_more = own.turn(&bells);
            drop(own);
            tokio::task::yield_now().await;
            if !is_more {
                break;
            }
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // The hidden thread looks, and finds nobody.
        if let Some(bells) = self.bells.get() {
            bells.open_gate();
            bells.ring();
        }
    }
}

impl Stock for Own {
    fn attach(&self, client: &Arc<Client>) -> io::Result<Encoded> {
        let bells = self.bells()?.clone();
        let (page, file) = Page::make()?;
        let (ours, theirs) = Channel::pair()?;
        let channel = Arc::new(Channel::new(ours));
        let core = &mut *lock(&self.core);
        // It may know of what others have put by now, and puts behind that.
        self.read_news(core);
        self.settle(core);
        let capacity = core.machine.options().capacity;
        let mut welcome = codec::encode(&Welcome { capacity }).map_err(io::Error::other)?;
        welcome.fds = vec![file, theirs];
        bells.add(channel.as_fd(), client.id.0)?;
        let stream = Stream::new(page, channel);
        stream.set_state(core.machine.is_shut(), core.machine.is_heavy());
        core.clients.0.insert(client.id.0, stream);
        core.machine.attach(client.id.0);
        self.has_clients.store(true, Ordering::Relaxed);
        Ok(welcome)
    }

    fn request(
        &self,
        client: &Arc<Client>,
        message: Encoded,
        reply: Option<ReplyTo>,
    ) -> Result<(), BadMessage> {
        let ask = codec::decode(&message.bytes, message.fds).map_err(|_| BadMessage)?;
        let holder = Holder::Client(client.id.0);
        let now = match ask {
            Ask::Len => Answer::Len(self.len()),
            Ask::TaskDone => match self.task_done(holder) {
                Ok(()) => Answer::Done,
                Err(_) => Answer::TooManyDone,
            },
            Ask::Shutdown { immediate } => {
                self.shutdown(immediate);
                Answer::Done
            }
            Ask::EndLease { lease, is_finished } => {
                let core = &mut *lock(&self.core);
                core.leases.remove(&lease);
                if core.machine.leased(lease).is_some_and(|(held, _)| held == holder) {
                    if is_finished {
                        core.machine.finish(lease, &mut core.clients);
                    } else {
                        core.machine.give_back_lease(lease, &mut core.clients);
                    }
                }
                self.settle(core);
                Answer::Done
            }
            Ask::Join { waits } | Ask::Lease { waits } => {
                let reply = reply.ok_or(BadMessage)?;
                let core = &mut *lock(&self.core);
                self.look_at_all(core);
                let waiter = core.number();
                core.due.insert(waiter, Due::Reply(reply));
                let leases = matches!(ask, Ask::Lease { .. });
                if leases {
                    core.machine.wait_get(waiter, Some(holder), &mut core.clients);
                } else {
                    core.machine.join(waiter);
                }
                if !waits && core.machine.cancel(waiter, &mut core.clients) {
                    let due = core.due.remove(&waiter);
                    let is_shut = leases && core.machine.is_shut();
                    let words = if is_shut { Answer::Shutdown } else { Answer::Empty };
                    if let Some(reply) = due.and_then(Due::reply) {
                        reply.send(answer(&words, &[], Vec::new()));
                    }
                }
                self.settle(core);
                return Ok(());
            }
        };
        if let Some(reply) = reply {
            reply.send(answer(&now, &[], Vec::new()));
        }
        Ok(())
    }

    fn cancel(&self, client: &Arc<Client>, number: u64) {
        let core = &mut *lock(&self.core);
        let known = |due: &Due| match due {
            Due::Reply(reply) => reply.client().id == client.id && reply.number() == number,
            Due::Cell(_) => false,
        };
        let waiter = core.due.iter().find(|(_, due)| known(due)).map(|(waiter, _)| *waiter);
        if let Some(waiter) = waiter {
            core.due.remove(&waiter);
            core.machine.cancel(waiter, &mut core.clients);
        } else {
            // It was answered; an item that was leased by that answer comes back.
            let is_it = |answered: &(u16, u64)| *answered == (client.id.0, number);
            let lease = core.leases.iter().find(|(_, answered)| is_it(answered));
            if let Some(lease) = lease.map(|(lease, _)| *lease) {
                core.leases.remove(&lease);
                core.machine.cancel_lease(lease, &mut core.clients);
            }
        }
        self.settle(core);
    }

    fn detach(&self, client: &Arc<Client>) {
        self.gone(client);
    }

    fn died(&self, client: &Arc<Client>) {
        self.gone(client);
    }

    fn renew(&self) -> bool {
        // The copy has the items as well. The original has one thread, so nobody was at work
        // on them, and it serves no clients.
        self.bells.get().is_none() && lock(&self.core).clients.0.is_empty()
    }
}
