//! Handles to objects made of shared words, and the objects at hand.
//!
//! Owns the way from a handle to the words: the long one, by the owner, and the short one
//! that is known after the first use, which takes no more than a few reads. Neighbour:
//! `host`, the owner's side. It must never change a word itself.

use super::WordError;
use super::host::{Away, Form, KindOf, Own, Spot};
use super::waiters::{Answer, Ask, Claim, From, Waiting};
use crate::codec;
use crate::node;
use crate::share::era;
use crate::share::{Connection, Share, ShareError, Side};
use crate::sync::after;
use crate::sys::page::View;
use procession_protocols::id::NodeId;
use procession_protocols::word::Seat;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How long an owner may take to attach a client.
const ATTACH_WITHIN: Duration = Duration::from_secs(5);

/// A handle to an object, whatever its form.
pub(super) struct Handle<F: Form> {
    share: Share<KindOf<F>>,
    near: OnceLock<Near<F>>,
}

/// What a handle knows of an object once it has been used: all that its words need, as long
/// as no fork and no death comes between.
pub(super) struct Near<F: Form> {
    pub(super) generation: u32,
    /// Of the page.
    key: u64,
    is_gone: Arc<AtomicBool>,
    pub(super) words: View<F::Words>,
}

impl<F: Form> Near<F> {
    fn of(spot: &Spot<F>) -> Self {
        let Spot { page, words, .. } = spot;
        let (generation, is_gone) = (era::generation(), page.is_gone_flag());
        Self { generation, key: page.key(), is_gone, words: words.clone() }
    }

    /// The calling thread's seat, if it used this page last.
    #[inline]
    pub(super) fn seat(&self) -> Option<Seat> {
        super::seat::last(self.key)
    }
}

/// An object, at hand.
pub(super) struct At<'a, F: Form> {
    pub(super) spot: &'a Spot<F>,
    pub(super) settings: F::Settings,
    side: Side<'a, KindOf<F>>,
}

impl<F: Form> Handle<F> {
    pub(super) fn host(settings: F::Settings) -> io::Result<Self> {
        Ok(Self::of(Share::host(Own::make(settings)?)))
    }

    /// The owner's number; `None` when it is out of reach.
    pub(super) fn owner(&self) -> Option<NodeId> {
        self.share.owner()
    }

    fn of(share: Share<KindOf<F>>) -> Self {
        Self { share, near: OnceLock::new() }
    }

    /// The words, if this handle has been used in this process and the owner lives.
    #[inline]
    pub(super) fn near(&self) -> Option<&Near<F>> {
        let near = self.near.get()?;
        let is_now = near.generation == era::generation() && !near.is_gone.load(Ordering::Relaxed);
        is_now.then_some(near)
    }

    /// As [`near`](Self::near), also when the owner has ended since.
    pub(super) fn last(&self) -> Option<&Near<F>> {
        self.near.get().filter(|near| near.generation == era::generation())
    }

    /// The object. The first use in a process attaches to the owner, which may take a
    /// while; that is not counted as part of the wait that follows.
    #[inline]
    pub(super) fn at(&self) -> Result<At<'_, F>, WordError> {
        match self.share.ready() {
            Some(side) => self.at_side(side),
            None => self.at_side(self.share.side_until(after(ATTACH_WITHIN))?),
        }
    }

    /// The words alone, for what needs no more.
    #[inline]
    pub(super) fn words(&self) -> Result<&F::Words, WordError> {
        match self.near() {
            Some(near) => Ok(&near.words),
            None => Ok(&self.at()?.spot.words),
        }
    }

    /// The object, unless that would wait or fail: for what is dropped.
    #[inline]
    pub(super) fn ready(&self) -> Option<At<'_, F>> {
        self.share.ready().and_then(|side| Self::look(side).ok())
    }

    pub(super) async fn at_async(&self) -> Result<At<'_, F>, WordError> {
        self.at_side(self.share.side_async().await?)
    }

    #[inline]
    fn at_side<'a>(&'a self, side: Side<'a, KindOf<F>>) -> Result<At<'a, F>, WordError> {
        let at = Self::look(side)?;
        // In a copy of the process what its parent knew stays, and is not used.
        self.near.get_or_init(|| Near::of(at.spot));
        Ok(at)
    }

    #[inline]
    fn look(side: Side<'_, KindOf<F>>) -> Result<At<'_, F>, WordError> {
        match side {
            Side::Own(own) => {
                let spot = if own.spot.is_now() { &own.spot.state } else { own.spot.now(|| None) };
                let spot = spot.as_ref().ok_or(ShareError::Forked)?;
                Ok(At { spot, settings: own.settings, side: Side::Own(own) })
            }
            Side::Away(away) => {
                if away.spot.page.is_gone() {
                    return Err(gone(&away.connection));
                }
                let side = Side::Away(away);
                Ok(At { spot: &away.spot, settings: away.settings, side })
            }
        }
    }
}

impl<F: Form> Clone for Handle<F> {
    fn clone(&self) -> Self {
        Self::of(self.share.clone())
    }
}

impl<F: Form> fmt::Debug for Handle<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.share.fmt(f)
    }
}

impl<F: Form> Serialize for Handle<F> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.share.serialize(serializer)
    }
}

impl<'de, F: Form> Deserialize<'de> for Handle<F> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Share::deserialize(deserializer).map(Self::of)
    }
}

impl<F: Form> At<'_, F> {
    #[inline]
    pub(super) fn words(&self) -> &F::Words {
        &self.spot.words
    }

    #[inline]
    pub(super) fn seat(&self) -> Result<Seat, WordError> {
        Ok(super::seat::seat(&self.spot.page).map_err(ShareError::Io)?)
    }

    /// Tells the owner that those for which it waits may have their turn.
    pub(super) fn ring(&self) {
        match &self.side {
            Side::Own(own) => own.serve(),
            Side::Away(_) => drop(self.post(&Ask::Ring)),
        }
    }

    fn post(&self, ask: &Ask) -> Result<(), WordError> {
        match &self.side {
            Side::Own(_) => Ok(()),
            Side::Away(away) => post(away, ask),
        }
    }

    /// The error of a wait that ended with the owner.
    pub(super) fn gone(&self) -> WordError {
        match &self.side {
            Side::Own(_) => ShareError::Forked.into(),
            Side::Away(away) => gone(&away.connection),
        }
    }

    /// The seat of this process for waits without a thread.
    pub(super) fn common_seat(&self) -> Result<Seat, WordError> {
        let name = node::current().name();
        Ok(self.spot.page.common_seat(&name).map_err(ShareError::Io)?)
    }

    /// Has the owner wait, and gives what it says. Dropped before that, it gives back what
    /// has been granted, and the claim's cell; after an error nobody has the cell but the
    /// caller.
    pub(super) async fn have_owner_wait(&self, mut claim: Claim) -> Result<u8, WordError> {
        static TOKENS: AtomicU64 = AtomicU64::new(1);
        claim.token = TOKENS.fetch_add(1, Ordering::Relaxed);
        let mut pending = Pending { at: self, claim, is_armed: true };
        let result = match &self.side {
            Side::Own(own) => {
                let (sender, answer) = tokio::sync::oneshot::channel();
                let answer_to = Answer::Local(sender);
                let began = Instant::now();
                own.wait(Waiting { from: From::Owner, claim, began, answer: answer_to });
                answer.await.map_err(|_| ShareError::NoReply.into())
            }
            Side::Away(away) => {
                let message = codec::encode(&Ask::Wait(claim)).map_err(io::Error::other);
                let message = message.map_err(ShareError::Io)?;
                let answer = away.connection.request_async(away.object, message).await;
                answer.map_err(WordError::from).and_then(|answer| {
                    answer.bytes.first().copied().ok_or_else(|| ShareError::NoReply.into())
                })
            }
        };
        pending.is_armed = false;
        result
    }
}

impl<'a, F: Form> At<'a, F> {
    /// The owner is to know that this process, should it die, is missed; while the answer
    /// lives, also should it end in good order.
    pub(super) fn join(&self) -> Result<Joined<'a>, WordError> {
        let Side::Away(away) = self.side else { return Ok(Joined(None)) };
        away.waits.fetch_add(1, Ordering::SeqCst);
        let joined = Joined(Some(&away.waits));
        if !away.is_party.swap(true, Ordering::SeqCst) {
            // What it was not told, it is told the next time.
            let untold = |_: &WordError| away.is_party.store(false, Ordering::SeqCst);
            post(away, &Ask::Party).inspect_err(untold)?;
        }
        Ok(joined)
    }
}

/// A thread or task that others wait for.
pub(super) struct Joined<'a>(Option<&'a AtomicU32>);

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        if let Some(waits) = self.0 {
            waits.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// This process lets go in a panic: whoever waits for it would wait in vain.
pub(super) fn forsake<F: Form>(away: &Away<F>) {
    if away.is_party.load(Ordering::SeqCst) {
        let _ = post(away, &Ask::Forsaken);
    }
}

/// This process ends in good order: unless somebody waits there still, nobody misses it.
pub(super) fn end_party<F: Form>(away: &Away<F>) {
    let none_waits = || away.waits.load(Ordering::SeqCst) == 0;
    if !none_waits() || !away.is_party.swap(false, Ordering::SeqCst) {
        return;
    }
    let _ = post(away, &Ask::NoParty);
    // Whoever came meanwhile has said so before that.
    if !none_waits() {
        away.is_party.store(true, Ordering::SeqCst);
        let _ = post(away, &Ask::Party);
    }
}

fn post<F: Form>(away: &Away<F>, ask: &Ask) -> Result<(), WordError> {
    let message = codec::encode(ask).map_err(io::Error::other).map_err(ShareError::Io)?;
    Ok(away.connection.post(away.object, message)?)
}

/// A wait of the owner's that somebody here awaits.
struct Pending<'a, 'b, F: Form> {
    at: &'a At<'b, F>,
    claim: Claim,
    is_armed: bool,
}

impl<F: Form> Drop for Pending<'_, '_, F> {
    fn drop(&mut self) {
        if !self.is_armed {
            return;
        }
        let claim = self.claim;
        let page = &self.at.spot.page;
        match &self.at.side {
            Side::Own(own) => {
                own.abandon(From::Owner, claim.token, || Waiting {
                    from: From::Owner,
                    claim,
                    began: Instant::now(),
                    answer: Answer::Nobody,
                });
                if claim.cell != 0 {
                    page.put_cell(claim.cell);
                }
            }
            // Until the owner has heard of this it may have the cell hold a permit.
            Side::Away(away) => {
                let page = page.clone();
                let put = move || {
                    if claim.cell != 0 {
                        page.put_cell(claim.cell);
                    }
                };
                if let Ok(message) = codec::encode(&Ask::Abandon(claim)) {
                    let _ = away.connection.give_back(away.object, message, put);
                }
            }
        }
    }
}

fn gone(connection: &Connection) -> WordError {
    ShareError::OwnerGone { name: connection.owner_name().to_owned() }.into()
}
