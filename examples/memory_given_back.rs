//! A process gives all its memory back when it ends.
//!
//! Python's documentation names this as a reason to renew workers now and then. A child
//! fills 64 MiB here; its peak is known from its end, and the parent stays as it was.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Failure, Process};

const MIB: usize = 1 << 20;

/// The memory of this process in MiB.
fn resident() -> Result<usize, Failure> {
    let text = support::proc_status(std::process::id(), "VmRSS:").unwrap_or_default();
    Ok(text.trim_end_matches(" kB").parse::<usize>()? * 1024 / MIB)
}

fn fill() -> Result<usize, Failure> {
    // Hidden from the optimiser, which would find that the bytes are not needed.
    let data = std::hint::black_box(vec![1_u8; 64 * MIB]);
    assert_eq!(data.iter().rev().take(3).sum::<u8>(), 3);
    resident()
}

fn main() -> Result<(), Failure> {
    support::start_method_from_args()?;
    let before = resident()?;
    let p = Process::spawn(fill, ())?;
    let in_child = p.result_timeout(support::DEADLINE)??;
    assert!(in_child >= 64, "{in_child} MiB");
    let peak = p.down().and_then(|down| down.usage).map(|usage| usage.max_rss_kib / 1024);
    println!("the child had more than 64 MiB: {}", in_child >= 64 && peak >= Some(64));
    let grown = resident()?.saturating_sub(before);
    println!("the parent grew by less than 16 MiB: {}", grown < 16);
    Ok(())
}
