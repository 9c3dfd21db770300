//! A writer, a reader, and how the reader learns that there is no more.
//!
//! The Python original joins the writer and then terminates the reader, who waits for an
//! item for ever; the last line may be cut off. Here the queue is shut down: the reader takes
//! what is left and its loop ends. A reader that is terminated all the same harms nobody:
//! the queue works on.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Event, Failure, Process, Queue};

fn write(queue: Queue<String>) -> Result<(), Failure> {
    for letter in ["A", "B", "C"] {
        println!("Put {letter} to queue...");
        queue.put(letter.to_string())?;
    }
    Ok(())
}

fn read(queue: Queue<String>, started: Event) -> Result<(), Failure> {
    started.set()?;
    for letter in &queue {
        println!("Get {} from queue.", letter?);
    }
    println!("The reader is done.");
    Ok(())
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let (queue, started) = (Queue::new()?, Event::new()?);
    let reader = Process::spawn(read, (queue.clone(), started.clone()))?;
    let writer = Process::spawn(write, (queue.clone(),))?;
    writer.result_timeout(support::DEADLINE)?.expect("the writer puts all");
    queue.shutdown(false)?;
    reader.result_timeout(support::DEADLINE)?.expect("the reader gets all");

    let (queue, started) = (Queue::new()?, Event::new()?);
    let reader = Process::spawn(read, (queue.clone(), started.clone()))?;
    assert!(started.wait_timeout(support::DEADLINE)?);
    reader.terminate()?;
    assert!(reader.join_timeout(support::DEADLINE)?);
    queue.put("D".to_string())?;
    println!("After a terminate: {}", queue.get_timeout(support::DEADLINE)?);
    Ok(())
}
