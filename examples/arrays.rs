//! Arrays: zeroed, filled by a child, made of a slice, and of rows.
//!
//! The Python originals make an array at the top of a module and sleep a second before they
//! read it. Here the parent joins. An array of lists is a type error there and does not
//! compile here; rows of a fixed length are elements like any other.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Array, Failure, Process};

fn fill(array: Array<i32>) -> Result<(), Failure> {
    for i in 0..array.len() {
        array.set(i, i32::try_from(i)?)?;
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    support::start_method_from_args()?;
    let array = Array::<i32>::zeroed(5)?;
    println!("at first {:?}", array.read(..)?);
    let p = Process::spawn(fill, (array.clone(),))?;
    p.result_timeout(support::DEADLINE)?.expect("the child fills it");
    println!("filled {:?}", array.read(..)?);

    let array = Array::new([1, 2, 3, 4])?;
    println!("of a slice {:?}, {} elements", array.read(..)?, array.len());
    let rows = Array::new([[1, 2], [3, 4]])?;
    println!("of rows {:?}", rows.read(..)?);
    Ok(())
}
