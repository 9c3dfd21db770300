//! Tasks that are held back for whoever comes next, in every interleaving of a small world: a
//! thread that submits in bursts, one that waits, the attendant, and a worker.
//!
//! Owns the steps of the runtime in which something is held back, sent, or slept on. From
//! every state that can be reached all is sent and done, though nobody submits any more.

use crate::word_model::explorer::{World, explore};
use procession_protocols::pool::{Duty, Readers, Successor};

const WAITER: u8 = 1;
const ATTENDANT: u8 = 2;

/// So many tasks come at once: often enough for the attendant to stand by.
const BURST: usize = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum At {
    Rest,
    Duty,
    /// Waits for a moment, or reads and does so: comes back without being woken.
    Moment,
    Standing,
    Look,
    ReadsOn,
    /// About to sleep.
    Arm,
    Asleep,
    Start,
    Done,
}

#[derive(Debug, Clone, Hash)]
struct Holding {
    readers: Readers<u8>,
    bursts: u8,
    /// Holds back whatever the readers say.
    is_careless: bool,
    /// Whether tasks are left in the queue, ready and not sent, and with the worker.
    is_left: bool,
    is_held: bool,
    is_sent: bool,
    /// Whether the worker has rung for who sleeps.
    is_rung: bool,
    attendant: At,
    is_notified: bool,
    seen: Option<u64>,
    waiter: At,
}

impl Holding {
    fn has_business(&self) -> bool {
        self.is_left || self.is_held || self.is_sent
    }

    /// Gives the worker what is left in the queue, and does not send it.
    fn dispatch(&mut self) {
        self.is_held |= std::mem::take(&mut self.is_left);
    }

    fn flush(&mut self) {
        self.is_sent |= std::mem::take(&mut self.is_held);
    }

    fn submit(&mut self) -> bool {
        let Some(left) = self.bursts.checked_sub(1) else { return false };
        self.bursts = left;
        for _ in 0..BURST {
            self.is_left = true;
            if !self.readers.leaves() {
                self.dispatch();
                self.is_notified |= self.readers.wants_attendant(true);
                let may_hold_back = self.is_careless || self.readers.may_hold_back();
                let _looks = self.readers.pass();
                if !may_hold_back {
                    self.flush();
                }
            }
        }
        true
    }

    /// The worker has done what it has.
    fn work(&mut self) -> bool {
        let has_done = std::mem::take(&mut self.is_sent);
        self.is_rung |= has_done && self.readers.arms_bells();
        has_done
    }

    /// Somebody sleeps until the worker rings, unless it has, and goes on with a look then.
    fn sleep(&mut self, look: At) -> At {
        self.flush();
        if self.is_rung {
            return look;
        }
        self.readers.fall_asleep();
        At::Asleep
    }

    /// What a thread does that waits until nothing is left to do.
    fn wait(&mut self) -> bool {
        self.waiter = match self.waiter {
            At::Start if self.readers.take_lead(&WAITER) => At::Arm,
            At::Arm if std::mem::take(&mut self.is_rung) => At::Arm,
            // It looks before it sleeps.
            At::Arm if self.is_left => {
                self.dispatch();
                self.flush();
                At::Arm
            }
            At::Arm if self.has_business() => self.sleep(At::Arm),
            At::Arm => {
                match self.readers.give_up_lead(self.has_business()) {
                    Successor::Attendant => self.is_notified = true,
                    Successor::Follower(other) => panic!("{other} does not follow"),
                    Successor::Nobody => {}
                }
                At::Done
            }
            At::Asleep if self.is_rung => {
                self.readers.wake_up();
                At::Arm
            }
            _ => return false,
        };
        true
    }

    fn attend(&mut self) -> bool {
        let has_business = self.has_business();
        self.attendant = match self.attendant {
            At::Rest if std::mem::take(&mut self.is_notified) => At::Duty,
            At::Duty => match self.readers.duty(has_business, &mut self.seen) {
                Duty::Rest => {
                    self.seen = None;
                    At::Rest
                }
                Duty::StandBy => At::Moment,
                Duty::Read => At::Look,
            },
            At::Moment => At::Duty,
            At::Standing => At::Look,
            At::Look => {
                if !self.readers.has_reader_beside(&ATTENDANT) {
                    self.dispatch();
                    self.flush();
                    self.is_rung = false;
                }
                At::ReadsOn
            }
            At::ReadsOn if !self.readers.attendant_reads_on(has_business) => At::Duty,
            At::ReadsOn if self.readers.stands_by() => At::Standing,
            At::ReadsOn => At::Arm,
            At::Arm if self.is_left => At::Look,
            At::Arm => self.sleep(At::Look),
            At::Asleep if self.is_rung => {
                self.readers.wake_up();
                At::Look
            }
            _ => return false,
        };
        true
    }
}

impl World for Holding {
    fn next(&self, into: &mut Vec<Self>) {
        for step in [Self::submit, Self::work, Self::wait, Self::attend] {
            let mut next = self.clone();
            if step(&mut next) {
                into.push(next);
            }
        }
    }

    fn is_over(&self) -> bool {
        self.bursts == 0 && !self.has_business() && self.waiter == At::Done
    }
}

fn world(waiter: At) -> Holding {
    Holding {
        readers: Readers::default(),
        bursts: 4,
        is_careless: false,
        is_left: false,
        is_held: false,
        is_sent: false,
        is_rung: false,
        attendant: At::Rest,
        is_notified: false,
        seen: None,
        waiter,
    }
}

#[test]
fn what_is_held_back_is_sent_though_nobody_submits_any_more() {
    explore("holding back", world(At::Done));
    explore("holding back, and one waits", world(At::Start));
}

#[test]
#[should_panic(expected = "cannot end")]
fn what_is_held_back_from_one_that_sleeps_is_found() {
    explore("holding back always", Holding { is_careless: true, ..world(At::Done) });
}

#[test]
fn beside_an_attendant_that_stands_by_it_is_held_back() {
    let mut world = world(At::Done);
    assert!(world.submit() && !world.is_held, "nobody stands by");
    while world.attendant != At::Standing {
        assert!(world.attend());
    }
    assert!(world.submit() && world.is_held);
}
