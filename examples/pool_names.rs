//! Ten greetings by four workers, got after the pool has been closed and joined.
//!
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Pool, current_process};

fn func(message: String) -> String {
    format!("{}: {message}", current_process().name())
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let pool = Pool::new(4)?;
    let results = (0..10).map(|i| pool.apply_async(func, (format!("hello {i}"),)));
    let results = results.collect::<Result<Vec<_>, _>>()?;
    pool.close();
    pool.join()?;
    println!("Sub-process(es) done.");
    for result in results {
        println!("{}", result.get()?);
    }
    Ok(())
}
