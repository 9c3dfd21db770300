//! The child's side of a start: from the constructor to the end of the process.
//!
//! Owns the refusal of forced child mode, the setting up of the process (death signal,
//! surroundings, streams, identity), the running of its body, and its report. It must
//! never return to the caller: in a child `main` does not run.

use super::hello::{self, Hello, Report, StartFault, ToChild, ToParent};
use super::{ParentDeath, StartMethod, zygote};
use crate::child::IN_MEMORY_FILE;
use crate::function::{Ending, Start};
use crate::link::{Link, LinkError};
use crate::node::{self, Birth, Parent};
use crate::sync::after;
use crate::sys::{environment, exit, process, socket};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigHandler, Signal};
use nix::sys::socket::{getsockopt, sockopt};
use procession_protocols::wire::Kind;
use std::ffi::OsStr;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The environment variable that marks a child; its value is the hello's nonce.
pub(crate) const MARK: &str = "PROCESSION_CHILD";
/// The control socket's number in a spawned child.
pub(crate) const CONTROL_FD: i32 = 3;
/// The data socket's number in a spawned child.
pub(crate) const DATA_FD: i32 = 4;

/// Exit code of a process whose child mode was refused.
pub(super) const REFUSED_CODE: i32 = 126;

/// A parent that has said nothing for so long will not: its own deadline is far shorter.
pub(super) const HELLO_TIMEOUT: Duration = Duration::from_mins(5);

/// A returned value above this size travels in a memory file, so that a child never
/// waits for a parent that is not reading, in bytes.
const INLINE_RESULT: usize = 64 * 1024;

/// Of several threads that end a process the first says how it ends, and has so long for it.
const FIRST_ENDS: Duration = Duration::from_secs(1);

/// Serves as a spawned child. Called before `main`, with the mark set.
pub(crate) fn enter(rest_of_constructors: impl FnOnce()) -> ! {
    let nonce = std::env::var_os(MARK).unwrap_or_default();
    match accept(&nonce) {
        Ok((control, data, hello)) => {
            environment::remove(OsStr::new(MARK));
            serve(control, data, &hello, rest_of_constructors)
        }
        // Nobody is there to be told, and nothing is wrong with this process.
        Err(NoChild::Abandoned) => exit::now(REFUSED_CODE),
        Err(NoChild::Refused(why)) => {
            eprintln!("procession: child mode refused: {why}");
            exit::now(REFUSED_CODE)
        }
    }
}

/// Why a process is no child, although it is marked as one.
pub(super) enum NoChild {
    /// Its parent died, or gave the start up, before it said anything.
    Abandoned,
    /// Nobody may make it one in this way.
    Refused(String),
}

impl<T: Into<String>> From<T> for NoChild {
    fn from(why: T) -> Self {
        Self::Refused(why.into())
    }
}

/// Runs as a child until the end of the process.
pub(crate) fn serve(
    control: Link,
    data: Link,
    hello: &Hello,
    before_user_code: impl FnOnce(),
) -> ! {
    let work = find_body(hello);
    let (args, fds) = prepare(control, data, hello, work.as_ref().err());
    before_user_code();
    let ending = match work {
        // It was refused above.
        Err(_) => exit::now(REFUSED_CODE),
        Ok(_) if zygote::is_wanted(hello) => match run(zygote::serve_requests, args, fds) {
            // The zygote's frames are left behind: a worker's stack shows its own only.
            Ok(Ok(request)) => zygote::become_worker(request),
            // As Python's tracker, it exits with 1 when it had something to remove.
            Ok(Err(failed)) => Ending::said(Report::Returned { failed }),
            Err(ending) => *ending,
        },
        Ok(body) => run(body, args, fds).unwrap_or_else(|ending| *ending),
    };
    finish(hello.method, ending)
}

/// Runs `work`, whatever function the hello names, as a child until the end of the
/// process. Its arguments come as ever, and are nothing.
pub(super) fn serve_work(
    control: Link,
    data: Link,
    hello: &Hello,
    work: impl FnOnce(Start<'_>) -> Result<Ending, StartFault>,
) -> ! {
    let (args, fds) = prepare(control, data, hello, None);
    finish(hello.method, run(work, args, fds).unwrap_or_else(|ending| *ending))
}

/// Checks that our parent, and nobody else, made this process a child.
fn accept(nonce: &OsStr) -> Result<(Link, Link, Box<Hello>), NoChild> {
    if environment::is_privileged() {
        return Err("this program runs with more rights than its caller".into());
    }
    let control = socket::inherited(CONTROL_FD).ok_or("no control socket")?;
    let data = socket::inherited(DATA_FD).ok_or("no data socket")?;
    for end in [&control, &data] {
        let peer = getsockopt(end, sockopt::PeerCredentials)
            .map_err(|_| "an inherited descriptor is no Unix socket")?;
        if peer.uid() != nix::unistd::getuid().as_raw()
            || peer.pid() != nix::unistd::getppid().as_raw()
        {
            if has_ended(peer.pid()) {
                return Err(NoChild::Abandoned);
            }
            return Err("the inherited socket was not made by the parent process".into());
        }
    }
    socket::close_from(DATA_FD.cast_unsigned() + 1)
        .map_err(|error| format!("close_range: {error}"))?;
    fill_standard_streams().map_err(|error| format!("/dev/null: {error}"))?;
    let control = Link::new(control);
    let (hello, _) = receive_hello(&control, after(HELLO_TIMEOUT))?;
    if OsStr::new(&hello.nonce.to_string()) != nonce {
        return Err("the hello is not for this process".into());
    }
    Ok((control, Link::new(data), hello))
}

/// Whether a process has ended. A zombie has, though it still has its number.
fn has_ended(pid: i32) -> bool {
    let Ok(pidfd) = process::pidfd_open(pid) else { return true };
    crate::sync::readable(pidfd.as_fd(), Some(Instant::now())).unwrap_or(false)
}

/// Waits for the hello, and what comes with it.
pub(super) fn receive_hello(
    control: &Link,
    deadline: Option<Instant>,
) -> Result<(Box<Hello>, Vec<OwnedFd>), NoChild> {
    match control.recv(deadline) {
        Ok(Some(mut frame)) => {
            let given = std::mem::take(&mut frame.fds);
            match hello::read(frame) {
                Ok(ToChild::Hello(hello)) => Ok((hello, given)),
                Ok(_) => Err("another message came in place of the hello".into()),
                Err(error) => Err(error.to_string().into()),
            }
        }
        Ok(None) => Err("no hello came".into()),
        Err(LinkError::Closed) => Err(NoChild::Abandoned),
        Err(error) => Err(format!("no hello came: {error}").into()),
    }
}

/// A program expects descriptors 0 to 2 to exist; the parent may have none.
pub(super) fn fill_standard_streams() -> io::Result<()> {
    loop {
        let null = super::spec::null_device()?;
        if null.as_raw_fd() > 2 {
            return Ok(());
        }
        // It has filled a gap, and stays for good.
        std::mem::forget(null);
    }
}

type Arguments = (Vec<u8>, Vec<OwnedFd>);

/// Makes this process what the hello says, and takes its arguments. With a fault it goes
/// no further than that is worth.
fn prepare(control: Link, data: Link, hello: &Hello, fault: Option<&StartFault>) -> Arguments {
    let so_far = fault.cloned().map_or(Ok(()), Err);
    match so_far.and_then(|()| set_up(hello)).and_then(|()| receive_args(&control)) {
        Ok(arguments) => {
            let pid = hello.parent_pid;
            node::be_born(Birth {
                id: hello.node,
                path: hello.path.clone(),
                name: hello.name.clone(),
                daemon: hello.daemon,
                allow_nested: hello.allow_nested,
                method: hello.method,
                authkey: hello.authkey.clone(),
                argv: hello.argv.clone(),
                parent: Parent {
                    pid,
                    id: hello.parent,
                    name: hello.parent_name.clone(),
                    pidfd: process::pidfd_open(pid.cast_signed()).ok(),
                    control,
                    data: Arc::new(data),
                    ended: false.into(),
                    mail_taken: 0.into(),
                },
            });
            node::guard::install(hello);
            node::fix_start_method(hello.default_method, true);
            crate::panic::print_as_child(|| node::current().name());
            if hello.attend {
                // Without the thread its watchdog kills this process, which says enough.
                let _ = node::control::attend();
            }
            arguments
        }
        Err(fault) => {
            // The parent may have given up already; there is nobody else to tell.
            let _ = say(&control, &ToParent::Refused(fault));
            exit::now(REFUSED_CODE)
        }
    }
}

fn find_body(hello: &Hello) -> Result<crate::function::Body, StartFault> {
    if !hello.entry.is_of_this_image() {
        return Err(StartFault::ForeignImage);
    }
    hello.entry.body().ok_or(StartFault::NoSuchFunction)
}

fn receive_args(control: &Link) -> Result<Arguments, StartFault> {
    match control.recv(after(HELLO_TIMEOUT)) {
        Ok(Some(frame)) if frame.header.kind == Kind::Payload => Ok((frame.payload, frame.fds)),
        Ok(_) => Err(StartFault::Arguments("they did not come".into())),
        Err(error) => Err(StartFault::Arguments(error.to_string())),
    }
}

/// Sets up what exec and clone do not.
fn set_up(hello: &Hello) -> Result<(), StartFault> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |why: io::Error| StartFault::Surroundings { what, why: why.to_string() }
    };
    if hello.on_parent_death == ParentDeath::Kill {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
            .map_err(|error| failed("death signal")(error.into()))?;
    } else if hello.method == StartMethod::ForkServer {
        // It had one while it waited for this.
        nix::sys::prctl::set_pdeathsig(None)
            .map_err(|error| failed("death signal")(error.into()))?;
    }
    // A parent that died before the call above sends no signal any more.
    if nix::unistd::getppid().as_raw().cast_unsigned() != hello.parent_pid
        && hello.on_parent_death != ParentDeath::Detached
    {
        exit::now(REFUSED_CODE);
    }
    // SIGPIPE as Rust's own start-up code sets it: a broken pipe is an error, not an end.
    environment::set_signal(Signal::SIGPIPE, SigHandler::SigIgn).map_err(failed("SIGPIPE"))?;
    // Whatever it was where this process comes from: a zygote ignores it, as do programs that
    // a shell runs in the background, and a handler of the library's writes to a pipe that a
    // forked copy shares with its parent.
    let interrupt = if hello.ignore_sigint { SigHandler::SigIgn } else { SigHandler::SigDfl };
    environment::set_signal(Signal::SIGINT, interrupt).map_err(failed("SIGINT"))?;
    if hello.contain {
        nix::sys::prctl::set_child_subreaper(true)
            .map_err(|error| failed("subreaper flag")(error.into()))?;
    }
    hello.surroundings.apply(failed)
}

/// Runs the body; the error is an end without what it returns.
fn run<T>(
    body: impl FnOnce(Start<'_>) -> Result<T, StartFault>,
    args: Vec<u8>,
    fds: Vec<OwnedFd>,
) -> Result<T, Box<Ending>> {
    let node = node::current();
    let Some(parent) = node.parent() else { unreachable!("a child has a parent") };
    let mut is_ready = false;
    let mut ready = || {
        is_ready = true;
        let _ = say(&parent.control, &ToParent::Ready);
    };
    let _span = node::guard::root_span().entered();
    tracing::info!(target: "procession", "child process calling self.run()");
    let start = Start { args, fds, ready: &mut ready };
    let fault = match crate::panic::catch(|| body(start)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(fault)) => fault,
        Err(report) if is_ready => return Err(Box::new(Ending::said(Report::Panicked(report)))),
        Err(report) => StartFault::Panicked(report),
    };
    let _ = say(&parent.control, &ToParent::Refused(fault));
    exit::now(REFUSED_CODE)
}

/// Reports, winds down, ends.
fn finish(method: StartMethod, mut ending: Ending) -> ! {
    let node = node::current();
    if let Some(complaint) = &ending.complaint {
        crate::log::write_here(format!("Process {}:\n{complaint}\n", node.name()).as_bytes());
    }
    if let Some(parent) = node.parent() {
        // A parent that has died will not miss it.
        let _ = report(&parent.control, &mut ending);
    }
    leave(method, ending.exitcode())
}

/// Ends this process in good order: exit hooks, children, buffers.
pub(crate) fn leave(method: StartMethod, code: i32) -> ! {
    if !node::leave::wind_down() {
        std::thread::sleep(FIRST_ENDS);
    }
    if code == 0 {
        crate::share::roads::take_leave();
    }
    tracing::info!(target: "procession", "process exiting with exitcode {code}");
    if method == StartMethod::Fork {
        // The exit handlers in this image belong to the parent.
        let _ = io::stdout().flush();
        exit::now(code)
    }
    std::process::exit(code)
}

/// Tells the parent how the body ended. A value that finds no room is lost, which makes
/// another ending of it.
fn report(control: &Link, ending: &mut Ending) -> Result<(), LinkError> {
    let mut value = std::mem::take(&mut ending.value);
    let mut flags = 0;
    if matches!(ending.report, Report::Returned { .. }) && value.bytes.len() > INLINE_RESULT {
        match memory_file(&value.bytes) {
            Ok(file) => {
                value.bytes = Vec::new();
                value.fds.push(file);
                flags = IN_MEMORY_FILE;
            }
            Err(error) => {
                let length = value.bytes.len();
                let why = format!("no room for its {length} bytes: {error}");
                ending.report = Report::Unencodable(why);
            }
        }
    }
    let said = ToParent::Report(ending.report.clone());
    if !matches!(ending.report, Report::Returned { .. }) {
        return say(control, &said);
    }
    let said = crate::codec::encode(&said).map_err(io::Error::other)?;
    hello::post_both(control, said, value, flags)?;
    control.drain()
}

fn memory_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = memfd_create(c"procession-result", MFdFlags::MFD_CLOEXEC)?;
    let mut file = std::fs::File::from(file);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// Sends a control message to the parent.
pub(crate) fn say(control: &Link, message: &ToParent) -> Result<(), LinkError> {
    hello::send(control, message, None)
}
