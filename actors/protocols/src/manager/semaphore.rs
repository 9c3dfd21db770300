//! A managed semaphore, bounded or not.
//!
//! Owns the permits: how many are free, which client took how many, and which were left
//! behind by clients that ended. Those go to who asks when no other is free, who is told;
//! or somebody gives them back, as a parent may for its child.

use super::{Answers, Fault, Reply, SemaphoreCall, Ticket};
use crate::custody::ClientId;
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Clone)]
pub(super) struct Semaphore {
    free: u64,
    bound: Option<u64>,
    /// The calls by which each client's permits were taken, the youngest last, and whether they
    /// had been left behind before.
    taken: BTreeMap<ClientId, VecDeque<(Ticket, bool)>>,
    left_behind: u64,
    queue: VecDeque<(Ticket, ClientId)>,
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
        self.taken.values().map(|taken| taken.len() as u64).sum()
    }

    /// One permit is nobody's any more: the client's own, one left behind, or another's. The
    /// oldest: a young one may be on its way still, to somebody who waits no longer.
    fn give_back(&mut self, client: ClientId) {
        if self.taken.get_mut(&client).and_then(VecDeque::pop_front).is_some() {
            return;
        }
        if self.left_behind > 0 {
            self.left_behind -= 1;
        } else if let Some(others) = self.taken.values_mut().find(|taken| !taken.is_empty()) {
            others.pop_front();
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
            self.taken.entry(client).or_default().push_back((ticket, after_death));
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
        for taken in self.taken.values_mut() {
            if let Some(at) = taken.iter().position(|one| one.0 == ticket) {
                // Whoever gets it next is to know what this one was to know.
                match taken.remove(at) {
                    Some((_, true)) => self.left_behind += 1,
                    Some((_, false)) => self.free += 1,
                    None => {}
                }
            }
        }
        self.hand_on(due);
    }

    pub(super) fn given(&self) -> impl Iterator<Item = Ticket> {
        self.taken.values().flatten().map(|one| one.0)
    }

    pub(super) fn gone<V>(&mut self, client: ClientId, due: &mut Answers<V>) {
        self.queue.retain(|(_, waiting)| *waiting != client);
        let taken = self.taken.remove(&client);
        self.left_behind += taken.map_or(0, |taken| taken.len() as u64);
        self.hand_on(due);
    }
}
