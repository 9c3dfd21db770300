//! Those who wait for answers on a road.
//!
//! Owns the waits: a thread's, which reads while nobody else does, and a task's. Whoever leaves,
//! by an answer, a deadline, a drop or a panic, hands the reading over. It must never leave a
//! call to a server that nobody waits for. Neighbour: `far_traffic` hands answers out.

use super::super::Ask;
use super::super::far::{End, ToServer, encode};
use super::super::far_out::Ended;
use super::super::far_road::Road;
use super::super::proxy::{ManagerError, open};
use super::super::stored::Stored;
use crate::codec::EncodeError;
use crate::share::ShareError;
use crate::sync::lock;
use crate::wait;
use procession_protocols::manager::{Fault, Flow, NotBegun, Over, Reply, Turn};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Instant;

/// A thread's place among those who wait.
struct Seat<'a> {
    road: &'a Arc<Road>,
    number: u64,
    /// The object that is called, until its answer is there.
    asked: Option<u64>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let traffic = &self.road.traffic;
        let (told, answer) = {
            let state = &mut *lock(&traffic.state);
            state.threads_had += 1;
            if std::mem::take(&mut state.dozes) {
                traffic.aside.notify_one();
            }
            state.calls.leave(self.number)
        };
        traffic.tell(told);
        drop(answer);
        self.road.take_back(self.number, self.asked);
    }
}

/// A task's place among those who wait.
pub(in crate::manager) struct Task {
    road: Arc<Road>,
    number: u64,
    asked: Option<u64>,
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.road.check().is_err() {
            return;
        }
        let left = lock(&self.road.traffic.state).calls.leave_task(self.number);
        drop(left);
        self.road.take_back(self.number, self.asked);
    }
}

impl Road {
    fn take_back(&self, number: u64, asked: Option<u64>) {
        if let Some(object) = asked
            && !self.out.take_back(number)
        {
            self.say(&ToServer::Cancel { number, object });
        }
    }

    /// Says a call: at once, or together with the many others that are under way.
    fn put(
        self: &Arc<Self>,
        number: u64,
        object: u64,
        ask: Ask,
        is_one_of_many: bool,
    ) -> Result<(), ManagerError> {
        // It may have the last references to what it speaks of, whose release goes out after it.
        let message = ToServer::Ask { number, object, ask };
        let encoded = encode(End::Client(self.clone()), &message);
        let encoded = encoded.map_err(|why| EncodeError { type_name: "call".into(), why })?;
        let said = if is_one_of_many {
            self.out.call_soon(number, encoded)
        } else {
            self.out.call(number, encoded)
        };
        said.map_err(|Ended| self.gone())
    }

    fn sit(self: &Arc<Self>) -> Result<Seat<'_>, Over> {
        let begun = lock(&self.traffic.state).calls.begin(thread::current());
        begun.map(|number| Seat { road: self, number, asked: None })
    }

    /// Asks, and waits for the answer.
    pub(in crate::manager) fn ask_until(
        self: &Arc<Self>,
        object: u64,
        ask: Ask,
        deadline: Option<Instant>,
    ) -> Result<Reply<Stored>, ManagerError> {
        self.check()?;
        let mut seat = self.sit().map_err(|Over| self.gone())?;
        self.put(seat.number, object, ask, false)?;
        seat.asked = Some(object);
        let reply = self.wait(seat.number, deadline)?;
        seat.asked = None;
        drop(seat);
        open(reply)
    }

    fn wait(
        self: &Arc<Self>,
        number: u64,
        deadline: Option<Instant>,
    ) -> Result<Reply<Stored>, ManagerError> {
        loop {
            let turn = lock(&self.traffic.state).calls.turn(number);
            match turn {
                Turn::Leave(reply) => return Ok(reply),
                Turn::Over => return Err(self.gone()),
                Turn::Read => {
                    if let Some(reply) = self.read_until(number, deadline)? {
                        return Ok(reply);
                    }
                }
                Turn::Wait if !park_until(deadline) => return Err(ShareError::Timeout.into()),
                Turn::Wait => {}
            }
        }
    }

    /// Reads what comes next. The answer, if it is the one to this call; what is another's is
    /// handed out.
    fn read_until(
        self: &Arc<Self>,
        number: u64,
        deadline: Option<Instant>,
    ) -> Result<Option<Reply<Stored>>, ManagerError> {
        let come = self.stream.recv_until(deadline);
        match come.and_then(|come| come.map(|message| self.read(&message)).transpose()) {
            Ok(Some((of, reply))) if of == number => Ok(Some(reply)),
            Ok(Some(other)) => {
                self.hand_out(vec![other]);
                Ok(None)
            }
            Ok(None) => Err(ShareError::Timeout.into()),
            Err(_) => {
                self.end();
                Err(self.gone())
            }
        }
    }

    /// Waits until `ready` completes, which an answer brings about, or the deadline passes;
    /// meanwhile this thread reads, while nobody else does.
    pub(in crate::manager) fn wait_for(
        self: &Arc<Self>,
        ready: Pin<&mut dyn Future<Output = ()>>,
        deadline: Option<Instant>,
    ) {
        // As in `wait`.
        let mut ready = pin!(tokio::task::unconstrained(ready));
        let waker = wait::waker();
        let mut is_ready = || ready.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        if let Ok(seat) = self.sit() {
            loop {
                let turn = lock(&self.traffic.state).calls.turn(seat.number);
                // Who read it before has completed it before this is the reader.
                if is_ready() {
                    return;
                }
                match turn {
                    Turn::Read => match self.read_until(seat.number, deadline) {
                        Ok(_) => {}
                        Err(ManagerError::Share(ShareError::Timeout)) => return,
                        Err(_) => break,
                    },
                    Turn::Wait if !park_until(deadline) => return,
                    Turn::Wait => {}
                    Turn::Leave(_) | Turn::Over => break,
                }
            }
        }
        // The road has ended, which completes it.
        wait::block_on_by(ready, deadline);
    }

    fn begin_task(self: &Arc<Self>) -> Result<Task, NotBegun> {
        let (number, calls_aside) = lock(&self.traffic.state).calls.begin_task()?;
        if calls_aside {
            self.traffic.aside.notify_one();
        }
        Ok(Task { road: self.clone(), number, asked: None })
    }

    /// Has the thread aside read while this is kept: a task waits for what is answered beside
    /// the calls. `None` when the road has ended, or so many wait.
    pub(in crate::manager) fn read_for_task(self: &Arc<Self>) -> Option<Task> {
        self.check().ok()?;
        self.begin_task().ok()
    }

    /// Asks, without blocking the thread while it waits.
    pub(in crate::manager) async fn ask(
        self: &Arc<Self>,
        object: u64,
        ask: Ask,
    ) -> Result<Reply<Stored>, ManagerError> {
        self.check()?;
        let mut task = self.begin_task().map_err(|why| match why {
            NotBegun::Over => self.gone(),
            NotBegun::Full => Fault::Busy.into(),
        })?;
        let others = lock(&self.traffic.state).calls.tasks().saturating_sub(1);
        self.put(task.number, object, ask, others >= Flow::FROM)?;
        task.asked = Some(object);
        let reply = poll_fn(|context| {
            if let Err(forked) = self.check() {
                return Poll::Ready(Err(forked.into()));
            }
            let mut old = None;
            let turn = lock(&self.traffic.state).calls.turn_of_task(task.number, |place| {
                if place.as_ref().is_none_or(|known| !known.will_wake(context.waker())) {
                    old = place.replace(context.waker().clone());
                }
            });
            // It may be the last of its task, whose end may end other calls.
            drop(old);
            match turn {
                Turn::Leave(reply) => Poll::Ready(Ok(reply)),
                Turn::Over => Poll::Ready(Err(self.gone())),
                Turn::Wait | Turn::Read => Poll::Pending,
            }
        });
        let reply = reply.await?;
        task.asked = None;
        drop(task);
        open(reply)
    }
}

/// Sleeps until the thread is woken. False when the deadline has passed.
fn park_until(deadline: Option<Instant>) -> bool {
    let Some(deadline) = deadline else {
        thread::park();
        return true;
    };
    let left = deadline.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        thread::park_timeout(left);
    }
    !left.is_zero()
}
