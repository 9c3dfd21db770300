//! procession.

// What the macros generate names this crate, also when they are used inside it.
extern crate self as procession;

pub use procession_macros::{Actor, Message, methods};
pub use procession_protocols::exit::{ExitReason, PanicReport, RawStatus};
pub use procession_protocols::id::ActorId;
pub use procession_runtime::actor::{
    Actor, ActorRef, CallError, Handler, MailboxOptions, Message, Overflow, Reply, ReplyReceiver,
    SendError, StartError,
};
pub use procession_runtime::down::{Down, Monitor, Usage};

/// What generated code calls. Not for users: it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use procession_runtime::actor::host::block_on_actor;
    pub use procession_runtime::actor::message::{
        IfNot, IfWire, Probe, Wire, WireArg, WireFns, sendable, take_reply, unknown_variant,
    };
    pub use procession_runtime::actor::{ReplyPort, Started};
    pub use procession_runtime::codec::{DecodeError, Decoder, EncodeError, Encoder};
    pub use serde;
}
