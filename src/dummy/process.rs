//! `dummy::Process`: a function that runs in a thread, with the face of a process.
//!
//! Owns the threads that were started so: their names, their ends, and the waiting for those
//! that are no daemons when the program ends. It must never be asked to end one.

use crate::error::{Error, JoinError, Result};
use crate::executor::{Future, Promise};
use procession_protocols::exit::PanicReport;
use procession_runtime::finalizer;
use procession_runtime::function::Entry;
use procession_runtime::panic::catch;
use procession_runtime::sync::{after, lock};
use std::any::type_name;
use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A function that runs in a thread; see [`Process`](crate::Process) for what it stands in
/// for. What it returns is had by [`result`](Self::result).
///
/// Dropping the handle neither waits nor ends anything: the thread goes on, and is waited
/// for, unless it is a daemon, when this program ends in good order.
pub struct Process<R = ()> {
    inner: ProcessRef,
    value: Arc<Mutex<Returned<R>>>,
}

/// What the function gave; `None` before its end and once it has been taken.
type Returned<R> = Option<std::result::Result<R, PanicReport>>;

/// A thread as a process, whatever it returns.
#[derive(Clone)]
pub struct ProcessRef(Arc<Life>);

/// Options for a [`Process`] before its start.
#[must_use = "a builder does nothing until build or start"]
pub struct ProcessBuilder<R>(Process<R>);

/// The thread as a process that the calling code runs in.
#[derive(Clone)]
pub struct CurrentProcess(Option<Arc<Life>>);

struct Life {
    inner: Mutex<Inner>,
    /// The number of the one that made it; 0 for the program itself.
    parent: u32,
    number: u32,
    children: AtomicU32,
    ended: Future<()>,
}

struct Inner {
    name: String,
    daemon: bool,
    phase: Phase,
}

enum Phase {
    New { work: Box<dyn FnOnce() -> i32 + Send>, end: Promise<()> },
    Started,
    Ended(i32),
}

/// Those that run, and the process that they run in: a copy of it has none of them.
static LIVING: Mutex<(u32, Vec<ProcessRef>)> = Mutex::new((0, Vec::new()));

/// The last number that was given.
static NUMBERS: AtomicU32 = AtomicU32::new(0);

/// Children of the program itself.
static FIRST: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static CURRENT: RefCell<Option<Arc<Life>>> = const { RefCell::new(None) };
}

fn current() -> Option<Arc<Life>> {
    CURRENT.with_borrow(Clone::clone)
}

/// The thread as a process that the calling code runs in.
pub fn current_process() -> CurrentProcess {
    CurrentProcess(current())
}

/// The threads that this one started as processes and that have not ended.
pub fn active_children() -> Vec<ProcessRef> {
    let me = current().map_or(0, |life| life.number);
    let living = lock(&LIVING);
    let is_here = living.0 == std::process::id();
    living.1.iter().filter(|one| is_here && one.0.parent == me).cloned().collect()
}

impl<R: Send + 'static> Process<R> {
    /// Makes one that is not started yet.
    ///
    /// # Errors
    /// None; as [`Process::new`](crate::Process::new) of processes has some.
    pub fn new<F, A>(function: F, args: A) -> Result<Self>
    where
        F: Entry<A, Output = R> + Send + 'static,
        A: Send + 'static,
    {
        Self::builder(function, args).build()
    }

    /// Starts a thread.
    ///
    /// # Errors
    /// As [`start`](ProcessRef::start).
    pub fn spawn<F, A>(function: F, args: A) -> Result<Self>
    where
        F: Entry<A, Output = R> + Send + 'static,
        A: Send + 'static,
    {
        Self::builder(function, args).start()
    }

    /// Options: name and daemon flag.
    pub fn builder<F, A>(function: F, args: A) -> ProcessBuilder<R>
    where
        F: Entry<A, Output = R> + Send + 'static,
        A: Send + 'static,
    {
        let value = Arc::new(Mutex::new(None));
        let slot = value.clone();
        let work = Box::new(move || {
            let returned = catch(|| function.call(args));
            let code = i32::from(returned.is_err());
            *lock(&slot) = Some(returned);
            code
        });
        ProcessBuilder(Self { inner: ProcessRef::new(work), value })
    }
}

impl<R> Process<R> {
    /// Waits for the end, and takes what the function returned.
    ///
    /// # Errors
    /// [`Error::Join`] when it panicked, and when the value has been taken already; else as
    /// [`join`](ProcessRef::join).
    pub fn result(&self) -> Result<R> {
        self.join()?;
        self.take()
    }

    /// As [`result`](Self::result), but waits at most `timeout`.
    ///
    /// # Errors
    /// [`Error::Timeout`], and as [`result`](Self::result).
    pub fn result_timeout(&self, timeout: Duration) -> Result<R> {
        if self.join_timeout(timeout)? { self.take() } else { Err(Error::Timeout) }
    }

    /// As [`result`](Self::result), without blocking the thread.
    ///
    /// # Errors
    /// As [`result`](Self::result).
    ///
    /// # Cancel safety
    /// Dropping the future leaves the thread and its value untouched.
    pub async fn result_async(&self) -> Result<R> {
        self.join_async().await?;
        self.take()
    }

    fn take(&self) -> Result<R> {
        let name = self.name();
        match lock(&self.value).take() {
            Some(Ok(value)) => Ok(value),
            Some(Err(report)) => Err(JoinError::Panicked { name, report }.into()),
            None => Err(JoinError::Lost { name, why: "it has been taken already".into() }.into()),
        }
    }
}

impl<R> Deref for Process<R> {
    type Target = ProcessRef;

    fn deref(&self) -> &ProcessRef {
        &self.inner
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl ProcessRef {
    fn new(work: Box<dyn FnOnce() -> i32 + Send>) -> Self {
        let maker = current();
        let nth = maker.as_ref().map_or(&FIRST, |life| &life.children);
        let nth = nth.fetch_add(1, Ordering::Relaxed) + 1;
        let (name, daemon) = match &maker {
            Some(life) => {
                let inner = lock(&life.inner);
                (format!("{}:{nth}", inner.name), inner.daemon)
            }
            None => (format!("DummyProcess-{nth}"), false),
        };
        let end = Promise::new();
        let ended = end.future();
        Self(Arc::new(Life {
            inner: Mutex::new(Inner { name, daemon, phase: Phase::New { work, end } }),
            parent: maker.map_or(0, |life| life.number),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed) + 1,
            children: AtomicU32::new(0),
            ended,
        }))
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// [`Error::AlreadyStarted`]; [`Error::Io`] when no thread is to be had.
    pub fn start(&self) -> Result<()> {
        let (work, end, name) = {
            let inner = &mut *lock(&self.0.inner);
            match std::mem::replace(&mut inner.phase, Phase::Started) {
                Phase::New { work, end } => (work, end, inner.name.clone()),
                other => {
                    inner.phase = other;
                    return Err(Error::AlreadyStarted);
                }
            }
        };
        self.enlist();
        let me = self.clone();
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            CURRENT.set(Some(me.0.clone()));
            me.has_ended(work());
            CURRENT.set(None);
            let _ = end.set_result(());
        });
        if let Err(error) = thread {
            // The function and the promise are gone with the attempt.
            self.has_ended(1);
            return Err(error.into());
        }
        Ok(())
    }

    fn enlist(&self) {
        let is_first = {
            let (process, living) = &mut *lock(&LIVING);
            let is_first = std::mem::replace(process, std::process::id()) != std::process::id();
            if is_first {
                living.clear();
            }
            living.push(self.clone());
            is_first
        };
        if is_first {
            finalizer::at_exit(0, join_all);
        }
    }

    fn has_ended(&self, code: i32) {
        lock(&LIVING).1.retain(|one| !Arc::ptr_eq(&one.0, &self.0));
        lock(&self.0.inner).phase = Phase::Ended(code);
    }

    /// The id of the process that it is a thread of; `None` before the start.
    pub fn pid(&self) -> Option<u32> {
        let is_new = matches!(lock(&self.0.inner).phase, Phase::New { .. });
        (!is_new).then(std::process::id)
    }

    /// Its name, such as `DummyProcess-1`, which is its thread's as well.
    pub fn name(&self) -> String {
        lock(&self.0.inner).name.clone()
    }

    /// Renames it before the start.
    ///
    /// # Errors
    /// [`Error::AlreadyStarted`].
    pub fn set_name(&self, name: impl Into<String>) -> Result<()> {
        let name = name.into();
        self.before_start(|inner| inner.name = name)
    }

    /// Whether the end of the program does not wait for it.
    pub fn is_daemon(&self) -> bool {
        lock(&self.0.inner).daemon
    }

    /// Sets the daemon flag before the start. It is inherited.
    ///
    /// # Errors
    /// [`Error::AlreadyStarted`].
    pub fn set_daemon(&self, daemon: bool) -> Result<()> {
        self.before_start(|inner| inner.daemon = daemon)
    }

    fn before_start(&self, set: impl FnOnce(&mut Inner)) -> Result<()> {
        let inner = &mut *lock(&self.0.inner);
        if !matches!(inner.phase, Phase::New { .. }) {
            return Err(Error::AlreadyStarted);
        }
        set(inner);
        Ok(())
    }

    /// 0 when the function has returned, 1 when it has panicked; `None` before.
    pub fn exitcode(&self) -> Option<i32> {
        match lock(&self.0.inner).phase {
            Phase::Ended(code) => Some(code),
            _ => None,
        }
    }

    /// Whether it has been started and has not ended.
    ///
    /// # Errors
    /// None; as that of processes has some.
    pub fn is_alive(&self) -> Result<bool> {
        Ok(matches!(lock(&self.0.inner).phase, Phase::Started))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`Error::NotStarted`]; [`Error::WouldDeadlock`] by itself.
    pub fn join(&self) -> Result<()> {
        self.join_until(None).map(drop)
    }

    /// Waits at most `timeout` for its end. True when it has ended.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool> {
        self.join_until(after(timeout))
    }

    /// As [`join`](Self::join), without blocking the thread.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    ///
    /// # Cancel safety
    /// Dropping the future ends only the wait.
    pub async fn join_async(&self) -> Result<()> {
        self.check_join()?;
        std::future::poll_fn(|context| self.0.ended.poll_done(context)).await;
        Ok(())
    }

    fn join_until(&self, deadline: Option<Instant>) -> Result<bool> {
        self.check_join()?;
        self.0.ended.wait_until(deadline)
    }

    fn check_join(&self) -> Result<()> {
        if matches!(lock(&self.0.inner).phase, Phase::New { .. }) {
            return Err(Error::NotStarted);
        }
        if current().is_some_and(|life| Arc::ptr_eq(&life, &self.0)) {
            return Err(Error::WouldDeadlock("a thread would join itself"));
        }
        Ok(())
    }
}

impl fmt::Debug for ProcessRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = lock(&self.0.inner);
        let state = match inner.phase {
            Phase::New { .. } => "initial".to_owned(),
            Phase::Started => "started".to_owned(),
            Phase::Ended(0) => "stopped".to_owned(),
            Phase::Ended(code) => format!("stopped[{code}]"),
        };
        write!(f, "DummyProcess({}, {state})", inner.name)
    }
}

impl<R: Send + 'static> ProcessBuilder<R> {
    /// Its name; by default after its place, such as `DummyProcess-1`.
    pub fn name(self, name: impl Into<String>) -> Self {
        lock(&self.0.inner.0.inner).name = name.into();
        self
    }

    /// Whether the end of the program does not wait for it.
    pub fn daemon(self, daemon: bool) -> Self {
        lock(&self.0.inner.0.inner).daemon = daemon;
        self
    }

    /// Makes it, and does not start it.
    ///
    /// # Errors
    /// None; as that of processes has some.
    pub fn build(self) -> Result<Process<R>> {
        Ok(self.0)
    }

    /// Makes and starts it.
    ///
    /// # Errors
    /// As [`start`](ProcessRef::start).
    pub fn start(self) -> Result<Process<R>> {
        self.0.start()?;
        Ok(self.0)
    }
}

impl<R> fmt::Debug for ProcessBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProcessBuilder<{}>({:?})", type_name::<R>(), self.0)
    }
}

impl CurrentProcess {
    /// Its name: that of the process itself outside of what was started here.
    pub fn name(&self) -> String {
        match &self.0 {
            Some(life) => lock(&life.inner).name.clone(),
            None => crate::current_process().name(),
        }
    }

    /// The id of the process that it is a thread of.
    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    /// Whether it is a daemon.
    pub fn is_daemon(&self) -> bool {
        match &self.0 {
            Some(life) => lock(&life.inner).daemon,
            None => crate::current_process().is_daemon(),
        }
    }

    /// True: it is running this code.
    pub fn is_alive(&self) -> bool {
        true
    }

    /// `None`: it has not ended.
    pub fn exitcode(&self) -> Option<i32> {
        None
    }

    /// The key of the process that it is a thread of.
    pub fn authkey(&self) -> Vec<u8> {
        crate::current_process().authkey()
    }
}

impl fmt::Debug for CurrentProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(life) => ProcessRef(life.clone()).fmt(f),
            None => crate::current_process().fmt(f),
        }
    }
}

/// At the end of the program.
fn join_all() {
    loop {
        let next = {
            let living = lock(&LIVING);
            let is_awaited = |one: &&ProcessRef| {
                !one.is_daemon() && current().is_none_or(|life| !Arc::ptr_eq(&life, &one.0))
            };
            living.1.iter().find(is_awaited).cloned()
        };
        let Some(next) = next else { return };
        if let Err(error) = next.join() {
            tracing::warn!(target: "procession", %error, "{next:?} is not waited for");
            return;
        }
    }
}
