//! An answer that is waited for without blocking a thread.
//!
//! Owns the ways by which it may come. A call over a channel, which most are, needs no memory
//! of its own before it is sent, and little after; any other way has a future of its own. It
//! must never send anything before it is first polled. Neighbours: `proxy` knows the ways,
//! `channel` has the calls.

use super::Ask;
use super::channel::UnderWay;
use super::proxy::{ManagerError, Proxy};
use super::stored::Stored;
use procession_protocols::manager::Reply;
use std::fmt;
use std::mem::replace;
use std::pin::Pin;
use std::task::{Context, Poll};

type Answer = Result<Reply<Stored>, ManagerError>;

/// An answer under way; the question is sent when this is first polled.
///
/// # Cancel safety
/// Dropped, it takes the call back, as far as that is possible: what a lock or a queue gave it
/// returns.
#[must_use = "nothing is asked before it is awaited"]
pub struct Asked(State);

enum State {
    Fresh(Proxy, Ask),
    /// Over a channel. The server takes back only what is asked of an object that its client has,
    /// so the reference goes after the call.
    UnderWay {
        call: UnderWay,
        _object: Proxy,
    },
    /// By another way.
    Elsewhere(Pin<Box<dyn Future<Output = Answer> + Send>>),
    /// It could not be asked.
    Failed(ManagerError),
    /// The answer has been given.
    Over,
}

impl Asked {
    pub(super) fn new(proxy: Proxy, ask: Ask) -> Self {
        Self(State::Fresh(proxy, ask))
    }

    /// What cannot even be asked.
    pub fn failed(error: ManagerError) -> Self {
        Self(State::Failed(error))
    }
}

impl Future for Asked {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        if let State::Fresh(..) = self.0
            && let State::Fresh(proxy, ask) = replace(&mut self.0, State::Over)
        {
            self.0 = match proxy.begin(&ask) {
                Some(Ok(call)) => State::UnderWay { call, _object: proxy },
                Some(Err(error)) => State::Failed(error),
                None => State::Elsewhere(Box::pin(async move { proxy.ask_async(ask).await })),
            };
        }
        let answer = match &mut self.0 {
            State::UnderWay { call, .. } => std::task::ready!(Pin::new(call).poll(context)),
            State::Elsewhere(answer) => std::task::ready!(answer.as_mut().poll(context)),
            _ => match replace(&mut self.0, State::Over) {
                State::Failed(error) => Err(error),
                _ => panic!("an answer was polled after it had been given"),
            },
        };
        self.0 = State::Over;
        Poll::Ready(answer)
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asked")
    }
}
