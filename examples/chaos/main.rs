//! Random kills of children under load, and what must hold afterwards.
//!
//! `cargo run --release --example chaos -- --kills N [--seed S] [--method M] [--area A]`
//!
//! In the area `processes` each trial starts process actors under calls and casts, plain
//! processes, or a supervised tree, or is about the starts themselves, and sends SIGKILL and
//! SIGSTOP at random moments. In the area `ipc` those are hit who share a queue, a pipe, a
//! lock, a semaphore, a condition, an event or a barrier, and what they have put, got, held
//! and waited for is accounted for. In the area `pool` workers of pools and executors are hit,
//! and each input is to end once. After each trial the invariants are checked: every call was
//! answered within its limit and five seconds, each incarnation had one `Down`, no zombie is
//! left, and no descendant that the library does not list. At the end descriptors and
//! threads are back at the baseline, and in a long run resident memory has grown by 5 % at
//! most since halfway. The last line sums up; a violation is printed with the
//! seed, and the exit code is 1. The seed fixes what is tried, not how the system interleaves
//! it; the environment variable `CHAOS_SEED` sets it as well. Only processes that this
//! program started are hit, each by its pidfd. M is spawn or forkserver: fork is refused to
//! a program with threads, which the load has.

mod actors;
mod board;
mod crew;
mod kin;
mod locks;
mod plain;
mod pools;
mod queues;
mod random;
mod starts;
mod trees;
mod world;

use procession::{StartMethod, set_start_method, start_method};
use random::Random;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};
use world::{Check, Footprint, Seen, Tally, Violation, ensure};

/// From so many kills on, a run's second half needs hardly more memory than its first: what
/// grows with the work of one trial has grown by then.
const LONG: u64 = 5_000;

#[derive(Clone, Copy)]
enum Area {
    Processes,
    Ipc,
    Pool,
}

struct Options {
    kills: u64,
    seed: u64,
    area: Area,
}

impl Options {
    fn from_args() -> Check<Self> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let seed = match std::env::var("CHAOS_SEED") {
            Ok(seed) => seed.parse()?,
            Err(_) => u64::from(now.subsec_nanos()),
        };
        let mut options = Self { kills: 500, seed, area: Area::Processes };
        let mut args = std::env::args().skip(1);
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| Violation(format!("{name} needs a value")))?;
            match name.as_str() {
                "--kills" => options.kills = value.parse()?,
                "--seed" => options.seed = value.parse()?,
                "--area" if value == "processes" => options.area = Area::Processes,
                "--area" if value == "ipc" => options.area = Area::Ipc,
                "--area" if value == "pool" => options.area = Area::Pool,
                "--method" => set_start_method(value.parse::<StartMethod>()?)?,
                _ => return Err(Violation(format!("{name} {value} is no option"))),
            }
        }
        Ok(options)
    }
}

/// One trial of a random kind, and the invariants after it.
fn trial(
    area: Area,
    random: &mut Random,
    census: &actors::CensusRef,
    helpers: usize,
) -> Check<Tally> {
    let mut seen = Seen::default();
    let (kind, tally) = match (area, random.below(10)) {
        (Area::Processes, 0..3) => ("actors", actors::trial(random, census, &mut seen)),
        (Area::Processes, 3..6) => ("processes", plain::trial(random, &mut seen)),
        (Area::Processes, 6..8) => ("a tree", trees::trial(random, &mut seen)),
        (Area::Processes, _) => ("starts", starts::trial(random)),
        (Area::Ipc, 0..4) => ("a queue or pipe", queues::trial(random)),
        (Area::Ipc, 4..6) => ("a lock", locks::trial(random)),
        (Area::Ipc, 6) => ("a semaphore", kin::permits(random)),
        (Area::Ipc, 7) => ("a condition", kin::tokens(random)),
        (Area::Ipc, 8) => ("an event", kin::events(random)),
        (Area::Ipc, _) => ("a barrier", kin::parties(random)),
        (Area::Pool, 0..6) => ("a pool", pools::trial(random)),
        (Area::Pool, _) => ("an executor", pools::executor(random)),
    };
    let checked = tally.and_then(|tally| seen.all_gone(helpers).map(|()| tally));
    checked.map_err(|Violation(what)| Violation(format!("{kind}: {what}")))
}

fn run(options: &Options) -> Check<(u64, Tally)> {
    let mut random = Random::new(options.seed);
    // The fork server, and the worker that it makes ahead.
    let helpers = 2 * usize::from(start_method() == StartMethod::ForkServer);
    let census = actors::census()?;
    // The library's own threads and descriptors come with the first of each kind.
    for _ in 0..20 {
        trial(options.area, &mut random, &census, helpers)?;
    }
    let baseline = quiet(None)?;
    let (mut trials, mut tally) = (0, Tally::default());
    let mut halfway = None;
    while tally.kills < options.kills {
        if halfway.is_none() && tally.kills >= options.kills / 2 {
            halfway = Some(world::resident()?);
        }
        trials += 1;
        match trial(options.area, &mut random, &census, helpers) {
            Ok(more) => tally.add(more),
            Err(Violation(what)) => return Err(Violation(format!("trial {trials}: {what}"))),
        }
    }
    let odd = census.odd_timeout(Duration::from_secs(10))?;
    ensure(odd.is_empty(), || format!("not one Down each: {odd:?}"))?;
    quiet(Some(baseline))?;
    if let Some(before) = halfway.filter(|_| options.kills >= LONG) {
        let after = world::resident()?;
        ensure(after <= before + before / 20, || {
            format!("{before} KiB were resident halfway, {after} are at the end")
        })?;
    }
    Ok((trials, tally))
}

/// Waits until this process holds what it is expected to hold, or until that is steady.
fn quiet(expected: Option<Footprint>) -> Check<Footprint> {
    // The last trial may have hit the fork server, or the worker that it makes ahead with
    // its second start: both belong to the picture.
    for _ in 0..3 {
        procession::Process::spawn(|| (), ())?.join()?;
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut last = Footprint::now()?;
    loop {
        std::thread::sleep(Duration::from_millis(50));
        let now = Footprint::now()?;
        if now == expected.unwrap_or(last) {
            return Ok(now);
        }
        ensure(Instant::now() < deadline, || format!("holding {now:?}, not {expected:?}"))?;
        last = now;
    }
}

fn main() -> ExitCode {
    let options = match Options::from_args() {
        Ok(options) => options,
        Err(why) => {
            eprintln!("chaos: {why}");
            return ExitCode::from(2);
        }
    };
    let (begun, method) = (Instant::now(), start_method());
    println!("chaos: seed {}, {} kills, by {method}", options.seed, options.kills);
    match run(&options) {
        Ok((trials, tally)) => {
            let took = begun.elapsed().as_secs_f64();
            println!(
                "chaos: ok: {trials} trials, {} kills, {} stops, {} starts, {} calls, {} casts, \
                 {} timeouts, {took:.1} s, seed {}",
                tally.kills,
                tally.stops,
                tally.starts,
                tally.calls,
                tally.casts,
                tally.timeouts,
                options.seed
            );
            ExitCode::SUCCESS
        }
        Err(what) => {
            println!("chaos: VIOLATION with seed {}: {what}", options.seed);
            for child in procession::active_children() {
                // Else the end of this program would wait for it.
                let _ = child.kill();
            }
            ExitCode::FAILURE
        }
    }
}
