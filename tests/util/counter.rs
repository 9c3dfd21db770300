//! A shared object for the tests of the mechanism itself: a number at its owner.
//!
//! Owns the smallest kind that uses everything: requests, answers that come later, one-way
//! messages, notes of who attached and who died.
#![allow(dead_code, reason = "each test binary uses its part")]

use procession_runtime::codec::{self, Encoded};
use procession_runtime::share::{
    BadMessage, Client, Connection, Kind, ReplyTo, Share, ShareError, Side, Stock,
};
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Counters that exist in this process.
pub(crate) static HOSTED: AtomicUsize = AtomicUsize::new(0);

/// Owners that went while this process was attached to a counter of theirs.
pub(crate) static GONE: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    Add(u64),
    /// Answered when the number is at least this.
    Reaches(u64),
    Seen,
    /// Never answered.
    Ignore,
    /// For its length alone.
    Pad(Vec<u8>),
}

/// What the owner has noted of clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) attached: Vec<u16>,
    pub(crate) detached: Vec<u16>,
    pub(crate) died: Vec<u16>,
    pub(crate) cancelled: usize,
    pub(crate) waiting: usize,
}

pub(crate) struct Own(Mutex<State>);

#[derive(Default)]
struct State {
    value: u64,
    seen: Seen,
    waiting: Vec<(u64, ReplyTo)>,
}

impl Drop for Own {
    fn drop(&mut self) {
        HOSTED.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Own {
    fn seen(&self) -> Seen {
        let state = self.0.lock().unwrap();
        Seen { waiting: state.waiting.len(), ..state.seen.clone() }
    }

    fn add(&self, by: u64) -> u64 {
        let mut state = self.0.lock().unwrap();
        state.value += by;
        let value = state.value;
        let (ready, rest) = state.waiting.drain(..).partition(|(wanted, _)| *wanted <= value);
        state.waiting = rest;
        drop(state);
        for (_, reply) in ready {
            reply.send(codec::encode(&value).unwrap());
        }
        value
    }
}

impl Stock for Own {
    fn attach(&self, client: &Arc<Client>) -> io::Result<Encoded> {
        self.0.lock().unwrap().seen.attached.push(client.id.0);
        Ok(Encoded::default())
    }

    fn request(
        &self,
        _client: &Arc<Client>,
        message: Encoded,
        reply: Option<ReplyTo>,
    ) -> Result<(), BadMessage> {
        let ask = codec::decode(&message.bytes, message.fds).map_err(|_| BadMessage)?;
        let answer = match ask {
            Ask::Add(by) => codec::encode(&self.add(by)),
            Ask::Seen => codec::encode(&self.seen()),
            Ask::Pad(_) => return Ok(()),
            Ask::Ignore => {
                std::mem::forget(reply);
                return Ok(());
            }
            Ask::Reaches(wanted) => {
                let state = &mut *self.0.lock().unwrap();
                if state.value < wanted {
                    state.waiting.extend(reply.map(|reply| (wanted, reply)));
                    return Ok(());
                }
                codec::encode(&state.value)
            }
        };
        if let Some(reply) = reply {
            reply.send(answer.unwrap());
        }
        Ok(())
    }

    fn cancel(&self, _client: &Arc<Client>, number: u64) {
        let state = &mut *self.0.lock().unwrap();
        state.seen.cancelled += 1;
        state.waiting.retain(|(_, reply)| reply.number() != number);
    }

    fn detach(&self, client: &Arc<Client>) {
        self.0.lock().unwrap().seen.detached.push(client.id.0);
    }

    fn died(&self, client: &Arc<Client>) {
        self.0.lock().unwrap().seen.died.push(client.id.0);
    }

    fn renew(&self) -> bool {
        true
    }
}

pub(crate) struct CounterKind;

pub(crate) struct Away {
    connection: Arc<Connection>,
    object: u64,
}

impl Kind for CounterKind {
    const NAME: &'static str = "test counter";
    type Own = Own;
    type Away = Away;

    fn attached(
        connection: &Arc<Connection>,
        object: u64,
        _answer: Encoded,
    ) -> Result<Away, ShareError> {
        assert!(connection.client_id().is_some());
        Ok(Away { connection: connection.clone(), object })
    }

    fn owner_gone(_away: &Away) {
        GONE.fetch_add(1, Ordering::SeqCst);
    }
}

/// A handle.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Counter(pub(crate) Share<CounterKind>);

impl Counter {
    pub(crate) fn new() -> Self {
        HOSTED.fetch_add(1, Ordering::SeqCst);
        Self(Share::host(Arc::new(Own(Mutex::default()))))
    }

    pub(crate) fn add(&self, by: u64) -> Result<u64, ShareError> {
        match self.0.side()? {
            Side::Own(own) => Ok(own.add(by)),
            Side::Away(_) => self.ask(&Ask::Add(by), None),
        }
    }

    pub(crate) fn get(&self) -> u64 {
        self.add(0).unwrap()
    }

    pub(crate) fn is_own(&self) -> bool {
        matches!(self.0.side().unwrap(), Side::Own(_))
    }

    /// Waits, elsewhere than at the owner, until the number is at least this.
    pub(crate) fn reaches(&self, wanted: u64, timeout: Duration) -> Result<u64, ShareError> {
        self.ask(&Ask::Reaches(wanted), Some(timeout))
    }

    pub(crate) async fn reaches_async(&self, wanted: u64) -> Result<u64, ShareError> {
        let Side::Away(away) = self.0.side_async().await? else { panic!("own") };
        let message = codec::encode(&Ask::Reaches(wanted)).unwrap();
        let answer = away.connection.request_async(away.object, message).await?;
        Ok(codec::decode(&answer.bytes, answer.fds).unwrap())
    }

    pub(crate) fn ignored(&self, timeout: Duration) -> Result<u64, ShareError> {
        self.ask(&Ask::Ignore, Some(timeout))
    }

    /// Sends more than a socket holds.
    pub(crate) fn pad(&self) -> Result<(), ShareError> {
        let Side::Away(away) = self.0.side()? else { panic!("own") };
        let message = codec::encode(&Ask::Pad(vec![0; 1 << 20])).unwrap();
        away.connection.post(away.object, message)
    }

    /// Sends what is no message.
    pub(crate) fn nonsense(&self) -> Result<(), ShareError> {
        let Side::Away(away) = self.0.side()? else { panic!("own") };
        away.connection.post(away.object, Encoded { bytes: vec![0xff; 9], fds: Vec::new() })
    }

    pub(crate) fn seen(&self) -> Seen {
        match self.0.side().unwrap() {
            Side::Own(own) => own.seen(),
            Side::Away(_) => self.ask(&Ask::Seen, None).unwrap(),
        }
    }

    fn ask<R: for<'de> Deserialize<'de>>(
        &self,
        ask: &Ask,
        timeout: Option<Duration>,
    ) -> Result<R, ShareError> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let Side::Away(away) = self.0.side_until(deadline)? else { panic!("own") };
        let message = codec::encode(ask).unwrap();
        let answer = away.connection.request(away.object, message, deadline)?;
        Ok(codec::decode(&answer.bytes, answer.fds).unwrap())
    }
}
