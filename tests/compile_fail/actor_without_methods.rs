use procession::Actor;

#[derive(Actor)]
struct Silent;

fn main() {}
