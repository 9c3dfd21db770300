//! Several start methods in one program, by contexts.
//!
//! The Python original makes its process from `get_context("spawn")` and gets "hello" from
//! it; the program's own choice of a method stays open. A library should do the same.
//! Here one program uses three contexts side by side.

mod support;

use procession::{Process, StartMethod, context, current_process, start_method_if_set};

fn foo() -> String {
    let method = current_process().start_method().map(|method| method.to_string());
    format!("hello, started by {}", method.unwrap_or_default())
}

fn main() -> procession::Result<()> {
    let mut children: Vec<Process<String>> = Vec::new();
    for method in [StartMethod::Spawn, StartMethod::ForkServer, StartMethod::Fork] {
        let ctx = context(method);
        children.push(ctx.spawn(foo, ())?);
    }
    for child in children {
        println!("{}", child.result_timeout(support::DEADLINE)?);
    }
    assert_eq!(start_method_if_set(), None);
    println!("the program has chosen no method");
    Ok(())
}
