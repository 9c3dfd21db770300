//! Native code that crashes now and then, by SIGSEGV: each crash costs one attempt and one
//! process. The pool starts another and tries again, and all results come.
//!
//! The stand-in for a library with a bug calls C with a pointer that leads nowhere, for about one
//! input in ten, at the first attempt.

mod native;

use procession::{Error, Pool, TaskError, TaskOptions};
use std::time::Duration;

const INPUTS: u64 = 200;

/// A sum over bytes that crashes for some of them.
fn checksum(seed: u64, is_first: bool) -> u64 {
    if is_first && seed.is_multiple_of(10) {
        return native::length_of_nothing();
    }
    (0..10_000_u64).fold(seed, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte))
}

/// The same where only a worker that has never met the input crashes.
fn flaky(seed: u64, folder: String) -> u64 {
    let mark = std::path::Path::new(&folder).join(seed.to_string());
    let is_first = std::fs::File::create_new(mark).is_ok();
    checksum(seed, is_first)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let budget = u32::try_from(INPUTS)?;
    let pool = Pool::builder().processes(2).restarts(budget, Duration::from_secs(1)).build()?;

    // Without retries a crash is the error of its own call, and says what happened.
    match pool.apply(checksum, (0, true)) {
        Err(Error::Task(TaskError::Died(death))) => println!("one call: {}", death.reason),
        other => println!("one call: {other:?}"),
    }
    let chunks = pool.with(TaskOptions::new().chunksize(25));
    let calls = (0..INPUTS).map(|seed| (seed, true));
    let results: Vec<_> = chunks.istarmap(checksum, calls)?.collect();
    let lost = results.iter().filter(|result| result.is_err()).count();
    println!("without retries: {lost} of {INPUTS} are lost, the others are there");

    let folder = std::env::temp_dir().join(format!("crashy-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let place = folder.display().to_string();
    let patient = pool.with(TaskOptions::new().chunksize(25).retries(1));
    let sums = patient.starmap(flaky, (0..INPUTS).map(|seed| (seed, place.clone())));
    std::fs::remove_dir_all(&folder)?;
    let sums = sums?;
    let right: Vec<_> = (0..INPUTS).map(|seed| checksum(seed, false)).collect();
    println!(
        "with one retry: {} of {INPUTS} are right",
        sums.iter().zip(&right).filter(|(a, b)| a == b).count()
    );
    pool.close();
    pool.join()?;
    Ok(())
}
