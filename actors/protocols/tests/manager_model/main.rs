//! The machines of managed objects against simple references, with deaths at every step.
//!
//! Owns what the models share: how a machine is asked, and a world's clients.

mod calls;
mod containers;
mod flow;
mod locks;
mod queues;
mod semaphores;

use procession_protocols::custody::ClientId;
use procession_protocols::manager::{Answers, Call, Caller, Machine, Reply, Seed, Ticket};

/// An object with a count of its calls.
struct Object {
    machine: Machine<u8>,
    last: Ticket,
}

impl Object {
    fn new(seed: Seed<u8>) -> Self {
        Self { machine: Machine::new(seed), last: 0 }
    }

    /// The call's number, and all answers that it brings about.
    fn call(&mut self, caller: Caller, call: Call<u8>) -> (Ticket, Answers<u8>) {
        self.last += 1;
        let mut due = Answers::new();
        self.machine.call(caller, self.last, call, &mut due);
        (self.last, due)
    }

    /// The answer of a call that never waits.
    fn ask(&mut self, call: Call<u8>) -> Reply<u8> {
        let (ticket, due) = self.call(caller(0), call);
        let [(answered, reply)] = &due[..] else { panic!("not one answer: {due:?}") };
        assert_eq!(*answered, ticket);
        reply.clone()
    }

    fn after(&mut self, act: impl FnOnce(&mut Machine<u8>, &mut Answers<u8>)) -> Answers<u8> {
        let mut due = Answers::new();
        act(&mut self.machine, &mut due);
        due
    }
}

fn caller(client: u8) -> Caller {
    Caller { client: ClientId(ClientId::FIRST.0 + u16::from(client)), thread: 1 }
}
