//! Running an actor: its thread, its loop, its end.
//!
//! Owns the life of a handler from `on_start` to the last drop. It must never wait for
//! anything but the next turn, and knows no links: what brings messages from other
//! processes is an [`Inlet`], or the `next` of whoever calls [`run`].

use super::error::{CallError, StartError};
use super::local::Local;
use super::mailbox::{Entry, Mailbox, Turn};
use super::message::Message;
use super::reference::ActorRef;
use super::remote::{Inlet, LocalActor, node_id, within};
use super::{Handler, MailboxOptions, current};
use crate::codec;
use crate::down::Down;
use crate::panic::catch;
use crate::wait;
use procession_protocols::exit::{ExitReason, RawStatus};
use procession_protocols::id::ActorId;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak, mpsc};
use std::task::{Context, Poll};
use std::thread;

/// Hosts an actor in this process, on a thread of its own; returns after its `on_start`.
///
/// # Errors
/// [`StartError`]; then the thread has ended.
pub fn host<H: Handler + Send>(
    handler: H,
    name: &str,
    options: MailboxOptions,
) -> Result<ActorRef<H>, StartError> {
    // 0 is the actor that is the process.
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = ActorId { node: node_id(), number: NEXT.fetch_add(1, Ordering::Relaxed) };
    let local = Local::new(id, name.to_owned(), options);
    let this = Arc::downgrade(&local);
    let mailbox = local.mailbox().clone();
    let (report, outcome) = mpsc::sync_channel(1);
    if name.contains('\0') {
        let why = "the name of a thread has no zero byte in it";
        return Err(StartError::Thread(io::Error::new(io::ErrorKind::InvalidInput, why)));
    }
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let started = |result| {
            // The receiver waits for exactly this.
            let _ = report.send(result);
        };
        run(handler, &mailbox, this, started, next_here);
        if let Some(inlet) = mailbox.inlet().cloned() {
            // It has ended, so its monitors are told at once.
            mailbox.monitor(Box::new(move |down: Down| inlet.close(&down)));
        }
    });
    let thread = thread.map_err(StartError::Thread)?;
    match outcome.recv() {
        Ok(Ok(())) => Ok(ActorRef::local(local)),
        Ok(Err(error)) => {
            // It only has to return now; so its thread is not left behind.
            let _ = thread.join();
            Err(error)
        }
        Err(_) => Err(StartError::Failed("its thread ended before it started".into())),
    }
}

/// The `next` of an actor on a thread of its own: its mailbox, and the calls that come from
/// other processes, once there are such callers.
///
/// The actor that is a process, on the main thread, brings its own: it serves its parent's
/// control messages too.
fn next_here<M: Message>(mailbox: &Mailbox<M>) -> Turn<M> {
    loop {
        if let Some(inlet) = mailbox.inlet() {
            return next_of_both(mailbox, &**inlet);
        }
        let turn = wait::block_on(poll_fn(|context| match mailbox.poll_next(context) {
            Poll::Ready(turn) => Poll::Ready(Some(turn)),
            // Looked for after the mailbox has the waker, by which it tells of a first one.
            Poll::Pending if mailbox.inlet().is_some() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }));
        if let Some(turn) = turn {
            return turn;
        }
    }
}

fn next_of_both<M: Message>(mailbox: &Mailbox<M>, inlet: &dyn Inlet) -> Turn<M> {
    let mut context = Context::from_waker(inlet.waker());
    inlet.glance();
    loop {
        if let Poll::Ready(turn) = mailbox.poll_next(&mut context) {
            return turn;
        }
        inlet.wait();
    }
}

/// Runs an actor on this thread, from its `on_start` to its end. Calls `started` once,
/// and `next` for each turn. Returns how it ended, after the monitors were told.
///
/// `this` is what the actor's reference to itself is made from.
pub fn run<H: Handler>(
    mut handler: H,
    mailbox: &Mailbox<H::Msg>,
    this: Weak<Local<H::Msg>>,
    started: impl FnOnce(Result<(), StartError>),
    mut next: impl FnMut(&Mailbox<H::Msg>) -> Turn<H::Msg>,
) -> ExitReason {
    let _current = current::enter(mailbox.id(), this as Weak<dyn LocalActor>);
    let start = match catch(|| handler.on_start()) {
        Ok(result) => result,
        Err(report) => Err(StartError::Panicked(report)),
    };
    if let Err(error) = start {
        let reason = finish(handler, mailbox, error.reason());
        started(Err(error));
        return reason;
    }
    started(Ok(()));
    let reason = loop {
        let done = match next(mailbox) {
            Turn::Message(entry) => catch(|| handle(&mut handler, mailbox, entry)),
            Turn::Down(down) => catch(|| handler.on_down(&down)),
            Turn::End(reason) => break stop(&mut handler, reason),
        };
        if let Err(report) = done {
            break ExitReason::Panic(report);
        }
    };
    finish(handler, mailbox, reason)
}

fn handle<H: Handler>(handler: &mut H, mailbox: &Mailbox<H::Msg>, entry: Entry<H::Msg>) {
    match entry {
        Entry::Here(message) => handler.handle(message),
        Entry::Wire(encoded, reply) => {
            let Some(wire) = H::Msg::wire() else {
                refuse(
                    mailbox.name(),
                    reply,
                    CallError::Unreachable("its messages do not travel".into()),
                );
                return;
            };
            // Until all bytes are known to be right, the message must not be lost: its
            // reply is owed the error.
            let scope = reply.as_ref().and_then(|reply| reply.scope());
            let (mut reply, mut message) = (reply, None);
            let decode = || {
                codec::decode_with(&encoded.bytes, encoded.fds, |decoder| {
                    message = Some((wire.decode)(decoder, &mut reply)?);
                    Ok(())
                })
            };
            let decoded = within(scope.as_ref(), decode);
            match (decoded, message) {
                (Ok(()), Some(message)) => handler.handle(message),
                (Ok(()), None) => {}
                (Err(error), message) => {
                    let reply = reply.or_else(|| (wire.take_reply)(&mut message?));
                    refuse(mailbox.name(), reply, CallError::Decode(error));
                }
            }
        }
    }
}

fn refuse(name: &str, reply: Option<super::ReplyPort>, error: CallError) {
    tracing::warn!(actor = %name, %error, "message refused");
    if let Some(reply) = reply {
        reply.complete(Err(error));
    }
}

/// The farewell of an actor that ends in order.
fn stop<H: Handler>(handler: &mut H, reason: ExitReason) -> ExitReason {
    if !reason.is_clean() {
        return reason;
    }
    match catch(|| handler.on_stop(&reason)) {
        Ok(()) => reason,
        Err(report) => ExitReason::Panic(report),
    }
}

/// Takes the actor down: nothing of it is left when the monitors are told.
fn finish<H: Handler>(handler: H, mailbox: &Mailbox<H::Msg>, reason: ExitReason) -> ExitReason {
    let name = mailbox.name().to_owned();
    current::ending(&CallError::ActorDied { name: name.clone(), reason: reason.clone() });
    let unread = mailbox.close(reason.clone());
    let casts = unread.iter().filter(|entry| !entry.expects_reply()).count();
    if casts > 0 {
        tracing::warn!(actor = %name, casts, %reason, "actor ended with casts unread");
    }
    // Each of these runs user code, which may panic; the end goes on.
    for entry in unread {
        let _ = catch(|| drop(entry));
    }
    let _ = catch(|| drop(handler));
    let _ = catch(|| drop(RUNTIME.take()));
    let down = Down {
        actor: mailbox.id(),
        pid: None,
        name,
        reason: reason.clone(),
        status: RawStatus::Unknown,
        usage: None,
    };
    tracing::debug!(actor = %down.name, %reason, "actor ended");
    mailbox.publish(&down);
    reason
}

thread_local! {
    /// The runtime of this thread's async methods, made by the first of them.
    static RUNTIME: RefCell<Option<tokio::runtime::Runtime>> = const { RefCell::new(None) };
}

/// Runs an async method to its end on the actor's thread. Tasks that it spawned go on
/// when the next async method runs, and end with the actor.
///
/// # Panics
/// When the system gives no descriptors for the runtime; as any panic in a method, that
/// ends the actor.
pub fn block_on_actor<F: Future>(future: F) -> F::Output {
    let runtime = RUNTIME.take().unwrap_or_else(|| {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => panic!("no runtime for async methods: {error}"),
        }
    });
    // Lost when the method panics, with its tasks: so is the actor.
    let output = runtime.block_on(future);
    RUNTIME.set(Some(runtime));
    output
}
