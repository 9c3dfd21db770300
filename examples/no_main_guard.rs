//! A plain `main`, with no guard and no call that prepares for children.
//!
//! In the Python original a child that is started at the top of a module prints hello only
//! under fork; under spawn and forkserver it imports the module, starts a child too, and
//! ends in a `RuntimeError`. Two other originals mend it: by a main guard, with the start
//! method set first, and by `freeze_support` for frozen Windows programs. Here no child
//! ever runs `main`, so that each method says hello once, and `main` begins once.

mod support;

use procession::{Process, all_start_methods, force_start_method, freeze_support};

fn foo() {
    println!("hello world!");
}

fn main() -> procession::Result<()> {
    println!("main begins");
    freeze_support(); // It is here for Python's sake, and does nothing.
    for method in all_start_methods() {
        force_start_method(Some(method));
        let p = Process::new(foo, ())?;
        p.start()?;
        assert!(p.join_timeout(support::DEADLINE)?, "no hello by {method}");
        println!("{method}: exit code {:?}", p.exitcode());
    }
    Ok(())
}
