//! An actor without methods handles no messages.
use procession::Actor;
#[derive(Actor)]
struct Silent;

fn main() {}
