//! Shapes of types that cannot be actors.
use procession::{Actor, methods};
#[derive(Actor)]
struct Generic<T>(T);

#[derive(Actor)]
struct Borrows<'a>(&'a str);

#[derive(Actor)]
union Either {
    a: u8,
    b: i8,
}

#[derive(Actor)]
struct Right;

#[methods]
impl Right {}

fn main() {
    Right.host().unwrap();
}
