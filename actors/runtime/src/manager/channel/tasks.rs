//! The async calls on a channel.
//!
//! Owns the future of a call, which keeps nothing of its own but the call's number: the answer
//! is put where the number says. Calls that are many are gathered and written together, and
//! their answers are taken together, by the hidden thread. It must never wait on that thread.
//! Neighbours: `channel` has the calls of threads; `procession_protocols::manager` says which
//! calls are gathered (`Flow`).

use super::{Answer, Channel, ROOM_PERIOD, header, read_answer};
use crate::codec;
use crate::link::{LinkError, OUTBOUND_LIMIT};
use crate::manager::Ask;
use crate::manager::proxy::ManagerError;
use crate::node::hidden;
use crate::sync::lock;
use crate::sys::watch::{Held, watch};
use procession_protocols::manager::{Change, Fault, Flow, NotBegun, Told, Turn};
use procession_protocols::wire::Kind;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::Interest;

/// What has been gathered is written when it is so much, or when the hidden thread comes to
/// it.
const GATHERED: usize = 16 * 1024;

/// A flow of answers that stops for so long has ended: what is gathered waits no longer.
const FLOW_PERIOD: Duration = Duration::from_millis(1);

/// The hidden thread takes so many answers before others get their turn.
const READ_AT_ONCE: usize = 1024;

/// A call that has been sent.
///
/// # Cancel safety
/// Dropped, it takes the call back unless it has been answered.
pub(in crate::manager) struct UnderWay {
    channel: Arc<Channel>,
    object: u64,
    number: u64,
    is_over: bool,
}

impl Future for UnderWay {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let mut old = None;
        let turn = lock(&self.channel.calls).turn_of_task(self.number, |place| {
            if place.as_ref().is_none_or(|known| !known.will_wake(context.waker())) {
                old = place.replace(context.waker().clone());
            }
        });
        // It may be the last of its task, whose end may end other calls.
        drop(old);
        let answer = match turn {
            Turn::Leave(answer) => answer,
            Turn::Over => Err(self.channel.gone()),
            Turn::Wait | Turn::Read => return Poll::Pending,
        };
        self.is_over = true;
        Poll::Ready(answer)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let left = lock(&self.channel.calls).leave_task(self.number);
        drop(left);
        if !self.is_over {
            self.channel.give_up(self.object, self.number);
        }
    }
}

impl Channel {
    /// Asks, without blocking the thread.
    pub(in crate::manager) fn begin(
        self: Arc<Self>,
        object: u64,
        ask: &Ask,
    ) -> Result<UnderWay, ManagerError> {
        self.attend()?;
        let (begun, others) = {
            let calls = &mut *lock(&self.calls);
            let others = calls.tasks();
            (calls.begin_task(), others)
        };
        let (number, calls_aside) = begun.map_err(|why| match why {
            NotBegun::Over => self.gone(),
            NotBegun::Full => Fault::Busy.into(),
        })?;
        let call = UnderWay { channel: self, object, number, is_over: false };
        let channel = &call.channel;
        let is_seen_to = if others < Flow::FROM {
            channel.send(object, number, ask)?;
            !channel.link.wants_write()
        } else {
            channel.gather(object, number, ask, others)?
        };
        if calls_aside || !is_seen_to {
            channel.aside.notify_one();
        }
        Ok(call)
    }

    /// Keeps a call for a write of several. Whether it will be written without calling the
    /// hidden thread, while `others` are under way.
    fn gather(
        &self,
        object: u64,
        number: u64,
        ask: &Ask,
        others: usize,
    ) -> Result<bool, ManagerError> {
        let kept = codec::encode_briefly(ask, |bytes, fds| {
            let header = header(Kind::Call, object, number, bytes.len())?;
            let kept = self.link.push_within(header, bytes, &fds, OUTBOUND_LIMIT);
            kept.map_err(|error| self.failed(error))
        })??;
        let is_written = match kept {
            0..GATHERED => false,
            _ => self.write_gathered().map_err(|error| self.failed(error))?,
        };
        let before = Flow(self.flow.fetch_add(Flow::CALL, Ordering::SeqCst));
        Ok(is_written || before.carries(others))
    }

    fn write_gathered(&self) -> Result<bool, LinkError> {
        self.flow.fetch_and(Flow::IS_ON, Ordering::SeqCst);
        self.link.flush()
    }

    /// On the hidden thread, which writes after it.
    fn change_flow(&self, change: Change) {
        match change {
            Change::Begin => {
                self.flow.fetch_or(Flow::IS_ON, Ordering::SeqCst);
            }
            Change::End => {
                self.flow.fetch_and(!Flow::IS_ON, Ordering::SeqCst);
            }
            Change::Keep => {}
        }
    }

    fn flows(&self) -> bool {
        Flow(self.flow.load(Ordering::SeqCst)).is_on()
    }

    /// Has the hidden thread look when it is called.
    pub(super) fn attend(&self) -> Result<(), ManagerError> {
        if self.attended.get().is_some() {
            return Ok(());
        }
        let handle = hidden::handle()?;
        self.attended.get_or_init(|| {
            let (channel, aside) = (self.this.clone(), self.aside.clone());
            handle.spawn(async move {
                loop {
                    aside.notified().await;
                    let Some(channel) = channel.upgrade() else { return };
                    if !channel.read_aside().await {
                        return;
                    }
                }
            });
        });
        Ok(())
    }

    /// On the hidden thread: reads for tasks while there are any, and writes what has found
    /// no room. False when the stream has ended.
    async fn read_aside(&self) -> bool {
        let mut socket = None;
        loop {
            let turn = lock(&self.calls).aside();
            let is_reader = match turn {
                Ok(()) => true,
                Err(told) => {
                    self.tell(told);
                    false
                }
            };
            let taken = if is_reader { self.take_answers() } else { Ok(0) };
            let written = taken.and_then(|taken| {
                self.change_flow(Flow::looked(is_reader, taken));
                Ok((taken, self.write_gathered()?))
            });
            let Ok((taken, is_written)) = written else {
                self.end();
                return false;
            };
            if !is_reader && is_written {
                return true;
            }
            if taken == READ_AT_ONCE {
                tokio::task::yield_now().await;
                continue;
            }
            if socket.is_none() {
                let held = Held::new(&self.link, AsFd::as_fd);
                socket = watch(held, Interest::READABLE | Interest::WRITABLE).ok();
            }
            let Some(socket) = &socket else {
                // No room in the runtime's epoll: look again and again.
                tokio::time::sleep(ROOM_PERIOD).await;
                continue;
            };
            tokio::select! {
                ready = socket.readable(), if is_reader => if let Ok(mut ready) = ready {
                    ready.clear_ready();
                },
                ready = socket.writable(), if !is_written => if let Ok(mut ready) = ready {
                    ready.clear_ready();
                },
                () = self.aside.notified() => {}
                () = tokio::time::sleep(FLOW_PERIOD), if self.flows() => {
                    self.change_flow(Change::End);
                }
            }
        }
    }

    /// Takes what has come; how many answers. All are found first and put in their places
    /// then, so that whoever looks for one does not meet this thread at each further one; and
    /// whoever waits for several is woken once.
    fn take_answers(&self) -> Result<usize, LinkError> {
        let mut taken = Vec::new();
        let end = self.link.take_each(|header, payload, fds| {
            taken.push((header.call, read_answer(header, payload, fds)));
            Ok(match taken.len() {
                READ_AT_ONCE => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            })
        });
        let count = taken.len();
        let told: Vec<_> = {
            let calls = &mut *lock(&self.calls);
            taken.into_iter().map(|(number, answer)| calls.answered(number, answer)).collect()
        };
        let mut last: Option<Waker> = None;
        for told in told {
            match told {
                Ok(Told::Task(waker)) => {
                    if last.as_ref().is_none_or(|last| !last.will_wake(&waker)) {
                        waker.wake_by_ref();
                        last = Some(waker);
                    }
                }
                Ok(told) => self.tell(told),
                // It was given up.
                Err(answer) => drop(answer),
            }
        }
        end.map(|()| count)
    }
}
