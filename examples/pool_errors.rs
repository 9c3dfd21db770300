//! Functions as arguments, errors of tasks, and limits of waits, in all the ways to ask.
//!
//! The function that a task calls travels beside its arguments. A division by zero is a
//! panic of the task, which the caller gets as an error; the worker goes on.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Error, Function, Pool, TaskError, current_process};
use std::time::Duration;

type Binary = Function<(i64, i64), i64>;

fn calculate(function: Binary, (a, b): (i64, i64)) -> String {
    let name = function.name().rsplit("::").next().unwrap_or_default().to_owned();
    let result = function.call((a, b));
    format!("{} says that {name}({a}, {b}) = {result}", current_process().name())
}

fn calculatestar((function, args): (Binary, (i64, i64))) -> String {
    calculate(function, args)
}

fn pause(seed: i64) {
    std::thread::sleep(Duration::from_millis(seed.unsigned_abs() * 3 % 20));
}

fn mul(a: i64, b: i64) -> i64 {
    pause(a + b);
    a * b
}

fn plus(a: i64, b: i64) -> i64 {
    pause(a * b);
    a + b
}

fn f(x: i64) -> f64 {
    assert!(x != 5, "ZeroDivisionError");
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let x = x as f64;
    1.0 / (x - 5.0)
}

fn pow3(x: i64) -> i64 {
    std::thread::sleep(Duration::from_millis(10 * x.unsigned_abs()));
    x.pow(3)
}

fn is_zero_division(error: &TaskError) -> bool {
    matches!(error, TaskError::Panicked(report) if report.message == "ZeroDivisionError")
}

fn expect_zero_division<T: std::fmt::Debug>(way: &str, result: Result<T, Error>) {
    match result {
        Err(Error::Task(error)) if is_zero_division(&error) => {
            println!("\tGot ZeroDivisionError as expected from {way}");
        }
        other => println!("\tno error from {way}: {other:?}"),
    }
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    println!("Creating pool with 4 processes");
    let pool = Pool::new(4)?;
    let (mul, plus) = (in_image(mul)?, in_image(plus)?);
    let mut tasks = Vec::new();
    tasks.extend((0..10).map(|i| (mul.clone(), (i, 7))));
    tasks.extend((0..10).map(|i| (plus.clone(), (i, 8))));

    let results = tasks.iter().map(|task| pool.apply_async(calculate, task.clone()));
    let results = results.collect::<Result<Vec<_>, _>>()?;
    println!("Ordered results using apply_async:");
    for result in results {
        println!("\t{}", result.get()?);
    }
    println!("Ordered results using imap:");
    for result in pool.imap(calculatestar, tasks.clone())? {
        println!("\t{}", result?);
    }
    println!("Unordered results using imap_unordered:");
    let unordered = pool.imap_unordered(calculatestar, tasks.clone())?;
    println!("\t{} results", unordered.collect::<Result<Vec<_>, _>>()?.len());
    println!("Ordered results using map:");
    for line in pool.map(calculatestar, tasks)? {
        println!("\t{line}");
    }

    println!("Testing error handling:");
    expect_zero_division("apply", pool.apply(f, (5,)));
    expect_zero_division("map", pool.map(f, 0..10));
    let all: Result<Vec<_>, _> = pool.imap(f, 0..10)?.collect();
    expect_zero_division("imap", all.map_err(Error::from));
    let (mut failed, mut others) = (Vec::new(), 0);
    for (at, result) in pool.imap(f, 0..10)?.enumerate() {
        match result {
            Ok(_) => others += 1,
            Err(error) if is_zero_division(&error) => failed.push(at),
            Err(error) => println!("\t{error}"),
        }
    }
    println!("\tGot ZeroDivisionError as expected from next at {failed:?}, and {others} results");

    println!("Testing ApplyResult.get() with timeout:");
    let result = pool.apply_async(pow3, (10,))?;
    let mut dots = 0;
    let cube = loop {
        match result.get_timeout(Duration::from_millis(20)) {
            Err(Error::Timeout) => dots += 1,
            other => break other?,
        }
    };
    println!("\t{cube} after some dots: {}", dots > 0);

    println!("Testing IMapIterator.next() with timeout:");
    let mut cubes = pool.imap(pow3, 0..8)?;
    loop {
        match cubes.next_timeout(Duration::from_millis(20)) {
            Err(Error::Timeout) => {}
            Ok(Some(cube)) => println!("\t{}", cube?),
            Ok(None) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A function as a value.
fn in_image<F>(function: F) -> procession::Result<Binary>
where
    F: procession::Entry<(i64, i64), Output = i64> + Copy + 'static,
{
    Function::new(function).map_err(|error| std::io::Error::other(error).into())
}
