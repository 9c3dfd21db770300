//! A pool of five squares three numbers.
//!
//! The Python original must stand behind `if __name__ == '__main__'`; there is nothing to
//! guard here.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::Pool;

fn f(x: u64) -> u64 {
    x * x
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let pool = Pool::new(5)?;
    println!("{:?}", pool.map(f, [1, 2, 3])?);
    Ok(())
}
