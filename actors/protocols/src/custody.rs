//! Who keeps a shared object alive at its owner, and who must be told of its loss.
//!
//! Owns the count of everything by which an object can still be reached: handles in the
//! owner's own process, *tickets* (a descriptor beside a message, whose end is seen when
//! the last copy is closed), and *clients* (processes) that are attached. It decides when
//! an object is dropped, and says once for each client and object that the client let go
//! or died. It must never read a socket or wait: the runtime's `share` module feeds it and
//! carries out its effects.
//!
//! ```text
//!            host                       issue, attach
//!   (none) ────────> held here only <───────────────── travelled
//!                        │ last let_go                    │ last holder went
//!                        v                                v
//!                      Drop                 suspect ── Drain ──> drained: Drop, unless
//!                                                                somebody holds it again
//! ```
//!
//! What one process writes to several sockets arrives in no order. So the end of an
//! object's last known holder proves little: a client may have passed the object on over
//! another socket before. The object becomes a *suspect*; the owner then reads all that
//! has come on every socket, and only what is still out of reach after that is dropped.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// A client's number at one owner. Lock words name holders by it, so it is given to
/// nobody else before the client's death has been repaired.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct ClientId(pub u16);

impl ClientId {
    /// The owner itself, where it stands among its clients.
    pub const OWNER: Self = Self(1);
    /// The first number that a client can have.
    pub const FIRST: Self = Self(2);
}

/// What the owner is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nobody can reach the object any more: drop it.
    Drop(u64),
    /// Read every socket to its end as of now, between
    /// [`begin_drain`](Custody::begin_drain) and [`drained`](Custody::drained).
    Drain,
    /// The client has let go of the object.
    Detach(ClientId, u64),
    /// The client died attached to the object. Said once.
    Died(ClientId, u64),
}

/// There is no such object, or none that this client may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such object")]
pub struct NoSuchObject;

/// How a client came to be attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    /// It was not attached before.
    Fresh,
    /// It was, by an attachment that it has forgotten; that one ends now.
    InPlaceOfAnother,
}

/// The state of one owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Custody {
    objects: BTreeMap<u64, Holders>,
    /// What each ticket keeps.
    tickets: BTreeMap<u64, Vec<u64>>,
    /// What each client is attached to. One that died is empty and stays until buried.
    clients: BTreeMap<ClientId, Client>,
    suspects: BTreeSet<u64>,
    last_object: u64,
    last_ticket: u64,
    last_client: u16,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Holders {
    local: u32,
    tickets: u32,
    clients: u32,
    /// Whether anybody elsewhere ever had it.
    travelled: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Client {
    is_dead: bool,
    /// Each object and the number of the attachment that counts.
    attached: BTreeMap<u64, u64>,
}

impl Holders {
    fn is_held(&self) -> bool {
        self.local > 0 || self.tickets > 0 || self.clients > 0
    }
}

impl Custody {
    /// Takes in a new object with one local handle, and gives its number: never 0, never
    /// one that was given before.
    pub fn host(&mut self) -> u64 {
        self.last_object += 1;
        self.objects.insert(self.last_object, Holders { local: 1, ..Holders::default() });
        self.last_object
    }

    /// A further local handle. False when there is no such object.
    pub fn hold(&mut self, object: u64) -> bool {
        match self.objects.get_mut(&object) {
            Some(holders) => {
                holders.local += 1;
                true
            }
            None => false,
        }
    }

    /// A local handle has been dropped.
    pub fn let_go(&mut self, object: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(holders) = self.objects.get_mut(&object) {
            holders.local = holders.local.saturating_sub(1);
            self.look_at(object, &mut effects);
        }
        effects
    }

    /// A ticket for these objects goes out; those that do not exist are left out. Gives the
    /// ticket's number.
    pub fn issue(&mut self, objects: impl IntoIterator<Item = u64>) -> u64 {
        let mut kept = Vec::new();
        for object in objects {
            if let Some(holders) = self.objects.get_mut(&object) {
                holders.tickets += 1;
                holders.travelled = true;
                kept.push(object);
            }
        }
        self.last_ticket += 1;
        self.tickets.insert(self.last_ticket, kept);
        self.last_ticket
    }

    /// All copies of a ticket's descriptor have been closed.
    pub fn end_ticket(&mut self, ticket: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        for object in self.tickets.remove(&ticket).unwrap_or_default() {
            if let Some(holders) = self.objects.get_mut(&object) {
                holders.tickets = holders.tickets.saturating_sub(1);
                self.look_at(object, &mut effects);
            }
        }
        effects
    }

    /// A process becomes a client. `None` when all numbers are taken.
    pub fn connect(&mut self) -> Option<ClientId> {
        let all = usize::from(u16::MAX - ClientId::FIRST.0) + 1;
        if self.clients.len() >= all {
            return None;
        }
        // A number rests as long as it can before it is used again.
        loop {
            self.last_client = self.last_client.wrapping_add(1).max(ClientId::FIRST.0);
            let id = ClientId(self.last_client);
            if let Entry::Vacant(free) = self.clients.entry(id) {
                free.insert(Client::default());
                return Some(id);
            }
        }
    }

    /// A client attaches to an object; `number` is its name for this attachment.
    ///
    /// # Errors
    /// [`NoSuchObject`]
    pub fn attach(
        &mut self,
        client: ClientId,
        object: u64,
        number: u64,
    ) -> Result<Attached, NoSuchObject> {
        let holders = self.objects.get_mut(&object).ok_or(NoSuchObject)?;
        let client = self.clients.get_mut(&client).filter(|client| !client.is_dead);
        if client.ok_or(NoSuchObject)?.attached.insert(object, number).is_some() {
            return Ok(Attached::InPlaceOfAnother);
        }
        holders.clients += 1;
        holders.travelled = true;
        Ok(Attached::Fresh)
    }

    /// Whether a client is attached to an object.
    pub fn is_attached(&self, client: ClientId, object: u64) -> bool {
        self.clients.get(&client).is_some_and(|client| client.attached.contains_key(&object))
    }

    /// A client has dropped its last handle. Nothing happens if it has attached anew since,
    /// by a greater number.
    pub fn release(&mut self, client: ClientId, object: u64, number: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(state) = self.clients.get_mut(&client) else { return effects };
        if state.attached.get(&object) != Some(&number) {
            return effects;
        }
        state.attached.remove(&object);
        effects.push(Effect::Detach(client, object));
        self.lose_client(object, &mut effects);
        effects
    }

    /// A client's process has ended, and all that it had written has been read. Its number
    /// stays taken until [`bury`](Self::bury).
    pub fn die(&mut self, client: ClientId) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(state) = self.clients.get_mut(&client) else { return effects };
        state.is_dead = true;
        let attached = std::mem::take(&mut state.attached);
        // Every object hears of the death before any of them may go.
        effects.extend(attached.keys().map(|object| Effect::Died(client, *object)));
        for object in attached.into_keys() {
            self.lose_client(object, &mut effects);
        }
        effects
    }

    /// All that a dead client's death had to repair is repaired: its number is free.
    pub fn bury(&mut self, client: ClientId) {
        if self.clients.get(&client).is_some_and(|client| client.is_dead) {
            self.clients.remove(&client);
        }
    }

    /// Whether this client is connected, and not known to have died.
    pub fn is_there(&self, client: ClientId) -> bool {
        self.clients.get(&client).is_some_and(|client| !client.is_dead)
    }

    /// Takes the suspects whose case this drain decides. Those that come up during it wait
    /// for the next.
    pub fn begin_drain(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.suspects)
    }

    /// Everything that had come when the drain began has been read.
    pub fn drained(&mut self, suspects: BTreeSet<u64>) -> Vec<Effect> {
        let mut effects = Vec::new();
        for object in suspects {
            let is_lost = self.objects.get(&object).is_some_and(|holders| !holders.is_held());
            // One that came up again meanwhile was held again in between.
            if is_lost && !self.suspects.contains(&object) {
                self.objects.remove(&object);
                effects.push(Effect::Drop(object));
            }
        }
        effects
    }

    /// A drain came to nothing: another will decide.
    pub fn put_off(&mut self, suspects: BTreeSet<u64>) {
        self.suspects.extend(suspects);
    }

    fn lose_client(&mut self, object: u64, effects: &mut Vec<Effect>) {
        if let Some(holders) = self.objects.get_mut(&object) {
            holders.clients = holders.clients.saturating_sub(1);
            self.look_at(object, effects);
        }
    }

    /// Decides about an object that has just lost a holder.
    fn look_at(&mut self, object: u64, effects: &mut Vec<Effect>) {
        let Some(holders) = self.objects.get(&object) else { return };
        if holders.is_held() {
            return;
        }
        if !holders.travelled {
            self.objects.remove(&object);
            effects.push(Effect::Drop(object));
        } else if self.suspects.insert(object) && !effects.contains(&Effect::Drain) {
            effects.push(Effect::Drain);
        }
    }
}
