//! Memory that two programs have mapped, by name; and memory without a name.
//!
//! A program that has nothing to do with this one (here: this one, run as a command) finds
//! the memory by its name. A child gets memory without a name as an argument. The name is
//! removed in the end; had this program been killed before, its fork server would do so.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Process, SharedMemory, SharedMemoryError};
use std::error::Error;
use std::process::Command;

/// What the other program does.
fn answer(name: &str) -> Result<(), Box<dyn Error>> {
    let memory = SharedMemory::attach(name)?;
    println!("the other program reads {}", String::from_utf8(memory.to_vec(..5)?)?);
    memory.write(0, b"HELLO")?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(name) = std::env::args().nth(1).filter(|name| name.starts_with("psm_")) {
        return answer(&name);
    }
    support::start_method_from_args()?;
    let memory = SharedMemory::create_unnamed(4096)?;
    let name = memory.name().ok_or("it has a drawn name")?.to_owned();
    memory.write(0, b"hello")?;
    let status = Command::new(std::env::current_exe()?).arg(&name).status()?;
    assert!(status.success());
    println!("this one reads {}", String::from_utf8(memory.to_vec(..5)?)?);
    memory.unlink()?;
    match SharedMemory::attach(&name) {
        Err(SharedMemoryError::NotFound { .. }) => println!("the name is gone"),
        other => panic!("{other:?}"),
    }

    let nameless = SharedMemory::anonymous(3)?;
    let fill = |memory: SharedMemory| memory.write(0, &[1, 2, 3]).is_ok();
    let p = Process::spawn(fill, (nameless.clone(),))?;
    assert!(p.result_timeout(support::DEADLINE)?);
    println!("a child wrote {:?}", nameless.to_vec(..)?);
    Ok(())
}
