//! Our side of the area `ipc`: which function does which row.
//!
//! Owns nothing but that. The work is in `pipes`, `queues`, `locks`, `kin` and
//! `values`, written through the public face as a user writes it.

use super::kin::{barrier, condition_wake, event_wake, semaphores};
use super::locks::{self, Turn, fairness, rate};
use super::pipes::{self, Kind};
use super::queues::{self, Hand};
use super::values::{Addition, additions, array_sum};
use crate::harness::{Answer, Error, Side};

const KIB64: usize = 1 << 16;
const MIB: usize = 1 << 20;

pub(super) struct Ours;

impl Side for Ours {
    fn round(&mut self, row: &str, operations: u64) -> Result<Option<Answer>, Error> {
        match row {
            "pipe_round_trip" => pipes::round_trip(operations),
            "pipe_64b_one_way" => pipes::one_way(Kind::OneWay, 64, operations),
            "pipe_64b_duplex" => pipes::one_way(Kind::Duplex, 64, operations),
            "pipe_64kib" => pipes::one_way(Kind::Duplex, KIB64, operations),
            "pipe_1mib" => pipes::one_way(Kind::Duplex, MIB, operations),
            "queue_1_1" => queues::stream(1, Hand::Single, operations),
            "queue_4_4" => queues::stream(4, Hand::Single, operations),
            "queue_many_1_1" => queues::stream(1, Hand::Many, operations),
            "queue_many_4_4" => queues::stream(4, Hand::Many, operations),
            "queue_round_trip" => queues::round_trip(operations),
            "queue_1mib" => queues::large(operations),
            "lock_uncontended" => locks::uncontended(operations),
            "lock_2_empty" => rate(2, Turn::Empty, operations),
            "lock_2_empty_fair" => fairness(2, Turn::Empty, operations),
            "lock_4_empty" => rate(4, Turn::Empty, operations),
            "lock_4_empty_fair" => fairness(4, Turn::Empty, operations),
            "lock_2_2us" => rate(2, Turn::Section, operations),
            "lock_2_2us_fair" => fairness(2, Turn::Section, operations),
            "lock_4_2us" => rate(4, Turn::Section, operations),
            "lock_4_2us_fair" => fairness(4, Turn::Section, operations),
            "lock_2_think" => rate(2, Turn::SectionAndThought, operations),
            "semaphore_1_pair" => semaphores(1, operations),
            "semaphore_2_pairs" => semaphores(2, operations),
            "event_wake" => event_wake(operations),
            "condition_wake" => condition_wake(operations),
            "barrier_2" => barrier(2, operations),
            "barrier_4" => barrier(4, operations),
            "value_add_1" => additions(Addition::Locked, 1, operations),
            "value_add_2" => additions(Addition::Locked, 2, operations),
            "value_fetch_add_1" => additions(Addition::Atomic, 1, operations),
            "value_fetch_add_2" => additions(Addition::Atomic, 2, operations),
            "array_sum" => array_sum(operations),
            _ => return Ok(None),
        }
        .map(Some)
    }
}
