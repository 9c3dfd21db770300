//! Two children, one end of a pipe each: a line goes there, and one comes back.
//!
//! In the Python original both are daemons, and the closing line stands outside the main
//! guard, so that it may be printed more than once. Here the parent prints it, when both
//! have ended. An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Connection, Pipe, Process};

fn producer(end: Connection) {
    let words: String = end.recv().expect("the consumer speaks first");
    println!("Producer Received: {words}");
    end.send("Producer Words").expect("the consumer listens");
}

fn consumer(end: Connection) {
    end.send("Consumer Words").expect("the producer listens");
    let words: String = end.recv().expect("the producer answers");
    println!("Consumer Received: {words}");
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let (one, other) = Pipe::duplex()?;
    let producer = Process::builder(producer, (one,)).daemon(true).start()?;
    let consumer = Process::builder(consumer, (other,)).daemon(true).start()?;
    for p in [producer, consumer] {
        assert!(p.join_timeout(support::DEADLINE)?, "{p:?} takes too long");
    }
    println!("Ended!");
    Ok(())
}
