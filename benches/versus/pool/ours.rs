//! Our side of the area `pool`, written through the public face as a user writes it.
//!
//! Owns the work of each row. An operation counts when its result is right.

use super::threads::spin;
use crate::harness::{Answer, Error, Side};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procession::{Pool, ProcessPoolExecutor, TaskOptions};
use std::time::{Duration, Instant};

const ITEMS: u64 = 1_000_000;
const MIB: usize = 1 << 20;

pub(super) struct Ours;

impl Side for Ours {
    fn round(&mut self, row: &str, operations: u64) -> Result<Option<Answer>, Error> {
        match row {
            "pool_map_1m" => map(operations),
            "pool_imap_2" => imap(2, operations),
            "pool_imap_4" => imap(4, operations),
            "pool_apply" => apply(operations),
            "pool_apply_1mib" => apply_large(operations),
            "pool_first_result" => first_result(operations),
            "pool_cpu" => cpu(operations),
            "pool_heal" => heal(operations),
            "executor_round_trip" => round_trip(operations),
            "executor_throughput" => throughput(operations),
            _ => return Ok(None),
        }
        .map(Some)
    }
}

fn square(x: u64) -> u64 {
    x.wrapping_mul(x)
}

fn answer(took: Duration, good: u64) -> Result<Answer, Error> {
    Ok(Answer { value: u64::try_from(took.as_nanos())?, check: good })
}

fn map(operations: u64) -> Result<Answer, Error> {
    let pool = Pool::new(2)?;
    let inputs: Vec<u64> = (0..ITEMS).collect();
    let (mut took, mut good) = (Duration::ZERO, 0);
    for _ in 0..operations {
        let begun = Instant::now();
        let results = pool.map(square, inputs.iter().copied())?;
        took += begun.elapsed();
        let is_right = results.iter().zip(&inputs).all(|(result, input)| *result == input * input);
        good += u64::from(is_right && results.len() == inputs.len());
    }
    answer(took, good)
}

fn imap(workers: usize, operations: u64) -> Result<Answer, Error> {
    let pool = Pool::new(workers)?;
    let begun = Instant::now();
    let mut sum = 0_u64;
    for result in pool.imap_unordered(square, 0..operations)? {
        sum = sum.wrapping_add(result?);
    }
    let took = begun.elapsed();
    let right = (0..operations).map(square).fold(0, u64::wrapping_add);
    answer(took, if sum == right { operations } else { 0 })
}

fn apply(operations: u64) -> Result<Answer, Error> {
    let pool = Pool::new(2)?;
    pool.apply(square, (1,))?;
    let begun = Instant::now();
    let mut good = 0;
    for x in 0..operations {
        good += u64::from(pool.apply(square, (x,))? == square(x));
    }
    answer(begun.elapsed(), good)
}

fn apply_large(operations: u64) -> Result<Answer, Error> {
    let pool = Pool::new(2)?;
    let echo = |data: Vec<u8>| data;
    let mut data = vec![7_u8; MIB];
    pool.apply(echo, (data.clone(),))?;
    let begun = Instant::now();
    let mut good = 0;
    for _ in 0..operations {
        data = pool.apply(echo, (data,))?;
        good += u64::from(data.len() == MIB && data[MIB - 1] == 7);
    }
    answer(begun.elapsed(), good)
}

fn first_result(operations: u64) -> Result<Answer, Error> {
    let (mut took, mut good) = (Duration::ZERO, 0);
    for _ in 0..operations {
        let begun = Instant::now();
        let pool = Pool::new(2)?;
        good += u64::from(pool.apply(square, (5,))? == 25);
        took += begun.elapsed();
        pool.terminate();
        pool.join()?;
    }
    answer(took, good)
}

fn cpu(operations: u64) -> Result<Answer, Error> {
    let pool = Pool::new(2)?;
    pool.apply(square, (1,))?;
    let one_by_one = pool.with(TaskOptions::new().chunksize(1));
    let begun = Instant::now();
    let results = one_by_one.map(spin, 0..operations)?;
    answer(begun.elapsed(), results.iter().map(|good| u64::from(*good)).sum())
}

fn heal(operations: u64) -> Result<Answer, Error> {
    let pool = Pool::builder().processes(1).restarts(u32::MAX, Duration::from_secs(1)).build()?;
    let (mut took, mut good) = (Duration::ZERO, 0);
    for _ in 0..operations {
        let pid = pool.apply(std::process::id, ())?;
        let begun = Instant::now();
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL)?;
        // A task that was sent before its worker's death is known goes to the next one.
        let next = pool.apply(std::process::id, ())?;
        took += begun.elapsed();
        good += u64::from(next != pid);
    }
    answer(took, good)
}

fn round_trip(operations: u64) -> Result<Answer, Error> {
    let executor = ProcessPoolExecutor::new(2)?;
    executor.submit(square, (1,))?.result()?;
    let begun = Instant::now();
    let mut good = 0;
    for x in 0..operations {
        good += u64::from(executor.submit(square, (x,))?.result()? == square(x));
    }
    answer(begun.elapsed(), good)
}

fn throughput(operations: u64) -> Result<Answer, Error> {
    let executor = ProcessPoolExecutor::new(2)?;
    executor.submit(square, (1,))?.result()?;
    let begun = Instant::now();
    let futures: Result<Vec<_>, _> =
        (0..operations).map(|x| executor.submit(square, (x,))).collect();
    let mut good = 0;
    for (x, future) in (0..).zip(futures?) {
        good += u64::from(future.result()? == square(x));
    }
    answer(begun.elapsed(), good)
}
