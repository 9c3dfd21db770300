//! A semaphore and its clients: permits that are given back by others than took them, calls
//! that are taken back, deaths.
//!
//! Owns two references. While nobody dies a semaphore is a number, to which an acquire that is
//! taken back is as if it had never been. When clients give back what they have themselves, all
//! permits are there again once all have ended. (Who gives back another's, and has one as well,
//! is taken to give back its own: nobody can know better.)

use super::{Object, caller};
use procession_protocols::manager::{Answers, Call, Fault, Reply, Seed, SemaphoreCall, Ticket};
use proptest::prelude::*;
use std::collections::VecDeque;

const CLIENTS: u8 = 3;
const PERMITS: u64 = 2;

#[derive(Debug, Clone, Copy)]
enum Step {
    Acquire(u8),
    Release(u8),
    /// Of a call that waits, or whose answer was not seen.
    Cancel(usize),
    /// Of a call that waits.
    Expire(usize),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..CLIENTS).prop_map(Step::Acquire),
        (0..CLIENTS).prop_map(Step::Release),
        any::<usize>().prop_map(Step::Cancel),
        any::<usize>().prop_map(Step::Expire),
    ]
}

/// One of these, by a number of any size.
fn pick<T: Copy>(all: impl IntoIterator<Item = T>, which: usize) -> Option<T> {
    let all: Vec<T> = all.into_iter().collect();
    all.get(which.checked_rem(all.len())?).copied()
}

fn acquire(object: &mut Object, client: u8) -> (Ticket, Answers<u8>) {
    object.call(caller(client), Call::Semaphore(SemaphoreCall::Acquire))
}

fn release(object: &mut Object, client: u8) -> (Reply<u8>, Answers<u8>) {
    let (ticket, mut due) = object.call(caller(client), Call::Semaphore(SemaphoreCall::Release(1)));
    let (answered, reply) = due.remove(0);
    assert_eq!(answered, ticket);
    (reply, due)
}

fn cancel(object: &mut Object, ticket: Ticket) -> Answers<u8> {
    object.after(|machine, due| machine.cancel(ticket, due))
}

/// How many permits there are.
fn available(object: &mut Object) -> u64 {
    (0..100).take_while(|_| !acquire(object, CLIENTS).1.is_empty()).count() as u64
}

/// A semaphore beside the number that it is.
struct World {
    object: Object,
    free: u64,
    bound: u64,
    waiting: VecDeque<Ticket>,
    /// Calls that were given a permit.
    given: Vec<Ticket>,
}

impl World {
    fn new(bounded: bool) -> Self {
        let object = Object::new(Seed::Semaphore { value: PERMITS, bounded });
        let bound = if bounded { PERMITS } else { u64::MAX };
        Self { object, free: PERMITS, bound, waiting: VecDeque::new(), given: Vec::new() }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Acquire(client) => {
                let (ticket, due) = acquire(&mut self.object, client);
                self.waiting.push_back(ticket);
                self.settle(due);
            }
            Step::Release(client) => {
                let (reply, due) = release(&mut self.object, client);
                if self.free == self.bound {
                    assert_eq!(reply, Reply::Fault(Fault::TooManyReleases));
                } else {
                    assert_eq!(reply, Reply::Done);
                    self.free += 1;
                }
                self.settle(due);
            }
            Step::Cancel(which) => {
                let all = self.waiting.iter().chain(&self.given).copied();
                let Some(ticket) = pick(all, which) else { return };
                let due = cancel(&mut self.object, ticket);
                self.waiting.retain(|one| *one != ticket);
                if self.given.contains(&ticket) {
                    self.given.retain(|one| *one != ticket);
                    self.free = self.bound.min(self.free + 1);
                }
                self.settle(due);
            }
            Step::Expire(which) => {
                let Some(ticket) = pick(self.waiting.iter().copied(), which) else { return };
                let due = self.object.after(|machine, due| machine.expire(ticket, due));
                assert_eq!(due, [(ticket, Reply::Bool(false))]);
                self.waiting.retain(|one| *one != ticket);
            }
        }
        let is_locked = self.object.ask(Call::Semaphore(SemaphoreCall::IsLocked));
        assert_eq!(is_locked, Reply::Bool(self.free == 0));
    }

    /// Those who wait get what is free, in their order.
    fn settle(&mut self, due: Answers<u8>) {
        let count = self.waiting.len().min(usize::try_from(self.free).expect("a number"));
        let first: Vec<Ticket> = self.waiting.drain(..count).collect();
        self.free -= count as u64;
        let given = |ticket: &Ticket| (*ticket, Reply::Acquired { after_death: false });
        assert_eq!(due, first.iter().map(given).collect::<Vec<_>>());
        self.given.extend(first);
    }
}

#[derive(Debug, Clone, Copy)]
enum Deed {
    Acquire(u8),
    /// The answer is seen: the permit is the client's.
    See(usize),
    /// A client gives back what it has.
    Release(usize),
    /// Of a call that waits, or whose answer was not seen.
    Cancel(usize),
    Die(u8),
}

fn deeds() -> impl Strategy<Value = Deed> {
    let client = 0..CLIENTS;
    prop_oneof![
        3 => client.clone().prop_map(Deed::Acquire),
        3 => any::<usize>().prop_map(Deed::See),
        2 => any::<usize>().prop_map(Deed::Release),
        2 => any::<usize>().prop_map(Deed::Cancel),
        1 => client.prop_map(Deed::Die),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Waits,
    IsGiven,
    IsSeen,
}

/// Clients that give back only what they have.
struct Careful {
    object: Object,
    calls: Vec<(Ticket, u8, Stage)>,
}

impl Careful {
    fn deed(&mut self, deed: Deed) {
        match deed {
            Deed::Acquire(client) => {
                let (ticket, due) = acquire(&mut self.object, client);
                self.calls.push((ticket, client, Stage::Waits));
                self.give(due);
            }
            Deed::See(which) => {
                let given = self.at(|stage| stage == Stage::IsGiven);
                if let Some(at) = pick(given, which) {
                    self.calls[at].2 = Stage::IsSeen;
                }
            }
            Deed::Release(which) => {
                let seen = self.at(|stage| stage == Stage::IsSeen);
                if let Some(at) = pick(seen, which) {
                    let (_, client, _) = self.calls.remove(at);
                    let (reply, due) = release(&mut self.object, client);
                    assert_eq!(reply, Reply::Done);
                    self.give(due);
                }
            }
            Deed::Cancel(which) => {
                let unseen = self.at(|stage| stage != Stage::IsSeen);
                if let Some(at) = pick(unseen, which) {
                    let (ticket, ..) = self.calls.remove(at);
                    let due = cancel(&mut self.object, ticket);
                    self.give(due);
                }
            }
            Deed::Die(client) => {
                self.calls.retain(|(_, of, _)| *of != client);
                let due =
                    self.object.after(|machine, due| machine.gone(caller(client).client, due));
                self.give(due);
            }
        }
    }

    fn at(&self, is_it: impl Fn(Stage) -> bool) -> Vec<usize> {
        (0..self.calls.len()).filter(|at| is_it(self.calls[*at].2)).collect()
    }

    fn give(&mut self, due: Answers<u8>) {
        for (ticket, reply) in due {
            assert!(matches!(reply, Reply::Acquired { .. }), "{reply:?}");
            let call = self.calls.iter_mut().find(|(waiting, ..)| *waiting == ticket);
            call.expect("it waits").2 = Stage::IsGiven;
        }
    }
}

/// One that nobody saw, and that another has given back meanwhile.
#[test]
fn an_only_permit_is_taken_back_though_another_client_released() {
    for (bounded, left) in [(false, 2), (true, 1)] {
        let mut object = Object::new(Seed::Semaphore { value: 1, bounded });
        let (unseen, _) = acquire(&mut object, 0);
        assert_eq!(release(&mut object, 1).0, Reply::Done);
        assert!(cancel(&mut object, unseen).is_empty());
        assert_eq!(available(&mut object), left, "bounded: {bounded}");
    }
}

/// The one that is not taken back is the one that was given back.
#[test]
fn a_client_that_released_one_takes_the_other_back() {
    let mut object = Object::new(Seed::Semaphore { value: 2, bounded: true });
    let (_, unseen) = (acquire(&mut object, 0), acquire(&mut object, 0).0);
    assert_eq!(release(&mut object, 0).0, Reply::Done);
    assert!(cancel(&mut object, unseen).is_empty());
    let due = object.after(|machine, due| machine.gone(caller(0).client, due));
    assert!(due.is_empty());
    assert_eq!(available(&mut object), 2, "and the client had left none behind");
}

/// Clients that always acquire, and others that always release, are not remembered for ever.
#[test]
fn what_is_remembered_of_a_client_is_bounded() {
    let mut object = Object::new(Seed::Semaphore { value: 1, bounded: false });
    for _ in 0..10_000 {
        assert_eq!(acquire(&mut object, 0).1.len(), 1);
        assert_eq!(release(&mut object, 1).0, Reply::Done);
    }
    assert!(object.machine.given().len() <= 1024);
    object.after(|machine, due| machine.gone(caller(0).client, due));
    assert_eq!(available(&mut object), 1);
}

proptest! {
    #[test]
    fn an_acquire_that_is_taken_back_has_never_been(
        bounded in any::<bool>(),
        all in proptest::collection::vec(steps(), 0..80),
    ) {
        let mut world = World::new(bounded);
        for step in all {
            world.step(step);
        }
    }

    #[test]
    fn all_permits_are_there_when_all_have_ended(
        bounded in any::<bool>(),
        all in proptest::collection::vec(deeds(), 0..80),
    ) {
        let object = Object::new(Seed::Semaphore { value: PERMITS, bounded });
        let mut world = Careful { object, calls: Vec::new() };
        for deed in all {
            world.deed(deed);
        }
        for client in 0..CLIENTS {
            world.deed(Deed::Die(client));
        }
        prop_assert_eq!(available(&mut world.object), PERMITS);
    }
}
