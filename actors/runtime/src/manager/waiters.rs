//! Who waits for a managed object's answers.
//!
//! Owns the calls that the object has not answered, those that came while a user's function
//! changed it, and those that were just given something, in case their callers have left.
//! Each is found by its ticket or by its caller's number, however many there are: a client
//! that gives up thousands of calls costs as many look-ups. It must never decide what a call
//! gets. Neighbour: `object` does, with its machine.

use super::Ask;
use super::asker::Asker;
use super::stored::Stored;
use crate::share::ClientId;
use procession_protocols::manager::{Caller, Reply, Ticket};
use std::collections::{BTreeMap, HashMap, HashSet};
use tokio::task::AbortHandle;

/// So many more answers that gave something are remembered before those are forgotten that gave
/// what has gone back or has arrived.
const CROSSING: usize = 256;

/// A call that came while the object was being changed.
pub(super) type Postponed = (Ticket, Caller, Ask, Asker);

/// Those who wait for one object.
#[derive(Default)]
pub(super) struct Waiters {
    waiting: HashMap<Ticket, Waiting>,
    /// In the order in which they came.
    postponed: BTreeMap<Ticket, (Caller, Ask, Asker)>,
    /// The tickets of both, by their callers' numbers.
    numbers: HashMap<(ClientId, u64), Ticket>,
    /// Calls that were given something, in case their callers have left.
    crossing: HashMap<(ClientId, u64), Ticket>,
    /// How many there were after the last [`sweep`](Self::sweep).
    swept: usize,
}

struct Waiting {
    asker: Asker,
    timer: Option<AbortHandle>,
}

impl Waiters {
    /// Keeps who waits for an answer, and what ends its wait.
    pub(super) fn enter(&mut self, ticket: Ticket, asker: Asker, timer: Option<AbortHandle>) {
        self.index(ticket, &asker);
        self.waiting.insert(ticket, Waiting { asker, timer });
    }

    /// Keeps a call until the object takes calls again.
    pub(super) fn postpone(&mut self, (ticket, caller, ask, asker): Postponed) {
        self.index(ticket, &asker);
        self.postponed.insert(ticket, (caller, ask, asker));
    }

    /// The first call that was kept.
    pub(super) fn resume(&mut self) -> Option<Postponed> {
        let (ticket, (caller, ask, asker)) = self.postponed.pop_first()?;
        self.forget(ticket, &asker);
        Some((ticket, caller, ask, asker))
    }

    /// Takes out who gets this answer; `None` when nobody waits for it any more.
    pub(super) fn answered(&mut self, ticket: Ticket, reply: &Reply<Stored>) -> Option<Asker> {
        let Waiting { asker, timer } = self.waiting.remove(&ticket)?;
        self.forget(ticket, &asker);
        if let Some(timer) = timer {
            timer.abort();
        }
        self.note(&asker, ticket, reply);
        Some(asker)
    }

    /// Remembers who was given something, in case that nobody waits for it any more.
    pub(super) fn note(&mut self, asker: &Asker, ticket: Ticket, reply: &Reply<Stored>) {
        let gives = matches!(
            reply,
            Reply::Acquired { .. }
                | Reply::Act
                | Reply::Bool(true)
                | Reply::Item { kept: Some(_), .. }
        );
        if gives && let Some(number) = asker.number() {
            self.crossing.insert(number, ticket);
        }
    }

    /// Whether it is time to forget those whose gifts are no more.
    pub(super) fn is_crowded(&self) -> bool {
        self.crossing.len() >= 2 * self.swept + CROSSING
    }

    /// Forgets all but those who may have what the machine has given.
    pub(super) fn sweep(&mut self, given: &HashSet<Ticket>) {
        self.crossing.retain(|_, ticket| given.contains(ticket));
        self.swept = self.crossing.len();
    }

    /// Nobody waits for this call of a client's any more: what the machine knows it by, if
    /// it knows it.
    pub(super) fn cancel(&mut self, client: ClientId, number: u64) -> Option<Ticket> {
        let number = (client, number);
        let Some(ticket) = self.numbers.remove(&number) else {
            return self.crossing.remove(&number);
        };
        if self.postponed.remove(&ticket).is_some() {
            return None;
        }
        let waiting = self.waiting.remove(&ticket);
        if let Some(timer) = waiting.and_then(|waiting| waiting.timer) {
            timer.abort();
        }
        Some(ticket)
    }

    /// A client is gone, and all its calls.
    pub(super) fn gone(&mut self, client: ClientId) {
        self.numbers.retain(|(of, _), _| *of != client);
        self.crossing.retain(|(of, _), _| *of != client);
        self.postponed.retain(|_, (caller, ..)| caller.client != client);
        let is_its = |one: &Waiting| one.asker.number().is_some_and(|(of, _)| of == client);
        let waiting = self.waiting.extract_if(|_, one| is_its(one));
        for timer in waiting.filter_map(|(_, one)| one.timer) {
            timer.abort();
        }
    }

    fn index(&mut self, ticket: Ticket, asker: &Asker) {
        if let Some(number) = asker.number() {
            self.numbers.insert(number, ticket);
        }
    }

    /// A number that its client used again is the later call's.
    fn forget(&mut self, ticket: Ticket, asker: &Asker) {
        if let Some(number) = asker.number()
            && self.numbers.get(&number) == Some(&ticket)
        {
            self.numbers.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(number: u64) -> Asker {
        Asker::Far(ClientId::FIRST, number, Box::new(|_| {}))
    }

    fn caller() -> Caller {
        Caller { client: ClientId::FIRST, thread: 1 }
    }

    /// Whether nothing is left but what is remembered.
    fn is_empty(waiters: &Waiters) -> bool {
        waiters.waiting.is_empty() && waiters.postponed.is_empty() && waiters.numbers.is_empty()
    }

    #[test]
    fn each_is_found_by_its_number_until_it_is_answered() {
        let mut waiters = Waiters::default();
        waiters.enter(1, call(11), None);
        waiters.postpone((2, caller(), Ask::Names, call(12)));
        waiters.enter(3, call(13), None);
        assert_eq!(waiters.cancel(ClientId::OWNER, 11), None, "another client's number");
        assert_eq!(waiters.cancel(ClientId::FIRST, 11), Some(1));
        assert!(waiters.answered(1, &Reply::Done).is_none());
        assert_eq!(waiters.cancel(ClientId::FIRST, 12), None, "the machine does not know it");
        assert!(waiters.resume().is_none());
        assert!(waiters.answered(3, &Reply::Acquired { after_death: false }).is_some());
        assert!(is_empty(&waiters));
        assert_eq!(waiters.cancel(ClientId::FIRST, 13), Some(3), "its answer is on its way");
    }

    #[test]
    fn all_are_remembered_that_may_have_something() {
        let mut waiters = Waiters::default();
        let reply = Reply::Acquired { after_death: false };
        let mut given = HashSet::new();
        for ticket in 0..10_000 {
            waiters.enter(ticket, call(ticket), None);
            assert!(waiters.answered(ticket, &reply).is_some());
            // Every tenth one stays.
            if ticket % 10 == 0 {
                given.insert(ticket);
            }
            if waiters.is_crowded() {
                waiters.sweep(&given);
            }
        }
        assert!(waiters.crossing.len() < 4 * CROSSING + 2_000, "{}", waiters.crossing.len());
        for ticket in given {
            assert_eq!(waiters.cancel(ClientId::FIRST, ticket), Some(ticket));
        }
    }

    #[test]
    fn a_number_used_twice_harms_nobody_else() {
        let mut waiters = Waiters::default();
        waiters.enter(1, call(7), None);
        waiters.enter(2, call(7), None);
        assert!(waiters.answered(1, &Reply::Done).is_some());
        assert_eq!(waiters.cancel(ClientId::FIRST, 7), Some(2));
        assert!(is_empty(&waiters));
    }

    #[test]
    fn nothing_is_left_of_a_client_that_is_gone() {
        let mut waiters = Waiters::default();
        waiters.enter(1, call(1), None);
        waiters.postpone((2, caller(), Ask::Names, call(2)));
        waiters.gone(ClientId::FIRST);
        assert!(is_empty(&waiters));
    }
}
