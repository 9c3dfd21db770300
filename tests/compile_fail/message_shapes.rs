//! Shapes of types that cannot be messages.
use procession::{Message, Reply};
#[derive(Message)]
struct Struct;

#[derive(Message)]
union Union {
    a: u8,
}

#[derive(Message)]
enum Generic<T> {
    Put(T),
}

#[derive(Message)]
enum Replies {
    Fine(Reply<u8>),
    Two(Reply<u8>, Reply<u16>),
}

fn main() {}
