//! Two children, one number, and the lock held for a whole loop.
//!
//! The Python original adds 1 and 3, five times each, and prints each sum. Whoever comes
//! first is done before the other begins, so one of two sequences comes, and always 20.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Failure, Lock, Process, RawValue};

fn job(number: RawValue<i32>, addend: i32, lock: Lock) -> Result<Vec<i32>, Failure> {
    let _guard = lock.lock_timeout(support::DEADLINE)?.expect("the lock comes round");
    let mut sums = Vec::new();
    for _ in 0..5 {
        number.set(number.get()? + addend)?;
        println!("{}", number.get()?);
        sums.push(number.get()?);
    }
    Ok(sums)
}

fn main() -> Result<(), Failure> {
    support::start_method_from_args()?;
    let (number, lock) = (RawValue::new(0)?, Lock::new()?);
    let one = Process::spawn(job, (number.clone(), 1, lock.clone()))?;
    let three = Process::spawn(job, (number.clone(), 3, lock.clone()))?;
    let ones = one.result_timeout(support::DEADLINE)?.expect("the ones are added");
    let threes = three.result_timeout(support::DEADLINE)?.expect("the threes are added");
    match ones[0] {
        1 => assert_eq!((ones, threes), (vec![1, 2, 3, 4, 5], vec![8, 11, 14, 17, 20])),
        _ => assert_eq!((threes, ones), (vec![3, 6, 9, 12, 15], vec![16, 17, 18, 19, 20])),
    }
    println!("in one piece each: {}", number.get()?);
    Ok(())
}
