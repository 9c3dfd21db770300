//! A world: the owner, its clients, and what became of each item.
//!
//! Owns which steps may come next, and the accounts. Neighbours: `client` and `owner` have
//! the steps.

use super::client::{At, Client, News, Op};
use super::kept::Kept;
use super::owner::{self, Done, Own, Owner, Piece, Way};
use super::page::Got;
use super::pages::Pause;
use super::run::{OWN_ITEMS, first_of};
use crate::word_model::explorer::World;
use procession_protocols::queue::{BYTES, Machine, Options};
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

/// A thread of the owner's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Thread {
    Starts(Own),
    Waits(Own),
    Over,
}

/// What became of an item: whether it was put, and how often it was got without a mark, and
/// with one.
#[derive(Debug, Clone, Copy, Default)]
struct Fate(u8);

impl Fate {
    const PUT: u8 = 1;
    const PLAIN: u8 = 1 << 1;
    const MARKED: u8 = 1 << 4;

    fn is_put(self) -> bool {
        self.0 & Self::PUT != 0
    }

    fn is_got(self) -> bool {
        self.0 > Self::PUT
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Queue {
    owner: Rc<Owner>,
    clients: SmallVec<[Kept<Client>; 4]>,
    /// At which the owner looks without a bell.
    looks: u8,
    own: SmallVec<[Thread; 4]>,
    own_may_be_late: bool,
    capacity: Option<u64>,
    /// What the owner does under its lock is one step.
    is_coarse: bool,
    fates: [Fate; 16],
    /// Who tries to get and is the only one who gets: it finds what is there.
    only: Option<usize>,
    /// Since its try began, there was nothing for a moment.
    was_empty: bool,
}

/// What does not change in a world is left out.
impl Hash for Queue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.owner, &self.clients, self.looks, &self.own, self.was_empty).hash(state);
        state.write(&self.fates.map(|fate| fate.0));
    }
}

/// Clients that do this, and threads of the owner's.
pub(crate) fn queue(capacity: Option<u64>, clients: &[&[Op]], own: &[Own]) -> Queue {
    let options = Options { capacity, bytes: BYTES, joinable: false };
    let mut machine = Machine::new(options);
    (0..clients.len()).for_each(|at| machine.attach(at as u16));
    let client =
        |(at, ops): (usize, &&[Op])| Kept::new(Client::new(first_of(at), capacity.is_some(), ops));
    Queue {
        owner: Owner::new(machine),
        clients: clients.iter().enumerate().map(client).collect(),
        looks: 0,
        own: own.iter().copied().map(Thread::Starts).collect(),
        own_may_be_late: false,
        capacity,
        is_coarse: false,
        fates: [Fate::default(); 16],
        only: only_one_who_tries(clients, own),
        was_empty: false,
    }
}

fn only_one_who_tries(clients: &[&[Op]], own: &[Own]) -> Option<usize> {
    let gets = |ops: &&[Op]| ops.iter().any(|op| !matches!(op, Op::Put | Op::TryPut));
    let only = clients.iter().position(gets)?;
    let is_only = !own.contains(&Own::Get)
        && clients.iter().filter(|ops| gets(ops)).count() == 1
        && clients[only].contains(&Op::TryGet);
    is_only.then_some(only)
}

impl Queue {
    /// This one may die at any step.
    pub(crate) fn kill(mut self, client: usize) -> Self {
        self.clients[client].change().may_die = true;
        self
    }

    /// The time of this one may be up whenever it waits.
    pub(crate) fn late(mut self, client: usize) -> Self {
        self.clients[client].change().may_be_late = 1;
        self
    }

    /// What the owner does under its lock is one step.
    pub(crate) fn coarse(mut self) -> Self {
        self.is_coarse = true;
        self
    }

    /// The time of those of the owner's threads that wait may be up.
    pub(crate) fn own_late(mut self) -> Self {
        self.own_may_be_late = true;
        self
    }

    fn is_put(&mut self, item: u8) {
        let fate = &mut self.fates[usize::from(item)];
        assert!(!fate.is_put(), "an item is put once");
        fate.0 |= Fate::PUT;
    }

    /// Where there are bounds, they hold. What a dead one had comes back though its place was
    /// given away.
    fn is_bounded(&self) {
        if let Some(capacity) = self.capacity
            && !self.clients.iter().any(|client| client.is_dead)
        {
            assert!(self.inside() <= capacity, "the queue is bounded");
        }
    }

    fn is_got(&mut self, (item, is_marked): Got, is_own_under_way: bool) {
        let fate = &mut self.fates[usize::from(item)];
        assert!(fate.is_put() || item >= OWN_ITEMS && is_own_under_way, "{item} was not put");
        assert!(is_marked || !fate.is_got(), "{item} is got twice");
        fate.0 += if is_marked { Fate::MARKED } else { Fate::PLAIN };
    }

    /// How many items are in the queue, or on their way to it.
    fn inside(&self) -> u64 {
        let put = self.fates.iter().filter(|fate| fate.is_put() && !fate.is_got()).count();
        let held: u32 = self.clients.iter().map(|client| client.in_hand()).sum();
        (put as u64).saturating_sub(held.into())
    }

    /// The owner goes on to its next access to a page, of which there may be one who goes on
    /// before.
    fn works(&self, begun: Option<Vec<Piece>>) -> Self {
        let mut next = self.clone();
        if let Some(pieces) = begun {
            next.goes(&self.owner.begins(pieces));
        }
        let mut has_acted = false;
        while let Some(Pause(at, access)) = next.owner.wants {
            // One who does not run cannot tell this access from the one before.
            let client = &next.clients[at];
            let is_seen = access.is_step() && (client.can_step() || client.can_be_late());
            if is_seen && has_acted && !self.is_coarse {
                return next;
            }
            has_acted |= is_seen;
            let told = access.tells(client);
            let answer = told.unwrap_or_else(|| access.act(next.clients[at].change()));
            let way = next.owner.answered(answer);
            next.goes(&way);
        }
        next.is_bounded();
        next
    }

    fn goes(&mut self, way: &Way) {
        for done in &way.done {
            self.is_done(done);
        }
        self.owner = Rc::clone(&way.to);
    }

    fn is_done(&mut self, done: &Done) {
        for (own, got) in &done.own {
            self.own[*own] = Thread::Over;
            match got {
                Some(got) => self.is_got(*got, false),
                None => self.is_put(OWN_ITEMS + *own as u8),
            }
        }
        if let Some(own) = done.waits
            && let Thread::Starts(what) = self.own[own]
        {
            self.own[own] = Thread::Waits(what);
        }
        if let Some(at) = done.looks_again {
            self.looks |= 1 << at;
        }
        if let Some(at) = done.is_gone {
            self.clients[at].change().is_closed();
            self.looks &= !(1 << at);
        }
    }

    fn owner_next(&self, into: &mut Vec<Self>) {
        let mut begin = |change: &dyn Fn(&mut Self), pieces: Vec<Piece>| {
            let mut next = self.clone();
            change(&mut next);
            into.push(next.works(Some(pieces)));
        };
        for (at, client) in self.clients.iter().enumerate() {
            if client.is_gone {
                continue;
            }
            let looks = self.looks & 1 << at != 0;
            if client.has_rung || looks {
                let heard = |next: &mut Self| {
                    next.clients[at].change().has_rung = false;
                    next.looks &= !(1 << at);
                };
                let mut pieces = owner::look(at, &self.clients).to_vec();
                pieces.push(Piece::Settle);
                begin(&heard, pieces);
            }
            if let Some(message) = client.messages.first() {
                let heard = |next: &mut Self| {
                    next.clients[at].change().messages.remove(0);
                };
                begin(&heard, owner::hear(at, *message, &self.clients));
            } else if client.is_dead {
                begin(&|_| (), vec![Piece::Gone(at), Piece::Settle]);
            }
        }
        if self.owner.machine.is_restless() {
            begin(&|_| (), vec![Piece::Tick, Piece::Settle]);
        }
        for (own, thread) in self.own.iter().enumerate() {
            match *thread {
                Thread::Starts(what) => {
                    let mut pieces = vec![Piece::OwnTries(own, what)];
                    pieces.extend(owner::look_at_all(&self.clients));
                    pieces.push(Piece::OwnTries(own, what));
                    pieces.push(Piece::OwnWaits(own, what));
                    pieces.push(Piece::Settle);
                    begin(&|_| (), pieces);
                }
                Thread::Waits(_) if self.own_may_be_late => {
                    let over = |next: &mut Self| next.own[own] = Thread::Over;
                    begin(&over, vec![Piece::OwnCancels(own), Piece::Settle]);
                }
                _ => {}
            }
        }
    }

    fn client_next(&self, at: usize, into: &mut Vec<Self>) {
        let client = &self.clients[at];
        let mut then = |change: &dyn Fn(&mut Client) -> News| {
            let mut next = self.clone();
            match change(next.clients[at].change()) {
                News::Nothing => {}
                News::Without => {
                    let is_sure = self.only == Some(at) && client.op() == Some(Op::TryGet);
                    assert!(!is_sure || self.was_empty, "a try finds what was put before");
                }
                News::Put(item) => {
                    next.is_put(item);
                    // What the owner gets is counted when it has done all that follows.
                    if next.owner.wants.is_none() || next.own.is_empty() {
                        next.is_bounded();
                    }
                }
                News::Got(all) => {
                    // What the owner puts is counted when it has done all that follows.
                    let is_under_way = next.owner.wants.is_some();
                    all.into_iter().for_each(|got| next.is_got(got, is_under_way));
                }
            }
            into.push(next);
        };
        if client.may_die {
            then(&|client| {
                client.dies();
                News::Nothing
            });
        }
        if client.can_be_late() {
            then(&|client| {
                client.is_late();
                News::Nothing
            });
        }
        if client.can_step() {
            then(&Client::step);
        }
    }

    /// Notes whether whoever tries may find nothing.
    fn notes(&mut self) {
        if let Some(at) = self.only {
            let client = &self.clients[at];
            let tries = client.at != At::Start && client.op() == Some(Op::TryGet);
            self.was_empty = tries && (self.was_empty || self.inside() == 0);
        }
    }

    /// Nothing is under way.
    fn is_quiet(&self) -> bool {
        let is_quiet = |client: &Kept<Client>| {
            !client.can_step()
                && (client.is_gone
                    || !client.is_dead && !client.has_rung && client.messages.is_empty())
        };
        self.owner.wants.is_none() && self.looks == 0 && self.clients.iter().all(is_quiet)
    }

    /// Takes what is left.
    fn closes(&self) {
        let mut rest = self.clone().coarse();
        for at in 0..rest.clients.len() {
            if !rest.clients[at].is_gone {
                let client = rest.clients[at].change();
                client.dies();
                rest = rest.works(Some(vec![Piece::Gone(at), Piece::Settle]));
            }
        }
        let own = rest.own.len();
        rest.own.push(Thread::Starts(Own::Get));
        let count = |all: &Self| all.fates.iter().filter(|fate| fate.is_got()).count();
        loop {
            let before = count(&rest);
            rest = rest.works(Some(vec![Piece::OwnTries(own, Own::Get), Piece::Settle]));
            if count(&rest) == before {
                break;
            }
        }
        let lost = rest.fates.iter().position(|fate| fate.is_put() && !fate.is_got());
        assert_eq!(lost, None, "an item is lost");
    }
}

impl World for Queue {
    fn next(&self, into: &mut Vec<Self>) {
        if let Some(Pause(wants, _)) = self.owner.wants {
            into.push(self.works(None));
            self.client_next(wants, into);
        } else {
            (0..self.clients.len()).for_each(|at| self.client_next(at, into));
            self.owner_next(into);
        }
        into.iter_mut().for_each(Self::notes);
    }

    fn is_over(&self) -> bool {
        if !self.is_quiet() {
            return false;
        }
        // Who is left waits for what is not there.
        let inside = self.inside();
        let is_full = self.capacity.is_some_and(|capacity| inside >= capacity);
        let may_wait = |puts: bool| if puts { is_full } else { inside == 0 };
        let over = self.clients.iter().all(|client| match client.op() {
            None => true,
            Some(Op::Put) => may_wait(true),
            Some(Op::Get(_) | Op::Lease) => may_wait(false),
            Some(Op::TryPut | Op::TryGet) => false,
        }) && self.own.iter().all(|thread| match thread {
            Thread::Over => true,
            Thread::Starts(_) => false,
            Thread::Waits(what) => may_wait(*what == Own::Put),
        });
        if over {
            self.closes();
        }
        over
    }
}
