//! A managed semaphore, bounded or not.
//!
//! Owns the permits: how many are free, which client took how many, and which were left
//! behind by clients that ended. Those go to who asks when no other is free, who is told;
//! or somebody gives them back, as a parent may for its child.
//!
//! A permit that is given back is counted as one of its client's, and which of them that was
//! stays open: any of them may turn out to be one that its caller never saw and takes back.

use super::{Answers, Fault, MOST_TAKEN, Reply, SemaphoreCall, Ticket};
use crate::custody::ClientId;
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Clone)]
pub(super) struct Semaphore {
    free: u64,
    bound: Option<u64>,
    taken: BTreeMap<ClientId, Taken>,
    left_behind: u64,
    queue: VecDeque<(Ticket, ClientId)>,
}

/// What a client took. It has a permit for each call that is not given back.
#[derive(Debug, Clone, Default)]
struct Taken {
    /// The calls, the youngest last, and whether what they took had been left behind before.
    calls: VecDeque<(Ticket, bool)>,
    /// So many of them are given back, by whomever: the oldest, unless one is taken back.
    given_back: usize,
}

impl Taken {
    fn permits(&self) -> usize {
        self.calls.len() - self.given_back
    }

    /// One permit less, if there is one.
    fn give_back(&mut self) -> bool {
        let has_one = self.permits() > 0;
        self.given_back += usize::from(has_one);
        self.trim();
        has_one
    }

    fn trim(&mut self) {
        while self.given_back > 0 && self.calls.len() > MOST_TAKEN {
            self.calls.pop_front();
            self.given_back -= 1;
        }
    }

    /// Takes a call back; whether what it took had been left behind. They stand in the order
    /// of their tickets.
    fn take_back(&mut self, ticket: Ticket) -> Option<bool> {
        let at = self.calls.binary_search_by_key(&ticket, |(taken, _)| *taken).ok()?;
        self.calls.remove(at).map(|(_, after_death)| after_death)
    }
}

impl Semaphore {
    pub(super) fn new(free: u64, bound: Option<u64>) -> Self {
        Self { free, bound, taken: BTreeMap::new(), left_behind: 0, queue: VecDeque::new() }
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.bound.is_some()
    }

    pub(super) fn call<V>(
        &mut self,
        client: ClientId,
        ticket: Ticket,
        call: SemaphoreCall,
        due: &mut Answers<V>,
    ) {
        match call {
            SemaphoreCall::Acquire => self.queue.push_back((ticket, client)),
            SemaphoreCall::IsLocked => {
                let is_locked = self.free == 0 && self.left_behind == 0;
                due.push((ticket, Reply::Bool(is_locked)));
            }
            SemaphoreCall::Release(count) => {
                let after = self.free.checked_add(count);
                if after.is_none_or(|after| self.bound.is_some_and(|bound| after > bound)) {
                    return due.push((ticket, Reply::Fault(Fault::TooManyReleases)));
                }
                for _ in 0..count.min(self.taken_count() + self.left_behind) {
                    self.give_back(client);
                }
                self.free += count;
                due.push((ticket, Reply::Done));
            }
        }
        self.hand_on(due);
    }

    fn taken_count(&self) -> u64 {
        self.taken.values().map(|taken| taken.permits() as u64).sum()
    }

    /// One permit is nobody's any more: the client's own, one left behind, or another's.
    fn give_back(&mut self, client: ClientId) {
        if self.taken.get_mut(&client).is_some_and(Taken::give_back) {
            return;
        }
        if self.left_behind > 0 {
            self.left_behind -= 1;
        } else {
            self.taken.values_mut().any(Taken::give_back);
        }
    }

    fn hand_on<V>(&mut self, due: &mut Answers<V>) {
        while self.free + self.left_behind > 0 {
            let Some((ticket, client)) = self.queue.pop_front() else { return };
            let after_death = self.free == 0;
            if after_death {
                self.left_behind -= 1;
            } else {
                self.free -= 1;
            }
            let taken = self.taken.entry(client).or_default();
            taken.calls.push_back((ticket, after_death));
            taken.trim();
            due.push((ticket, Reply::Acquired { after_death }));
        }
    }

    pub(super) fn expire<V>(&mut self, ticket: Ticket, due: &mut Answers<V>) {
        if self.take_out(ticket) {
            due.push((ticket, Reply::Bool(false)));
        }
    }

    /// Whether it waited. Those who wait stand in the order of their tickets.
    fn take_out(&mut self, ticket: Ticket) -> bool {
        let found = self.queue.binary_search_by_key(&ticket, |(waiting, _)| *waiting);
        found.is_ok_and(|at| self.queue.remove(at).is_some())
    }

    pub(super) fn cancel<V>(&mut self, ticket: Ticket, due: &mut Answers<V>) {
        if self.take_out(ticket) {
            return;
        }
        let took = |(client, taken): (&ClientId, &mut Taken)| {
            taken.take_back(ticket).map(|after_death| (*client, after_death))
        };
        let Some((client, after_death)) = self.taken.iter_mut().find_map(took) else { return };
        // Whoever gets it next is to know what this one was to know.
        if after_death {
            self.left_behind += 1;
        } else {
            self.free += 1;
        }
        self.settle(client);
        self.hand_on(due);
    }

    /// A client of which more was given back than it took, now that it took less: that was
    /// another's, or a permit more.
    fn settle(&mut self, client: ClientId) {
        if let Some(taken) = self.taken.get_mut(&client)
            && taken.given_back > taken.calls.len()
        {
            taken.given_back -= 1;
            self.give_back(client);
        }
        if let Some(bound) = self.bound {
            self.free = self.free.min(bound);
        }
    }

    pub(super) fn given(&self) -> impl Iterator<Item = Ticket> {
        self.taken.values().flat_map(|taken| &taken.calls).map(|one| one.0)
    }

    pub(super) fn gone<V>(&mut self, client: ClientId, due: &mut Answers<V>) {
        self.queue.retain(|(_, waiting)| *waiting != client);
        let taken = self.taken.remove(&client);
        self.left_behind += taken.map_or(0, |taken| taken.permits() as u64);
        self.hand_on(due);
    }
}
