//! A child sends on its end of a pipe.
//!
//! The Python original sends `[42, None, 'hello']`, closes the end, and prints what the
//! parent receives. Here the parent also asks once more: the answer is the end, no hang.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Connection, Pipe, PipeError, Process};

/// What Python's list is here: each element has its type.
type Row = (i32, Option<String>, String);

fn send(mut end: Connection) {
    let row: Row = (42, None, "hello".to_owned());
    end.send(&row).expect("the parent receives");
    end.close();
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let (parent_end, child_end) = Pipe::duplex()?;
    let p = Process::spawn(send, (child_end,))?;
    let row: Row = parent_end.recv_timeout(support::DEADLINE)?;
    println!("{row:?}");
    match parent_end.recv_timeout::<Row>(support::DEADLINE) {
        Err(PipeError::EndOfFile) => println!("and that was all"),
        other => println!("not expected: {other:?}"),
    }
    p.join()?;
    Ok(())
}
