//! Objects made of shared words: owned, attached, repaired.
//!
//! Owns what locks and their kin have in common on both sides but for their handles: an object's record in its
//! owner's page, the page's way to clients, the repair after a client's death, and those
//! for which the owner waits. What the words of each mean is its form's business: see
//! [`Form`]. It must never wait; the owner's side runs on the hidden thread.

use super::handle;
use super::page::{OWNER, Page};
use super::waiters::{Answer, Ask, From, Waiters, Waiting};
use crate::codec::{self, Encoded, Fd};
use crate::node::hidden;
use crate::share::era::Era;
use crate::share::{BadMessage, Client, Connection, Kind, ReplyTo, ShareError, Stock};
use crate::sync::lock;
use crate::sys::page::{View, Words};
use procession_protocols::word::Seat;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

/// One kind of object made of shared words.
pub(super) trait Form: Sized + Send + Sync + 'static {
    /// Its name.
    const NAME: &'static str;
    /// Its words.
    type Words: Words + 'static;
    /// What is the same for ever, and known to all who use it.
    type Settings: Copy + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Writes the first words.
    fn prepare(words: &Self::Words, settings: Self::Settings);

    /// Writes into `new` what a copy of the owner begins with.
    fn renew(new: &Self::Words, old: &Self::Words, settings: Self::Settings) {
        let _ = old;
        Self::prepare(new, settings);
    }

    /// Makes the words whole after a client of the owner has gone. Everybody is woken after
    /// it, by [`rouse`](Self::rouse).
    fn repair(own: &Own<Self>, spot: &Spot<Self>, gone: &Gone<'_>);

    /// Has all sleepers look again.
    fn rouse(spot: &Spot<Self>);

    /// Lets those for which the owner waits have their turn, if it has come.
    fn serve(own: &Own<Self>, spot: &Spot<Self>, waiters: &mut Waiters);

    /// Takes back what a waiter was granted that nobody awaits any more.
    fn undo(own: &Own<Self>, spot: &Spot<Self>, waiting: &Waiting);
}

/// Who has gone.
pub(super) struct Gone<'a> {
    pub(super) client: u16,
    pub(super) pid: u32,
    pub(super) name: &'a str,
    /// By its death; else its last handle went, and it lives.
    pub(super) died: bool,
    /// It has been said to be a party.
    pub(super) was_party: bool,
}

impl Gone<'_> {
    /// Whether a seat was its own.
    pub(super) fn had(&self, page: &Page, seat: Seat) -> bool {
        page.client_of(seat) == self.client
    }
}

/// Where an object's words are, in this process's memory.
pub(super) struct Spot<F: Form> {
    pub(super) page: Arc<Page>,
    pub(super) record: u32,
    pub(super) words: View<F::Words>,
}

/// An object in its owner.
pub(super) struct Own<F: Form> {
    pub(super) spot: Era<Option<Spot<F>>>,
    pub(super) settings: F::Settings,
    state: Mutex<State>,
    me: Weak<Self>,
}

#[derive(Default)]
struct State {
    waiters: Waiters,
    parties: BTreeSet<u16>,
    /// Looks follow while somebody waits.
    is_looking: bool,
}

/// So often those for which the owner waits have their turn though nobody rings: whoever was
/// about to may have been stopped.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// An object in another process.
pub(super) struct Away<F: Form> {
    pub(super) spot: Spot<F>,
    pub(super) settings: F::Settings,
    pub(super) connection: Arc<Connection>,
    pub(super) object: u64,
    /// The owner knows that this process, should it die, is missed.
    pub(super) is_party: AtomicBool,
    /// How many wait there, without whom others would wait in vain.
    pub(super) waits: AtomicU32,
}

/// The pages of one owner in a client: at most one.
#[derive(Default)]
struct Pages(Mutex<Option<Arc<Page>>>);

/// What a client needs.
#[derive(Serialize, Deserialize)]
struct Attachment<S> {
    page: Fd,
    record: u32,
    settings: S,
}

/// What a client has in this process's page; it is free when the client has died.
#[derive(Default)]
struct Guest(OnceLock<(Arc<Page>, u16)>);

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some((page, client)) = self.0.get() {
            page.clear_seats(*client);
        }
    }
}

impl<F: Form> Spot<F> {
    fn new(page: Arc<Page>, record: u32) -> Result<Self, ShareError> {
        let words = page.words(record);
        let words = words.ok_or_else(|| io::Error::other("the owner names no record"))?;
        Ok(Self { page, record, words })
    }

    fn make(settings: F::Settings, old: Option<&Self>) -> io::Result<Self> {
        let page = Page::own()?;
        let record = page.give_record()?;
        let spot = Self::new(page, record).map_err(io::Error::other)?;
        match old {
            Some(old) => F::renew(&spot.words, &old.words, settings),
            None => F::prepare(&spot.words, settings),
        }
        Ok(spot)
    }
}

impl<F: Form> Own<F> {
    pub(super) fn make(settings: F::Settings) -> io::Result<Arc<Self>> {
        let spot = Era::new(Some(Spot::make(settings, None)?));
        let make =
            |me: &Weak<Self>| Self { spot, settings, state: Mutex::default(), me: me.clone() };
        Ok(Arc::new_cyclic(make))
    }

    /// Lets those for which the owner waits have their turn.
    pub(super) fn serve(&self) {
        if let Some(spot) = self.spot.now(|| None) {
            F::serve(self, spot, &mut lock(&self.state).waiters);
        }
    }

    pub(super) fn wait(&self, waiting: Waiting) {
        lock(&self.state).waiters.push(waiting);
        self.serve();
        self.look_on();
    }

    /// Has the hidden thread look for as long as somebody waits.
    fn look_on(&self) {
        let Ok(hidden) = hidden::handle() else { return };
        let state = &mut *lock(&self.state);
        if state.waiters.len() == 0 || std::mem::replace(&mut state.is_looking, true) {
            return;
        }
        let me = self.me.clone();
        hidden.spawn(async move {
            loop {
                tokio::time::sleep(LOOK_PERIOD).await;
                let Some(own) = me.upgrade() else { return };
                own.serve();
                let state = &mut *lock(&own.state);
                state.is_looking = state.waiters.len() > 0;
                if !state.is_looking {
                    return;
                }
            }
        });
    }

    pub(super) fn abandon(&self, from: From, token: u64, asked: impl FnOnce() -> Waiting) {
        let was_waiting = lock(&self.state).waiters.remove(from, token);
        // Asking came before giving up, so who does not wait was served.
        if !was_waiting && let Some(spot) = self.spot.now(|| None) {
            F::undo(self, spot, &asked());
        }
        self.serve();
    }

    fn repair(&self, client: &Client, died: bool) {
        let Some(spot) = self.spot.now(|| None) else { return };
        let was_party = {
            let mut state = lock(&self.state);
            state.waiters.forget(From::Client(client.id.0));
            state.parties.remove(&client.id.0)
        };
        let Client { pid, name, id, .. } = client;
        let gone = Gone { client: id.0, pid: *pid, name, died, was_party };
        F::repair(self, spot, &gone);
        F::rouse(spot);
        self.serve();
    }
}

impl<F: Form> Drop for Own<F> {
    fn drop(&mut self) {
        // What an older generation had lies in the page of another process.
        if let Some(spot) = self.spot.now(|| None) {
            spot.page.take_record(spot.record);
        }
    }
}

impl<F: Form> Stock for Own<F> {
    fn attach(&self, client: &Arc<Client>) -> io::Result<Encoded> {
        let Some(spot) = self.spot.now(|| None) else {
            return Err(io::Error::other("the object is another process's"));
        };
        let page = Fd(spot.page.file().try_clone_to_owned()?);
        let attachment = Attachment { page, record: spot.record, settings: self.settings };
        let answer = codec::encode(&attachment).map_err(io::Error::other)?;
        client.extension::<Guest>().0.get_or_init(|| (spot.page.clone(), client.id.0));
        Ok(answer)
    }

    fn request(
        &self,
        client: &Arc<Client>,
        message: Encoded,
        reply: Option<ReplyTo>,
    ) -> Result<(), BadMessage> {
        let ask = codec::decode(&message.bytes, message.fds).map_err(|_| BadMessage)?;
        let from = From::Client(client.id.0);
        match (ask, reply) {
            (Ask::Ring, None) => self.serve(),
            (Ask::Party, None) => drop(lock(&self.state).parties.insert(client.id.0)),
            (Ask::Forsaken, None) => self.repair(client, true),
            (Ask::NoParty, None) => drop(lock(&self.state).parties.remove(&client.id.0)),
            (Ask::Wait(claim), Some(reply)) => {
                let answer = Answer::Remote(reply);
                self.wait(Waiting { from, claim, began: Instant::now(), answer });
            }
            (Ask::Abandon(claim), reply) => {
                self.abandon(from, claim.token, || Waiting {
                    from,
                    claim,
                    began: Instant::now(),
                    answer: Answer::Nobody,
                });
                if let Some(reply) = reply {
                    reply.send(Encoded::default());
                }
            }
            _ => return Err(BadMessage),
        }
        Ok(())
    }

    fn detach(&self, client: &Arc<Client>) {
        self.repair(client, false);
    }

    fn died(&self, client: &Arc<Client>) {
        self.repair(client, true);
    }

    fn renew(&self) -> bool {
        let fresh = Spot::make(self.settings, self.spot.first());
        fresh.is_ok_and(|fresh| self.spot.now(|| Some(fresh)).is_some())
    }
}

/// The kind of a form's objects.
pub(super) struct KindOf<F>(PhantomData<fn() -> F>);

impl<F: Form> Kind for KindOf<F> {
    const NAME: &'static str = F::NAME;
    type Own = Own<F>;
    type Away = Away<F>;

    fn attached(
        connection: &Arc<Connection>,
        object: u64,
        answer: Encoded,
    ) -> Result<Self::Away, ShareError> {
        let odd = || ShareError::Io(io::ErrorKind::InvalidData.into());
        let attachment = codec::decode(&answer.bytes, answer.fds);
        let Attachment { page, record, settings } = attachment.map_err(io::Error::other)?;
        let client = connection.client_id().ok_or_else(odd)?.0;
        if client <= OWNER {
            return Err(odd());
        }
        let pages = connection.extension::<Pages>();
        let page = {
            let known = &mut *lock(&pages.0);
            match known {
                Some(page) => page.clone(),
                None => known.insert(Arc::new(Page::map(page.into(), client)?)).clone(),
            }
        };
        let spot = Spot::new(page, record)?;
        let (is_party, waits) = Default::default();
        Ok(Away { spot, settings, connection: connection.clone(), object, is_party, waits })
    }

    fn owner_gone(away: &Self::Away) {
        away.spot.page.set_gone();
        F::rouse(&away.spot);
    }

    fn forsaken(away: &Self::Away) {
        handle::forsake(away);
    }

    fn process_ends(away: &Self::Away) {
        handle::end_party(away);
    }
}
