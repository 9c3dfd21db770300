//! The macros of procession: `#[derive(Actor)]`, `#[methods]`, `#[derive(Message)]`.
//!
//! Owns the code that they generate and the errors that they report; what the code calls
//! is `procession::__private`, which the face re-exports from `procession-runtime`. A
//! mistake is a compile error at the token that makes it, with what to write instead.
//! Users find the documentation in `procession`.

mod actor;
mod errors;
mod message;
mod methods;
mod types;

use proc_macro::TokenStream;

/// Makes a type an actor, and its reference type: `Counter` gives `CounterRef`, which
/// derefs to `ActorRef<Counter>` and is `Clone`, `Debug` and serialisable within a
/// transfer. What the actor handles is said by [`macro@methods`] or by hand, in an
/// `impl Handler`.
///
/// `#[actor(mailbox = 64)]` bounds the mailbox (1,024 messages by default);
/// `#[actor(overflow = "block")]` has senders of more wait (for five seconds, the
/// default), `"fail"` gives them an error, `"drop_new"` drops casts.
#[proc_macro_derive(Actor, attributes(actor))]
pub fn derive_actor(input: TokenStream) -> TokenStream {
    actor::expand(syn::parse_macro_input!(input)).into()
}

/// Makes an enum a message, for an actor whose `Handler` is written by hand. A field of
/// type `Reply<T>`, at most one in a variant, is where the answer goes.
///
/// Where all other fields, and each `T`, are `Serialize` and `DeserializeOwned`, the
/// message can go to another process.
#[proc_macro_derive(Message)]
pub fn derive_message(input: TokenStream) -> TokenStream {
    message::derive(syn::parse_macro_input!(input)).into()
}

/// Makes each `pub` method of an `impl` block a message of the actor's protocol.
///
/// For `impl Counter` with `pub fn add(&mut self, n: i64) -> i64` this generates
/// `enum CounterMsg { Add(i64, Reply<i64>) }`, `impl Handler for Counter`, and on
/// `CounterRef` the methods `add(n) -> Result<i64, CallError>`, `add_timeout(n, timeout)`,
/// `add_async(n)`, and `cast().add(n)`, which waits for no answer. A method's own
/// `Result` stays inside: `Result<Result<T, E>, CallError>`.
///
/// Messages are the methods that are plainly `pub` and take `&self` or `&mut self`; they
/// may be `async`. Arguments and results are owned. All other functions stay what they
/// are. `#[on_start]`, `#[on_stop]` (given `&ExitReason`) and `#[on_down]` (given
/// `&Down`) mark hooks; `on_start` may return a `Result`, whose error refuses the start.
#[proc_macro_attribute]
pub fn methods(arguments: TokenStream, item: TokenStream) -> TokenStream {
    methods::expand(&arguments.into(), syn::parse_macro_input!(item)).into()
}
