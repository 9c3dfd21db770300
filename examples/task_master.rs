//! A master offers two queues at an address; a worker, which knows only address and key,
//! takes numbers from one and puts squares into the other.
//!
//! Without a worker the master's timed get ends in an error, not in a hang.
//! An argument (spawn, forkserver or fork) chooses the start method; `python` has a Python
//! program do the work instead, `support/task_worker.py`, by the `python3` that is installed.

mod support;

use procession::manager::{Fault, QueueProxy};
use procession::{Address, Manager, ManagerError, Process, PythonPeers};
use std::process::Command;
use std::time::Duration;

const KEY: &[u8] = b"abc";

fn worker(address: Address) {
    let manager = Manager::connect(address, KEY).expect("the master serves");
    println!("worker connected");
    let tasks = manager.get::<QueueProxy<u64>>("get_task_queue").expect("it is offered");
    let results = manager.get::<QueueProxy<String>>("get_result_queue").expect("it is offered");
    loop {
        match tasks.get_timeout(Duration::from_millis(300)) {
            Ok(n) => results.put(format!("{n} * {n} = {}", n * n)).expect("it is kept"),
            Err(ManagerError::Fault(Fault::Empty)) => break println!("task queue is empty"),
            Err(error) => panic!("{error}"),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let by_python = std::env::args().nth(1).is_some_and(|argument| argument == "python");
    if !by_python {
        support::start_method_from_args()?;
    }
    let manager = Manager::builder()
        .address("127.0.0.1:0")
        .authkey(KEY)
        // As Python before 3.12 proves the key.
        .python_peers(if by_python { PythonPeers::Md5 } else { PythonPeers::Off })
        .offer::<QueueProxy<u64>>("get_task_queue")
        .offer::<QueueProxy<String>>("get_result_queue")
        .start()?;
    let tasks = manager.get::<QueueProxy<u64>>("get_task_queue")?;
    let results = manager.get::<QueueProxy<String>>("get_result_queue")?;

    let nothing = results.get_timeout(Duration::from_millis(100));
    let is_empty = matches!(nothing, Err(ManagerError::Fault(Fault::Empty)));
    println!("without a worker there is no result: {is_empty}");

    for n in 1..=10 {
        println!("Put task {n}...");
        tasks.put(n)?;
    }
    let address = manager.address().ok_or("it has an address")?.clone();
    let results = || {
        (0..10).try_for_each(|_| {
            results.get_timeout(Duration::from_secs(10)).map(|result| println!("Result: {result}"))
        })
    };
    if by_python {
        let program = ["-c", include_str!("support/task_worker.py")];
        let mut worker = Command::new("python3").args(program).arg(address.to_string()).spawn()?;
        results()?;
        println!("the worker has ended well: {}", worker.wait()?.success());
    } else {
        let worker = Process::spawn(worker, (address,))?;
        results()?;
        worker.result()?;
    }
    manager.shutdown()?;
    println!("master exit");
    Ok(())
}
