//! Objects of own types at a manager: an actor, and two faces of one type that offer
//! different methods.
//! An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Actor, CallError, Manager, methods};

#[derive(Actor)]
struct Maths;

#[methods]
impl Maths {
    pub fn add(&mut self, x: i64, y: i64) -> i64 {
        x + y
    }

    pub fn mul(&mut self, x: i64, y: i64) -> i64 {
        x * y
    }

    pub fn pow(&mut self, base: u128, exponent: u32) -> u128 {
        base.pow(exponent)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    support::start_method_from_args()?;
    let manager = Manager::builder()
        .register("Maths", || Maths)
        .register_exposed("Adder", || Maths, &["add"])
        .start()?;
    // The end of the scope stops the server.
    manager.scope(|manager| {
        let maths = manager.make::<Maths>("Maths", ())?;
        println!("{} {}", maths.add(4, 3)?, maths.mul(7, 8)?);
        println!("{}", maths.pow(2, 94)?);
        let adder = manager.make::<Maths>("Adder", ())?;
        println!("{}", adder.add(23, 45)?);
        let hidden = matches!(adder.mul(1, 1), Err(CallError::NotExposed));
        println!("mul is hidden: {hidden}");
        println!("{:?}", manager.names()?);
        Ok::<_, Box<dyn std::error::Error>>(())
    })?
}
