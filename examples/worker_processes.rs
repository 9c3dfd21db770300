//! Workers that take tasks from one queue and put results into another.
//!
//! The Python original sends functions with their arguments to four workers, 20 products and
//! 10 sums, and ends each worker by the text STOP. Functions travel here too. The products
//! end as there, by a sentinel for each worker; the sums by closing the queue of tasks.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Failure, Function, Process, Queue, current_process};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::error::Error;

const WORKERS: usize = 4;

#[derive(Serialize, Deserialize)]
enum Task {
    Call(Function<(i64, i64), i64>, i64, i64),
    Stop,
}

fn mul(a: i64, b: i64) -> i64 {
    a * b
}

fn add(a: i64, b: i64) -> i64 {
    a + b
}

fn work(tasks: Queue<Task>, done: Queue<String>) -> Result<(), Failure> {
    for task in &tasks {
        let Task::Call(function, a, b) = task? else { break };
        let result = function.call((a, b));
        let name = function.name().rsplit("::").next().unwrap_or_default();
        let who = current_process().name();
        done.put(format!("{who} says that {name}({a}, {b}) = {result}"))?;
    }
    Ok(())
}

type Worker = Process<Result<(), Failure>>;

fn start(tasks: &Queue<Task>, done: &Queue<String>) -> procession::Result<Vec<Worker>> {
    (0..WORKERS).map(|_| Process::spawn(work, (tasks.clone(), done.clone()))).collect()
}

/// Prints so many results, and checks that they are `expected`, in any order.
fn show(done: &Queue<String>, expected: HashSet<String>) -> Result<(), Box<dyn Error>> {
    let mut came = HashSet::new();
    for _ in 0..expected.len() {
        let line = done.get_timeout(support::DEADLINE)?;
        println!("\t{line}");
        came.extend(line.split_once(" says that ").map(|(_, what)| what.to_string()));
    }
    assert_eq!(came, expected);
    println!("{} different results, all right", came.len());
    Ok(())
}

fn join(workers: Vec<Worker>) -> Result<(), Box<dyn Error>> {
    for worker in workers {
        worker.result_timeout(support::DEADLINE)?.map_err(|failure| failure.to_string())?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    support::start_method_from_args()?;
    let (tasks, done) = (Queue::new()?, Queue::new()?);
    let (mul, add) = (Function::new(mul)?, Function::new(add)?);

    let workers = start(&tasks, &done)?;
    println!("Unordered results:");
    for i in 0..20 {
        tasks.put(Task::Call(mul.clone(), i, 7))?;
    }
    show(&done, (0..20).map(|i| format!("mul({i}, 7) = {}", i * 7)).collect())?;
    for _ in 0..WORKERS {
        tasks.put(Task::Stop)?;
    }
    join(workers)?;

    let workers = start(&tasks, &done)?;
    for i in 0..10 {
        tasks.put(Task::Call(add.clone(), i, 8))?;
    }
    tasks.shutdown(false)?;
    show(&done, (0..10).map(|i| format!("add({i}, 8) = {}", i + 8)).collect())?;
    join(workers)
}
