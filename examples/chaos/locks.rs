//! A trial of a lock: holders and waiters are hit.
//!
//! Checked: never two holders; whoever finds that a holder has left its section unfinished
//! has been told of the death; nobody is told of more deaths than there were; all who live
//! get their turns. Some waits are timed, so short that many run out.

use crate::board::Board;
use crate::crew::{Crew, FREE, PATIENCE, STOP};
use crate::random::Random;
use crate::world::{Check, Tally, Violation, ensure};
use procession::{Failure, Lock, Process};
use std::time::Duration;

/// The place of the holder, plus 1.
const INSIDE: usize = FREE;
/// Two sums that are equal outside the section.
const FIRST: usize = FREE + 1;
const SECOND: usize = FREE + 2;
/// How many deaths were told.
const TOLD: usize = FREE + 3;

fn work(lock: Lock, board: Board, place: usize, seed: u64) -> Result<(), Failure> {
    let mut random = Random::new(seed);
    while board.get(STOP) == 0 {
        let patience = if random.once_in(4) { Duration::from_micros(200) } else { PATIENCE };
        let Some(guard) = lock.lock_timeout(patience)? else {
            if patience == PATIENCE {
                return Err(Failure::new("the lock did not come round"));
            }
            board.add(place, 1);
            continue;
        };
        let inside = board.get(INSIDE);
        if guard.previous_holder().is_some() {
            board.add(TOLD, 1);
            board.set(SECOND, board.get(FIRST));
        } else if inside != 0 {
            return Err(Failure::new(format!("{inside} is inside, or died untold")));
        }
        board.set(INSIDE, place as u64 + 1);
        board.add(FIRST, 1);
        random.pause(Duration::from_micros(100));
        board.add(SECOND, 1);
        board.set(INSIDE, 0);
        drop(guard);
        board.add(place, 1);
        random.pause(Duration::from_micros(100));
    }
    Ok(())
}

pub(crate) fn trial(random: &mut Random) -> Check<Tally> {
    let mut tally = Tally::default();
    let (lock, board) = (Lock::new()?, Board::new(FREE + 4)?);
    let seeds = std::cell::RefCell::new(random.fork());
    let start = |place: usize| {
        let seed = seeds.borrow_mut().below(u64::MAX);
        Ok(Process::spawn(work, (lock.clone(), board.clone(), place, seed))?)
    };
    let mut crew = Crew::new(2 + random.index(4), &board, &start, &mut tally)?;
    crew.progress()?;
    for _ in 0..=random.below(12) {
        random.pause(Duration::from_millis(2));
        if let Some(place) = crew.hit(random, &mut tally)? {
            crew.replace(place, &mut tally)?;
            if random.once_in(2) {
                crew.progress()?;
            }
        }
    }
    crew.progress()?;
    crew.end()?;
    let told = board.get(TOLD);
    ensure(told <= tally.kills, || format!("{told} deaths told, {} kills", tally.kills))?;
    let guard = lock.lock_timeout(PATIENCE)?;
    let guard = guard.ok_or_else(|| Violation("the lock is not free in the end".into()))?;
    ensure(guard.previous_holder().is_none(), || "a death told too late".into())?;
    let (first, second) = (board.get(FIRST), board.get(SECOND));
    ensure(first == second, || format!("sums {first} and {second}"))?;
    Ok(tally)
}
