//! `dummy::Process`: a function that runs in a thread, with the face of a process.
//!
//! Owns the threads that were started so: their names and their ends. It must never be asked to
//! end one. Neighbours: `current.rs` is what such a thread knows of itself, `living.rs` knows
//! those that run.

use super::crew::named;
use super::living;
use crate::error::{Error, JoinError, Result};
use crate::executor::{Future, Promise};
use procession_protocols::exit::PanicReport;
use procession_runtime::function::Entry;
use procession_runtime::node::leave::{is_leaver, this_thread};
use procession_runtime::panic::catch;
use procession_runtime::sync::{after, lock};
use std::any::type_name;
use std::cell::RefCell;
use std::fmt;
use std::io::{PipeReader, PipeWriter, Write};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
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
pub struct ProcessRef(pub(super) Arc<Life>);

/// Options for a [`Process`] before its start.
#[must_use = "a builder does nothing until build or start"]
pub struct ProcessBuilder<R>(Process<R>);

pub(super) struct Life {
    inner: Mutex<Inner>,
    /// The number of the one that made it; 0 for the program itself.
    pub(super) parent: u32,
    pub(super) number: u32,
    children: AtomicU32,
    /// The system's number of its thread; 0 before it begins.
    thread: AtomicI32,
    ended: Future<()>,
}

struct Inner {
    name: String,
    daemon: bool,
    phase: Phase,
    watch: Option<Watch>,
}

enum Phase {
    New(Work),
    /// Its thread is asked for.
    Starting,
    Started,
    Ended(i32),
    /// With the exit code, if it was started.
    Closed(Option<i32>),
}

/// What its thread is to do, and how it says that it has.
struct Work {
    run: Box<dyn FnOnce() -> i32 + Send>,
    end: Promise<()>,
}

/// A descriptor that becomes readable when a thread that stands for a process ends.
#[derive(Clone, Debug)]
pub struct Sentinel(Arc<PipeReader>);

impl AsFd for Sentinel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The pipe of the sentinels of one thread, made when the first is asked for. Its other end
/// is gone once the thread has ended.
struct Watch(Sentinel, Option<PipeWriter>);

/// The last number that was given.
static NUMBERS: AtomicU32 = AtomicU32::new(0);

/// Children of the program itself.
static FIRST: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static CURRENT: RefCell<Option<Arc<Life>>> = const { RefCell::new(None) };
}

/// That which runs the calling code. A thread's other locals may ask after this one has gone.
pub(super) fn current() -> Option<Arc<Life>> {
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
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
    fn new(run: Box<dyn FnOnce() -> i32 + Send>) -> Self {
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
            inner: Mutex::new(Inner {
                name,
                daemon,
                phase: Phase::New(Work { run, end }),
                watch: None,
            }),
            parent: maker.map_or(0, |life| life.number),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed) + 1,
            children: AtomicU32::new(0),
            thread: AtomicI32::new(0),
            ended,
        }))
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// [`Error::AlreadyStarted`], [`Error::Closed`]; [`Error::Io`] when no thread is to be
    /// had: then it can be started again.
    pub fn start(&self) -> Result<()> {
        let (work, name) = {
            let inner = &mut *lock(&self.0.inner);
            match std::mem::replace(&mut inner.phase, Phase::Starting) {
                Phase::New(work) => (work, inner.name.clone()),
                other => {
                    let is_closed = matches!(other, Phase::Closed(_));
                    inner.phase = other;
                    return Err(if is_closed { Error::Closed } else { Error::AlreadyStarted });
                }
            }
        };
        living::enlist(self);
        // What a thread is given is gone with it, also when there comes to be none.
        let given = Arc::new(Mutex::new(Some(work)));
        let (me, work) = (self.clone(), given.clone());
        let thread = named(&name).spawn(move || {
            let Some(Work { run, end }) = lock(&work).take() else { return };
            CURRENT.set(Some(me.0.clone()));
            me.0.thread.store(this_thread(), Ordering::Release);
            me.has_begun();
            // What it returned may be dropped here, and panic, when nobody has a handle.
            me.has_ended(catch(run).unwrap_or(1));
            CURRENT.set(None);
            let _ = end.set_result(());
        });
        if let Err(error) = thread {
            living::strike(self);
            if let Some(work) = lock(&given).take() {
                lock(&self.0.inner).phase = Phase::New(work);
            }
            return Err(error.into());
        }
        self.has_begun();
        Ok(())
    }

    /// Its thread is there. It may have ended by now.
    fn has_begun(&self) {
        let phase = &mut lock(&self.0.inner).phase;
        if matches!(phase, Phase::Starting) {
            *phase = Phase::Started;
        }
    }

    fn has_ended(&self, code: i32) {
        living::strike(self);
        let inner = &mut *lock(&self.0.inner);
        inner.phase = Phase::Ended(code);
        if let Some(Watch(_, end)) = &mut inner.watch {
            // A copy of this process may hold this end open, so what is written tells it.
            let _ = end.take().map(|mut end| end.write_all(b"."));
        }
    }

    /// The id of the process that it is a thread of; `None` before the start.
    pub fn pid(&self) -> Option<u32> {
        let phase = &lock(&self.0.inner).phase;
        let is_new = matches!(phase, Phase::New(_) | Phase::Starting | Phase::Closed(None));
        (!is_new).then(std::process::id)
    }

    /// A descriptor that becomes readable when it ends, for [`wait`](crate::wait()).
    ///
    /// # Errors
    /// [`Error::NotStarted`], [`Error::Closed`]; [`Error::Io`] when none is to be had.
    pub fn sentinel(&self) -> Result<Sentinel> {
        let inner = &mut *lock(&self.0.inner);
        inner.check_started()?;
        if inner.watch.is_none() {
            let (here, there) = std::io::pipe()?;
            let end = matches!(inner.phase, Phase::Started).then_some(there);
            inner.watch = Some(Watch(Sentinel(Arc::new(here)), end));
        }
        inner.watch.as_ref().map(|watch| watch.0.clone()).ok_or(Error::NotStarted)
    }

    /// Gives back what the handle holds. Closing twice is no error; afterwards it cannot be
    /// joined or started.
    ///
    /// # Errors
    /// [`Error::StillRunning`], also while another thread starts it.
    pub fn close(&self) -> Result<()> {
        let inner = &mut *lock(&self.0.inner);
        let code = match inner.phase {
            Phase::New(_) => None,
            Phase::Starting | Phase::Started => return Err(Error::StillRunning),
            Phase::Ended(code) => Some(code),
            Phase::Closed(code) => code,
        };
        inner.phase = Phase::Closed(code);
        inner.watch = None;
        Ok(())
    }

    /// Its name, such as `DummyProcess-1`, which is its thread's as well.
    pub fn name(&self) -> String {
        self.0.name()
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
        self.0.is_daemon()
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
        if !matches!(inner.phase, Phase::New(_)) {
            return Err(Error::AlreadyStarted);
        }
        set(inner);
        Ok(())
    }

    /// 0 when the function has returned, 1 when it has panicked; `None` before.
    pub fn exitcode(&self) -> Option<i32> {
        match lock(&self.0.inner).phase {
            Phase::Ended(code) => Some(code),
            Phase::Closed(code) => code,
            _ => None,
        }
    }

    /// Whether it has been started and has not ended.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn is_alive(&self) -> Result<bool> {
        match lock(&self.0.inner).phase {
            Phase::Closed(_) => Err(Error::Closed),
            Phase::Started => Ok(true),
            _ => Ok(false),
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`Error::NotStarted`], [`Error::Closed`]; [`Error::WouldDeadlock`] by itself.
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
        self.0.ended.has_ended().await;
        Ok(())
    }

    fn join_until(&self, deadline: Option<Instant>) -> Result<bool> {
        self.check_join()?;
        self.0.ended.wait_until(deadline)
    }

    fn check_join(&self) -> Result<()> {
        lock(&self.0.inner).check_started()?;
        if current().is_some_and(|life| Arc::ptr_eq(&life, &self.0)) {
            return Err(Error::WouldDeadlock("a thread would join itself"));
        }
        Ok(())
    }
}

impl Inner {
    fn check_started(&self) -> Result<()> {
        match self.phase {
            Phase::New(_) | Phase::Starting => Err(Error::NotStarted),
            Phase::Closed(_) => Err(Error::Closed),
            Phase::Started | Phase::Ended(_) => Ok(()),
        }
    }
}

impl Life {
    /// Whether it is ending the program, and so will not end by itself.
    pub(super) fn ends_the_program(&self) -> bool {
        is_leaver(self.thread.load(Ordering::Acquire))
    }

    pub(super) fn name(&self) -> String {
        lock(&self.inner).name.clone()
    }

    pub(super) fn is_daemon(&self) -> bool {
        lock(&self.inner).daemon
    }
}

impl fmt::Debug for ProcessRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = lock(&self.0.inner);
        let state = match inner.phase {
            Phase::New(_) => "initial".to_owned(),
            Phase::Starting => "starting".to_owned(),
            Phase::Started => "started".to_owned(),
            Phase::Ended(0) => "stopped".to_owned(),
            Phase::Ended(code) => format!("stopped[{code}]"),
            Phase::Closed(_) => "closed".to_owned(),
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
