//! Counts the words of every text file below a folder, with a supervised tree of worker
//! processes that survives kills.
//!
//! ```text
//! cargo run --release --example wordcount -- FOLDER [--workers N] [--crash K]
//! ```
//!
//! Binary and hidden files and `target/` are skipped. A folder under 64 MB is counted
//! again and again until the count has taken two seconds. With `--crash K` at least K
//! workers are killed (SIGKILL) while they hold a task; the task is given again, and the
//! result is compared with a serial count by separate code. Anything but equality, or
//! fewer than K such kills, is a non-zero exit. Killing workers from outside does not
//! change the result either.

#[path = "support/wordcount.rs"]
mod support;

use indicatif::{ProgressBar, ProgressStyle};
use procession::{
    Actor, CallError, ChildSpec, Restart, Strategy, Supervisor, SupervisorRef, methods,
};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use support::{Options, Task, count_serially, find_tasks};

/// Folders below this size are counted more than once, in bytes.
const SMALL: u64 = 64 * 1024 * 1024;
/// ... until the count has taken so long.
const LONG_ENOUGH: Duration = Duration::from_secs(2);
/// A kill waits until its victim has been at work for so long.
const AT_WORK: Duration = Duration::from_millis(1);
/// The kills must have found their victims by then.
const KILL_LIMIT: Duration = Duration::from_mins(1);
/// No task takes longer than this; a worker that does is taken for lost.
const TASK_LIMIT: Duration = Duration::from_mins(1);
/// Restarts that are not counted against us: kills from outside.
const SPARE_RESTARTS: u32 = 1_000;

/// One worker process. It keeps nothing between two tasks, so nothing is lost with it.
#[derive(Actor, Serialize, Deserialize)]
struct Worker;

#[methods]
impl Worker {
    /// Counts the words of these files. The error names the file that cannot be read.
    pub fn count(&self, files: Vec<String>) -> Result<(u32, HashMap<String, u64>), String> {
        let mut counts = HashMap::new();
        for file in files {
            let bytes = std::fs::read(&file).map_err(|error| format!("{file}: {error}"))?;
            support::count_words(&bytes, &mut counts);
        }
        Ok((std::process::id(), counts))
    }
}

/// What the threads that drive the workers share.
struct Job {
    tasks: Vec<Task>,
    state: Mutex<State>,
    lanes: Vec<Lane>,
    bytes: AtomicU64,
    bar: ProgressBar,
    begun: Instant,
    wanted_kills: u32,
    is_small: bool,
}

#[derive(Default)]
struct State {
    /// Tasks that were given to a worker which died; they go first.
    again: VecDeque<usize>,
    next: usize,
    rounds: u64,
    under_way: usize,
    counts: HashMap<String, u64>,
    kills: u32,
    failure: Option<String>,
}

/// What one worker is doing, for the one who kills.
#[derive(Default)]
struct Lane {
    holds: Mutex<Option<(usize, Instant)>>,
    pid: AtomicU64,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("wordcount: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, Box<dyn Error>> {
    let options = Options::parse(std::env::args().skip(1))?;
    let tasks = find_tasks(&options.folder)?;
    let size: u64 = tasks.iter().map(|task| task.bytes).sum();
    let files: usize = tasks.iter().map(|task| task.files.len()).sum();
    println!("{files} files, {size} bytes, {} workers", options.workers);

    let tree = start_tree(&options)?;
    let workers = tree.supervisor("workers")?;
    let bar = ProgressBar::new(size);
    bar.set_style(ProgressStyle::with_template(
        "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {msg}",
    )?);
    let job = Job {
        tasks,
        state: Mutex::default(),
        lanes: (0..options.workers).map(|_| Lane::default()).collect(),
        bytes: AtomicU64::new(0),
        bar,
        begun: Instant::now(),
        wanted_kills: options.crash,
        is_small: size < SMALL,
    };
    std::thread::scope(|scope| {
        for at in 0..options.workers {
            let worker = workers.actor::<Worker>(&worker_id(at));
            let (job, workers) = (&job, &workers);
            scope.spawn(move || match worker {
                Ok(worker) => job.drive(at, &worker, workers),
                Err(error) => job.fail(error.to_string()),
            });
        }
        if options.crash > 0 {
            scope.spawn(|| job.crash(&workers));
        }
    });
    let took = job.begun.elapsed();
    job.bar.finish_and_clear();
    let restarts = restarts_of(&workers);
    tree.stop()?;
    report(&job, took, restarts)
}

/// A root that restarts the whole pool should it give up, and the pool.
fn start_tree(options: &Options) -> Result<SupervisorRef, Box<dyn Error>> {
    let mut pool = Supervisor::new(Strategy::OneForOne)
        .intensity(options.crash.saturating_add(SPARE_RESTARTS), KILL_LIMIT);
    for at in 0..options.workers {
        pool =
            pool.child(ChildSpec::actor(worker_id(at), || Worker, ()).restart(Restart::Permanent));
    }
    let tree = Supervisor::new(Strategy::RestForOne)
        .child(ChildSpec::supervisor("workers", pool))
        .start()?;
    Ok(tree)
}

fn worker_id(at: usize) -> String {
    format!("worker-{at}")
}

impl Job {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, why: String) {
        self.state().failure.get_or_insert(why);
    }

    /// Gives a worker one task after another.
    fn drive(&self, at: usize, worker: &WorkerRef, workers: &SupervisorRef) {
        let lane = &self.lanes[at];
        while let Some((number, is_again)) = self.take() {
            // Somebody else may kill it before it has said who it is.
            if let Some(pid) = workers.which_children().get(at).and_then(|child| child.pid) {
                lane.pid.store(u64::from(pid), Ordering::Relaxed);
            }
            let task = &self.tasks[number];
            if is_again {
                self.say(&format!("  {} given again to {}", task.name(), worker_id(at)));
            }
            *lock(&lane.holds) = Some((number, Instant::now()));
            let answer = worker.count_timeout(task.files.clone(), TASK_LIMIT);
            *lock(&lane.holds) = None;
            let mut state = self.state();
            state.under_way -= 1;
            match answer {
                Ok(Ok((pid, counts))) => {
                    lane.pid.store(u64::from(pid), Ordering::Relaxed);
                    for (word, count) in counts {
                        *state.counts.entry(word).or_default() += count;
                    }
                    drop(state);
                    self.bytes.fetch_add(task.bytes, Ordering::Relaxed);
                    self.bar.inc(task.bytes);
                }
                Ok(Err(why)) => {
                    state.failure.get_or_insert(why);
                }
                // The worker is restarted by its supervisor; the task is still ours.
                Err(CallError::ActorDied { reason, .. }) => {
                    state.again.push_back(number);
                    state.kills += 1;
                    drop(state);
                    let pid = lane.pid.load(Ordering::Relaxed);
                    self.say(&format!(
                        "{} (pid {pid}) {reason} while it held {}",
                        worker_id(at),
                        task.name(),
                    ));
                }
                Err(other) => {
                    state.failure.get_or_insert(other.to_string());
                }
            }
        }
    }

    /// The next task, and whether it is given again. `None` when all is done.
    fn take(&self) -> Option<(usize, bool)> {
        loop {
            let mut state = self.state();
            if state.failure.is_some() || self.tasks.is_empty() {
                return None;
            }
            if let Some(number) = state.again.pop_front() {
                state.under_way += 1;
                return Some((number, true));
            }
            if state.next == self.tasks.len() && self.wants_more(&state) {
                state.next = 0;
                state.rounds += 1;
                self.bar.set_length(self.bytes.load(Ordering::Relaxed) * 2);
            }
            if state.next < self.tasks.len() {
                state.rounds += u64::from(state.rounds == 0);
                state.next += 1;
                state.under_way += 1;
                return Some((state.next - 1, false));
            }
            if state.under_way == 0 {
                return None;
            }
            // Another worker may still die and give its task back.
            drop(state);
            std::thread::sleep(AT_WORK);
        }
    }

    fn wants_more(&self, state: &State) -> bool {
        let took = self.begun.elapsed();
        (self.is_small && took < LONG_ENOUGH)
            || (state.kills < self.wanted_kills && took < KILL_LIMIT)
    }

    /// Kills workers that are at work until enough of them have died so.
    fn crash(&self, workers: &SupervisorRef) {
        let mut victim = 0;
        while self.begun.elapsed() < KILL_LIMIT {
            {
                let state = self.state();
                if state.kills >= self.wanted_kills || state.failure.is_some() {
                    return;
                }
            }
            victim = (victim + 1) % self.lanes.len();
            let pid = workers.which_children().get(victim).and_then(|child| child.pid);
            let lane = &self.lanes[victim];
            // Held, so that the worker cannot be given another task meanwhile.
            let holds = lock(&lane.holds);
            if let (Some((_, since)), Some(pid)) = (*holds, pid)
                && since.elapsed() >= AT_WORK
                && let Ok(worker) = workers.actor::<Worker>(&worker_id(victim))
            {
                lane.pid.store(u64::from(pid), Ordering::Relaxed);
                worker.kill();
            }
            drop(holds);
            std::thread::sleep(AT_WORK);
        }
    }

    fn say(&self, line: &str) {
        self.bar.suspend(|| println!("{line}"));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often workers were started beyond the first time.
fn restarts_of(workers: &SupervisorRef) -> u64 {
    let rows = workers.which_children();
    let latest = rows.iter().filter_map(|row| row.incarnation).map(|life| life.0).max();
    latest.unwrap_or(0).saturating_sub(rows.len() as u64)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn report(job: &Job, took: Duration, restarts: u64) -> Result<bool, Box<dyn Error>> {
    let state = job.state();
    if let Some(why) = &state.failure {
        return Err(why.clone().into());
    }
    let begun = Instant::now();
    let mut serial = count_serially(&job.tasks)?;
    let serially = begun.elapsed();
    for count in serial.values_mut() {
        *count *= state.rounds;
    }
    let bytes = job.bytes.load(Ordering::Relaxed);
    let rate = |bytes: u64, time: Duration| bytes as f64 / 1e6 / time.as_secs_f64();
    let size: u64 = job.tasks.iter().map(|task| task.bytes).sum();

    let mut top: Vec<_> = state.counts.iter().collect();
    top.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    for (word, count) in top.iter().take(10) {
        println!("{count:>12} {word}");
    }
    println!("counted {} times, {bytes} bytes in {took:.2?}", state.rounds);
    println!(
        "{:.1} MB/s with workers, {:.1} MB/s serially",
        rate(bytes, took),
        rate(size, serially)
    );
    println!("{} workers died holding a task, {restarts} restarts", state.kills);
    let is_equal = serial == state.counts;
    println!("the serial count is {}", if is_equal { "equal" } else { "DIFFERENT" });
    if state.kills < job.wanted_kills {
        println!("only {} of {} kills found a worker at work", state.kills, job.wanted_kills);
    }
    Ok(is_equal && state.kills >= job.wanted_kills)
}
