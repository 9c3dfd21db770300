//! Clients of a queue as threads of chance: real cursor words, streams in memory, and a
//! record of who got what.
//!
//! Owns the accounting. A step of a client is one access to a shared word, so a death
//! falls between any two.

use super::run::{Got, Run, Thing, got};
use procession_protocols::queue::cursor::{Bell, Cursor, Hunger};
use procession_protocols::queue::hands::{Hands, Held, Places};
use procession_protocols::queue::{Client, Effect, Entry, Machine, Options, Streams, Waiter};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::AtomicU64;

/// What a client shares with the owner.
#[derive(Debug, Default)]
struct Page {
    items: AtomicU64,
    places: AtomicU64,
    /// Set while the owner does not look at this client.
    owner_sleeps: AtomicU64,
    hungry: AtomicU64,
    short: u32,
    rings_at: Option<u32>,
    /// Items written to the client, by number from the first that is not taken.
    stream: VecDeque<Got>,
    written: u32,
    /// Items on their way to the owner.
    up: VecDeque<Run>,
    rung: bool,
    hands: [AtomicU64; HANDS],
    hands_sign: AtomicU64,
    /// Calls that have taken and not returned, in the order of their taking.
    calls: VecDeque<Call>,
    /// Its waiting threads were woken, and will look again.
    woken: bool,
}

/// A call of a client that gets: its hand, what the hand holds, and the items.
#[derive(Debug)]
struct Call {
    hand: usize,
    held: Held,
    things: VecDeque<Got>,
}

/// As many calls of one client as are under way together.
const HANDS: usize = 4;

impl Places for Page {
    type Word = AtomicU64;
    const COUNT: usize = HANDS;

    fn hand(&self, number: usize) -> &AtomicU64 {
        &self.hands[number]
    }

    fn sign(&self) -> &AtomicU64 {
        &self.hands_sign
    }
}

/// How far a client comes with taking before it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Lives,
    /// With a hand open, and nothing taken.
    Opened,
    /// With items taken, and the hand not narrowed to them.
    Taken,
    /// With items in its hand.
    Held,
}

impl Page {
    fn is_hungry(&self) -> bool {
        Hunger(&self.hungry).count() > 0
    }

    fn eats(&self) {
        if self.is_hungry() {
            Hunger(&self.hungry).leave();
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Pages {
    pages: BTreeMap<Client, Page>,
}

impl Streams<Run> for Pages {
    fn write(&mut self, to: Client, entry: &Entry<Run>) -> bool {
        let page = self.pages.get_mut(&to).unwrap();
        page.stream.extend(entry.item.things().map(|thing| (thing, entry.redelivered)));
        page.written += entry.item.count;
        true
    }

    fn lend(&mut self, to: Client, count: u32) {
        let page = self.pages.get_mut(&to).unwrap();
        assert_eq!(page.written, count);
        page.written = 0;
        page.woken = true;
        Cursor(&page.items).lend(count);
    }

    fn ring_at(&mut self, client: Client, taken: Option<u32>) -> u32 {
        let page = self.pages.get_mut(&client).unwrap();
        page.rings_at = taken;
        Cursor(&page.items).settle().taken
    }

    fn taken(&mut self, client: Client) -> u32 {
        Cursor(&self.pages[&client].items).settle().taken
    }

    fn held(&mut self, client: Client) -> Option<Vec<Held>> {
        Hands(&self.pages[&client]).held()
    }

    fn recall(&mut self, from: Client, keep: u32) -> u32 {
        let page = self.pages.get_mut(&from).unwrap();
        let lent = Cursor(&page.items).recall(keep);
        page.stream.truncate(lent.left() as usize);
        lent.taken
    }

    fn hungry(&mut self, client: Client) -> u32 {
        Hunger(&self.pages[&client].hungry).count()
    }

    fn calm(&mut self, client: Client) {
        Hunger(&self.pages[&client].hungry).calm();
    }

    fn stir(&mut self, client: Client) -> u32 {
        Hunger(&self.pages[&client].hungry).stir()
    }

    fn allow(&mut self, to: Client, count: u32) {
        let page = self.pages.get_mut(&to).unwrap();
        page.woken = true;
        Cursor(&page.places).lend(count);
    }

    fn disallow(&mut self, from: Client, keep: u32) -> u32 {
        Cursor(&self.pages[&from].places).recall(keep).taken
    }
}

pub(crate) struct World {
    pub(crate) machine: Machine<Run>,
    pub(crate) pages: Pages,
    capacity: Option<u64>,
    next: BTreeMap<u16, u32>,
    /// All that was put: published by a client, or accepted from the owner's process.
    put: BTreeSet<Thing>,
    /// All that somebody got, with the mark.
    pub(crate) got: Vec<Got>,
    pub(crate) waiting: BTreeSet<Waiter>,
    putting: BTreeMap<Waiter, Run>,
    waiters: Waiter,
    deaths: u32,
    /// What dead clients had put, and the owner could not read.
    late: VecDeque<Run>,
}

impl World {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            machine: Machine::new(options),
            pages: Pages::default(),
            capacity: options.capacity,
            next: BTreeMap::new(),
            put: BTreeSet::new(),
            got: Vec::new(),
            waiting: BTreeSet::new(),
            putting: BTreeMap::new(),
            waiters: 0,
            deaths: 0,
            late: VecDeque::new(),
        }
    }

    /// The next so many of a producer.
    fn run(&mut self, producer: u16, count: u32) -> Run {
        let last = self.next.entry(producer).or_default();
        let first = Thing { producer, number: *last + 1 };
        *last += count;
        Run { first, count }
    }

    pub(crate) fn attach(&mut self, client: Client) {
        if let std::collections::btree_map::Entry::Vacant(place) = self.pages.pages.entry(client) {
            Bell(&place.insert(Page::default()).owner_sleeps).arm(1);
            self.machine.attach(client);
        }
    }

    /// How many items are lent to a client, and not taken.
    pub(crate) fn lent(&self, client: Client) -> u32 {
        Cursor(&self.pages.pages[&client].items).look().left()
    }

    fn page(&mut self, client: Client) -> Option<&mut Page> {
        self.pages.pages.get_mut(&client)
    }

    fn ring(page: &mut Page) {
        page.rung |= Bell(&page.owner_sleeps).ring(1);
    }

    /// A client puts up to `most` together; with `dies`, it dies with the places claimed and
    /// nothing published.
    pub(crate) fn client_puts(&mut self, client: Client, most: u32, dies: bool) {
        let bounded = self.capacity.is_some();
        let Some(page) = self.page(client) else { return };
        let places = if bounded { Cursor(&page.places).take_many(most) } else { Some((0, most)) };
        let Some((_, count)) = places else {
            page.short = 1;
            Self::ring(page);
            return;
        };
        page.short = 0;
        if dies {
            self.dies(client);
            return;
        }
        let run = self.run(client, count);
        let page = self.page(client).unwrap();
        page.up.push_back(run);
        Self::ring(page);
        self.put.extend(run.things());
    }

    /// Takes what is lent, and says so if it was asked to.
    fn takes(page: &mut Page, most: u32) -> Option<(Held, VecDeque<Got>)> {
        let (first, count) = Cursor(&page.items).take_many(most)?;
        page.eats();
        let taken = first + count;
        if page.rings_at.is_some_and(|at| taken.wrapping_sub(at) <= u32::MAX / 2) {
            page.rings_at = None;
            Self::ring(page);
        }
        Some((Held { first, count }, page.stream.drain(..count as usize).collect()))
    }

    /// A client gets up to `most` together.
    pub(crate) fn client_gets(&mut self, client: Client, most: u32, waits: bool) {
        if self.client_takes(client, most, Fate::Lives) {
            self.client_returns(client, usize::MAX, u32::MAX);
            return;
        }
        let Some(page) = self.page(client) else { return };
        // With all hands in use it goes on without one, and would lose them if it died.
        if let Some((_, things)) = Self::takes(page, most) {
            self.got.extend(things);
        } else if waits {
            if !page.is_hungry() {
                Hunger(&page.hungry).enter();
            }
            if Hunger(&page.hungry).must_ring() {
                Self::ring(page);
            }
        } else {
            page.eats();
            self.turn(client);
            self.machine.ask(client, &mut self.pages);
            self.carry_out();
        }
    }

    /// A call of a client takes up to `most` together, and goes on later, unless the client
    /// dies. False when there are none, or no call can begin.
    pub(crate) fn client_takes(&mut self, client: Client, most: u32, fate: Fate) -> bool {
        let Some(page) = self.page(client) else { return false };
        let lent = Cursor(&page.items).look();
        // The hand may be opened for more than there is in the end.
        let held = Held { first: lent.taken, count: most };
        if lent.left() == 0 || page.calls.len() == HANDS {
            return false;
        }
        let hand = Hands(&*page).open(held).unwrap();
        if fate == Fate::Opened {
            self.dies(client);
            return true;
        }
        let (held, things) = Self::takes(page, most).unwrap();
        if fate == Fate::Taken {
            self.dies(client);
            return true;
        }
        if held.count < most {
            let wanted = Held { first: lent.taken, count: most };
            Hands(&*page).narrow(hand, wanted, held.count);
        }
        page.calls.push_back(Call { hand, held, things });
        if fate == Fate::Held {
            self.dies(client);
        }
        true
    }

    /// One of a client's calls returns up to `most` of what it has. What it keeps comes
    /// next.
    pub(crate) fn client_returns(&mut self, client: Client, call: usize, most: u32) {
        let Some(page) = self.page(client) else { return };
        let Some(last) = page.calls.len().checked_sub(1) else { return };
        let mut call = page.calls.remove(call.min(last)).unwrap();
        let count = most.min(call.held.count);
        let left = Held { first: call.held.first + count, count: call.held.count - count };
        let returned: Vec<_> = call.things.drain(..count as usize).collect();
        if left.count == 0 {
            Hands(&*page).close(call.hand);
        } else {
            Hands(&*page).set(call.hand, left);
            page.calls.push_front(Call { held: left, ..call });
        }
        self.got.extend(returned);
    }

    /// A call of a client takes one of the items that another keeps; with `dies`, the client
    /// dies with the item in both hands.
    pub(crate) fn client_parts(&mut self, client: Client, dies: bool) {
        let Some(page) = self.page(client) else { return };
        let is_free = page.calls.len() < HANDS;
        let Some(call) = page.calls.front_mut().filter(|call| is_free && call.held.count > 1)
        else {
            return;
        };
        let (hand, held) = (call.hand, call.held);
        let one = Held { first: held.first, count: 1 };
        let rest = Held { first: held.first + 1, count: held.count - 1 };
        let things = call.things.pop_front().into_iter().collect();
        call.held = rest;
        if dies {
            Hands(&*page).open(one).unwrap();
            self.dies(client);
            return;
        }
        let parted = Hands(&*page).part(hand, held, 1).unwrap();
        page.calls.push_back(Call { hand: parted, held: one, things });
    }

    /// A client's threads that were woken go on: they take what they waited for, or say
    /// again that they wait.
    fn wakes(&mut self, client: Client) {
        let Some(page) = self.page(client) else { return };
        if std::mem::take(&mut page.woken) {
            let (hungry, short) = (page.is_hungry(), page.short > 0);
            if hungry {
                self.client_gets(client, 1, true);
            }
            if short {
                self.client_puts(client, 1, false);
            }
        }
    }

    /// Time passes.
    pub(crate) fn ticks(&mut self) {
        self.machine.tick(&mut self.pages);
        self.carry_out();
    }

    /// The owner hears a client that rang.
    pub(crate) fn hear(&mut self, client: Client) {
        if self.page(client).is_some_and(|page| std::mem::take(&mut page.rung)) {
            self.turn(client);
        }
    }

    fn turn(&mut self, client: Client) {
        let Some(page) = self.page(client) else { return };
        Bell(&page.owner_sleeps).disarm(1);
        let runs: Vec<_> = page.up.drain(..).collect();
        let (hungry, short) = (page.is_hungry(), page.short);
        Bell(&page.owner_sleeps).arm(1);
        for run in runs {
            self.machine.put(client, run);
        }
        self.machine.rung(client, &mut self.pages);
        if hungry {
            self.machine.hungry(client, &mut self.pages);
        }
        if short > 0 {
            self.machine.short(client, &mut self.pages);
        }
        self.machine.distribute(&mut self.pages);
        self.carry_out();
    }

    pub(crate) fn dies(&mut self, client: Client) {
        if self.pages.pages.contains_key(&client) {
            self.deaths += 1;
            self.turn(client);
            self.machine.gone(client, &mut self.pages);
            self.pages.pages.remove(&client);
            self.carry_out();
        }
    }

    /// A client dies, and what it had put cannot be read yet.
    pub(crate) fn dies_unread(&mut self, client: Client) {
        if let Some(page) = self.page(client) {
            let up = std::mem::take(&mut page.up);
            self.late.extend(up);
            self.dies(client);
        }
    }

    /// What a dead client had put can be read.
    pub(crate) fn reads_late(&mut self) {
        if let Some(run) = self.late.pop_front() {
            self.machine.put_late(run);
            self.machine.distribute(&mut self.pages);
            self.carry_out();
        }
    }

    pub(crate) fn owner_puts(&mut self, waits: bool) {
        let one = self.run(0, 1);
        match self.machine.put_own(one, &mut self.pages) {
            Ok(()) => self.put.extend(one.things()),
            Err(_) if waits && !self.machine.is_shut() => {
                self.waiters += 1;
                self.waiting.insert(self.waiters);
                self.putting.insert(self.waiters, one);
                self.machine.wait_put(self.waiters, &mut self.pages);
            }
            Err(_) => {}
        }
        self.carry_out();
    }

    pub(crate) fn owner_gets(&mut self, waits: bool) {
        if let Some(entry) = self.machine.get_own(&mut self.pages) {
            self.got.push(got(entry));
        } else if waits {
            self.waiters += 1;
            self.waiting.insert(self.waiters);
            self.machine.wait_get(self.waiters, None, &mut self.pages);
        }
        self.carry_out();
    }

    pub(crate) fn cancels(&mut self) {
        if let Some(waiter) = self.waiting.pop_first() {
            assert!(self.machine.cancel(waiter, &mut self.pages));
            self.putting.remove(&waiter);
            self.carry_out();
        }
    }

    fn carry_out(&mut self) {
        loop {
            let effects: Vec<_> = self.machine.effects().collect();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Deliver(waiter, entry) => {
                        assert!(self.waiting.remove(&waiter));
                        self.got.push(got(entry));
                    }
                    Effect::Admit(waiter) => {
                        assert!(self.waiting.remove(&waiter));
                        let one = self.putting.remove(&waiter).unwrap();
                        if self.machine.put_admitted(one, &mut self.pages).is_ok() {
                            self.put.extend(one.things());
                        }
                    }
                    Effect::Ended(waiter) | Effect::Joined(waiter) => {
                        assert!(self.waiting.remove(&waiter), "a waiter ends once");
                        self.putting.remove(&waiter);
                    }
                }
            }
        }
    }

    /// Everybody runs until nothing more happens.
    pub(crate) fn settles(&mut self) {
        for round in 0..6 {
            let clients: Vec<_> = self.pages.pages.keys().copied().collect();
            for client in clients {
                self.wakes(client);
                self.hear(client);
            }
            if round < 3 {
                self.ticks();
            }
        }
    }

    /// What must hold at any moment.
    pub(crate) fn checks(&mut self) {
        let count = self.machine.len(&mut self.pages);
        let up = self.pages.pages.values().flat_map(|page| &page.up);
        let on_the_way: usize = up.chain(&self.late).map(|run| run.count as usize).sum();
        let calls = self.pages.pages.values().flat_map(|page| &page.calls);
        let held: usize = calls.map(|call| call.things.len()).sum();
        // What a dead consumer had taken and not returned, or not finished, comes back though
        // its place was given away.
        let came_back = self.deaths > 0;
        if let Some(capacity) = self.capacity.filter(|_| !came_back) {
            assert!(count + on_the_way as u64 <= capacity, "{count} + {on_the_way}");
        }
        if self.deaths == 0 {
            assert_eq!(count, (self.put.len() - on_the_way - held - self.got.len()) as u64);
        }
    }

    /// When all is heard, nobody waits while there is work or room that nobody is about to
    /// take: whoever was lent something because it waited is about to.
    pub(crate) fn nobody_waits_in_vain(&mut self) {
        let left = |word: &AtomicU64| u64::from(Cursor(word).look().left());
        let pages = || self.pages.pages.values();
        let putting = !self.putting.is_empty()
            || pages().any(|page| page.short > 0 && left(&page.places) == 0);
        let getting = self.waiting.len() > self.putting.len()
            || pages().any(|page| page.is_hungry() && left(&page.items) == 0);
        let promised: u64 =
            pages().filter(|page| page.is_hungry()).map(|page| left(&page.items).min(1)).sum();
        let idle: u64 = pages().filter(|page| page.short == 0).map(|page| left(&page.places)).sum();
        let held: u64 = pages().map(|page| left(&page.places)).sum();
        let count = self.machine.len(&mut self.pages);
        assert!(!getting || count <= promised, "somebody waits for one of {count} items");
        if let Some(capacity) = self.capacity {
            assert!(!putting || count + held >= capacity, "{count} items, {held} places lent");
            assert!(!putting || idle == 0, "{idle} places idle");
        }
    }

    /// Ends all clients and takes what is left: each item that was put was got, once, or
    /// again with the mark.
    pub(crate) fn closes(&mut self, joinable: bool) {
        let clients: Vec<_> = self.pages.pages.keys().copied().collect();
        for client in clients {
            self.dies(client);
        }
        while !self.late.is_empty() {
            self.reads_late();
        }
        while let Some(entry) = self.machine.get_own(&mut self.pages) {
            self.got.push(got(entry));
            self.carry_out();
        }
        self.machine.shutdown(false, &mut self.pages);
        self.carry_out();
        assert!(self.waiting.is_empty(), "every waiter ends");
        let mut seen = BTreeSet::new();
        for (thing, redelivered) in &self.got {
            let first = seen.insert(*thing);
            assert!(first || (*redelivered && joinable), "{thing:?} came twice");
        }
        assert_eq!(seen, self.put, "what was put was got");
    }
}
