//! A lock and a condition on it, and their clients: who holds, who waits, deaths.
//!
//! Owns the reference: one holder at most, those who wait in their order. Nobody waits for
//! a lock that is free; who gets one that its holder left behind by dying is told.

use super::{Object, caller};
use procession_protocols::manager::{
    Answers, Call, Fault, LockCall, Reply, Seed, SemaphoreCall, Ticket,
};
use proptest::prelude::*;
use std::collections::VecDeque;

const CLIENTS: u8 = 3;

#[derive(Debug, Clone, Copy)]
enum Step {
    Acquire(u8),
    Release(u8),
    Wait(u8),
    Notify(u8, u64),
    Expire(usize),
    Cancel(usize),
    Die(u8),
}

fn steps() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        client.clone().prop_map(Step::Acquire),
        client.clone().prop_map(Step::Acquire),
        client.clone().prop_map(Step::Release),
        client.clone().prop_map(Step::Wait),
        (client.clone(), 1_u64..3).prop_map(|(client, most)| Step::Notify(client, most)),
        any::<usize>().prop_map(Step::Expire),
        any::<usize>().prop_map(Step::Cancel),
        client.prop_map(Step::Die),
    ]
}

/// Who waits for the lock, and what for.
#[derive(Debug, Clone, Copy)]
struct Waiter {
    ticket: Ticket,
    client: u8,
    depth: u32,
    /// Whether it returns from the condition, and has been notified.
    returns: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Held {
    By { client: u8, depth: u32, ticket: Ticket },
    ByNobody,
    ByADeadOne,
}

struct World {
    object: Object,
    held: Held,
    queue: VecDeque<Waiter>,
    asleep: VecDeque<Waiter>,
}

impl World {
    fn new() -> Self {
        let mut object = Object::new(Seed::Lock { recursive: true });
        assert_eq!(object.ask(Call::Lock(LockCall::Condition)), Reply::Number(0));
        Self { object, held: Held::ByNobody, queue: VecDeque::new(), asleep: VecDeque::new() }
    }

    fn depth_of(&self, by: u8) -> Option<u32> {
        match self.held {
            Held::By { client, depth, .. } if client == by => Some(depth),
            _ => None,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Acquire(client) => {
                let (ticket, due) = self.call(client, LockCall::Acquire);
                if let Some(depth) = self.depth_of(client) {
                    let reply = Reply::Acquired { after_death: false };
                    assert_eq!(due, [(ticket, reply)]);
                    self.held = match self.held {
                        Held::By { ticket, .. } => Held::By { client, depth: depth + 1, ticket },
                        other => other,
                    };
                } else {
                    self.queue.push_back(Waiter { ticket, client, depth: 1, returns: None });
                    self.settle(due);
                }
            }
            Step::Release(client) => {
                let (ticket, mut due) = self.call(client, LockCall::Release);
                let (answered, reply) = due.remove(0);
                assert_eq!(answered, ticket);
                let expected = match (self.held, self.depth_of(client)) {
                    (Held::ByNobody, _) => Reply::Fault(Fault::NotHeld),
                    (Held::By { .. }, None) => Reply::Fault(Fault::NotOwner),
                    (Held::By { client, ticket, .. }, Some(depth @ 2..)) => {
                        self.held = Held::By { client, depth: depth - 1, ticket };
                        Reply::Done
                    }
                    (Held::By { .. } | Held::ByADeadOne, _) => {
                        self.held = Held::ByNobody;
                        Reply::Done
                    }
                };
                assert_eq!(reply, expected);
                self.settle(due);
            }
            Step::Wait(client) => {
                let (ticket, due) = self.call(client, LockCall::Wait(0));
                let Some(depth) = self.depth_of(client) else {
                    return assert_eq!(due, [(ticket, Reply::Fault(Fault::NotOwner))]);
                };
                let returns = Some(false);
                self.asleep.push_back(Waiter { ticket, client, depth, returns });
                self.held = Held::ByNobody;
                self.settle(due);
            }
            Step::Notify(client, most) => {
                let (ticket, due) = self.call(client, LockCall::Notify(0, most));
                if self.depth_of(client).is_none() {
                    return assert_eq!(due, [(ticket, Reply::Fault(Fault::NotOwner))]);
                }
                assert_eq!(due, [(ticket, Reply::Done)]);
                for _ in 0..most {
                    let woken = self.asleep.pop_front();
                    self.queue.extend(woken.map(|one| Waiter { returns: Some(true), ..one }));
                }
            }
            Step::Expire(which) => {
                let Some(one) = self.nth(which) else { return };
                let mut due = self.object.after(|machine, due| machine.expire(one.ticket, due));
                if let Some(at) = self.asleep.iter().position(|other| other.ticket == one.ticket) {
                    // It comes back with the lock only.
                    self.queue.extend(self.asleep.remove(at));
                } else if one.returns.is_none() {
                    assert_eq!(due.remove(0), (one.ticket, Reply::Bool(false)));
                    self.queue.retain(|other| other.ticket != one.ticket);
                }
                self.settle(due);
            }
            Step::Cancel(which) => {
                let Some(one) = self.nth(which) else { return };
                let due = self.object.after(|machine, due| machine.cancel(one.ticket, due));
                self.forget(|other| other.ticket == one.ticket);
                self.settle(due);
            }
            Step::Die(client) => {
                let id = caller(client).client;
                let due = self.object.after(|machine, due| machine.gone(id, due));
                self.forget(|other| other.client == client);
                if self.depth_of(client).is_some() {
                    self.held = Held::ByADeadOne;
                }
                self.settle(due);
            }
        }
        let is_free = self.held == Held::ByNobody || self.held == Held::ByADeadOne;
        assert!(!is_free || self.queue.is_empty(), "somebody waits for a lock that is free");
        let is_locked = self.object.ask(Call::Lock(LockCall::IsLocked));
        assert_eq!(is_locked, Reply::Bool(self.held != Held::ByNobody));
    }

    fn call(&mut self, client: u8, call: LockCall) -> (Ticket, Answers<u8>) {
        self.object.call(caller(client), Call::Lock(call))
    }

    fn nth(&self, which: usize) -> Option<Waiter> {
        let all: Vec<_> = self.queue.iter().chain(&self.asleep).copied().collect();
        all.get(which.checked_rem(all.len())?).copied()
    }

    /// Those leave; the notice that one of them had got goes to the next who sleeps.
    fn forget(&mut self, leaves: impl Fn(&Waiter) -> bool) {
        self.asleep.retain(|one| !leaves(one));
        let unheard = self.queue.iter().filter(|one| leaves(one) && one.returns == Some(true));
        let unheard = unheard.count();
        self.queue.retain(|one| !leaves(one));
        for _ in 0..unheard {
            let woken = self.asleep.pop_front();
            self.queue.extend(woken.map(|one| Waiter { returns: Some(true), ..one }));
        }
    }

    /// Plays the answers: the first in turn gets a lock that nobody holds.
    fn settle(&mut self, due: Answers<u8>) {
        for (ticket, reply) in due {
            let after_death = self.held == Held::ByADeadOne;
            assert!(!matches!(self.held, Held::By { .. }), "two would hold it");
            let first = self.queue.pop_front().expect("somebody waited");
            assert_eq!(ticket, first.ticket, "not in turn");
            let expected = match first.returns {
                None => Reply::Acquired { after_death },
                Some(was_notified) => Reply::Bool(was_notified),
            };
            assert_eq!(reply, expected);
            self.held = Held::By { client: first.client, depth: first.depth, ticket };
        }
    }
}

/// Who is told that a holder died may have given up.
#[test]
fn a_death_is_told_to_the_first_who_hears_it() {
    let seeds = [Seed::Lock { recursive: false }, Seed::Semaphore { value: 1, bounded: true }];
    let acquire = [Call::Lock(LockCall::Acquire), Call::Semaphore(SemaphoreCall::Acquire)];
    for (seed, acquire) in seeds.into_iter().zip(acquire) {
        let mut object = Object::new(seed);
        object.call(caller(0), acquire.clone());
        object.after(|machine, due| machine.gone(caller(0).client, due));
        let told = Reply::Acquired { after_death: true };
        let (ticket, due) = object.call(caller(1), acquire.clone());
        assert_eq!(due, [(ticket, told.clone())]);
        object.after(|machine, due| machine.cancel(ticket, due));
        let (ticket, due) = object.call(caller(2), acquire.clone());
        assert_eq!(due, [(ticket, told)]);
    }
}

/// Its answer is on its way, and nobody waits for it.
#[test]
fn a_recursive_acquire_is_taken_back() {
    let mut object = Object::new(Seed::Lock { recursive: true });
    let mut acquire = || object.call(caller(0), Call::Lock(LockCall::Acquire)).0;
    let (_, second) = (acquire(), acquire());
    assert!(object.after(|machine, due| machine.cancel(second, due)).is_empty());
    assert_eq!(object.call(caller(0), Call::Lock(LockCall::Release)).1[0].1, Reply::Done);
    assert_eq!(object.ask(Call::Lock(LockCall::IsLocked)), Reply::Bool(false));
}

/// It has been taken once more since, and the caller keeps that.
#[test]
fn a_recursive_acquire_is_taken_back_behind_a_later_one() {
    let mut object = Object::new(Seed::Lock { recursive: true });
    let mut acquire = || object.call(caller(0), Call::Lock(LockCall::Acquire)).0;
    let (_, second, third) = (acquire(), acquire(), acquire());
    let mut cancel = |ticket| object.after(|machine, due| machine.cancel(ticket, due));
    assert!(cancel(second).is_empty() && cancel(second).is_empty());
    for is_locked in [true, false] {
        let (ticket, due) = object.call(caller(0), Call::Lock(LockCall::Release));
        assert_eq!(due, [(ticket, Reply::Done)]);
        assert_eq!(object.ask(Call::Lock(LockCall::IsLocked)), Reply::Bool(is_locked));
    }
    // Whoever has it next keeps it.
    object.call(caller(1), Call::Lock(LockCall::Acquire));
    assert!(object.after(|machine, due| machine.cancel(third, due)).is_empty());
    assert_eq!(object.ask(Call::Lock(LockCall::IsLocked)), Reply::Bool(true));
}

proptest! {
    #[test]
    fn a_lock_has_one_holder_and_lets_nobody_wait_while_it_is_free(
        all in proptest::collection::vec(steps(), 0..80),
    ) {
        let mut world = World::new();
        for step in all {
            world.step(step);
        }
    }
}
