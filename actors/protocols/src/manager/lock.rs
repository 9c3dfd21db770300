//! A managed lock, recursive or not, and the conditions on it.
//!
//! Owns who holds the lock, who waits for it in which order, and who waits to be notified.
//! A condition is a number at its lock, so that several can share one.
//!
//! ```text
//!           Acquire                    client gone
//!   Free ─────────────> Held ────────────────────────> Left behind
//!     ^                  │ Release                       │ Release, by anybody
//!     └──────────────────┴───────────────────────────────┘
//! ```
//!
//! A lock that its holder left behind when it ended goes to the next who asks, who is told;
//! or somebody who knows of it releases it, as a parent may for its child.

use super::{Answers, Caller, Fault, LockCall, MOST_TAKEN, Reply, Ticket};
use crate::custody::ClientId;
use std::collections::VecDeque;

#[derive(Debug, Clone)]
pub(super) struct Lock {
    recursive: bool,
    state: State,
    /// The calls by which its holder took it, the youngest last: each may turn out to be one
    /// that nobody waits for.
    taken: VecDeque<Ticket>,
    /// Those who wait for the lock, the first in turn first.
    queue: VecDeque<Waiter>,
    /// Those who wait to be notified, for each condition.
    conditions: Vec<VecDeque<Sleeper>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Held {
        by: Caller,
        /// How often it was taken.
        depth: u32,
        /// Whether that was left behind before; who holds it may not know yet.
        after_death: bool,
    },
    LeftBehind,
}

#[derive(Debug, Clone)]
struct Waiter {
    ticket: Ticket,
    caller: Caller,
    depth: u32,
    wants: Wants,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    Lock,
    /// To return from a wait for this condition.
    Return {
        condition: u32,
        was_notified: bool,
    },
}

#[derive(Debug, Clone)]
struct Sleeper {
    ticket: Ticket,
    caller: Caller,
    depth: u32,
}

impl Lock {
    pub(super) fn new(recursive: bool) -> Self {
        let (queue, taken) = (VecDeque::new(), VecDeque::new());
        Self { recursive, state: State::Free, taken, queue, conditions: Vec::new() }
    }

    pub(super) fn is_recursive(&self) -> bool {
        self.recursive
    }

    pub(super) fn call<V>(
        &mut self,
        caller: Caller,
        ticket: Ticket,
        call: LockCall,
        due: &mut Answers<V>,
    ) {
        let reply = match call {
            LockCall::Acquire => match &mut self.state {
                State::Held { by, depth, .. } if self.recursive && *by == caller => {
                    *depth += 1;
                    if self.taken.len() == MOST_TAKEN {
                        self.taken.pop_front();
                    }
                    self.taken.push_back(ticket);
                    Reply::Acquired { after_death: false }
                }
                _ => {
                    let waiter = Waiter { ticket, caller, depth: 1, wants: Wants::Lock };
                    self.queue.push_back(waiter);
                    return self.hand_on(due);
                }
            },
            LockCall::Release => match &mut self.state {
                State::Free => Reply::Fault(Fault::NotHeld),
                State::Held { by, .. } if self.recursive && *by != caller => {
                    Reply::Fault(Fault::NotOwner)
                }
                State::Held { depth, .. } if *depth > 1 => {
                    *depth -= 1;
                    Reply::Done
                }
                State::Held { .. } | State::LeftBehind => {
                    due.push((ticket, Reply::Done));
                    self.state = State::Free;
                    return self.hand_on(due);
                }
            },
            LockCall::IsLocked => Reply::Bool(self.state != State::Free),
            LockCall::Condition => Reply::Number(u64::from(self.add_condition())),
            LockCall::Wait(condition) => match self.sleep(condition, caller, ticket) {
                Ok(()) => return self.hand_on(due),
                Err(fault) => Reply::Fault(fault),
            },
            LockCall::Notify(condition, most) => match self.notify(condition, caller, most) {
                Ok(()) => Reply::Done,
                Err(fault) => Reply::Fault(fault),
            },
        };
        due.push((ticket, reply));
    }

    /// A condition's number.
    pub(super) fn add_condition(&mut self) -> u32 {
        self.conditions.push(VecDeque::new());
        u32::try_from(self.conditions.len() - 1).unwrap_or(u32::MAX)
    }

    /// Gives the lock up, whatever its depth, and waits.
    fn sleep(&mut self, condition: u32, caller: Caller, ticket: Ticket) -> Result<(), Fault> {
        let depth = self.depth_of(caller)?;
        let sleepers = self.conditions.get_mut(condition as usize).ok_or(Fault::NoSuchMethod)?;
        sleepers.push_back(Sleeper { ticket, caller, depth });
        self.state = State::Free;
        Ok(())
    }

    /// Those who are woken wait for the lock, which the caller still holds.
    fn notify(&mut self, condition: u32, caller: Caller, most: u64) -> Result<(), Fault> {
        self.depth_of(caller)?;
        let sleepers = self.conditions.get_mut(condition as usize).ok_or(Fault::NoSuchMethod)?;
        let count = usize::try_from(most).unwrap_or(usize::MAX).min(sleepers.len());
        let wants = Wants::Return { condition, was_notified: true };
        self.queue.extend(sleepers.drain(..count).map(|one| one.awake(wants)));
        Ok(())
    }

    fn depth_of(&self, caller: Caller) -> Result<u32, Fault> {
        match self.state {
            State::Held { by, depth, .. } if by == caller || !self.recursive => Ok(depth),
            _ => Err(Fault::NotOwner),
        }
    }

    /// Gives a lock that nobody holds to the first who waits.
    fn hand_on<V>(&mut self, due: &mut Answers<V>) {
        if matches!(self.state, State::Held { .. }) {
            return;
        }
        let Some(Waiter { ticket, caller, depth, wants }) = self.queue.pop_front() else { return };
        let after_death = self.state == State::LeftBehind;
        self.state = State::Held { by: caller, depth, after_death };
        self.taken.clear();
        self.taken.push_back(ticket);
        due.push((
            ticket,
            match wants {
                Wants::Lock => Reply::Acquired { after_death },
                Wants::Return { was_notified, .. } => Reply::Bool(was_notified),
            },
        ));
    }

    /// A wait for the lock ends; a wait for a condition goes on until the lock is had.
    pub(super) fn expire<V>(&mut self, ticket: Ticket, due: &mut Answers<V>) {
        let is_it = |one: &Waiter| one.ticket == ticket && one.wants == Wants::Lock;
        if let Some(at) = self.queue.iter().position(is_it) {
            self.queue.remove(at);
            due.push((ticket, Reply::Bool(false)));
        }
        for (condition, sleepers) in (0..).zip(&mut self.conditions) {
            if let Some(at) = sleepers.iter().position(|one| one.ticket == ticket) {
                let wants = Wants::Return { condition, was_notified: false };
                self.queue.extend(sleepers.remove(at).map(|one| one.awake(wants)));
            }
        }
        self.hand_on(due);
    }

    pub(super) fn cancel<V>(&mut self, ticket: Ticket, due: &mut Answers<V>) {
        match (&mut self.state, self.taken.iter().position(|one| *one == ticket)) {
            (State::Held { depth, .. }, Some(at)) if *depth > 1 => {
                *depth -= 1;
                self.taken.remove(at);
            }
            (State::Held { after_death, .. }, Some(_)) => {
                // Whoever gets it next is to know what this one was to know.
                self.state = if *after_death { State::LeftBehind } else { State::Free };
            }
            _ => self.take_out(ticket),
        }
        self.hand_on(due);
    }

    pub(super) fn given(&self) -> impl Iterator<Item = Ticket> {
        let is_held = matches!(self.state, State::Held { .. });
        self.taken.iter().copied().filter(move |_| is_held)
    }

    pub(super) fn gone<V>(&mut self, client: ClientId, due: &mut Answers<V>) {
        self.forget(client);
        if matches!(self.state, State::Held { by, .. } if by.client == client) {
            self.state = State::LeftBehind;
        }
        self.hand_on(due);
    }

    /// Takes one call out that waits. Those who leave together mostly leave in the order in
    /// which they came, so it stands near the front.
    fn take_out(&mut self, ticket: Ticket) {
        let found = self.queue.iter().position(|one| one.ticket == ticket);
        if let Some(waiter) = found.and_then(|at| self.queue.remove(at)) {
            return self.pass_on(waiter.wants);
        }
        for sleepers in &mut self.conditions {
            if let Some(at) = sleepers.iter().position(|one| one.ticket == ticket) {
                sleepers.remove(at);
                return;
            }
        }
    }

    /// Takes all out that a client waits for.
    fn forget(&mut self, client: ClientId) {
        for sleepers in &mut self.conditions {
            sleepers.retain(|one| one.caller.client != client);
        }
        let mut unheard = Vec::new();
        self.queue.retain(|one| {
            let goes = one.caller.client == client;
            if goes {
                unheard.push(one.wants);
            }
            !goes
        });
        for wants in unheard {
            self.pass_on(wants);
        }
    }

    /// A notice that somebody had got who waits no longer goes to the next.
    fn pass_on(&mut self, wants: Wants) {
        let Wants::Return { condition, was_notified: true } = wants else { return };
        let next = self.conditions.get_mut(condition as usize).and_then(VecDeque::pop_front);
        self.queue.extend(next.map(|one| one.awake(wants)));
    }
}

impl Sleeper {
    fn awake(self, wants: Wants) -> Waiter {
        let Self { ticket, caller, depth } = self;
        Waiter { ticket, caller, depth, wants }
    }
}
