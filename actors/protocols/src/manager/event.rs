//! A managed event.
//!
//! Owns the flag and those who wait for it.

use super::{Answers, EventCall, Reply, Ticket};
use crate::custody::ClientId;
use std::collections::VecDeque;

#[derive(Debug, Clone, Default)]
pub(super) struct Event {
    is_set: bool,
    waiting: VecDeque<(Ticket, ClientId)>,
}

impl Event {
    pub(super) fn call<V>(
        &mut self,
        client: ClientId,
        ticket: Ticket,
        call: EventCall,
        due: &mut Answers<V>,
    ) {
        let reply = match call {
            EventCall::IsSet => Reply::Bool(self.is_set),
            EventCall::Wait if self.is_set => Reply::Bool(true),
            EventCall::Wait => return self.waiting.push_back((ticket, client)),
            EventCall::Clear => {
                self.is_set = false;
                Reply::Done
            }
            EventCall::Set => {
                self.is_set = true;
                due.extend(self.waiting.drain(..).map(|(waiting, _)| (waiting, Reply::Bool(true))));
                Reply::Done
            }
        };
        due.push((ticket, reply));
    }

    pub(super) fn expire<V>(&mut self, ticket: Ticket, due: &mut Answers<V>) {
        if self.cancel(ticket) {
            due.push((ticket, Reply::Bool(false)));
        }
    }

    /// Whether it waited. Those who wait stand in the order of their tickets.
    pub(super) fn cancel(&mut self, ticket: Ticket) -> bool {
        let found = self.waiting.binary_search_by_key(&ticket, |(waiting, _)| *waiting);
        found.is_ok_and(|at| self.waiting.remove(at).is_some())
    }

    pub(super) fn gone(&mut self, client: ClientId) {
        self.waiting.retain(|(_, waiting)| *waiting != client);
    }
}
