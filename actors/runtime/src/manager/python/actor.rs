//! Actors of users' types, as Python programs call them.
//!
//! Owns the call by a method's name and plain arguments, which the message's own serde turns
//! into its fields, and what the actor's answer is in Python: its plain data, of a method's
//! `Result` the value, or a `RuntimeError`.

use crate::actor::remote::LocalActor;
use crate::actor::{CallError, ReplySink};
use crate::codec::{self, Encoded};
use procession_protocols::dynamic::Dynamic;
use procession_protocols::manager::python::{Answer, Args, error};
use std::sync::Arc;
use tokio::sync::oneshot;

/// What comes of a call.
pub(super) type Replied = Result<Encoded, CallError>;

/// Takes the reply for the thread that waits.
struct Port(oneshot::Sender<Replied>);

impl ReplySink for Port {
    fn complete(self: Box<Self>, result: Replied) {
        // An error means that the client has left.
        let _ = self.0.send(result);
    }

    fn wants_plain(&self) -> bool {
        true
    }
}

/// Calls a method.
///
/// # Errors
/// The answer, if that is known already.
pub(super) fn call(
    actor: &Arc<dyn LocalActor>,
    method: &str,
    args: Args,
) -> Result<oneshot::Receiver<Replied>, Answer> {
    let names = actor.methods().iter().find(|known| known.name == method);
    let names = names.ok_or_else(|| answer(method, Err(CallError::NotExposed)))?;
    let args = args.bind(names.arguments).map_err(Answer::Error)?;
    let (sender, receiver) = oneshot::channel();
    match actor.deliver_plain(method, args, Box::new(Port(sender))) {
        Ok(()) => Ok(receiver),
        Err(why) => Err(answer(method, Err(why))),
    }
}

/// What the client is answered.
pub(super) fn answer(method: &str, replied: Replied) -> Answer {
    let (is_result, value): (bool, Dynamic) = match replied {
        Ok(encoded) => match codec::decode(&encoded.bytes, encoded.fds) {
            Ok(answer) => answer,
            Err(why) => return Answer::Unserializable(why.to_string()),
        },
        Err(CallError::NotExposed) => {
            let text = format!("AttributeError: no method '{method}' is exposed");
            return Answer::Traceback(text);
        }
        Err(CallError::Decode(why)) => {
            return Answer::Error(error("TypeError", format!("{method}: {why}")));
        }
        Err(CallError::Encode(why)) => return Answer::Unserializable(why.to_string()),
        Err(why) => return Answer::Error(error("RuntimeError", why.to_string())),
    };
    if !is_result {
        return Answer::Return(value);
    }
    let of_one = |value| match value {
        Dynamic::Dict(mut entries) => entries.pop(),
        _ => None,
    };
    match of_one(value) {
        Some((Dynamic::Str(side), value)) if side == "Ok" => Answer::Return(value),
        Some((_, Dynamic::Str(text))) => Answer::Error(error("RuntimeError", text)),
        Some((_, value)) => Answer::Error(error("RuntimeError", value.to_string())),
        None => Answer::Return(Dynamic::None),
    }
}
