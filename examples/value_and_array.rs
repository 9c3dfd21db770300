//! A number and an array that a child changes and the parent reads.
//!
//! As in the Python original: a double becomes 3.1415927, each element of ten changes its
//! sign, and the parent prints both after the join.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Array, Failure, Process, Value};

fn f(number: Value<f64>, array: Array<i32>) -> Result<(), Failure> {
    number.set("3.1415927".parse()?)?;
    let mut elements = array.lock()?;
    for i in 0..elements.len() {
        elements.update(i, |element| -element)?;
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    support::start_method_from_args()?;
    let number = Value::new(0.0)?;
    let array = Array::new(0..10)?;
    let p = Process::spawn(f, (number.clone(), array.clone()))?;
    p.result_timeout(support::DEADLINE)?.expect("the child changes both");
    println!("{}", number.get()?);
    println!("{:?}", array.read(..)?);
    Ok(())
}
