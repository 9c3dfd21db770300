//! What a pool's lock protects.
//!
//! Owns the state and the small steps on it; whoever changes it by
//! [`Core::change`](super::core::Core) has the effects carried out and the lock freed
//! before anybody is woken.

use super::error::{TaskError, WorkerDeath};
use super::job::{Job, Outcome, Wakes};
use super::staff::Worker;
use super::task::TaskFunction;
use super::worker::FAILED;
use crate::codec::{self, Encoded};
use crate::function::FunctionRef;
use crate::launcher::StartError;
use crate::link::Frame;
use nix::sys::epoll::Epoll;
use procession_protocols::pool::{Effect, End, Options, Scheduler, WorkerId, word};
use procession_protocols::wire::Kind;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{Thread, ThreadId};
use std::time::Duration;
use tokio::sync::Notify;

/// A task as the pool keeps it until it has ended.
pub(super) struct Task {
    pub(super) function: u32,
    pub(super) items: u32,
    pub(super) args: Encoded,
    pub(super) limit_ms: Option<u64>,
    pub(super) job: Arc<Job>,
    pub(super) index: u64,
}

pub(super) struct State {
    pub(super) scheduler: Scheduler<Task>,
    pub(super) staff: Vec<Worker>,
    pub(super) functions: HashMap<usize, u32>,
    pub(super) references: Vec<(FunctionRef, &'static str)>,
    /// The thread that reads the streams, and those that wait beside it.
    pub(super) leader: Option<ThreadId>,
    pub(super) followers: VecDeque<Thread>,
    /// How often the reader's role has been taken.
    pub(super) led: u64,
    /// Whether the hidden thread's part is awake.
    pub(super) is_attended: bool,
    /// Whether the change under way is what the streams brought.
    pub(super) is_served: bool,
    /// Whether it is to read at once: somebody waits without a thread.
    pub(super) is_urgent: bool,
    /// Who made the pool waits for the starts of its first workers.
    pub(super) builder: Option<Sender<Result<(), StartError>>>,
    /// The death that is being dealt with.
    pub(super) death: Option<WorkerDeath>,
    pub(super) why_broken: String,
    pub(super) effects: Vec<Effect<Task>>,
    pub(super) after: After,
}

/// What is to be done when the lock is free.
#[derive(Default)]
pub(super) struct After {
    pub(super) wakes: Wakes,
    pub(super) called_back: Vec<Arc<Job>>,
    /// Something has come that the reader may wait for.
    pub(super) has_news: bool,
    /// The reader has to look at the time.
    pub(super) wakes_reader: bool,
}

impl State {
    /// No worker, no task. `builder` hears of the first starts.
    pub(super) fn new(options: Options, builder: Sender<Result<(), StartError>>) -> Self {
        Self {
            scheduler: Scheduler::new(options),
            staff: Vec::new(),
            functions: HashMap::new(),
            references: Vec::new(),
            leader: None,
            followers: VecDeque::new(),
            led: 0,
            is_attended: false,
            is_served: false,
            is_urgent: false,
            builder: Some(builder),
            death: None,
            why_broken: String::new(),
            effects: Vec::new(),
            after: After::default(),
        }
    }

    pub(super) fn worker(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.staff.iter_mut().find(|one| one.id == id)
    }

    pub(super) fn take_back(&mut self, id: WorkerId, last: u32) -> u32 {
        self.worker(id).map_or(0, |worker| word::take_back(&worker.beginnings, last))
    }

    pub(super) fn refusal(&self) -> TaskError {
        if self.scheduler.is_broken() {
            TaskError::Broken(self.why_broken.clone())
        } else {
            TaskError::NotRunning
        }
    }

    /// The number of a function.
    pub(super) fn function(&mut self, function: TaskFunction) -> Result<u32, TaskError> {
        if let Some(number) = self.functions.get(&function.key()) {
            return Ok(*number);
        }
        let reference = function.reference().map_err(|_| TaskError::NotInImage)?;
        let number = u32::try_from(self.references.len()).map_err(io::Error::other)?;
        self.references.push((reference, function.name()));
        self.functions.insert(function.key(), number);
        Ok(number)
    }

    /// Takes what a worker has sent.
    pub(super) fn read(&mut self, at: usize, now: u64, out: &mut Vec<Effect<Task>>, epoll: &Epoll) {
        let mut first = true;
        while let Some(frame) = self.staff[at].reply(first, epoll) {
            first = false;
            if frame.header.kind == Kind::Reply {
                let id = self.staff[at].id;
                self.answered(id, frame, now, out);
            }
        }
    }

    fn answered(&mut self, worker: WorkerId, frame: Frame, now: u64, out: &mut Vec<Effect<Task>>) {
        let Ok(number) = u32::try_from(frame.header.call) else { return };
        let Some(task) = self.scheduler.finished(worker, number, now, out) else { return };
        let outcome = if frame.header.flags & FAILED == 0 {
            Ok(Encoded { bytes: frame.payload, fds: frame.fds })
        } else {
            let error = codec::decode::<TaskError>(&frame.payload, frame.fds);
            Err(error.unwrap_or_else(TaskError::Decode))
        };
        self.after.deliver(task, outcome);
    }

    pub(super) fn error(&self, task: &Task, end: End) -> TaskError {
        match (end, &self.death) {
            (End::TimedOut, _) => {
                TaskError::TimedOut(Duration::from_millis(task.limit_ms.unwrap_or_default()))
            }
            (End::Died, Some(death)) => {
                let function = self.references.get(task.function as usize);
                TaskError::Died(Box::new(WorkerDeath {
                    function: function.map(|(_, name)| (*name).to_owned()).unwrap_or_default(),
                    index: task.index,
                    ..death.clone()
                }))
            }
            (End::Cancelled, _) => TaskError::Cancelled,
            (End::Broken | End::Died, _) => TaskError::Broken(self.why_broken.clone()),
        }
    }

    pub(super) fn tell_builder(&mut self, started: Result<(), StartError>) {
        if let Some(builder) = &self.builder {
            let _ = builder.send(started);
        }
    }

    /// Wakes the hidden thread's part, if there is something for it to watch.
    pub(super) fn wants_attendant(&mut self, attend: &Notify) {
        if self.scheduler.unfinished() > 0 && !std::mem::replace(&mut self.is_attended, true) {
            attend.notify_one();
        }
    }
}

impl After {
    pub(super) fn deliver(&mut self, task: Task, result: Result<Encoded, TaskError>) {
        let Task { index, items, job, .. } = task;
        self.deliver_to(&job, Outcome { index, items, result });
    }

    pub(super) fn deliver_to(&mut self, job: &Arc<Job>, outcome: Outcome) {
        self.has_news = true;
        if job.deliver(outcome, &mut self.wakes) {
            self.called_back.push(job.clone());
        }
    }
}
