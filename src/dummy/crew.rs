//! Threads that take tasks from one queue.
//!
//! Owns the queue, the threads and their end; a pool and an executor of threads are handles
//! of a crew. It knows nothing of results: a task ends its own promise, and a task that is
//! dropped undone cancels it. No lock is held while a task, a callback or a drop of one
//! runs, and a panic in any of them ends no thread.

use crate::executor::{Future, Promise};
use procession_protocols::exit::PanicReport;
use procession_runtime::node::leave::{is_leaver, this_thread};
use procession_runtime::panic::catch;
use procession_runtime::pool::TaskError;
use procession_runtime::sync::lock;
use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// What a thread's initializer returned.
pub(super) type State = Box<dyn Any>;

/// Makes a thread's state.
pub(super) type Initializer = Box<dyn Fn() -> State + Send + Sync>;

/// Something to do, step by step.
pub(super) trait Task: Send {
    /// Does it with the thread's state; or hears why it is not to be done.
    fn run(&mut self, state: Result<&mut dyn Any, TaskError>);
    /// Says how it ended: whoever waits goes on.
    fn tell(&mut self);
    /// Whether there are callbacks to run, once it is told how it ended.
    fn has_callbacks(&self) -> bool;
    /// Runs the callbacks.
    fn call_back(&mut self);
}

/// A call whose result a promise is to have.
pub(super) struct Call<F, R: Send + 'static> {
    body: Option<F>,
    end: Option<Result<R, TaskError>>,
    promise: Promise<R>,
}

pub(super) struct Crew {
    most: usize,
    name: String,
    initializer: Option<Initializer>,
    inner: Mutex<Inner>,
    work: Condvar,
    ended: Future<()>,
}

struct Inner {
    queue: VecDeque<Box<dyn Task>>,
    phase: Phase,
    threads: usize,
    /// How many of them have nothing to do, or will have nothing in a moment.
    idle: usize,
    unfinished: usize,
    made: usize,
    /// The system's numbers of its threads.
    numbers: Vec<i32>,
    end: Option<Promise<()>>,
}

enum Phase {
    Running,
    Closed,
    Broken(String),
}

thread_local! {
    /// The crew that this thread belongs to, by its address.
    static CREW: Cell<usize> = const { Cell::new(0) };
}

impl<F, R: Send + 'static> Call<F, R> {
    /// The task, and the future of its result.
    pub(super) fn new(body: F) -> (Box<Self>, Future<R>) {
        let promise = Promise::new();
        let future = promise.future();
        (Box::new(Self { body: Some(body), end: None, promise }), future)
    }
}

impl<F, R> Task for Call<F, R>
where
    F: FnOnce(&mut dyn Any) -> Result<R, TaskError> + Send,
    R: Send + 'static,
{
    fn run(&mut self, state: Result<&mut dyn Any, TaskError>) {
        let Some(body) = self.body.take() else { return };
        if self.promise.set_running() {
            self.end = Some(state.and_then(|state| {
                catch(|| body(state)).unwrap_or_else(|report| Err(report.into()))
            }));
        }
    }

    fn tell(&mut self) {
        if let Some(end) = self.end.take() {
            self.promise.decide(end);
        }
    }

    fn has_callbacks(&self) -> bool {
        self.promise.has_callbacks()
    }

    fn call_back(&mut self) {
        self.promise.call_back();
    }
}

/// A thread leaves however its life ends.
struct Leaving<'a>(&'a Crew);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Crew {
    /// A crew of so many threads at most, which are called after it.
    pub(super) fn new(most: usize, name: String, initializer: Option<Initializer>) -> Arc<Self> {
        let end = Promise::new();
        let ended = end.future();
        let inner = Inner {
            queue: VecDeque::new(),
            phase: Phase::Running,
            threads: 0,
            idle: 0,
            unfinished: 0,
            made: 0,
            numbers: Vec::new(),
            end: Some(end),
        };
        let (inner, work) = (Mutex::new(inner), Condvar::new());
        Arc::new(Self { most, name, initializer, inner, work, ended })
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }

    pub(super) fn threads(&self) -> usize {
        lock(&self.inner).threads
    }

    /// How many tasks have not ended.
    pub(super) fn unfinished(&self) -> usize {
        lock(&self.inner).unfinished
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(lock(&self.inner).phase, Phase::Running)
    }

    /// Whether the calling thread is one of them.
    pub(super) fn is_member(&self) -> bool {
        CREW.get() == std::ptr::from_ref(self).addr()
    }

    /// Whether one of its threads is ending the program, and so will not leave.
    pub(super) fn ends_the_program(&self) -> bool {
        self.is_member() || lock(&self.inner).numbers.iter().any(|number| is_leaver(*number))
    }

    /// Done when the crew has been closed and no thread is left.
    pub(super) fn ended(&self) -> &Future<()> {
        &self.ended
    }

    /// Starts another thread. `tell` hears when it is ready.
    pub(super) fn hire(
        self: &Arc<Self>,
        tell: Option<Sender<Result<(), PanicReport>>>,
    ) -> io::Result<()> {
        self.hire_in(&mut lock(&self.inner), tell)
    }

    fn hire_in(
        self: &Arc<Self>,
        inner: &mut Inner,
        tell: Option<Sender<Result<(), PanicReport>>>,
    ) -> io::Result<()> {
        let crew = self.clone();
        let name = format!("{}_{}", self.name, inner.made);
        named(&name).spawn(move || crew.serve(tell))?;
        inner.made += 1;
        inner.threads += 1;
        // It will look for work, whether or not it is woken.
        inner.idle += 1;
        Ok(())
    }

    /// Has a task done. A thread is started if none is idle and there is room for one.
    pub(super) fn give(self: &Arc<Self>, task: Box<dyn Task>) -> Result<(), TaskError> {
        let taken = self.take(&mut lock(&self.inner), task);
        // It never began: this drop cancels it, and nobody has its future yet. Among its values
        // are the user's, so the lock is free again.
        taken.map_err(|(error, refused)| {
            drop(refused);
            error
        })
    }

    /// As [`give`](Self::give); gives back what it does not take.
    fn take(
        self: &Arc<Self>,
        inner: &mut Inner,
        task: Box<dyn Task>,
    ) -> Result<(), (TaskError, Option<Box<dyn Task>>)> {
        match &inner.phase {
            Phase::Running => {}
            Phase::Closed => return Err((TaskError::NotRunning, Some(task))),
            Phase::Broken(why) => return Err((TaskError::Broken(why.clone()), Some(task))),
        }
        inner.queue.push_back(task);
        inner.unfinished += 1;
        if let Err(error) = self.hire_if_needed(inner)
            && inner.threads == 0
        {
            inner.unfinished -= 1;
            return Err((error.into(), inner.queue.pop_back()));
        }
        self.work.notify_one();
        Ok(())
    }

    fn hire_if_needed(self: &Arc<Self>, inner: &mut Inner) -> io::Result<()> {
        if inner.queue.len() > inner.idle && inner.threads < self.most {
            self.hire_in(inner, None)?;
        }
        Ok(())
    }

    /// Takes no more tasks. Threads leave when all is done.
    pub(super) fn close(&self) {
        self.end_with(|_| VecDeque::new());
    }

    /// Takes no more tasks, and drops those that have not begun.
    pub(super) fn close_and_drop(&self) {
        self.end_with(|inner| {
            inner.unfinished -= inner.queue.len();
            std::mem::take(&mut inner.queue)
        });
    }

    fn end_with(&self, take: impl FnOnce(&mut Inner) -> VecDeque<Box<dyn Task>>) {
        let (dropped, end) = {
            let inner = &mut *lock(&self.inner);
            if matches!(inner.phase, Phase::Running) {
                inner.phase = Phase::Closed;
            }
            (take(inner), inner.end.take_if(|_| inner.threads == 0))
        };
        self.work.notify_all();
        for task in dropped {
            guarded(|| drop(task));
        }
        finish(end);
    }

    /// A thread's whole life.
    fn serve(self: Arc<Self>, tell: Option<Sender<Result<(), PanicReport>>>) {
        CREW.set(Arc::as_ptr(&self).addr());
        lock(&self.inner).numbers.push(this_thread());
        let _leaving = Leaving(&self);
        let made = catch(|| match &self.initializer {
            Some(initializer) => initializer(),
            None => Box::new(()),
        });
        match made {
            Ok(mut state) => {
                if let Some(tell) = tell {
                    let _ = tell.send(Ok(()));
                }
                while let Some(mut task) = self.next() {
                    guarded(|| task.run(Ok(&mut *state)));
                    // Who hears of the end finds this thread idle.
                    self.is_done();
                    guarded(|| task.tell());
                    let has_callbacks = task.has_callbacks();
                    if has_callbacks {
                        self.is_busy();
                        guarded(|| task.call_back());
                    }
                    guarded(|| drop(task));
                    if has_callbacks {
                        lock(&self.inner).idle += 1;
                    }
                }
                guarded(|| drop(state));
            }
            Err(report) => {
                tracing::error!(target: "procession", message = report.message,
                    place = report.location, "a pool's initializer panicked");
                self.break_down(format!("the initializer panicked: {}", report.message));
                if let Some(tell) = tell {
                    let _ = tell.send(Err(report));
                }
            }
        }
    }

    /// The next task; `None` when the thread is to leave.
    fn next(&self) -> Option<Box<dyn Task>> {
        let mut inner = lock(&self.inner);
        loop {
            if let Some(task) = inner.queue.pop_front() {
                inner.idle -= 1;
                return Some(task);
            }
            if !matches!(inner.phase, Phase::Running) {
                return None;
            }
            inner = self.work.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn is_done(&self) {
        let inner = &mut *lock(&self.inner);
        inner.unfinished -= 1;
        inner.idle += 1;
    }

    /// This thread is busy again, with callbacks: another one does what was meant for it.
    fn is_busy(self: &Arc<Self>) {
        let inner = &mut *lock(&self.inner);
        inner.idle -= 1;
        if let Err(error) = self.hire_if_needed(inner) {
            tracing::warn!(target: "procession", %error, "a task waits for a busy thread");
        }
    }

    /// Tells all tasks that they are not to be done.
    fn break_down(&self, why: String) {
        let tasks = {
            let inner = &mut *lock(&self.inner);
            inner.phase = Phase::Broken(why.clone());
            inner.unfinished -= inner.queue.len();
            std::mem::take(&mut inner.queue)
        };
        self.work.notify_all();
        for mut task in tasks {
            guarded(|| task.run(Err(TaskError::Broken(why.clone()))));
            guarded(|| task.tell());
            guarded(|| task.call_back());
            guarded(|| drop(task));
        }
    }

    fn leave(&self) {
        let end = {
            let inner = &mut *lock(&self.inner);
            inner.threads -= 1;
            inner.idle -= 1;
            inner.numbers.retain(|number| *number != this_thread());
            inner.end.take_if(|_| inner.threads == 0)
        };
        finish(end);
    }
}

/// Does a step of a task, among whose values are the user's: one that panics when it is
/// dropped costs itself, and not the thread.
fn guarded(step: impl FnOnce()) {
    if let Err(report) = catch(step) {
        tracing::error!(target: "procession", message = report.message,
            place = report.location, "what belongs to a task panicked when it was dropped");
    }
}

fn finish(end: Option<Promise<()>>) {
    if let Some(end) = end {
        end.decide(Ok(()));
        end.call_back();
    }
}

/// A thread to be, of this name but for zero bytes, which the system has in none.
pub(super) fn named(name: &str) -> std::thread::Builder {
    std::thread::Builder::new().name(name.replace('\0', ""))
}
