//! Our side of the rows about queues.
//!
//! Owns producers and consumers as children, with this process as the owner that both
//! reach the queue through; who takes part has used its handle before the gate opens. It
//! must never use what a user does not have.

use std::hint::black_box;
use std::time::Instant;

use procession::{Failure, Queue};
use serde::{Deserialize, Serialize};

use super::workers::{Crew, Gate, Report, WAIT_LIMIT, portion, timed};
use crate::harness::{Answer, Error};

const MIB: usize = 1 << 20;

/// Items of one `put_many` or `get_many`.
const MANY: usize = 64;

/// About 64 bytes on the way, whatever the number is.
#[derive(Clone, Serialize, Deserialize)]
struct Record {
    number: u64,
    filling: [u64; 7],
}

impl Record {
    fn new(number: u64) -> Self {
        Self { number, filling: black_box([u64::MAX / 3; 7]) }
    }
}

/// One record at a time, or many.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) enum Hand {
    Single,
    Many,
}

/// Puts the numbers from `count` down to 1.
fn produce(gate: Gate, queue: Queue<Record>, hand: Hand, count: u64) -> Result<Report, Failure> {
    queue.qsize()?;
    gate.pass(|| {
        let mut left = count;
        while left > 0 {
            match hand {
                Hand::Single => {
                    queue.put(Record::new(left))?;
                    left -= 1;
                }
                Hand::Many => {
                    let size = left.min(MANY as u64);
                    queue.put_many((0..size).map(|at| Record::new(left - at)))?;
                    left -= size;
                }
            }
        }
        Ok((0, 0))
    })
}

fn consume(gate: Gate, queue: Queue<Record>, hand: Hand, count: u64) -> Result<Report, Failure> {
    queue.qsize()?;
    gate.pass(|| {
        let (mut left, mut sum) = (count, 0);
        while left > 0 {
            match hand {
                Hand::Single => {
                    sum += black_box(queue.get()?).number;
                    left -= 1;
                }
                Hand::Many => {
                    let most = usize::try_from(left).unwrap_or(MANY).min(MANY);
                    let records = black_box(queue.get_many(most)?);
                    sum += records.iter().map(|record| record.number).sum::<u64>();
                    left -= records.len() as u64;
                }
            }
        }
        Ok((0, sum))
    })
}

pub(super) fn stream(pairs: u64, hand: Hand, operations: u64) -> Result<Answer, Error> {
    let queue = Queue::<Record>::new()?;
    let mut crew = Crew::default();
    let mut sum = 0;
    for pair in 0..pairs {
        let count = portion(operations, pair, pairs);
        sum += count * (count + 1) / 2;
        let (put, get) = (queue.clone(), queue.clone());
        crew.add(|context, gate| context.spawn(produce, (gate, put, hand, count)))?;
        crew.add(|context, gate| context.spawn(consume, (gate, get, hand, count)))?;
    }
    let answer = timed(&crew.run()?);
    let check = if answer.check == sum { operations } else { 0 };
    Ok(Answer { check, ..answer })
}

fn give_back(
    gate: Gate,
    there: Queue<Record>,
    back: Queue<Record>,
    count: u64,
) -> Result<Report, Failure> {
    there.qsize()?;
    back.qsize()?;
    gate.pass(|| {
        for _ in 0..count {
            let record = there.get()?;
            back.put(Record { number: record.number + 1, ..record })?;
        }
        Ok((0, 0))
    })
}

/// This process is one of the two, as a user's program has it.
pub(super) fn round_trip(operations: u64) -> Result<Answer, Error> {
    let (there, back) = (Queue::<Record>::new()?, Queue::<Record>::new()?);
    let mut crew = Crew::default();
    let handles = (there.clone(), back.clone());
    crew.add(|context, gate| context.spawn(give_back, (gate, handles.0, handles.1, operations)))?;
    crew.open()?;
    let mut check = 0;
    let began = Instant::now();
    for number in 0..operations {
        there.put(Record::new(number)).map_err(|error| error.to_string())?;
        check += u64::from(back.get_timeout(WAIT_LIMIT)?.number == number + 1);
    }
    let took = began.elapsed();
    crew.reports()?;
    Ok(Answer { value: u64::try_from(took.as_nanos())?, check })
}

fn produce_large(gate: Gate, queue: Queue<Vec<u8>>, count: u64) -> Result<Report, Failure> {
    queue.qsize()?;
    let item = black_box(vec![7; MIB]);
    gate.pass(|| {
        for _ in 0..count {
            queue.put(item.clone())?;
        }
        Ok((0, 0))
    })
}

fn consume_large(gate: Gate, queue: Queue<Vec<u8>>, count: u64) -> Result<Report, Failure> {
    queue.qsize()?;
    gate.pass(|| {
        let mut whole = 0;
        for _ in 0..count {
            let item = black_box(queue.get()?);
            whole += u64::from(item.len() == MIB && item[0] == 7);
        }
        Ok((0, whole))
    })
}

pub(super) fn large(operations: u64) -> Result<Answer, Error> {
    let queue = Queue::new()?;
    let handles = (queue.clone(), queue.clone());
    let mut crew = Crew::default();
    crew.add(|context, gate| context.spawn(produce_large, (gate, handles.0, operations)))?;
    crew.add(|context, gate| context.spawn(consume_large, (gate, handles.1, operations)))?;
    Ok(timed(&crew.run()?))
}
