//! A queue and its clients: puts and gets that wait, time that is up, calls that are taken
//! back, items that are out, deaths.
//!
//! Owns the reference: which items are where. Each item that was put is in the queue, out
//! with one client, or gone to one; nobody waits for what there is; what comes back is in
//! front, in its order, and marked.

use super::{Object, caller};
use procession_protocols::manager::{Answers, Call, Fault, QueueCall, Reply, Seed, Ticket};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const CLIENTS: u8 = 3;
const CAPACITY: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Step {
    Put(u8),
    Get(u8, bool),
    /// The arrival of what a client was given longest ago.
    Kept(u8),
    Expire(usize),
    Cancel(usize),
    Die(u8),
}

fn steps() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        client.clone().prop_map(Step::Put),
        client.clone().prop_map(Step::Put),
        (client.clone(), any::<bool>()).prop_map(|(client, kept)| Step::Get(client, kept)),
        (client.clone(), any::<bool>()).prop_map(|(client, kept)| Step::Get(client, kept)),
        client.clone().prop_map(Step::Kept),
        any::<usize>().prop_map(Step::Expire),
        any::<usize>().prop_map(Step::Cancel),
        client.prop_map(Step::Die),
    ]
}

#[derive(Debug)]
enum Waits {
    Putting(u8),
    Getting { kept: bool },
}

struct World {
    object: Object,
    waiting: BTreeMap<Ticket, (u8, Waits)>,
    /// In the queue, the next one first; whether it came back.
    items: VecDeque<(u8, bool)>,
    /// On their way to a client, by the calls.
    out: BTreeMap<Ticket, (u8, u8)>,
    last_item: u8,
}

impl World {
    fn new() -> Self {
        let seed = Seed::Queue { capacity: Some(CAPACITY as u64), joinable: false };
        Self {
            object: Object::new(seed),
            waiting: BTreeMap::new(),
            items: VecDeque::new(),
            out: BTreeMap::new(),
            last_item: 0,
        }
    }

    /// Those who wait in the order of their calls: who is served next is known.
    fn step(&mut self, step: Step) {
        match step {
            Step::Put(client) => {
                self.last_item = self.last_item.wrapping_add(1);
                let item = self.last_item;
                let call = Call::Queue(QueueCall::Put(item));
                let (ticket, due) = self.object.call(caller(client), call);
                self.waiting.insert(ticket, (client, Waits::Putting(item)));
                self.settle(due);
            }
            Step::Get(client, kept) => {
                let call = Call::Queue(QueueCall::Get { kept });
                let (ticket, due) = self.object.call(caller(client), call);
                self.waiting.insert(ticket, (client, Waits::Getting { kept }));
                self.settle(due);
            }
            Step::Kept(client) => {
                let first = self.out.iter().find(|(_, (by, _))| *by == client);
                let Some(ticket) = first.map(|(ticket, _)| *ticket) else { return };
                self.out.remove(&ticket);
                let call = Call::Queue(QueueCall::Kept(ticket));
                let (_, due) = self.object.call(caller(client), call);
                assert!(matches!(due[..], [(_, Reply::Done)]), "{due:?}");
            }
            Step::Expire(which) => {
                let Some(ticket) = nth(self.waiting.keys(), which) else { return };
                let Some((_, waits)) = self.waiting.remove(&ticket) else { return };
                let mut due = self.object.after(|machine, due| machine.expire(ticket, due));
                let (answered, reply) = due.remove(0);
                let why = match waits {
                    Waits::Putting(_) => Fault::Full,
                    Waits::Getting { .. } => Fault::Empty,
                };
                assert_eq!((answered, reply), (ticket, Reply::Fault(why)));
                self.settle(due);
            }
            Step::Cancel(which) => {
                let all = self.waiting.keys().chain(self.out.keys()).copied();
                let all: BTreeSet<_> = all.collect();
                let Some(ticket) = nth(all.iter(), which) else { return };
                self.waiting.remove(&ticket);
                if let Some((_, item)) = self.out.remove(&ticket) {
                    // Nobody has seen it.
                    self.bring_back(item, false);
                }
                let due = self.object.after(|machine, due| machine.cancel(ticket, due));
                self.settle(due);
            }
            Step::Die(client) => {
                self.waiting.retain(|_, (by, _)| *by != client);
                let back: Vec<_> = self.out.extract_if(.., |_, (by, _)| *by == client).collect();
                for (_, (_, item)) in back {
                    self.bring_back(item, true);
                }
                let client = caller(client).client;
                let due = self.object.after(|machine, due| machine.gone(client, due));
                self.settle(due);
            }
        }
        self.check();
    }

    /// Items are numbered as they are put.
    fn bring_back(&mut self, item: u8, redelivered: bool) {
        let at = self.items.partition_point(|(other, _)| *other < item);
        self.items.insert(at, (item, redelivered));
    }

    /// Plays the answers: each must be what the reference says is next.
    fn settle(&mut self, due: Answers<u8>) {
        for (ticket, reply) in due {
            let (client, waits) = self.waiting.remove(&ticket).expect("nobody else is answered");
            match waits {
                Waits::Putting(item) => {
                    assert_eq!(reply, Reply::Done);
                    self.items.push_back((item, false));
                }
                Waits::Getting { kept } => {
                    let (item, redelivered) = self.items.pop_front().expect("there was one");
                    let number = kept.then_some(ticket);
                    assert_eq!(reply, Reply::Item { item, redelivered, kept: number });
                    if kept {
                        self.out.insert(ticket, (client, item));
                    }
                }
            }
        }
    }

    fn check(&mut self) {
        let getting = self.waiting.values().any(|(_, one)| matches!(one, Waits::Getting { .. }));
        assert!(!getting || self.items.is_empty(), "somebody waits for what there is");
        let putting = self.waiting.values().any(|(_, one)| matches!(one, Waits::Putting(_)));
        assert!(!putting || self.items.len() >= CAPACITY, "somebody waits for a place");
        let len = self.object.ask(Call::Queue(QueueCall::Len));
        assert_eq!(len, Reply::Number(self.items.len() as u64));
    }
}

fn nth<'a>(mut all: impl ExactSizeIterator<Item = &'a Ticket>, which: usize) -> Option<Ticket> {
    let len = all.len();
    (len > 0).then(|| all.nth(which % len).copied()).flatten()
}

#[test]
fn what_another_client_says_is_done_does_not_come_back() {
    let mut object = Object::new(Seed::Queue { capacity: None, joinable: true });
    for item in 1..=3 {
        object.call(caller(0), Call::Queue(QueueCall::Put(item)));
    }
    let get = || Call::Queue(QueueCall::Get { kept: false });
    object.call(caller(1), get());
    object.call(caller(1), get());
    // One's own first, and then whoever's.
    for by in [1, 2] {
        let (_, due) = object.call(caller(by), Call::Queue(QueueCall::TaskDone));
        assert!(matches!(due[..], [(_, Reply::Done)]), "{due:?}");
    }
    object.after(|machine, due| machine.gone(caller(1).client, due));
    assert_eq!(object.ask(Call::Queue(QueueCall::Len)), Reply::Number(1));
}

#[derive(Debug, Clone, Copy)]
enum Deed {
    Put,
    Get(u8),
    /// An item that is on its way arrives.
    Kept(usize),
    /// Said by this client, of whosever item.
    Done(u8),
    /// Of a call whose answer was not seen.
    Cancel(usize),
    Die(u8),
}

fn deeds() -> impl Strategy<Value = Deed> {
    let client = 0..CLIENTS;
    prop_oneof![
        3 => Just(Deed::Put),
        3 => client.clone().prop_map(Deed::Get),
        2 => any::<usize>().prop_map(Deed::Kept),
        2 => client.clone().prop_map(Deed::Done),
        2 => any::<usize>().prop_map(Deed::Cancel),
        1 => client.prop_map(Deed::Die),
    ]
}

/// A joinable queue, of which is known who has seen what.
struct Joinable {
    object: Object,
    /// Given, and not seen.
    on_their_way: BTreeMap<Ticket, (u8, u8)>,
    waiting: BTreeMap<Ticket, u8>,
    seen: BTreeSet<u8>,
    put: u8,
}

impl Joinable {
    fn deed(&mut self, deed: Deed) {
        match deed {
            Deed::Put => {
                self.put += 1;
                let call = Call::Queue(QueueCall::Put(self.put));
                let (_, due) = self.object.call(caller(0), call);
                self.give(due);
            }
            Deed::Get(client) => {
                let call = Call::Queue(QueueCall::Get { kept: true });
                let (ticket, due) = self.object.call(caller(client), call);
                self.waiting.insert(ticket, client);
                self.give(due);
            }
            Deed::Kept(which) => {
                let Some(ticket) = nth(self.on_their_way.keys(), which) else { return };
                let Some((client, item)) = self.on_their_way.remove(&ticket) else { return };
                self.seen.insert(item);
                self.object.call(caller(client), Call::Queue(QueueCall::Kept(ticket)));
            }
            Deed::Done(client) => {
                self.object.call(caller(client), Call::Queue(QueueCall::TaskDone));
            }
            Deed::Cancel(which) => {
                let Some(ticket) = nth(self.on_their_way.keys(), which) else { return };
                self.on_their_way.remove(&ticket);
                let due = self.object.after(|machine, due| machine.cancel(ticket, due));
                self.give(due);
            }
            Deed::Die(client) => {
                self.on_their_way.retain(|_, (of, _)| *of != client);
                self.waiting.retain(|_, of| *of != client);
                let id = caller(client).client;
                let due = self.object.after(|machine, due| machine.gone(id, due));
                self.give(due);
            }
        }
    }

    fn give(&mut self, due: Answers<u8>) {
        for (ticket, reply) in due {
            if let Reply::Item { item, .. } = reply {
                let client = self.waiting.remove(&ticket).expect("it waits");
                self.on_their_way.insert(ticket, (client, item));
            }
        }
    }

    /// What there is to be had.
    fn drain(&mut self) -> BTreeSet<u8> {
        let mut got = BTreeSet::new();
        loop {
            let call = Call::Queue(QueueCall::Get { kept: false });
            let (ticket, due) = self.object.call(caller(0), call);
            let Some((_, Reply::Item { item, .. })) = due.into_iter().next() else {
                self.object.after(|machine, due| machine.cancel(ticket, due));
                return got;
            };
            assert!(got.insert(item), "{item} comes twice");
        }
    }
}

/// Which of two that are on their way is done, the one that arrives tells.
#[test]
fn an_item_that_nobody_saw_comes_back_though_another_says_done() {
    let mut object = Object::new(Seed::Queue { capacity: None, joinable: true });
    for item in 1..=2 {
        object.call(caller(0), Call::Queue(QueueCall::Put(item)));
    }
    let mut get = |client| {
        let call = Call::Queue(QueueCall::Get { kept: true });
        object.call(caller(client), call).0
    };
    let (first, second) = (get(1), get(2));
    object.call(caller(0), Call::Queue(QueueCall::TaskDone));
    object.call(caller(2), Call::Queue(QueueCall::Kept(second)));
    object.after(|machine, due| machine.cancel(first, due));
    object.after(|machine, due| machine.gone(caller(2).client, due));
    let (_, due) = object.call(caller(0), Call::Queue(QueueCall::Get { kept: false }));
    assert!(matches!(due[..], [(_, Reply::Item { item: 1, .. })]), "{due:?}");
    assert_eq!(object.ask(Call::Queue(QueueCall::Len)), Reply::Number(0), "the other is done");
}

proptest! {
    #[test]
    fn what_nobody_saw_is_there_when_all_have_ended(
        all in proptest::collection::vec(deeds(), 0..80),
    ) {
        let mut world = Joinable {
            object: Object::new(Seed::Queue { capacity: None, joinable: true }),
            on_their_way: BTreeMap::new(),
            waiting: BTreeMap::new(),
            seen: BTreeSet::new(),
            put: 0,
        };
        for deed in all {
            world.deed(deed);
        }
        (0..CLIENTS).for_each(|client| world.deed(Deed::Die(client)));
        let left = world.drain();
        let unseen = (1..=world.put).filter(|item| !world.seen.contains(item));
        prop_assert!(unseen.clone().all(|item| left.contains(&item)), "{left:?}");
    }

    #[test]
    fn a_queue_loses_nothing_and_lets_nobody_wait_for_what_it_has(
        all in proptest::collection::vec(steps(), 0..80),
    ) {
        let mut world = World::new();
        for step in all {
            world.step(step);
        }
    }
}
