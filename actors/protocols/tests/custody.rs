//! Custody against a world of processes and sockets: messages in flight, handles passed on,
//! deaths at every step, and an owner that reads its sockets in any order.
//!
//! Owns the world. It knows who can still reach an object, which custody has to find out
//! from what arrives; it checks that nothing is dropped while anybody can reach it, that
//! everything is dropped when nobody can, and that each death is told once.
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

use procession_protocols::custody::{Attached, ClientId, Custody, Effect};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The processes beside the owner.
const PROCESSES: usize = 3;

#[derive(Debug)]
enum Frame {
    Connect { process: usize },
    Attach { object: u64, number: u64 },
    Adopt { objects: Vec<u64>, ticket: usize },
    Release { object: u64, number: u64 },
}

/// A ticket's socket.
#[derive(Debug, Default)]
struct Ticket {
    /// Copies of the end that travels.
    copies: usize,
    frames: VecDeque<Frame>,
    /// The number that custody has given it, once the owner has its end.
    number: Option<u64>,
    has_ended: bool,
}

/// What a process knows of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handle {
    Ticket(usize),
    /// Waits for the answer to this attachment.
    Attaching(usize, u64),
    Attached(u64),
}

/// What is under way to a process.
#[derive(Debug)]
struct Message {
    objects: Vec<u64>,
    ticket: usize,
}

#[derive(Debug, Default)]
struct Process {
    is_dead: bool,
    /// The owner has seen it die.
    is_buried: bool,
    has_connected: bool,
    connection: VecDeque<Frame>,
    client: Option<ClientId>,
    handles: BTreeMap<u64, Handle>,
    inbox: VecDeque<Message>,
    last_number: u64,
    /// Releases that a thread has yet to send: others may attach anew before it does.
    unsent: Vec<Frame>,
}

#[derive(Debug, Default)]
struct World {
    custody: Custody,
    objects: BTreeSet<u64>,
    local: BTreeMap<u64, u32>,
    tickets: Vec<Ticket>,
    processes: [Process; PROCESSES],
    wants_drain: bool,
    attached: BTreeSet<(ClientId, u64)>,
}

impl World {
    fn step(&mut self, action: u8, who: usize, which: usize) {
        let process = who % PROCESSES;
        match action % 15 {
            0 => {
                let object = self.custody.host();
                assert!(self.objects.insert(object), "a number was given twice");
                self.local.insert(object, 1);
            }
            1 | 2 => self.send_from_owner(process, which),
            3 | 4 => self.receive(process),
            5 => self.attach(process, which),
            6 => self.pass_on(process, which),
            7 => self.drop_handle(process, which),
            8 => self.drop_local(which),
            9 => self.lose_message(process),
            10 => self.die(process, which),
            11 => drop(self.owner_reads_one(which)),
            12 => self.send_release(process, which),
            13 => drop(self.owner_sees_ends(which)),
            _ => self.drain(which % 4 != 1),
        }
    }

    fn nth<T: Copy>(of: impl Iterator<Item = T>, which: usize) -> Option<T> {
        let all: Vec<T> = of.collect();
        (!all.is_empty()).then(|| all[which % all.len()])
    }

    fn send_from_owner(&mut self, to: usize, which: usize) {
        let held = self.local.iter().filter(|(_, count)| **count > 0).map(|(object, _)| *object);
        let objects: Vec<u64> = held.skip(which % 3).take(1 + which % 2).collect();
        if objects.is_empty() || self.processes[to].is_dead {
            return;
        }
        let number = self.custody.issue(objects.clone());
        self.tickets.push(Ticket { copies: 1, number: Some(number), ..Ticket::default() });
        let ticket = self.tickets.len() - 1;
        self.processes[to].inbox.push_back(Message { objects, ticket });
    }

    fn receive(&mut self, process: usize) {
        let Some(message) = self.processes[process].inbox.pop_front() else { return };
        for object in message.objects {
            // The handle that is there already stays; else this one has the ticket.
            if let std::collections::btree_map::Entry::Vacant(place) =
                self.processes[process].handles.entry(object)
            {
                place.insert(Handle::Ticket(message.ticket));
                self.tickets[message.ticket].copies += 1;
            }
        }
        self.tickets[message.ticket].copies -= 1;
    }

    fn connect(&mut self, process: usize, ticket: usize) {
        if !self.processes[process].has_connected {
            self.processes[process].has_connected = true;
            self.tickets[ticket].frames.push_back(Frame::Connect { process });
        }
    }

    fn attach(&mut self, process: usize, which: usize) {
        let waiting = self.processes[process].handles.iter().filter_map(|(object, handle)| {
            if let Handle::Ticket(ticket) = handle { Some((*object, *ticket)) } else { None }
        });
        let Some((object, ticket)) = Self::nth(waiting, which) else { return };
        self.connect(process, ticket);
        let process = &mut self.processes[process];
        process.last_number += 1;
        let number = process.last_number;
        process.connection.push_back(Frame::Attach { object, number });
        process.handles.insert(object, Handle::Attaching(ticket, number));
    }

    fn pass_on(&mut self, process: usize, which: usize) {
        let to = (process + 1 + which % 2) % PROCESSES;
        let handles = self.processes[process].handles.iter().map(|(object, one)| (*object, *one));
        let Some((object, handle)) = Self::nth(handles, which) else { return };
        if let Handle::Ticket(ticket) = handle {
            self.connect(process, ticket);
        }
        // The end that travels, which the recipient may have before the owner has the other.
        self.tickets.push(Ticket { copies: 1, ..Ticket::default() });
        let ticket = self.tickets.len() - 1;
        let objects = vec![object];
        let adopt = Frame::Adopt { objects: objects.clone(), ticket };
        self.processes[process].connection.push_back(adopt);
        if self.processes[to].is_dead {
            self.tickets[ticket].copies -= 1;
        } else {
            self.processes[to].inbox.push_back(Message { objects, ticket });
        }
    }

    fn drop_handle(&mut self, process: usize, which: usize) {
        let objects = self.processes[process].handles.keys().copied();
        let Some(object) = Self::nth(objects, which) else { return };
        let handle = self.processes[process].handles.remove(&object).unwrap();
        self.let_go(process, object, handle);
    }

    fn let_go(&mut self, process: usize, object: u64, handle: Handle) {
        if let Handle::Ticket(ticket) | Handle::Attaching(ticket, _) = handle {
            self.tickets[ticket].copies -= 1;
        }
        if let Handle::Attached(number) | Handle::Attaching(_, number) = handle {
            self.processes[process].unsent.push(Frame::Release { object, number });
        }
    }

    fn send_release(&mut self, process: usize, which: usize) {
        let process = &mut self.processes[process];
        if !process.is_dead && !process.unsent.is_empty() {
            let release = process.unsent.swap_remove(which % process.unsent.len());
            process.connection.push_back(release);
        }
    }

    fn drop_local(&mut self, which: usize) {
        let held = self.local.iter().filter(|(_, count)| **count > 0).map(|(object, _)| *object);
        if let Some(object) = Self::nth(held, which) {
            *self.local.get_mut(&object).unwrap() -= 1;
            let effects = self.custody.let_go(object);
            self.carry_out(effects);
        }
    }

    fn lose_message(&mut self, process: usize) {
        if let Some(message) = self.processes[process].inbox.pop_back() {
            self.tickets[message.ticket].copies -= 1;
        }
    }

    fn die(&mut self, process: usize, which: usize) {
        // Not too often, or nothing else happens.
        if !which.is_multiple_of(4) {
            return;
        }
        let this = &mut self.processes[process];
        this.is_dead = true;
        for handle in std::mem::take(&mut this.handles).into_values() {
            if let Handle::Ticket(ticket) | Handle::Attaching(ticket, _) = handle {
                self.tickets[ticket].copies -= 1;
            }
        }
        for message in std::mem::take(&mut this.inbox) {
            self.tickets[message.ticket].copies -= 1;
        }
    }

    /// The owner reads one frame of one of its sockets; false when there is none.
    fn owner_reads_one(&mut self, which: usize) -> bool {
        let tickets = (0..self.tickets.len()).filter(|at| {
            let ticket = &self.tickets[*at];
            ticket.number.is_some() && !ticket.frames.is_empty()
        });
        let connections = (0..PROCESSES).filter(|at| {
            let process = &self.processes[*at];
            process.client.is_some() && !process.is_buried && !process.connection.is_empty()
        });
        let all = tickets.map(|at| (true, at)).chain(connections.map(|at| (false, at)));
        match Self::nth(all, which) {
            Some((true, at)) => {
                let frame = self.tickets[at].frames.pop_front().unwrap();
                let Frame::Connect { process } = frame else { panic!("{frame:?}") };
                self.processes[process].client = self.custody.connect();
                true
            }
            Some((false, at)) => {
                self.owner_reads_connection(at);
                true
            }
            None => false,
        }
    }

    fn owner_reads_connection(&mut self, at: usize) {
        let Some(frame) = self.processes[at].connection.pop_front() else { return };
        let client = self.processes[at].client.unwrap();
        match frame {
            Frame::Attach { object, number } => {
                let answer = self.custody.attach(client, object, number);
                if answer == Ok(Attached::Fresh) {
                    assert!(self.attached.insert((client, object)));
                }
                let process = &mut self.processes[at];
                if let Some(Handle::Attaching(ticket, waiting)) = process.handles.get(&object)
                    && *waiting == number
                {
                    assert!(answer.is_ok(), "an object was lost on the way");
                    self.tickets[*ticket].copies -= 1;
                    process.handles.insert(object, Handle::Attached(number));
                }
            }
            Frame::Adopt { objects, ticket } => {
                let number = self.custody.issue(objects);
                self.tickets[ticket].number = Some(number);
            }
            Frame::Release { object, number } => {
                let effects = self.custody.release(client, object, number);
                self.carry_out(effects);
            }
            Frame::Connect { .. } => panic!("only on a ticket"),
        }
    }

    /// The owner sees one end: of a ticket, or of a process.
    fn owner_sees_ends(&mut self, which: usize) -> bool {
        let ended = (0..self.tickets.len()).filter(|at| {
            let ticket = &self.tickets[*at];
            ticket.copies == 0
                && ticket.frames.is_empty()
                && ticket.number.is_some()
                && !ticket.has_ended
        });
        let died = (0..PROCESSES).filter(|at| {
            let process = &self.processes[*at];
            process.is_dead && !process.is_buried && process.client.is_some()
        });
        let all = ended.map(|at| (true, at)).chain(died.map(|at| (false, at)));
        match Self::nth(all, which) {
            Some((true, at)) => {
                self.tickets[at].has_ended = true;
                let effects = self.custody.end_ticket(self.tickets[at].number.unwrap());
                self.carry_out(effects);
                true
            }
            Some((false, at)) => {
                while !self.processes[at].connection.is_empty() {
                    self.owner_reads_connection(at);
                }
                let client = self.processes[at].client.unwrap();
                self.processes[at].is_buried = true;
                let effects = self.custody.die(client);
                self.carry_out(effects);
                let left = self.attached.iter().any(|(attached, _)| *attached == client);
                assert!(!left, "a death was not told");
                self.custody.bury(client);
                // Another process takes its place.
                self.processes[at] = Process::default();
                true
            }
            None => false,
        }
    }

    /// With `is_whole` everything is read; else the drain comes to nothing.
    fn drain(&mut self, is_whole: bool) {
        if !std::mem::take(&mut self.wants_drain) {
            return;
        }
        let suspects = self.custody.begin_drain();
        if !is_whole {
            self.owner_reads_one(0);
            self.custody.put_off(suspects);
            self.wants_drain = true;
            return;
        }
        while self.owner_reads_one(0) {}
        let effects = self.custody.drained(suspects);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Drop(object) => {
                    assert!(self.objects.remove(&object), "an object was dropped twice");
                    assert!(!self.is_reachable(object), "object {object} was dropped too early");
                }
                Effect::Drain => self.wants_drain = true,
                Effect::Detach(client, object) | Effect::Died(client, object) => {
                    assert!(self.attached.remove(&(client, object)), "an end was told twice");
                }
            }
        }
    }

    fn is_reachable(&self, object: u64) -> bool {
        self.local.get(&object).is_some_and(|count| *count > 0)
            || self.processes.iter().any(|process| {
                process.handles.contains_key(&object)
                    || process.inbox.iter().any(|message| message.objects.contains(&object))
            })
    }

    /// Everybody lets go of everything, and the owner hears of it.
    fn end(mut self) {
        for object in self.local.keys().copied().collect::<Vec<_>>() {
            while self.local[&object] > 0 {
                *self.local.get_mut(&object).unwrap() -= 1;
                let effects = self.custody.let_go(object);
                self.carry_out(effects);
            }
        }
        for process in 0..PROCESSES {
            while !self.processes[process].inbox.is_empty() {
                self.lose_message(process);
            }
            while !self.processes[process].handles.is_empty() {
                self.drop_handle(process, 0);
            }
            while !self.processes[process].is_dead && !self.processes[process].unsent.is_empty() {
                self.send_release(process, 0);
            }
        }
        while self.owner_reads_one(0) || self.owner_sees_ends(0) || self.wants_drain {
            self.drain(true);
        }
        assert!(self.objects.is_empty(), "never dropped: {:?}", self.objects);
        assert!(self.attached.is_empty(), "never told: {:?}", self.attached);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..crate::config(3_000) })]

    #[test]
    fn nothing_is_dropped_early_and_nothing_stays(
        steps in prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>()), 1..150),
    ) {
        let mut world = World::default();
        for (action, who, which) in steps {
            world.step(action, who.into(), which.into());
        }
        world.end();
    }
}

#[test]
fn without_the_drain_an_object_that_was_passed_on_would_be_lost() {
    let mut custody = Custody::default();
    let object = custody.host();
    let first = custody.issue([object]);
    assert_eq!(custody.let_go(object), []);
    // A client took the ticket, passed the object on over its connection, and closed the
    // ticket. The owner sees the close first.
    let client = custody.connect().unwrap();
    assert_eq!(custody.end_ticket(first), [Effect::Drain]);
    let suspects = custody.begin_drain();
    let second = custody.issue([object]);
    assert_eq!(custody.drained(suspects), []);
    assert_eq!(custody.attach(client, object, 1), Ok(Attached::Fresh));
    assert_eq!(custody.end_ticket(second), []);
    let effects = custody.die(client);
    assert_eq!(effects, [Effect::Died(client, object), Effect::Drain]);
    let suspects = custody.begin_drain();
    assert_eq!(custody.drained(suspects), [Effect::Drop(object)]);
}

#[test]
fn an_object_that_never_left_goes_at_once() {
    let mut custody = Custody::default();
    let object = custody.host();
    assert!(custody.hold(object));
    assert_eq!(custody.let_go(object), []);
    assert_eq!(custody.let_go(object), [Effect::Drop(object)]);
    assert!(!custody.hold(object));
}

#[test]
fn a_client_that_attached_anew_is_not_released_by_its_past() {
    let mut custody = Custody::default();
    let (object, client) = (custody.host(), custody.connect().unwrap());
    assert_eq!(custody.attach(client, object, 1), Ok(Attached::Fresh));
    assert_eq!(custody.attach(client, object, 2), Ok(Attached::InPlaceOfAnother));
    assert_eq!(custody.release(client, object, 1), []);
    assert!(custody.is_attached(client, object));
    assert_eq!(custody.release(client, object, 2), [Effect::Detach(client, object)]);
}

#[test]
fn numbers_of_clients_rest_until_the_dead_are_buried_and_end_at_the_last() {
    let mut custody = Custody::default();
    let all: Vec<ClientId> = std::iter::from_fn(|| custody.connect()).collect();
    assert_eq!((all[0], all.len()), (ClientId::FIRST, usize::from(u16::MAX) - 1));
    custody.die(all[7]);
    assert_eq!(custody.connect(), None);
    custody.bury(all[7]);
    assert_eq!(custody.connect(), Some(all[7]));
    // Only the dead are buried.
    custody.bury(all[8]);
    assert_eq!(custody.connect(), None);
}
