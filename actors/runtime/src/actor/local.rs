//! An actor of this process, as its references share it.
//!
//! Owns the count of references: when the last `Local` goes, the mailbox is released.
//! It is also what the node sees of the actor, without its message type. It must never
//! be held by the actor's own thread, which would then keep the actor alive.

use super::MailboxOptions;
use super::error::CallError;
use super::mailbox::Mailbox;
use super::message::{Message, MethodNames};
use super::remote::{Inlet, LocalActor, Undelivered};
use super::reply::ReplyPort;
use crate::codec::{self, Encoded};
use crate::down::{Down, DownSink};
use procession_protocols::dynamic::Dynamic;
use procession_protocols::id::ActorId;
use std::any::Any;
use std::io;
use std::sync::Arc;

/// An actor of this process, as its references see it. The last one to go lets it end.
pub struct Local<M: Message> {
    mailbox: Arc<Mailbox<M>>,
    options: MailboxOptions,
}

impl<M: Message> Local<M> {
    /// A new actor's mailbox.
    pub fn new(id: ActorId, name: String, options: MailboxOptions) -> Arc<Self> {
        let mailbox = Mailbox::new(id, name, options.capacity, options.overflow);
        Arc::new(Self { mailbox: Arc::new(mailbox), options })
    }

    /// The mailbox, for the actor's own thread: it does not count as a reference.
    pub fn mailbox(&self) -> &Arc<Mailbox<M>> {
        &self.mailbox
    }
}

impl<M: Message> Drop for Local<M> {
    fn drop(&mut self) {
        self.mailbox.release();
    }
}

impl<M: Message> LocalActor for Local<M> {
    fn id(&self) -> ActorId {
        self.mailbox.id()
    }

    fn name(&self) -> &str {
        self.mailbox.name()
    }

    fn options(&self) -> MailboxOptions {
        self.options
    }

    fn deliver(&self, message: Encoded, reply: Option<ReplyPort>) -> Result<(), Box<Undelivered>> {
        self.mailbox.deliver(message, reply)
    }

    fn inlet(
        &self,
        make: fn() -> io::Result<Arc<dyn Inlet>>,
    ) -> io::Result<Option<Arc<dyn Inlet>>> {
        self.mailbox.open_inlet(make)
    }

    fn methods(&self) -> &'static [MethodNames] {
        M::wire().map_or(&[], |wire| wire.methods)
    }

    fn deliver_plain(
        &self,
        method: &str,
        args: Vec<Dynamic>,
        reply: ReplyPort,
    ) -> Result<(), CallError> {
        let wire = M::wire().ok_or(CallError::NotExposed)?;
        let index = wire.methods.iter().position(|known| known.name == method);
        let index = index.and_then(|at| i64::try_from(at).ok()).ok_or(CallError::NotExposed)?;
        let values = std::iter::once(Dynamic::from(index)).chain(args).collect();
        let mut reply = Some(reply);
        let message = codec::decode_plain(values, |decoder| (wire.decode)(decoder, &mut reply))?;
        Ok(self.mailbox.send(message, None)?)
    }

    fn notify(&self, down: Down) {
        self.mailbox.notify(down);
    }

    fn is_alive(&self) -> bool {
        self.mailbox.is_alive()
    }

    fn stop(&self) {
        self.mailbox.stop();
    }

    fn kill(&self) {
        self.mailbox.kill();
    }

    fn monitor(&self, sink: DownSink) {
        self.mailbox.monitor(sink);
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
