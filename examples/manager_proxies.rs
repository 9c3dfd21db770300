//! Four registrations at a manager: one type under two faces, a generator, a module of
//! functions.
//!
//! Which methods of an object can be called is the server's to say. An iterator stays where
//! it was made and is stepped from here; what makes it has no proxy of its own.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::manager::IteratorProxy;
use procession::{Actor, CallError, Manager, methods};

#[derive(Actor)]
struct Foo;

#[methods]
impl Foo {
    pub fn f(&self) -> String {
        "you called Foo.f()".into()
    }

    pub fn g(&self) -> String {
        "you called Foo.g()".into()
    }

    pub fn _h(&self) -> String {
        "you called Foo._h()".into()
    }
}

/// A generator of squares.
fn baz() -> IteratorProxy<u64> {
    IteratorProxy::new((0..10).map(|i| i * i)).expect("a thread is to be had")
}

/// A module of functions is an actor without state.
#[derive(Actor)]
struct Operator;

#[methods]
impl Operator {
    pub fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }

    pub fn pow(&self, base: u128, exponent: u32) -> u128 {
        base.pow(exponent)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    support::start_method_from_args()?;
    let manager = Manager::builder()
        .register_exposed("Foo1", || Foo, &["f", "g"])
        .register_exposed("Foo2", || Foo, &["g", "_h"])
        .register_value("baz", baz)
        .register("operator", || Operator)
        .start()?;

    println!("{}", "-".repeat(20));
    let f1 = manager.make::<Foo>("Foo1", ())?;
    println!("{}", f1.f()?);
    println!("{}", f1.g()?);
    println!("_h is hidden: {}", matches!(f1._h(), Err(CallError::NotExposed)));

    println!("{}", "-".repeat(20));
    let f2 = manager.make::<Foo>("Foo2", ())?;
    println!("{}", f2.g()?);
    println!("{}", f2._h()?);
    println!("f is hidden: {}", matches!(f2.f(), Err(CallError::NotExposed)));

    println!("{}", "-".repeat(20));
    let squares = manager.get::<IteratorProxy<u64>>("baz")?;
    for i in squares {
        print!("<{}> ", i?);
    }
    println!();

    println!("{}", "-".repeat(20));
    let operator = manager.make::<Operator>("operator", ())?;
    println!("operator.add(23, 45) = {}", operator.add(23, 45)?);
    println!("operator.pow(2, 94) = {}", operator.pow(2, 94)?);
    println!("{:?}", manager.names()?);
    Ok(())
}
