//! A peer as references use it.
//!
//! Owns sending, the wait for a reply by the thread that wants it, and what else can be asked
//! of an actor in another process. It must never hold a lock across a wait. Neighbours:
//! `window` says who may send, `watch` waits for those who have no thread.

use super::event::EventWaker;
use super::{Peer, Process, watch};
use crate::actor::remote::{RefWire, Remote, Sending};
use crate::actor::{CallError, Overflow, ReplyPort};
use crate::codec::Encoded;
use crate::down::{DownSink, Tie};
use crate::link::{LinkError, OUTBOUND_LIMIT};
use crate::node::{routes, writing};
use crate::supervisor::slot;
use crate::sync::{after, lock, poll};
use nix::poll::{PollFd, PollFlags};
use procession_protocols::id::ActorId;
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

impl Remote for Peer {
    fn id(&self) -> ActorId {
        self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn send(
        &self,
        message: Encoded,
        reply: Option<ReplyPort>,
        deadline: Option<Instant>,
    ) -> Result<(), CallError> {
        if !self.make_room(reply.is_some(), deadline)? {
            return Ok(());
        }
        let own = match self.options.overflow {
            Overflow::Block(limit) => after(limit),
            Overflow::Fail | Overflow::DropNew => Some(Instant::now()),
        };
        let header = self.register(&message, reply)?;
        let until = [own, deadline].into_iter().flatten().min();
        let sent = self.link.send(header, &message, until);
        // Once it has begun it has been sent, though this thread waits no longer.
        writing::finish(&self.link, |link| link);
        sent.map_err(|error| {
            let full = matches!(error, LinkError::Timeout) && until == own;
            let error = self.unregister(header, error);
            if full { CallError::Full } else { error }
        })
    }

    fn send_async(&self, message: Encoded, reply: Option<ReplyPort>) -> Sending<'_> {
        Box::pin(async move {
            // The hidden thread reads until the reply has come: the caller's own watch may
            // be of an earlier incarnation.
            let watch = self.watch_link();
            std::future::poll_fn(|context| self.poll_room(context)).await?;
            let reply = reply.map(|reply| Box::new(watch::Watched::new(reply, watch)) as ReplyPort);
            let header = self.register(&message, reply)?;
            let sent = self.link.post(header, message, OUTBOUND_LIMIT);
            writing::finish(&self.link, |link| link);
            sent.map_err(|error| self.unregister(header, error))
        })
    }

    fn wait(&self, ready: Pin<&mut dyn Future<Output = ()>>, deadline: Option<Instant>) {
        // In a task of a tokio runtime whose budget is used up, each poll would be pending
        // although the reply has come, and nothing would end the wait for it.
        let mut ready = pin!(tokio::task::unconstrained(ready));
        let Ok(event) = EventWaker::of_this_thread() else {
            // No descriptor is free for an eventfd: look again and again.
            let mut context = Context::from_waker(Waker::noop());
            while ready.as_mut().poll(&mut context).is_pending()
                && deadline.is_none_or(|deadline| Instant::now() < deadline)
            {
                self.pump();
                std::thread::sleep(Duration::from_millis(1));
            }
            return;
        };
        let waker = Waker::from(event.clone());
        let mut context = Context::from_waker(&waker);
        loop {
            if ready.as_mut().poll(&mut context).is_ready() {
                event.take();
                return;
            }
            if let Ok(Some(())) = self.spin.until(|| self.glance()) {
                event.take();
                continue;
            }
            let mut wanted = PollFlags::POLLIN;
            wanted.set(PollFlags::POLLOUT, self.link.wants_write());
            let mut fds = [
                PollFd::new(self.link.as_fd(), wanted),
                PollFd::new(event.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.pidfd(), PollFlags::POLLIN),
            ];
            if !matches!(poll(&mut fds, deadline), Ok(true)) {
                return;
            }
            let writable = fds[0].revents().is_some_and(|r| r.contains(PollFlags::POLLOUT));
            let (called, dead) = (fds[1].any() == Some(true), fds[2].any() == Some(true));
            if writable {
                let _ = self.link.flush();
            }
            if called {
                event.silence();
            } else {
                event.take();
            }
            self.pump();
            if dead {
                self.pump_after_death();
            }
        }
    }

    fn watch(&self) -> Box<dyn Send> {
        Box::new(self.watch_link())
    }

    fn is_alive(&self) -> bool {
        if self.killed.load(Ordering::Acquire) || lock(&self.pending).ended.is_some() {
            return false;
        }
        match &self.process {
            Process::Child(child) => child.reap().is_none(),
            Process::Other(pidfd) => {
                // Its process may live on. Its end is on the link, which perhaps nobody reads.
                self.drain()
                    && lock(&self.pending).ended.is_none()
                    && !crate::sync::readable(pidfd.as_fd(), Some(Instant::now())).unwrap_or(false)
            }
        }
    }

    fn stop(&self) {
        match &self.process {
            Process::Child(child) => drop(child.shutdown()),
            Process::Other(_) => routes::end(&self.path, self.id, false),
        }
    }

    fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        match &self.process {
            Process::Child(child) => drop(child.signal(nix::sys::signal::Signal::SIGKILL)),
            // Who has a place in a supervision tree is a process too.
            Process::Other(pidfd) if self.id.number == 0 || slot::survives(self.id.number) => {
                let _ = crate::sys::process::pidfd_send_signal(
                    pidfd.as_fd(),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
            Process::Other(_) => routes::end(&self.path, self.id, true),
        }
    }

    fn monitor(&self, sink: DownSink, _: Option<Instant>) -> Result<Tie, CallError> {
        if let Process::Child(child) = &self.process {
            child.on_down(sink);
            return Ok(Tie::default());
        }
        // The hidden thread reads as long as somebody wants to know; that keeps this way, though
        // nobody else may have it any more.
        let watch = self.watch_link();
        let mut pending = lock(&self.pending);
        if let Some(down) = pending.ended.clone() {
            drop(pending);
            sink.tell(down);
            return Ok(Tie::default());
        }
        pending.monitors.add(sink);
        Ok(Tie::new(watch))
    }

    fn to_wire(&self) -> Result<RefWire, CallError> {
        let lifeline = self.this.upgrade().map(routes::keep).transpose()?;
        Ok(RefWire {
            node: self.id.node,
            path: self.path.clone(),
            number: self.id.number,
            name: self.name.clone(),
            options: self.options,
            lifeline,
        })
    }
}
