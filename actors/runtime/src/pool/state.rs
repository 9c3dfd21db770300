//! What a pool's lock protects.
//!
//! Owns the state and the small steps on it; whoever changes it by
//! [`Core::change`](super::core::Core) has the effects carried out and the lock freed
//! before anybody is woken.

use super::arguments::Arguments;
use super::error::{TaskError, WorkerDeath};
use super::job::{HasJob, Outcome, Wakes};
use super::setup::Request;
use super::staff::Worker;
use super::task::{Definition, Key, TaskFunction};
use crate::codec::EncodeError;
use crate::launcher::StartError;
use nix::sys::epoll::Epoll;
use procession_protocols::pool::bell::Alarm;
use procession_protocols::pool::{
    Effect, End, LEAST_BULK, Options, Readers, Scheduler, TaskId, Terms, WorkerId,
};
use procession_protocols::wire::{Header, Kind};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{self, Thread};
use std::time::Duration;
use tokio::sync::Notify;

/// A task as the pool keeps it until it has ended.
#[derive(Clone)]
pub(super) struct Task {
    pub(super) function: u32,
    pub(super) args: Arguments,
    pub(super) limit_ms: Option<u64>,
    pub(super) job: Arc<dyn HasJob>,
    /// The number of its first item among those of its job.
    pub(super) index: u64,
}

/// A thread that waits for a pool.
#[derive(Clone)]
pub(super) struct Reader(pub(super) Thread);

impl Reader {
    /// The calling thread.
    pub(super) fn me() -> Self {
        Self(thread::current())
    }
}

impl PartialEq for Reader {
    fn eq(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }
}

pub(super) struct State {
    pub(super) scheduler: Scheduler<Task>,
    pub(super) staff: Vec<Worker>,
    /// The functions by their numbers, and what they are called.
    functions: HashMap<Key, u32>,
    last_function: Option<(Key, u32)>,
    pub(super) definitions: Vec<(Definition, String)>,
    /// The threads that wait, one of which reads the streams.
    pub(super) readers: Readers<Reader>,
    /// Whether the change under way is what the streams brought.
    pub(super) is_served: bool,
    /// Who made the pool waits for the starts of its first workers.
    pub(super) builder: Option<Sender<Result<(), StartError>>>,
    /// The death that is being dealt with.
    pub(super) death: Option<WorkerDeath>,
    pub(super) why_broken: String,
    pub(super) effects: Vec<Effect<Task>>,
    pub(super) after: After,
    /// Whether somebody comes soon to whom sending may be left.
    pub(super) may_hold_back: bool,
}

/// So many tasks to be sent to a worker together are enough.
const BULK: usize = 64;

/// What is to be done when the lock is free.
#[derive(Default)]
pub(super) struct After {
    pub(super) wakes: Wakes,
    pub(super) called_back: Vec<Arc<dyn HasJob>>,
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
            last_function: None,
            definitions: Vec::new(),
            readers: Readers::default(),
            is_served: false,
            builder: Some(builder),
            death: None,
            why_broken: String::new(),
            effects: Vec::new(),
            after: After::default(),
            may_hold_back: false,
        }
    }

    pub(super) fn worker(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.staff.iter_mut().find(|one| one.id == id)
    }

    pub(super) fn take_back(&mut self, id: WorkerId, last: u32) -> u32 {
        self.worker(id).map_or(0, |worker| worker.take_back(last))
    }

    pub(super) fn refusal(&self) -> TaskError {
        if self.scheduler.is_broken() {
            TaskError::Broken(self.why_broken.clone())
        } else {
            TaskError::NotRunning
        }
    }

    /// Takes a task on.
    pub(super) fn take_on(
        &mut self,
        request: Request,
        job: Arc<dyn HasJob>,
        index: u64,
        now: u64,
        out: &mut Vec<Effect<Task>>,
    ) -> Result<TaskId, TaskError> {
        let (items, terms) = (request.args.count(), request.terms);
        let task = self.task(request, job, index)?;
        // Whoever reads the streams has to look at the time sooner, perhaps.
        self.after.wakes_reader |= terms.limit_ms.is_some();
        self.scheduler.submit(task, items, terms, now, out).map_err(|_| self.refusal())
    }

    /// Whether a task on such terms is left to whoever comes next.
    pub(super) fn leaves(&mut self, terms: Terms) -> bool {
        self.scheduler.may_leave(terms) && self.readers.leaves()
    }

    /// Takes a task on that is left.
    pub(super) fn leave(
        &mut self,
        request: Request,
        job: Arc<dyn HasJob>,
        index: u64,
    ) -> Result<TaskId, TaskError> {
        let (items, terms) = (request.args.count(), request.terms);
        let task = self.task(request, job, index)?;
        self.scheduler.leave(task, items, terms).map_err(|_| self.refusal())
    }

    fn task(
        &mut self,
        request: Request,
        job: Arc<dyn HasJob>,
        index: u64,
    ) -> Result<Task, TaskError> {
        let Request { function, args, terms } = request;
        if let Err(error) = Header::new(Kind::Call, args.len()) {
            return Err(TaskError::Encode(EncodeError {
                type_name: "arguments".into(),
                why: error.to_string(),
            }));
        }
        let function = self.function(&function)?;
        Ok(Task { function, args, limit_ms: terms.limit_ms, job, index })
    }

    /// The number of a function.
    pub(super) fn function(&mut self, function: &TaskFunction) -> Result<u32, TaskError> {
        let key = function.key();
        // Most often it is that of the task before.
        if let Some((_, number)) = self.last_function.as_ref().filter(|(last, _)| *last == key) {
            return Ok(*number);
        }
        let number = if let Some(number) = self.functions.get(&key) {
            *number
        } else {
            let definition = function.definition().map_err(|_| TaskError::NotInImage)?;
            let number = u32::try_from(self.definitions.len()).map_err(io::Error::other)?;
            self.definitions.push((definition, function.name().to_owned()));
            self.functions.insert(key.clone(), number);
            number
        };
        self.last_function = Some((key, number));
        Ok(number)
    }

    /// Takes what all workers have done, and has them ring again if anybody sleeps.
    pub(super) fn collect_all(&mut self, now: u64, out: &mut Vec<Effect<Task>>) {
        let (arms_bells, is_patient) = (self.readers.arms_bells(), self.readers.is_patient());
        for at in 0..self.staff.len() {
            let tray = &self.staff[at].tray;
            if !arms_bells {
                tray.wake_up();
            } else if !is_patient {
                tray.arm(Alarm::Each);
            }
            self.collect(at, now, out);
        }
        if arms_bells && is_patient {
            // What each is to ring after says what it has been sent.
            (0..self.staff.len()).for_each(|at| self.rearm(at, now, out));
        }
    }

    /// Takes what those workers have done that run low, when nobody else reads: whoever
    /// submits task after task supplies them, and nobody has to be woken for it.
    pub(super) fn supply_in_passing(&mut self, now: u64, out: &mut Vec<Effect<Task>>) {
        self.may_hold_back = self.readers.may_hold_back();
        if !self.readers.pass() {
            return;
        }
        for at in 0..self.staff.len() {
            let worker = &self.staff[at];
            if self.scheduler.is_low(worker.id, worker.tray.begun()) {
                self.collect(at, now, out);
                if self.readers.arms_bells() {
                    self.rearm(at, now, out);
                }
            }
        }
    }

    /// Has a worker ring when it is time for those who sleep; what it has done by then is
    /// taken here.
    fn rearm(&mut self, at: usize, now: u64, out: &mut Vec<Effect<Task>>) {
        if !self.arm(at) {
            self.staff[at].tray.arm(Alarm::Each);
            self.collect(at, now, out);
        }
    }

    /// Writes what is ready for the workers; little of it may be left to who comes next.
    pub(super) fn flush(&mut self, epoll: &Epoll) {
        let may_hold_back = std::mem::take(&mut self.may_hold_back);
        for worker in &mut self.staff {
            let bulk = self.scheduler.bulk(worker.id).min(BULK);
            if !may_hold_back || bulk < LEAST_BULK || worker.unsent >= bulk {
                worker.flush(epoll);
            }
        }
    }

    /// Says for what a worker is to ring. False when there is something to take first.
    pub(super) fn arm(&self, at: usize) -> bool {
        let worker = &self.staff[at];
        let is_patient = self.readers.is_patient();
        let alarm = if is_patient { self.scheduler.alarm(worker.id) } else { Alarm::Each };
        worker.tray.arm(alarm)
    }

    /// Takes what a worker has done. Only a look at its stream finds what it spilled.
    pub(super) fn collect(&mut self, at: usize, now: u64, out: &mut Vec<Effect<Task>>) {
        let worker = &mut self.staff[at];
        let mut tasks = 0;
        worker.collect();
        while let Some((task, items)) = self.scheduler.current(worker.id) {
            let left = items.end - items.start;
            let Some((count, results)) = worker.results(left) else { break };
            let (job, index) = (task.job.clone(), task.index + u64::from(items.start));
            let is_last = self.scheduler.advance(worker.id, count, now, out);
            tasks += usize::from(count == left);
            self.after.deliver(&job, Outcome { index, items: count, is_last, result: Ok(results) });
        }
        if tasks > 0 {
            self.scheduler.looked(worker.id, tasks);
            if worker.tray.is_outgrown() {
                self.scheduler.outgrown(worker.id, out);
            }
        }
    }

    pub(super) fn error(&self, task: &Task, item: u32, end: End) -> TaskError {
        match (end, &self.death) {
            (End::TimedOut, _) => {
                TaskError::TimedOut(Duration::from_millis(task.limit_ms.unwrap_or_default()))
            }
            (End::Died, Some(death)) => {
                let function = self.definitions.get(task.function as usize);
                TaskError::Died(Box::new(WorkerDeath {
                    function: function.map(|(_, name)| name.clone()).unwrap_or_default(),
                    index: task.index + u64::from(item),
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

    /// Whether something is to be read, or to be done at some time.
    pub(super) fn has_business(&self) -> bool {
        self.scheduler.unfinished() > 0 || self.scheduler.next_deadline().is_some()
    }

    /// Wakes the hidden thread's part, if there is something for it to watch.
    pub(super) fn wants_attendant(&mut self, attend: &Notify) {
        let has_business = self.has_business();
        if self.readers.wants_attendant(has_business) {
            attend.notify_one();
        }
    }
}

impl After {
    /// Hands over what came of some of a task's items.
    pub(super) fn deliver(&mut self, job: &Arc<dyn HasJob>, outcome: Outcome) {
        self.has_news = true;
        if job.job().deliver(outcome, &mut self.wakes) {
            self.called_back.push(job.clone());
        }
    }
}
