//! A managed barrier.
//!
//! Owns who has come. The last to come may have to act before anybody passes; meanwhile
//! newcomers belong to the next round. Whoever gives up or is gone while others wait
//! breaks the barrier, until somebody resets it.

use super::{Answers, BarrierCall, Fault, Reply, Ticket};
use crate::custody::ClientId;

#[derive(Debug, Clone)]
pub(super) struct Barrier {
    parties: u32,
    patience_ms: Option<u64>,
    acts: bool,
    is_broken: bool,
    /// In the order in which they came.
    waiting: Vec<(Ticket, ClientId)>,
    acting: Option<Acting>,
}

/// A full round whose last party acts for all.
#[derive(Debug, Clone)]
struct Acting {
    by: (Ticket, ClientId),
    others: Vec<(Ticket, ClientId)>,
}

impl Barrier {
    pub(super) fn new(parties: u32, patience_ms: Option<u64>, acts: bool) -> Self {
        let parties = parties.max(1);
        Self { parties, patience_ms, acts, is_broken: false, waiting: Vec::new(), acting: None }
    }

    pub(super) fn patience_ms(&self) -> Option<u64> {
        self.patience_ms
    }

    pub(super) fn call<V>(
        &mut self,
        client: ClientId,
        ticket: Ticket,
        call: BarrierCall,
        due: &mut Answers<V>,
    ) {
        let reply = match call {
            BarrierCall::Wait if self.is_broken => Reply::Fault(Fault::Broken),
            BarrierCall::Wait => {
                self.waiting.push((ticket, client));
                return self.look(due);
            }
            BarrierCall::Acted => match self.acting.take_if(|acting| acting.by.1 == client) {
                None => Reply::Fault(Fault::Broken),
                Some(acting) => {
                    pass(acting.others, due);
                    due.push((ticket, Reply::Number(u64::from(self.parties) - 1)));
                    return self.look(due);
                }
            },
            BarrierCall::Abort => {
                self.break_up(due);
                Reply::Done
            }
            BarrierCall::Reset => {
                self.break_up(due);
                self.is_broken = false;
                Reply::Done
            }
            BarrierCall::State => Reply::Barrier {
                parties: self.parties,
                waiting: u32::try_from(self.waiting.len()).unwrap_or(u32::MAX),
                is_broken: self.is_broken,
            },
        };
        due.push((ticket, reply));
    }

    /// Lets a full round pass, or has its last party act.
    fn look<V>(&mut self, due: &mut Answers<V>) {
        while self.acting.is_none() && self.waiting.len() >= self.parties as usize {
            let mut round: Vec<_> = self.waiting.drain(..self.parties as usize).collect();
            if !self.acts {
                pass(round, due);
            } else if let Some(by) = round.pop() {
                due.push((by.0, Reply::Act));
                self.acting = Some(Acting { by, others: round });
            }
        }
    }

    fn break_up<V>(&mut self, due: &mut Answers<V>) {
        self.is_broken = true;
        let acting = self.acting.take().map(|acting| acting.others);
        let all = self.waiting.drain(..).chain(acting.into_iter().flatten());
        due.extend(all.map(|(ticket, _)| (ticket, Reply::Fault(Fault::Broken))));
    }

    fn leave<V>(
        &mut self,
        due: &mut Answers<V>,
        mut leaves: impl FnMut(&(Ticket, ClientId)) -> bool,
    ) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|one| !leaves(one));
        let mut has_left = self.waiting.len() < before;
        if let Some(acting) = &mut self.acting {
            let before = acting.others.len();
            acting.others.retain(|one| !leaves(one));
            has_left |= acting.others.len() < before || leaves(&acting.by);
        }
        if has_left {
            self.break_up(due);
        }
        has_left
    }

    pub(super) fn expire<V>(&mut self, ticket: Ticket, due: &mut Answers<V>) {
        if self.leave(due, |one| one.0 == ticket) {
            due.push((ticket, Reply::Fault(Fault::Broken)));
        }
    }

    pub(super) fn cancel<V>(&mut self, ticket: Ticket, due: &mut Answers<V>) {
        self.leave(due, |one| one.0 == ticket);
    }

    pub(super) fn given(&self) -> Option<Ticket> {
        self.acting.as_ref().map(|acting| acting.by.0)
    }

    pub(super) fn gone<V>(&mut self, client: ClientId, due: &mut Answers<V>) {
        self.leave(due, |one| one.1 == client);
    }
}

/// Each gets the place in which it came.
fn pass<V>(round: Vec<(Ticket, ClientId)>, due: &mut Answers<V>) {
    due.extend((0..).zip(round).map(|(place, (ticket, _))| (ticket, Reply::Number(place))));
}
