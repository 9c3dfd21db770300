//! A pool whose workers are killed at a steady pace, for a given number of tasks.

use super::SOON;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procession::{Pool, TaskOptions};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

const TASKS: u64 = 10_000;

/// At least so many, also where the tasks are done sooner.
const KILLS: u32 = 100;

const INTERVAL: Duration = Duration::from_millis(10);

/// So many that one lives for long enough to do something on a busy machine, too, where a start
/// takes longer than the interval.
const WORKERS: usize = 8;

/// Ten thousand tasks, while each 10 ms a worker is killed: all results are right, in their
/// places, and none is lost.
#[test]
fn ten_thousand_tasks_lose_nothing_though_a_worker_is_killed_every_ten_milliseconds() {
    let builder = Pool::builder().processes(WORKERS).restarts(u32::MAX, Duration::from_secs(1));
    let pool = builder.build().unwrap();
    let (killed, done) = (AtomicU32::new(0), AtomicBool::new(false));
    let mut checked = 0;
    std::thread::scope(|scope| {
        // However this ends, the other thread does, too.
        let over = Over(&done);
        scope.spawn(|| {
            for turn in 0.. {
                std::thread::sleep(INTERVAL);
                if done.load(Ordering::SeqCst) {
                    return;
                }
                let pids = pool.pids();
                if let Some(pid) = pids.get(turn % pids.len().max(1)) {
                    let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
                    killed.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        let work = |x: u64| {
            std::thread::sleep(Duration::from_micros(100));
            x.wrapping_mul(x)
        };
        let patient = pool.with(TaskOptions::new().chunksize(10).retries(1_000));
        let mut results = patient.imap(work, 0..).unwrap();
        while checked < TASKS || killed.load(Ordering::SeqCst) < KILLS {
            let result = results.next_timeout(SOON).unwrap().unwrap();
            assert_eq!(result.unwrap(), checked * checked, "results keep their places");
            checked += 1;
        }
        drop(over);
    });
    let killed = killed.into_inner();
    println!("{checked} results were right in {killed} kills");
    assert!(checked >= TASKS && killed >= KILLS);
    assert!(pool.stats().restarts > 0, "{:?}", pool.stats());
    pool.close();
    assert!(pool.join_timeout(SOON).unwrap());
}

/// Says at its end that all is over.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
