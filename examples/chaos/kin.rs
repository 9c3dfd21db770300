//! Trials of semaphores, conditions, events and barriers: holders of permits, sleepers,
//! notifiers and parties are hit.
//!
//! Checked: a permit that was taken as a guard comes back, exactly; a notice that a dead
//! sleeper took serves another one, so that no token stays lying; whoever waits for an event
//! sees it; a barrier whose party dies is broken for the others, and serves after a reset.

use crate::board::Board;
use crate::crew::{Crew, FREE, PATIENCE, PLACES, STOP};
use crate::random::Random;
use crate::world::{Check, Tally, ensure};
use procession::{Barrier, Condition, Event, Failure, Process, Semaphore, SyncError};
use std::time::{Duration, Instant};

fn hold_permits(permits: Semaphore, board: Board, place: usize) -> Result<(), Failure> {
    while board.get(STOP) == 0 {
        let permit = permits.permit_timeout(PATIENCE)?;
        let permit = permit.ok_or_else(|| Failure::new("no permit came back"))?;
        board.add(place, 1);
        std::thread::sleep(Duration::from_micros(50));
        drop(permit);
    }
    Ok(())
}

pub(crate) fn permits(random: &mut Random) -> Check<Tally> {
    let mut tally = Tally::default();
    let count = 1 + u32::try_from(random.below(3))?;
    let (permits, board) = (Semaphore::new(count)?, Board::new(FREE)?);
    let start =
        |place: usize| Ok(Process::spawn(hold_permits, (permits.clone(), board.clone(), place))?);
    let mut crew = Crew::new(2 + random.index(4), &board, &start, &mut tally)?;
    crew.hit_and_replace(random, &mut tally)?;
    crew.progress()?;
    crew.end()?;
    for at in 0..count {
        let came = permits.acquire_timeout(PATIENCE)?;
        ensure(came, || format!("{at} permits came back, of {count}"))?;
    }
    ensure(!permits.try_acquire()?, || "a permit too many".into())?;
    Ok(tally)
}

/// Tokens that were laid down; what each place has taken is its turns.
const LAID: usize = FREE;

fn lying(board: &Board) -> u64 {
    board.get(LAID) - (0..PLACES).map(|place| board.get(place)).sum::<u64>()
}

fn take_tokens(changed: Condition, board: Board, place: usize) -> Result<(), Failure> {
    loop {
        let mut guard = changed.lock()?;
        if board.get(STOP) != 0 {
            return Ok(());
        }
        if lying(&board) > 0 {
            board.add(place, 1);
        } else if !guard.wait_timeout(PATIENCE)? {
            return Err(Failure::new("no notice came"));
        }
    }
}

/// The others must do without a successor: a notice is not lost with its sleeper.
fn all_are_taken(board: &Board) -> Check {
    let deadline = Instant::now() + PATIENCE;
    while lying(board) > 0 {
        ensure(Instant::now() < deadline, || format!("{} tokens stay lying", lying(board)))?;
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}

pub(crate) fn tokens(random: &mut Random) -> Check<Tally> {
    let mut tally = Tally::default();
    let (changed, board) = (Condition::new()?, Board::new(FREE + 1)?);
    let start =
        |place: usize| Ok(Process::spawn(take_tokens, (changed.clone(), board.clone(), place))?);
    let mut crew = Crew::new(2 + random.index(4), &board, &start, &mut tally)?;
    for _ in 0..=random.below(12) {
        for _ in 0..random.below(4) {
            let guard = changed.lock()?;
            board.add(LAID, 1);
            guard.notify()?;
        }
        random.pause(Duration::from_micros(500));
        let killed = crew.hit(random, &mut tally)?;
        all_are_taken(&board)?;
        if let Some(place) = killed {
            crew.replace(place, &mut tally)?;
        }
    }
    let guard = changed.lock()?;
    board.set(STOP, 1);
    guard.notify_all()?;
    drop(guard);
    crew.end()?;
    Ok(tally)
}

fn wait_once(event: Event, board: Board, place: usize) -> Result<(), Failure> {
    board.add(place, 1);
    if event.wait_timeout(PATIENCE)? { Ok(()) } else { Err(Failure::new("the event did not come")) }
}

pub(crate) fn events(random: &mut Random) -> Check<Tally> {
    let mut tally = Tally::default();
    let (event, board) = (Event::new()?, Board::new(FREE)?);
    let start =
        |place: usize| Ok(Process::spawn(wait_once, (event.clone(), board.clone(), place))?);
    let crew = Crew::new(3 + random.index(4), &board, &start, &mut tally)?;
    for _ in 0..=random.below(4) {
        random.pause(Duration::from_millis(2));
        crew.hit(random, &mut tally)?;
    }
    event.set()?;
    crew.end()?;
    Ok(tally)
}

fn meet(barrier: Barrier, board: Board, place: usize) -> Result<(), Failure> {
    loop {
        let begun = Instant::now();
        match barrier.wait_timeout(PATIENCE) {
            Ok(_) => board.add(place, 1),
            // One that waited in vain breaks it as well.
            Err(SyncError::BrokenBarrier) if begun.elapsed() < PATIENCE => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

pub(crate) fn parties(random: &mut Random) -> Check<Tally> {
    let mut tally = Tally::default();
    let count = 2 + random.index(3);
    let (barrier, board) = (Barrier::new(u32::try_from(count)?)?, Board::new(FREE)?);
    let start = |place: usize| Ok(Process::spawn(meet, (barrier.clone(), board.clone(), place))?);
    for _ in 0..=random.below(3) {
        let crew = Crew::new(count, &board, &start, &mut tally)?;
        // One that has never waited is no party yet.
        crew.progress()?;
        random.pause(Duration::from_millis(2));
        while crew.hit(random, &mut tally)?.is_none() {
            crew.progress()?;
        }
        crew.end()?;
        ensure(barrier.broken()?, || "a party died, and nothing broke".into())?;
        barrier.reset()?;
    }
    Ok(tally)
}
