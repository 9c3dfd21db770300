//! Actors on threads of this process, served to callers in other processes.
//!
//! Owns one task of the hidden thread for each such link: frames become entries of the
//! actor's mailbox, undecoded, and replies go straight from the actor's thread to the
//! link. It waits for a full mailbox with nothing else in hand, so the link's window
//! and socket hold back the caller.

use super::serve::{LinkReply, Meter};
use crate::actor::remote::LocalActor;
use crate::actor::{CallError, ReplyPort, ReplySink};
use crate::codec::{self, Encoded, Fd};
use crate::link::{Frame, Link, LinkError, OUTBOUND_LIMIT};
use crate::node::hidden;
use crate::sys::process::pidfd_open;
use crate::sys::watch::{Held, watch};
use procession_protocols::wire::{Header, Kind};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;
use tokio::io::Interest;
use tokio::sync::Notify;

/// A full mailbox is looked at this often.
const FULL_PERIOD: Duration = Duration::from_millis(1);

/// Sends the target's greeting: a pidfd of this process.
pub(crate) fn greet(link: &Link) -> io::Result<()> {
    let me = Fd(pidfd_open(std::process::id().cast_signed())?);
    let greeting = codec::encode(&me).map_err(io::Error::other)?;
    let header = Header::new(Kind::Control, greeting.bytes.len()).map_err(io::Error::other)?;
    link.post(header, greeting, OUTBOUND_LIMIT).map_err(io::Error::other)
}

/// Serves `actor` to the caller at the other end of `link`.
pub(crate) fn serve(link: Link, actor: Arc<dyn LocalActor>) -> io::Result<()> {
    let link = Arc::new(link);
    hidden::handle()?.spawn(async move {
        if let Ok(watched) =
            watch(Held::new(&link, AsFd::as_fd), Interest::READABLE | Interest::WRITABLE)
        {
            let served = Served { link, actor, meter: Arc::default(), flush: Arc::default() };
            served.run(&watched).await;
        }
    });
    Ok(())
}

struct Served {
    link: Arc<Link>,
    actor: Arc<dyn LocalActor>,
    meter: Arc<Meter>,
    flush: Arc<Flush>,
}

#[derive(Default)]
struct Flush(Notify);

impl Wake for Flush {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

impl Served {
    async fn run(self, watched: &tokio::io::unix::AsyncFd<Held>) {
        let link = self.link.clone();
        let meter = self.meter.clone();
        self.actor.monitor(Box::new(move |down| {
            if let Ok(encoded) = codec::encode(&down) {
                meter.post(&link, Kind::Down, 0, encoded);
            }
        }));
        loop {
            let Ok(frame) = self.link.try_recv() else { return };
            if let Some(frame) = frame {
                if self.take(frame).await.is_err() {
                    return;
                }
                continue;
            }
            tokio::select! {
                ready = watched.readable() => if let Ok(mut ready) = ready {
                    // Looked at again before the next wait, so nothing is missed.
                    ready.clear_ready();
                    if let Ok(Some(frame)) = self.link.try_recv()
                        && self.take(frame).await.is_err() {
                        return;
                    }
                },
                ready = watched.writable(), if self.link.wants_write() => if let Ok(mut ready) = ready {
                    let _ = self.link.flush();
                    ready.clear_ready();
                },
                () = self.flush.0.notified() => {}
            }
        }
    }

    async fn take(&self, frame: Frame) -> Result<(), LinkError> {
        let call = frame.header.call;
        let mut reply = match frame.header.kind {
            Kind::Call => Some(self.reply(call)),
            Kind::Cast => None,
            Kind::Stop => {
                self.actor.stop();
                return Ok(());
            }
            Kind::Kill => {
                self.actor.kill();
                return Ok(());
            }
            _ => return Ok(()),
        };
        let mut message = Encoded { bytes: frame.payload, fds: frame.fds };
        while let Err(back) = self.actor.deliver(message, reply) {
            if !matches!(back.why, CallError::Full) {
                if let Some(reply) = back.reply {
                    reply.complete(Err(back.why));
                }
                break;
            }
            (message, reply) = (back.message, back.reply);
            tokio::time::sleep(FULL_PERIOD).await;
        }
        self.meter.took(&self.link);
        Ok(())
    }

    fn reply(&self, call: u64) -> ReplyPort {
        let waker = Waker::from(self.flush.clone());
        Box::new(LinkReply::new(&self.link, &self.meter, call, waker)) as Box<dyn ReplySink>
    }
}
