//! What threads of one process reach, where that is the limit.
//!
//! Owns the computing task of the row `pool_cpu`, and its way over rayon's threads.

use crate::harness::{Answer, Error};
use rayon::prelude::*;
use std::time::Instant;

/// Steps of one task: about 10 ms.
const STEPS: u32 = 8_000_000;

/// Computes for a while. Always true, which only the end of the computation says.
pub(super) fn spin(seed: u64) -> bool {
    let mut value = seed | 1;
    for _ in 0..STEPS {
        value = std::hint::black_box(value.wrapping_mul(6_364_136_223_846_793_005) | 1);
    }
    value & 1 == 1
}

pub(super) fn cpu(operations: u64) -> Result<Answer, Error> {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(2).build()?;
    let begun = Instant::now();
    let good =
        threads.install(|| (0..operations).into_par_iter().filter(|seed| spin(*seed)).count());
    Ok(Answer { value: u64::try_from(begun.elapsed().as_nanos())?, check: good as u64 })
}
