//! A pool of two connections for six children.
//!
//! Each child takes a permit as a guard, uses a connection and gives it back; never more
//! than two are in use. A release too many is refused. The permit of a child that is killed
//! comes back.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{BoundedSemaphore, Event, Failure, Process, RawValue};

const CONNECTIONS: u32 = 2;

fn query(pool: BoundedSemaphore, in_use: RawValue<u32>) -> Result<u32, Failure> {
    let _permit = pool.permit_timeout(support::DEADLINE)?.expect("a connection comes free");
    let now = in_use.fetch_add(1)? + 1;
    std::thread::yield_now();
    in_use.fetch_sub(1)?;
    Ok(now)
}

fn hold(pool: BoundedSemaphore, held: Event) -> Result<(), Failure> {
    let _permit = pool.permit_timeout(support::DEADLINE)?.expect("a connection comes free");
    held.set()?;
    loop {
        std::thread::park();
    }
}

fn main() -> Result<(), Failure> {
    support::start_method_from_args()?;
    let pool = BoundedSemaphore::new(CONNECTIONS)?;
    let in_use = RawValue::new(0_u32)?;
    let mut children = Vec::new();
    for _ in 0..6 {
        children.push(Process::spawn(query, (pool.clone(), in_use.clone()))?);
    }
    for child in children {
        let most = child.result_timeout(support::DEADLINE)?.expect("a connection comes free");
        assert!(most <= CONNECTIONS, "{most} connections in use");
    }
    println!("never more than {CONNECTIONS} in use");
    println!("a release too many: {}", pool.release().expect_err("all are free"));

    let held = Event::new()?;
    let victim = Process::spawn(hold, (pool.clone(), held.clone()))?;
    assert!(held.wait_timeout(support::DEADLINE)?);
    victim.kill()?;
    for _ in 0..CONNECTIONS {
        assert!(pool.acquire_timeout(support::DEADLINE)?);
    }
    println!("the permit of a killed child came back");
    Ok(())
}
