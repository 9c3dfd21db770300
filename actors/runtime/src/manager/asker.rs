//! Who asks a managed object something.
//!
//! Owns the ways by which answers go back, whoever gives them. It must never wait for whom it
//! answers. Neighbours: `object` answers, `reactor` and `far_session` bring those who ask.

use super::reactor::Served;
use super::stored::Stored;
use crate::codec;
use crate::share::{ClientId, ReplyTo};
use procession_protocols::manager::Reply;
use std::io;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Who gets an answer.
pub(super) enum Asker {
    /// A process, over its connection.
    Client(ReplyTo),
    /// A process, over its channel, and its number of the call.
    Channel(Arc<Served>, u64),
    /// This process, and its number of the call.
    Here(u64, oneshot::Sender<Reply<Stored>>),
    /// A client outside the tree, and its number of the call.
    Far(ClientId, u64, Box<dyn FnOnce(Reply<Stored>) + Send>),
    /// Nobody.
    Nobody,
}

impl Asker {
    /// Answers; never waits.
    pub(super) fn answer(self, reply: Reply<Stored>) {
        match self {
            Self::Client(client) => match codec::encode(&reply) {
                Ok(encoded) => client.send(encoded),
                Err(error) => client.fail(&io::Error::other(error)),
            },
            Self::Channel(channel, number) => channel.answer(number, &reply),
            Self::Here(_, sender) => {
                // An error means that the caller has given up.
                let _ = sender.send(reply);
            }
            Self::Far(_, _, answer) => answer(reply),
            Self::Nobody => {}
        }
    }

    /// Whether it is code in this process.
    pub(super) fn is_here(&self) -> bool {
        matches!(self, Self::Here(..))
    }

    /// The client that asks, and its number of the call.
    pub(super) fn number(&self) -> Option<(ClientId, u64)> {
        match self {
            Self::Client(client) => Some((client.client().id, client.number())),
            Self::Channel(channel, number) => Some((channel.client(), *number)),
            Self::Far(client, number, _) => Some((*client, *number)),
            Self::Here(number, _) => Some((ClientId::OWNER, *number)),
            Self::Nobody => None,
        }
    }
}

/// Answers that leave when the object's lock is open again. Most calls have one.
#[derive(Default)]
pub(super) struct Outbox {
    first: Option<(Asker, Reply<Stored>)>,
    others: Vec<(Asker, Reply<Stored>)>,
}

impl Outbox {
    pub(super) fn push(&mut self, asker: Asker, reply: Reply<Stored>) {
        match self.first {
            None => self.first = Some((asker, reply)),
            Some(_) => self.others.push((asker, reply)),
        }
    }

    /// Sends them.
    pub(super) fn send(self) {
        for (asker, reply) in self.first.into_iter().chain(self.others) {
            asker.answer(reply);
        }
    }
}
