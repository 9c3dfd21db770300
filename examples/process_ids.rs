//! Who is whose parent, under each start method.
//!
//! The Python original prints module name, parent pid and own pid, in the parent and in a
//! child. A module has no name here, so the process's is printed. The child's parent is
//! this process under every method; Python's forkserver makes the server the parent.

mod support;

use procession::{Process, StartMethod, context, current_process};
use std::os::unix::process::parent_id;

fn info(title: &str) {
    println!("{title}");
    println!("process name: {}", current_process().name());
    println!("parent process: {}", parent_id());
    println!("process id: {}", std::process::id());
}

#[expect(clippy::needless_pass_by_value, reason = "what travels to a child is owned")]
fn f(name: String) -> u32 {
    info("function f");
    println!("hello {name}");
    parent_id()
}

fn main() -> procession::Result<()> {
    info("main line");
    for method in [StartMethod::Spawn, StartMethod::ForkServer, StartMethod::Fork] {
        let p: Process<u32> = context(method).spawn(f, ("bob".to_string(),))?;
        assert_eq!(p.result_timeout(support::DEADLINE)?, std::process::id());
        println!("{method}: the child's parent is this process");
    }
    Ok(())
}
