//! Options that an actor does not have.
use procession::{Actor, methods};
#[derive(Actor)]
#[actor(mailbox = 0)]
struct Zero;

#[derive(Actor)]
#[actor(mailbox = "many")]
struct Many;

#[derive(Actor)]
#[actor(overflow = "panic")]
struct Policy;

#[derive(Actor)]
#[actor(restart = "always")]
struct Unknown;

#[derive(Actor)]
#[actor(mailbox = 1, mailbox = 2)]
struct Twice;

#[methods]
impl Zero {}

fn main() {}
