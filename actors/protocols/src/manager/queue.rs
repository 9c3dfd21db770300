//! A managed queue, joinable or not.
//!
//! Owns the items, who waits for one or for a place, and the items that clients have but
//! that still belong to the queue: those of a joinable queue until `task_done`, and those
//! that were asked for so that their arrival can be confirmed. They come back to the front, in
//! the order in which they were put, when nobody waits for them any more, and marked when their
//! client is gone.

use super::{Answers, Fault, QueueCall, Reply, Ticket, Value};
use crate::custody::ClientId;
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Clone)]
pub(super) struct Queue<V> {
    capacity: Option<u64>,
    joinable: bool,
    /// In the order in which they were put.
    items: VecDeque<Item<V>>,
    last_place: u64,
    /// Those who wait for an item.
    getting: VecDeque<Getter>,
    /// Those who wait for a place, each with its item.
    putting: VecDeque<Putter<V>>,
    /// Items that are out with a client, by the call that got them.
    out: BTreeMap<Ticket, Out<V>>,
    /// How many items were put and not said to be done.
    unfinished: u64,
    /// So many of the items that are on their way were said to be done. Which of them, those
    /// will tell that arrive.
    done_on_the_way: usize,
    joining: VecDeque<(Ticket, ClientId)>,
    is_shut_down: bool,
}

#[derive(Debug, Clone)]
struct Item<V> {
    value: V,
    /// Later ones have higher ones.
    place: u64,
    redelivered: bool,
}

#[derive(Debug, Clone)]
struct Getter {
    ticket: Ticket,
    client: ClientId,
    kept: bool,
}

#[derive(Debug, Clone)]
struct Putter<V> {
    ticket: Ticket,
    client: ClientId,
    value: V,
}

#[derive(Debug, Clone)]
struct Out<V> {
    client: ClientId,
    value: V,
    place: u64,
    /// Whether it is not known yet that it has arrived.
    is_on_its_way: bool,
}

/// What somebody waited for.
#[derive(Debug, Clone, Copy)]
enum Waited {
    Get,
    Put,
    Join,
}

impl<V: Value> Queue<V> {
    pub(super) fn new(capacity: Option<u64>, joinable: bool) -> Self {
        Self {
            capacity: capacity.filter(|capacity| *capacity > 0),
            joinable,
            items: VecDeque::new(),
            last_place: 0,
            getting: VecDeque::new(),
            putting: VecDeque::new(),
            out: BTreeMap::new(),
            unfinished: 0,
            done_on_the_way: 0,
            joining: VecDeque::new(),
            is_shut_down: false,
        }
    }

    pub(super) fn is_joinable(&self) -> bool {
        self.joinable
    }

    pub(super) fn call(
        &mut self,
        client: ClientId,
        ticket: Ticket,
        call: QueueCall<V>,
        due: &mut Answers<V>,
    ) {
        let reply = match call {
            QueueCall::Put(_) if self.is_shut_down => Reply::Fault(Fault::Shutdown),
            QueueCall::Put(value) => {
                self.putting.push_back(Putter { ticket, client, value });
                return self.settle(due);
            }
            QueueCall::Get { kept } => {
                self.getting.push_back(Getter { ticket, client, kept });
                return self.settle(due);
            }
            QueueCall::Kept(number) => {
                let out = self.out.get_mut(&number);
                match out.filter(|out| out.client == client && out.is_on_its_way) {
                    Some(out) if self.joinable && self.done_on_the_way == 0 => {
                        out.is_on_its_way = false;
                    }
                    Some(_) => {
                        self.done_on_the_way -= usize::from(self.joinable);
                        self.out.remove(&number);
                    }
                    None => {}
                }
                Reply::Done
            }
            QueueCall::Len => Reply::Number(self.items.len() as u64),
            QueueCall::IsFull => {
                let len = self.items.len() as u64;
                Reply::Bool(self.capacity.is_some_and(|capacity| len >= capacity))
            }
            QueueCall::Capacity => self.capacity.map_or(Reply::None, Reply::Number),
            QueueCall::TaskDone if self.unfinished > 0 => {
                if self.joinable {
                    self.take_one_off(client);
                }
                self.unfinished -= 1;
                Reply::Done
            }
            QueueCall::TaskDone => Reply::Fault(Fault::TooManyDone),
            QueueCall::Join if self.unfinished == 0 => Reply::Done,
            QueueCall::Join => return self.joining.push_back((ticket, client)),
            QueueCall::Shutdown { immediate } => {
                self.is_shut_down = true;
                if immediate {
                    let dropped = self.items.drain(..).count() as u64;
                    self.unfinished = self.unfinished.saturating_sub(dropped);
                }
                let shut = |ticket| (ticket, Reply::Fault(Fault::Shutdown));
                due.extend(self.putting.drain(..).map(|one| shut(one.ticket)));
                Reply::Done
            }
        };
        due.push((ticket, reply));
        self.settle(due);
    }

    /// Gives items to those who wait, and places to those who put.
    fn settle(&mut self, due: &mut Answers<V>) {
        loop {
            let has_place =
                self.capacity.is_none_or(|capacity| (self.items.len() as u64) < capacity);
            if has_place && let Some(Putter { ticket, value, .. }) = self.putting.pop_front() {
                self.last_place += 1;
                self.items.push_back(Item { value, place: self.last_place, redelivered: false });
                self.unfinished += 1;
                due.push((ticket, Reply::Done));
            } else if !self.getting.is_empty()
                && let Some(item) = self.items.pop_front()
                && let Some(getter) = self.getting.pop_front()
            {
                due.push((getter.ticket, self.hand_out(getter, item)));
            } else {
                break;
            }
        }
        if self.is_shut_down {
            let shut = |one: Getter| (one.ticket, Reply::Fault(Fault::Shutdown));
            due.extend(self.getting.drain(..).map(shut));
        }
        if self.unfinished == 0 {
            due.extend(self.joining.drain(..).map(|(ticket, _)| (ticket, Reply::Done)));
        }
    }

    /// An item is done: the one that this client has had for longest, or that anybody has had,
    /// since who got it may have given it to another to do. When there are none but on their
    /// way, one of those; which one is open, as one may be to somebody who waits no longer.
    fn take_one_off(&mut self, client: ClientId) {
        let find = |is_it: fn(&Out<V>, ClientId) -> bool| {
            let has_it = |out: &Out<V>| !out.is_on_its_way && is_it(out, client);
            self.out.iter().find(|(_, out)| has_it(out)).map(|(number, _)| *number)
        };
        let first = find(|out, client| out.client == client).or_else(|| find(|_, _| true));
        match first {
            Some(number) => drop(self.out.remove(&number)),
            None if self.out.len() > self.done_on_the_way => self.done_on_the_way += 1,
            None => {}
        }
    }

    /// Some that were on their way came back. What was said to be done and is none of those that
    /// still are has to be done again.
    fn came_back(&mut self) {
        let on_their_way = self.out.values().filter(|out| out.is_on_its_way).count();
        let again = self.done_on_the_way.saturating_sub(on_their_way);
        self.done_on_the_way -= again;
        self.unfinished += again as u64;
    }

    fn hand_out(&mut self, getter: Getter, item: Item<V>) -> Reply<V> {
        let Getter { ticket, client, kept } = getter;
        if self.joinable || kept {
            let (value, place) = (item.value.clone(), item.place);
            self.out.insert(ticket, Out { client, value, place, is_on_its_way: kept });
        }
        let Item { value, redelivered, .. } = item;
        Reply::Item { item: value, redelivered, kept: kept.then_some(ticket) }
    }

    pub(super) fn expire(&mut self, ticket: Ticket, due: &mut Answers<V>) {
        let reply = match self.take_out(ticket) {
            Some(Waited::Get) => Reply::Fault(Fault::Empty),
            Some(Waited::Put) => Reply::Fault(Fault::Full),
            Some(Waited::Join) => Reply::Bool(false),
            None => return,
        };
        due.push((ticket, reply));
    }

    /// Takes out who waits by this ticket. Those who wait stand in the order of their
    /// tickets.
    fn take_out(&mut self, ticket: Ticket) -> Option<Waited> {
        if let Ok(at) = self.getting.binary_search_by_key(&ticket, |one| one.ticket) {
            self.getting.remove(at).map(|_| Waited::Get)
        } else if let Ok(at) = self.putting.binary_search_by_key(&ticket, |one| one.ticket) {
            self.putting.remove(at).map(|_| Waited::Put)
        } else if let Ok(at) = self.joining.binary_search_by_key(&ticket, |(one, _)| *one) {
            self.joining.remove(at).map(|_| Waited::Join)
        } else {
            None
        }
    }

    pub(super) fn cancel(&mut self, ticket: Ticket, due: &mut Answers<V>) {
        self.take_out(ticket);
        if self.out.get(&ticket).is_some_and(|out| out.is_on_its_way)
            && let Some(out) = self.out.remove(&ticket)
        {
            // Nobody has seen it.
            self.bring_back(out, false);
            self.came_back();
        }
        self.settle(due);
    }

    pub(super) fn given(&self) -> impl Iterator<Item = Ticket> {
        self.out.iter().filter(|(_, out)| out.is_on_its_way).map(|(ticket, _)| *ticket)
    }

    fn bring_back(&mut self, out: Out<V>, redelivered: bool) {
        let Out { value, place, .. } = out;
        let at = self.items.partition_point(|item| item.place < place);
        self.items.insert(at, Item { value, place, redelivered });
    }

    pub(super) fn gone(&mut self, client: ClientId, due: &mut Answers<V>) {
        self.getting.retain(|one| one.client != client);
        self.putting.retain(|one| one.client != client);
        self.joining.retain(|(_, one)| *one != client);
        let back: Vec<_> = self.out.extract_if(.., |_, out| out.client == client).collect();
        for (_, out) in back {
            self.bring_back(out, true);
        }
        self.came_back();
        self.settle(due);
    }
}
