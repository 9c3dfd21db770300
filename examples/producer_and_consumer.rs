//! A producer and a consumer, two semaphores and a lock.
//!
//! The Python original keeps them as globals, which works under fork only, and its two loops
//! never end. Here they are arguments and each takes its turns. There are never more than
//! two items, since `empty` counts the free places. In the second part the consumer is
//! killed while it holds the lock: the producer gets it, and is told.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Event, Failure, Lock, Process, Queue, Semaphore};
use support::DEADLINE;

const PLACES: u32 = 2;
const ITEMS: u32 = 10;

fn produce(
    buffer: Queue<u32>,
    empty: Semaphore,
    full: Semaphore,
    lock: Lock,
) -> Result<(), Failure> {
    for item in 0..ITEMS {
        assert!(empty.acquire_timeout(DEADLINE)?);
        let _guard = lock.lock_timeout(DEADLINE)?.expect("the lock comes round");
        buffer.put(item)?;
        println!("Append an element {item}");
        full.release()?;
    }
    Ok(())
}

fn consume(
    buffer: Queue<u32>,
    empty: Semaphore,
    full: Semaphore,
    lock: Lock,
) -> Result<(), Failure> {
    for _ in 0..ITEMS {
        assert!(full.acquire_timeout(DEADLINE)?);
        let _guard = lock.lock_timeout(DEADLINE)?.expect("the lock comes round");
        assert!(buffer.qsize()? <= PLACES as usize, "more items than places");
        println!("Pop an element {}", buffer.get_timeout(DEADLINE)?);
        empty.release()?;
    }
    Ok(())
}

fn hold(lock: Lock, held: Event) -> Result<(), Failure> {
    let _guard = lock.lock_timeout(DEADLINE)?.expect("the lock comes round");
    held.set()?;
    loop {
        std::thread::park();
    }
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let (buffer, lock) = (Queue::bounded(10)?, Lock::new()?);
    let (empty, full) = (Semaphore::new(PLACES)?, Semaphore::new(0)?);
    let arguments = (buffer.clone(), empty.clone(), full.clone(), lock.clone());
    let producer = Process::spawn(produce, arguments.clone())?;
    let consumer = Process::spawn(consume, arguments)?;
    for child in [producer, consumer] {
        child.result_timeout(DEADLINE)?.expect("all items go through");
    }
    println!("Ended!");

    let held = Event::new()?;
    let victim = Process::spawn(hold, (lock.clone(), held.clone()))?;
    assert!(held.wait_timeout(DEADLINE)?);
    victim.kill()?;
    let guard = lock.lock_timeout(DEADLINE)?.expect("a dead holder blocks nobody");
    let death = guard.previous_holder().expect("the holder was killed");
    println!("its holder died: {}", death.name);
    Ok(())
}
