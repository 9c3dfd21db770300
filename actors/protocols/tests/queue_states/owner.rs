//! The owner: its machine, and what it does under its lock.
//!
//! Owns the order of its work, which is that of the runtime's `queue::hear`, `host` and
//! `own`. Between two accesses to a client's page, that client goes on. What the owner does
//! between two accesses depends on its machine and the answers alone; it is worked out once
//! for all states that have these in common. Neighbour: `pages` has the accesses.

use super::client::{Client, Message};
use super::kept::Kept;
use super::page::Got;
use super::pages::{Access, Pages, Pause, answers};
use super::run::{Run, got};
use crate::word_model::explorer::key;
use procession_protocols::queue::{Client as Number, Effect, Holder, Machine, Waiter};
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

/// A thread of the owner's process puts or gets one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Own {
    Put,
    Get,
}

/// A piece of the owner's work: one call of the machine, or an access of the owner's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Piece {
    Disarm(usize),
    /// Looks into a page, of so many; the last time, more may follow without a bell.
    Look(usize, usize, bool),
    Rung(usize),
    Hungry(usize),
    Short(usize),
    /// This one asks this, and all of so many are read before.
    Asks(usize, u64, usize),
    AsksPlace(usize, u64),
    Answer(usize, usize, u64),
    Arm(usize),
    Gone(usize),
    Tick,
    Wait(usize),
    Finish(usize),
    Cancel(usize),
    OwnTries(usize, Own),
    OwnWaits(usize, Own),
    OwnCancels(usize),
    PutAdmitted(usize),
    Reply(usize, Got),
    /// Carries out what the machine says.
    Settle,
}

/// What a piece of work leads to.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// What comes next, before all else.
    pub(crate) next: Vec<Piece>,
    /// Who of the owner's threads is done, and what it got.
    pub(crate) own: Vec<(usize, Option<Got>)>,
    /// Who of these waits.
    pub(crate) waits: Option<usize>,
    /// A look at this client follows.
    pub(crate) looks_again: Option<usize>,
    /// Its pages are closed.
    pub(crate) is_gone: Option<usize>,
}

/// The owner, between two accesses or idle.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) machine: Kept<Machine<Run>>,
    /// The last one is the one under way.
    pieces: Vec<Piece>,
    /// What it was answered.
    answers: Vec<u64>,
    /// What it wants next.
    pub(crate) wants: Option<Pause>,
    key: u128,
}

impl Hash for Owner {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

/// The owner's way to its next access.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) done: Vec<Done>,
    pub(crate) to: Rc<Owner>,
}

thread_local! {
    /// By what they depend on. As with states, 128 bits stand for it.
    static WAYS: RefCell<HashMap<u128, Rc<Way>>> = RefCell::default();
}

impl Owner {
    pub(crate) fn new(machine: Machine<Run>) -> Rc<Self> {
        Rc::clone(&Self::goes(&Kept::new(machine), Vec::new(), Vec::new()).to)
    }

    /// It begins with this work.
    pub(crate) fn begins(&self, mut pieces: Vec<Piece>) -> Rc<Way> {
        assert!(self.wants.is_none(), "it does one thing after the other");
        pieces.reverse();
        Self::goes(&self.machine, pieces, Vec::new())
    }

    /// It is answered.
    pub(crate) fn answered(&self, answer: u64) -> Rc<Way> {
        let mut answers = Vec::with_capacity(self.answers.len() + 1);
        answers.extend_from_slice(&self.answers);
        answers.push(answer);
        Self::goes(&self.machine, self.pieces.clone(), answers)
    }

    fn goes(machine: &Kept<Machine<Run>>, pieces: Vec<Piece>, answers: Vec<u64>) -> Rc<Way> {
        let from = key(&(machine, &pieces, &answers));
        if let Some(way) = WAYS.with_borrow(|ways| ways.get(&from).cloned()) {
            return way;
        }
        let way = Rc::new(Self::finds_way(machine.clone(), pieces, answers));
        WAYS.with_borrow_mut(|ways| ways.insert(from, Rc::clone(&way)));
        way
    }

    fn finds_way(
        mut machine: Kept<Machine<Run>>,
        mut pieces: Vec<Piece>,
        mut answers: Vec<u64>,
    ) -> Way {
        let (mut done, mut wants) = (Vec::new(), None);
        while let Some(piece) = pieces.last() {
            let mut next = machine.clone();
            let run = || piece.run(next.change(), &mut Pages::new(&answers));
            match catch_unwind(AssertUnwindSafe(run)) {
                Ok(now) => {
                    pieces.pop();
                    pieces.extend(now.next.iter().rev().cloned());
                    answers.clear();
                    // Who is done does not try again, nor wait.
                    pieces.retain(|piece| match piece {
                        Piece::OwnTries(own, _) | Piece::OwnWaits(own, _) => {
                            now.own.iter().all(|(done, _)| done != own)
                        }
                        _ => true,
                    });
                    machine = next;
                    done.push(now);
                }
                Err(stop) => {
                    wants =
                        Some(*stop.downcast::<Pause>().unwrap_or_else(|stop| resume_unwind(stop)));
                    break;
                }
            }
        }
        let key = key(&(&machine, &pieces, &answers));
        Way { done, to: Rc::new(Self { machine, pieces, answers, wants, key }) }
    }
}

/// The numbers of those who wait at the owner.
fn own_waiter(own: usize) -> Waiter {
    own as Waiter
}

fn lease_of(client: usize) -> Waiter {
    100 + client as Waiter
}

/// All that is done at a look into a page.
pub(crate) fn look(at: usize, clients: &[Kept<Client>]) -> [Piece; 4] {
    use Piece::{Arm, Disarm, Look};
    let all = clients.len();
    [Disarm(at), Look(at, all, false), Arm(at), Look(at, all, true)]
}

pub(crate) fn look_at_all(clients: &[Kept<Client>]) -> Vec<Piece> {
    let there = (0..clients.len()).filter(|at| !clients[*at].is_gone);
    there.flat_map(|at| look(at, clients)).collect()
}

/// What a message leads to.
pub(crate) fn hear(at: usize, message: Message, clients: &[Kept<Client>]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    match message {
        Message::Lease => {
            pieces = look_at_all(clients);
            pieces.push(Piece::Wait(at));
        }
        Message::Finish => pieces.push(Piece::Finish(at)),
        Message::Cancel => pieces.push(Piece::Cancel(at)),
    }
    pieces.push(Piece::Settle);
    pieces
}

impl Piece {
    #[expect(clippy::too_many_lines, reason = "one arm for each piece")]
    pub(crate) fn run(&self, machine: &mut Machine<Run>, pages: &mut Pages<'_>) -> Done {
        let mut done = Done::default();
        let id = |at: usize| Number::try_from(at).unwrap();
        match *self {
            Self::Disarm(at) => _ = pages.access(at, Access::Disarm),
            Self::Arm(at) => _ = pages.access(at, Access::Arm),
            Self::Look(at, clients, is_last) => {
                // In this order: what was put before a question is read before its answer.
                let asked = [0, 1].map(|which| pages.access(at, Access::Asked(which)));
                let hungry = pages.access(at, Access::Hungry);
                let short = pages.access(at, Access::Short);
                let is_any = reads(at, machine, pages);
                let answered = [0, 1].map(|which| pages.access(at, Access::Answered(which)));
                done.next.push(Self::Rung(at));
                if hungry > 0 {
                    done.next.push(Self::Hungry(at));
                }
                if short > 0 {
                    done.next.push(Self::Short(at));
                }
                if asked[0] > answered[0] {
                    done.next.push(Self::Asks(at, asked[0], clients));
                }
                if asked[1] > answered[1] {
                    done.next.push(Self::AsksPlace(at, asked[1]));
                }
                done.looks_again = (is_any && is_last).then_some(at);
            }
            Self::Rung(at) => {
                machine.rung(id(at), pages);
                machine.distribute(pages);
            }
            Self::Hungry(at) => machine.hungry(id(at), pages),
            Self::Short(at) => machine.short(id(at), pages),
            Self::Asks(at, number, clients) => {
                for other in 0..clients {
                    if pages.access(other, Access::IsGone) == 0 {
                        reads(other, machine, pages);
                    }
                }
                machine.ask(id(at), pages);
                done.next.push(Self::Answer(at, 0, number));
            }
            Self::AsksPlace(at, number) => {
                machine.ask_place(id(at), pages);
                done.next.push(Self::Answer(at, 1, number));
            }
            Self::Answer(at, which, number) => answers(pages, at, which, number),
            Self::Gone(at) => {
                reads(at, machine, pages);
                machine.gone(id(at), pages);
                done.is_gone = Some(at);
            }
            Self::Tick => machine.tick(pages),
            Self::Wait(at) => {
                machine.wait_get(lease_of(at), Some(Holder::Client(id(at))), pages);
            }
            Self::Finish(at) => {
                assert!(machine.finish(lease_of(at), pages), "it was leased");
            }
            Self::Cancel(at) => {
                if !machine.cancel(lease_of(at), pages) {
                    assert!(machine.cancel_lease(lease_of(at), pages), "it was leased");
                }
            }
            Self::OwnTries(own, Own::Put) => {
                if machine.put_own(Run::own(own), pages).is_ok() {
                    done.own.push((own, None));
                }
            }
            Self::OwnTries(own, Own::Get) => {
                if let Some(entry) = machine.get_own(pages) {
                    done.own.push((own, Some(got(&entry))));
                }
            }
            Self::OwnWaits(own, what) => {
                match what {
                    Own::Put => machine.wait_put(own_waiter(own), pages),
                    Own::Get => machine.wait_get(own_waiter(own), None, pages),
                }
                done.waits = Some(own);
            }
            Self::OwnCancels(own) => {
                assert!(machine.cancel(own_waiter(own), pages), "it waits");
            }
            Self::PutAdmitted(own) => {
                machine.put_admitted(Run::own(own), pages).unwrap();
                done.own.push((own, None));
            }
            Self::Reply(at, got) => _ = pages.access(at, Access::Reply(got)),
            Self::Settle => {
                for effect in machine.effects() {
                    match effect {
                        Effect::Deliver(waiter, entry) if waiter >= lease_of(0) => {
                            let at = usize::try_from(waiter - lease_of(0)).unwrap();
                            done.next.push(Self::Reply(at, got(&entry)));
                        }
                        Effect::Deliver(waiter, entry) => {
                            let own = usize::try_from(waiter).unwrap();
                            done.own.push((own, Some(got(&entry))));
                        }
                        Effect::Admit(waiter) => {
                            done.next.push(Self::PutAdmitted(usize::try_from(waiter).unwrap()));
                        }
                        other => panic!("nobody joins or shuts down: {other:?}"),
                    }
                }
                if !done.next.is_empty() {
                    done.next.push(Self::Settle);
                }
            }
        }
        done
    }
}

/// Reads what a client has put. Whether it has.
fn reads(at: usize, machine: &mut Machine<Run>, pages: &mut Pages<'_>) -> bool {
    let Some((from, count)) = pages.reads(at) else { return false };
    machine.put(Number::try_from(at).unwrap(), Run::of(at, from, count));
    true
}
