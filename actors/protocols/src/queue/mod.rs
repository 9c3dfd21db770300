//! What a queue decides: who gets which item, who may put, what a death gives back.
//!
//! Owns the state machine of a queue's owner. It is a function of events (an item has
//! come, somebody waits, a client died) to effects, which the owner carries out, and to
//! changes of the words that it shares with clients, which it makes through [`Streams`].
//! It must never know what an item is, or wait. Neighbours: `cursor` and `hands` have the
//! algorithms of the shared words; the runtime's `queue` hosts the machine.
//!
//! An item is in one of four places:
//!
//! ```text
//!            lend                take                 task_done
//!   ready ----------> lent(c) ----------> kept(c) ----------------> gone
//!     ^                 |    (a plain queue: held(c) -- return --> gone)
//!     +---- recall -----+                                |
//!     +---- death or detach of c --- kept: redelivered --+
//! ```
//!
//! `ready` is sorted by arrival; what comes back goes to its old place. A place of a
//! bounded queue is lent to a producer as an item is to a consumer.

pub mod cursor;
pub mod hands;
mod lend;
mod line;
mod member;
mod places;

use hands::Held;
use line::Line;
pub use line::{Entry, Item};
use member::Member;
use std::collections::{BTreeMap, VecDeque};

/// A client of the owner: a process that has attached.
pub type Client = u16;

/// Somebody who waits at the owner: a thread or future of its process, or a request whose
/// reply is due. The host draws the numbers.
pub type Waiter = u64;

/// Most items that are lent to a client beyond what it has taken, at first.
pub const LEND_ITEMS: u32 = 64;

/// Most that are lent so to one that takes them faster than it is lent more.
pub const LEND_MOST: u32 = 1024;

/// Most bytes that are lent to a client beyond what it has taken (one item may be more).
pub const LEND_BYTES: u64 = 256 * 1024;

/// Most places of a bounded queue that are lent to a producer ahead.
pub const LEND_PLACES: u32 = 32;

/// What a queue keeps, in bytes, before putting waits, unless it is told otherwise.
pub const BYTES: u64 = 1 << 30;

/// The words and streams that the owner shares with its clients, as the machine uses them.
pub trait Streams<I> {
    /// Writes an item, or all of a run, behind those that are lent to a client. The client
    /// sees it when it is lent. False when there is no room for it now.
    fn write(&mut self, to: Client, entry: &Entry<I>) -> bool;
    /// Lends the next `count` written items.
    fn lend(&mut self, to: Client, count: u32);
    /// Asks a client to ring when it has taken so many in all (`None`: not to). Gives how
    /// many it has taken by now, in the order of the changes to its cursor.
    fn ring_at(&mut self, client: Client, taken: Option<u32>) -> u32;
    /// How many items a client has taken, in the order of the changes to its cursor.
    fn taken(&mut self, client: Client) -> u32;
    /// Which of the items that a client has taken its calls have not returned. `None` when
    /// that cannot be told now.
    fn held(&mut self, client: Client) -> Option<Vec<Held>>;
    /// Takes back all but `keep` of the items lent. Gives how many have been taken.
    fn recall(&mut self, from: Client, keep: u32) -> u32;
    /// How many of a client's threads wait for an item.
    fn hungry(&mut self, client: Client) -> u32;
    /// From here on a client does not tell when it waits for an item.
    fn calm(&mut self, client: Client);
    /// From here on it does. Gives how many of its threads wait by now.
    fn stir(&mut self, client: Client) -> u32;
    /// Lets a client put `count` more items.
    fn allow(&mut self, to: Client, count: u32);
    /// Takes back all but `keep` of the places lent. Gives how many have been used.
    fn disallow(&mut self, from: Client, keep: u32) -> u32;
}

/// What the host is to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect<I> {
    /// A waiter has its item.
    Deliver(Waiter, Entry<I>),
    /// A waiter has its place: it calls [`Machine::put_admitted`].
    Admit(Waiter),
    /// All items are finished.
    Joined(Waiter),
    /// The queue has been shut down, and there is nothing for this waiter.
    Ended(Waiter),
}

/// Who holds a leased item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    /// The owner's own process.
    Owner,
    /// A client.
    Client(Client),
}

/// How a queue is made.
#[derive(Debug, Clone, Copy, Hash)]
pub struct Options {
    /// Most items in it; `None` for no bound.
    pub capacity: Option<u64>,
    /// Most bytes in it, before putting waits.
    pub bytes: u64,
    /// Whether what a consumer took stays with the owner until `task_done`.
    pub joinable: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { capacity: None, bytes: BYTES, joinable: false }
    }
}

/// Why an item was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no room for it, or others wait for room.
    Full,
    /// The queue has been shut down.
    Shutdown,
}

/// `task_done` was called more often than there were items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("task_done() called too many times")]
pub struct TooManyDone;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Shut {
    /// What is there can be got.
    Draining,
    /// What is there, and what comes still, is dropped.
    Dropping,
}

#[derive(Debug, Clone, Hash)]
struct Getter {
    who: Who,
    lease: Option<Holder>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    Waiter(Waiter),
    Client(Client),
}

/// The state of one queue, at its owner.
#[derive(Debug, Clone, Hash)]
pub struct Machine<I> {
    options: Options,
    ready: Line<I>,
    members: BTreeMap<Client, Member<I>>,
    getters: VecDeque<Getter>,
    putters: VecDeque<Who>,
    joiners: Vec<Waiter>,
    leases: BTreeMap<Waiter, (Holder, Entry<I>)>,
    /// The only consumer, while there is nothing for it but what it knows of: it does not
    /// tell when it waits.
    calm: Option<Client>,
    /// Places given to waiters that have not put yet.
    admitted: u64,
    /// Of all that the owner keeps.
    bytes: u64,
    unfinished: u64,
    arrived: u64,
    shut: Option<Shut>,
    /// Something has to be tried again a little later.
    restless: bool,
    effects: Vec<Effect<I>>,
}

impl<I: Item> Machine<I> {
    /// An empty queue.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            ready: Line::default(),
            members: BTreeMap::new(),
            getters: VecDeque::new(),
            putters: VecDeque::new(),
            joiners: Vec::new(),
            leases: BTreeMap::new(),
            calm: None,
            admitted: 0,
            bytes: 0,
            unfinished: 0,
            arrived: 0,
            shut: None,
            restless: false,
            effects: Vec::new(),
        }
    }

    /// What the host is to do after an event.
    pub fn effects(&mut self) -> impl Iterator<Item = Effect<I>> + use<I> {
        std::mem::take(&mut self.effects).into_iter()
    }

    /// A client has attached.
    pub fn attach(&mut self, client: Client) {
        self.members.insert(client, Member::default());
    }

    /// A client has died, or let go of its last handle. The host has read all that it had
    /// put, if it can be read now. What was only lent to it goes back to its place, and so does what no call of its
    /// had returned, and, marked, what it had not finished.
    pub fn gone(&mut self, client: Client, streams: &mut impl Streams<I>) {
        let taken = streams.recall(client, 0);
        self.settle(client, taken, streams);
        self.calm.take_if(|calm| *calm == client);
        self.getters.retain(|getter| {
            getter.who != Who::Client(client) && getter.lease != Some(Holder::Client(client))
        });
        self.putters.retain(|who| *who != Who::Client(client));
        if let Some(member) = self.members.remove(&client) {
            self.give_back(member.lent, false);
            self.bytes += member.held.iter().map(|(_, entry)| entry.item.weight()).sum::<u64>();
            self.give_back(member.held.into_iter().map(|(_, entry)| entry), false);
            self.give_back(member.kept, true);
        }
        let held = |_: &Waiter, lease: &mut (Holder, Entry<I>)| lease.0 == Holder::Client(client);
        let leases: Vec<_> =
            self.leases.extract_if(.., held).map(|(_, (_, entry))| entry).collect();
        self.give_back(leases, true);
        self.distribute(streams);
    }

    /// An item of a client, or a run, has been read from its stream. Call
    /// [`distribute`](Self::distribute) after the last one of a turn.
    pub fn put(&mut self, client: Client, item: I) {
        if let Some(member) = self.members.get_mut(&client) {
            member.arrived(item.count());
        }
        self.put_late(item);
    }

    /// An item that a client had put, or a run, has been read when the client was
    /// [gone](Self::gone) already. Its place has been given away, as of one that comes back.
    pub fn put_late(&mut self, item: I) {
        // What it put before it could see the shutdown was put before the shutdown.
        if self.shut != Some(Shut::Dropping) {
            self.accept(item);
        }
    }

    /// The owner's process puts an item.
    ///
    /// # Errors
    /// [`Refusal`], with the item.
    pub fn put_own(&mut self, item: I, streams: &mut impl Streams<I>) -> Result<(), (Refusal, I)> {
        if self.shut.is_some() {
            return Err((Refusal::Shutdown, item));
        }
        if !self.putters.is_empty() || !self.find_place(streams) {
            return Err((Refusal::Full, item));
        }
        self.accept(item);
        self.distribute(streams);
        Ok(())
    }

    /// A waiter puts the item for which it was admitted.
    ///
    /// # Errors
    /// [`Refusal::Shutdown`], with the item.
    pub fn put_admitted(
        &mut self,
        item: I,
        streams: &mut impl Streams<I>,
    ) -> Result<(), (Refusal, I)> {
        self.admitted -= 1;
        if self.shut.is_some() {
            return Err((Refusal::Shutdown, item));
        }
        self.accept(item);
        self.distribute(streams);
        Ok(())
    }

    /// A waiter waits for a place.
    pub fn wait_put(&mut self, waiter: Waiter, streams: &mut impl Streams<I>) {
        self.putters.push_back(Who::Waiter(waiter));
        self.distribute(streams);
    }

    /// The owner's process takes an item, if there is one that nobody else was promised.
    pub fn get_own(&mut self, streams: &mut impl Streams<I>) -> Option<Entry<I>> {
        if self.ready.is_empty() {
            self.recall_some(streams);
        }
        let entry = self.ready.take(1)?;
        self.bytes -= entry.item.weight();
        self.distribute(streams);
        Some(entry)
    }

    /// A waiter waits for an item. With `lease`, the item stays with the owner under the
    /// waiter's number until it is finished or given back.
    pub fn wait_get(
        &mut self,
        waiter: Waiter,
        lease: Option<Holder>,
        streams: &mut impl Streams<I>,
    ) {
        self.stir(streams);
        self.getters.push_back(Getter { who: Who::Waiter(waiter), lease });
        self.distribute(streams);
    }

    /// A waiter waits no longer. False when it waited for nothing: it has been served.
    pub fn cancel(&mut self, waiter: Waiter, streams: &mut impl Streams<I>) -> bool {
        let before = self.waiting();
        self.getters.retain(|getter| getter.who != Who::Waiter(waiter));
        self.putters.retain(|who| *who != Who::Waiter(waiter));
        self.joiners.retain(|joiner| *joiner != waiter);
        let found = self.waiting() < before;
        if found {
            // Whoever stood behind it may go on.
            self.distribute(streams);
        }
        found
    }

    /// A waiter was admitted, and will not put after all.
    pub fn cancel_admitted(&mut self, streams: &mut impl Streams<I>) {
        self.admitted -= 1;
        self.distribute(streams);
    }

    /// An item that was delivered, and that nobody has seen, comes back.
    pub fn cancel_delivered(&mut self, entry: Entry<I>, streams: &mut impl Streams<I>) {
        self.bytes += entry.item.weight();
        let redelivered = entry.redelivered;
        self.give_back([entry], redelivered);
        self.distribute(streams);
    }

    /// A leased item is finished. False when there is no such lease.
    pub fn finish(&mut self, lease: Waiter, streams: &mut impl Streams<I>) -> bool {
        let Some((_, entry)) = self.leases.remove(&lease) else { return false };
        self.bytes -= entry.item.weight();
        if self.options.joinable {
            self.count_done(1);
        }
        self.distribute(streams);
        true
    }

    /// A leased item comes back, marked. False when there is no such lease.
    pub fn give_back_lease(&mut self, lease: Waiter, streams: &mut impl Streams<I>) -> bool {
        self.end_lease(lease, true, streams)
    }

    /// A leased item comes back that nobody has seen. False when there is no such lease.
    pub fn cancel_lease(&mut self, lease: Waiter, streams: &mut impl Streams<I>) -> bool {
        self.end_lease(lease, false, streams)
    }

    fn end_lease(&mut self, lease: Waiter, was_had: bool, streams: &mut impl Streams<I>) -> bool {
        let Some((_, entry)) = self.leases.remove(&lease) else { return false };
        self.give_back([entry], was_had);
        self.distribute(streams);
        true
    }

    /// One item that was taken is finished: of what this holder has taken, the oldest. Who
    /// has taken nothing finishes for others.
    ///
    /// # Errors
    /// [`TooManyDone`] when nothing is unfinished.
    pub fn task_done(
        &mut self,
        holder: Holder,
        streams: &mut impl Streams<I>,
    ) -> Result<(), TooManyDone> {
        if self.unfinished == 0 {
            return Err(TooManyDone);
        }
        if let Holder::Client(client) = holder {
            let taken = streams.taken(client);
            self.settle(client, taken, streams);
            let finished = self.members.get_mut(&client).and_then(|member| member.kept.take(1));
            self.bytes -= finished.map_or(0, |entry| entry.item.weight());
        }
        self.count_done(1);
        self.distribute(streams);
        Ok(())
    }

    /// A waiter waits until nothing is unfinished.
    pub fn join(&mut self, waiter: Waiter) {
        if self.unfinished == 0 {
            self.effects.push(Effect::Joined(waiter));
        } else {
            self.joiners.push(waiter);
        }
    }

    /// Nobody puts any more. Getters get what is there, and then the end; with `immediate`
    /// what is there is dropped, and counts as finished.
    pub fn shutdown(&mut self, immediate: bool, streams: &mut impl Streams<I>) {
        let drops = immediate || self.shut == Some(Shut::Dropping);
        self.shut = Some(if drops { Shut::Dropping } else { Shut::Draining });
        if immediate {
            let clients: Vec<_> = self.members.keys().copied().collect();
            for client in clients {
                self.recall(client, 0, streams);
            }
            let dropped = std::mem::take(&mut self.ready);
            self.bytes -= dropped.weight();
            self.count_done(dropped.len() as u64);
        }
        self.distribute(streams);
    }

    /// How many items there are: not taken yet.
    pub fn len(&mut self, streams: &mut impl Streams<I>) -> u64 {
        let clients: Vec<_> = self.members.keys().copied().collect();
        for client in clients {
            let taken = streams.taken(client);
            self.settle(client, taken, streams);
        }
        self.present()
    }

    /// Whether it holds as many bytes as it may. The host reads no stream then.
    pub fn is_heavy(&self) -> bool {
        self.bytes >= self.options.bytes
    }

    /// Whether it has been shut down.
    pub fn is_shut(&self) -> bool {
        self.shut.is_some()
    }

    /// How it was made.
    pub fn options(&self) -> Options {
        self.options
    }

    /// Whether [`tick`](Self::tick) has something to do.
    pub fn is_restless(&self) -> bool {
        self.restless
    }

    /// A while has passed: whoever was given an item or a place because it waited, and did
    /// not take it, is not waited for any longer.
    pub fn tick(&mut self, streams: &mut impl Streams<I>) {
        for member in self.members.values_mut() {
            member.owed_item = false;
            member.owed_place = false;
        }
        self.distribute(streams);
    }

    fn accept(&mut self, item: I) {
        self.bytes += item.weight();
        let count = u64::from(item.count());
        self.unfinished += count;
        self.ready.push(Entry::new(item, self.arrived));
        self.arrived += count;
    }

    /// Puts items back to where they stood by arrival. Their bytes are counted still. Where all
    /// is dropped, so are they.
    fn give_back(
        &mut self,
        entries: impl IntoIterator<Item = Entry<I>, IntoIter: DoubleEndedIterator>,
        redelivered: bool,
    ) {
        // The youngest first: most often all go to the front.
        for mut entry in entries.into_iter().rev() {
            if self.shut == Some(Shut::Dropping) {
                self.bytes -= entry.item.weight();
                self.count_done(u64::from(entry.item.count()));
                continue;
            }
            entry.redelivered |= redelivered;
            self.ready.put_back(entry);
        }
    }

    fn count_done(&mut self, count: u64) {
        self.unfinished = self.unfinished.saturating_sub(count);
        if self.unfinished == 0 {
            self.effects.extend(self.joiners.drain(..).map(Effect::Joined));
        }
    }

    fn waiting(&self) -> usize {
        self.getters.len() + self.putters.len() + self.joiners.len()
    }

    fn present(&self) -> u64 {
        let lent: usize = self.members.values().map(|member| member.lent.len()).sum();
        (self.ready.len() + lent) as u64
    }
}
