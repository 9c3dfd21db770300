//! Starts and joins many processes by one method, and fails if one of them hangs, ends
//! otherwise than it should, or leaves something behind.
//!
//! `cargo run --release --example soak -- --starts 20000 [--method forkserver]`

use procession::{StartMethod, context};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut starts, mut method) = (500u32, StartMethod::ForkServer);
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or("an option without a value")?;
        match name.as_str() {
            "--starts" => starts = value.parse()?,
            "--method" => method = value.parse()?,
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    let context = context(method);
    // The second start has the fork server make a worker ahead, which is there from then on.
    for _ in 0..2 {
        context.spawn(|| (), ())?.join()?;
    }
    let before = descriptors()?;
    let (begun, mut slowest) = (Instant::now(), Duration::ZERO);
    let mut halfway = resident()?;
    for number in 0..starts {
        if number == starts / 2 {
            halfway = resident()?;
        }
        let start = Instant::now();
        let process = context.spawn(|number: u32| number ^ 1, (number,))?;
        let back = process.result_timeout(Duration::from_secs(20))?;
        assert_eq!(back, number ^ 1, "another process's result");
        slowest = slowest.max(start.elapsed());
    }
    let took = begun.elapsed();
    settle(before)?;
    let now = resident()?;
    if now > halfway + halfway / 20 {
        return Err(format!("{halfway} KiB were resident halfway, {now} are at the end").into());
    }
    println!(
        "{starts} starts by {method}: {:.1} us each, the slowest {:.1} ms; nothing left behind",
        took.as_secs_f64() * 1e6 / f64::from(starts.max(1)),
        slowest.as_secs_f64() * 1e3,
    );
    Ok(())
}

fn descriptors() -> std::io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/fd")?.count())
}

/// The memory of this process that is resident, in KiB.
fn resident() -> Result<u64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(number.ok_or("no VmRSS")?.parse()?)
}

/// The last children's handles are dropped by a thread of the library, an instant later.
fn settle(before: usize) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let now = descriptors().map_err(|error| error.to_string())?;
        if now <= before {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{before} descriptors before, {now} after"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
