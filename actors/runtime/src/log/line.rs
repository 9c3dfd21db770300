//! Writing whole log lines to stderr, from several threads and processes at once.
//!
//! Owns the form of a line, the process's name, and who writes. It must never hold a
//! lock while it calls the sink or formats, and it must never panic for a stderr that is
//! closed, full or gone: then lines are lost. Its neighbour above is `log`.
//!
//! A pipe takes up to [`PIPE_BUF`] bytes whole, whoever else writes to it. A longer write
//! is cut when the pipe is full, and what other processes write lands in the gap. So a
//! child hands its long lines to the sink, by which they reach the one process that
//! writes such lines for its tree; threads of one process take turns by a lock. A short
//! line of another process can still land in a long one when the pipe is full.

use super::LogLevel;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::cell::Cell;
use std::fmt;
use std::fmt::Write;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock, RwLockWriteGuard};

/// How long a write to a pipe may be to arrive in one piece.
pub const PIPE_BUF: usize = libc::PIPE_BUF;

/// How long to wait for room in a stderr that does not block.
const ROOM_WAIT_MS: u16 = 5_000;

/// Takes a line longer than [`PIPE_BUF`], its line end included, to whoever writes it;
/// `false` says that it could not, and the line is written here.
pub type LongLineSink = Box<dyn Fn(&[u8]) -> bool + Send + Sync>;

static SHOW_PID: AtomicBool = AtomicBool::new(false);
static STDERR: LazyLock<Output> = LazyLock::new(|| Output::new(None));

thread_local! {
    /// Set while the sink runs: a long line that the sink itself logs goes straight out.
    static IN_SINK: Cell<bool> = const { Cell::new(false) };
}

/// Where lines go, and what they have in common.
pub(super) struct Output {
    shared: RwLock<Shared>,
    /// `None`: stderr, whatever descriptor 2 leads to at that time.
    to: Option<OwnedFd>,
}

/// Locked for an instant only, so that a fork need not wait for it.
struct Shared {
    name: Arc<str>,
    sink: Option<Arc<LongLineSink>>,
    /// Held while a line is written, which takes as long as the reader likes. A forked
    /// child gets a new one, since the holder is not there to let go.
    writing: &'static Mutex<()>,
}

impl Shared {
    fn new_lock() -> &'static Mutex<()> {
        Box::leak(Box::new(Mutex::new(())))
    }
}

/// Names this process in its lines; `MainProcess` until then.
pub fn set_process_name(name: &str) {
    STDERR.shared_mut().name = Arc::from(name);
}

/// The name of this process.
pub fn process_name() -> Arc<str> {
    STDERR.read(|shared| shared.name.clone())
}

/// Whether lines end in ` pid=N`, or are Python's text alone (the default).
pub fn show_pid(show: bool) {
    SHOW_PID.store(show, Ordering::Relaxed);
}

/// Whether lines end in ` pid=N`, which children inherit.
pub fn shows_pid() -> bool {
    SHOW_PID.load(Ordering::Relaxed)
}

/// Sets who takes long lines, in a child; `None` has them written here.
pub fn set_long_line_sink(sink: Option<LongLineSink>) {
    let old = std::mem::replace(&mut STDERR.shared_mut().sink, sink.map(Arc::new));
    // Dropped after the lock was let go: it may log.
    drop(old);
}

/// Writes a line that came from a child, by the same rules as one's own: it may go on to
/// this process's own sink. It can block for as long as stderr's reader does.
pub fn write_line(line: &[u8]) {
    if line.ends_with(b"\n") {
        STDERR.line(line);
    } else {
        STDERR.line(&[line, b"\n"].concat());
    }
}

/// Writes bytes by the same rules, as they are.
pub(crate) fn write_raw(bytes: &[u8]) {
    if !bytes.is_empty() {
        STDERR.line(bytes);
    }
}

/// Writes bytes here, whatever sink there is: for the last words of a process.
pub(crate) fn write_here(bytes: &[u8]) {
    if !bytes.is_empty() {
        STDERR.write(bytes);
    }
}

/// Keeps the state of this file still across a fork. It waits for no write.
pub fn hold_for_fork() -> ForkHold {
    ForkHold { shared: STDERR.shared_mut() }
}

/// What [`hold_for_fork`] gives. Drop it in the parent; in the child call
/// [`ForkHold::renew`], in the thread that took it.
#[must_use = "the state is held only as long as this lives"]
pub struct ForkHold {
    shared: RwLockWriteGuard<'static, Shared>,
}

impl ForkHold {
    /// Forgets what belongs to the parent: its sink, and the thread that may be writing.
    pub fn renew(mut self) {
        self.shared.writing = Shared::new_lock();
        // Leaked: what it holds is a copy of the parent's.
        std::mem::forget(self.shared.sink.take());
    }
}

impl fmt::Debug for ForkHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForkHold").finish_non_exhaustive()
    }
}

pub(super) fn stderr() -> &'static Output {
    &STDERR
}

impl Output {
    pub(super) fn new(to: Option<OwnedFd>) -> Self {
        let shared =
            Shared { name: Arc::from("MainProcess"), sink: None, writing: Shared::new_lock() };
        Self { shared: RwLock::new(shared), to }
    }

    /// Formats an event and writes it: `fields` is empty or starts with a blank.
    pub(super) fn event(&self, level: LogLevel, message: &str, fields: &str) {
        let name = self.read(|shared| shared.name.clone());
        let pid = SHOW_PID.load(Ordering::Relaxed).then(std::process::id);
        self.line(format_line(level, &name, message, fields, pid).as_bytes());
    }

    #[cfg(test)]
    pub(super) fn set_sink(&self, sink: LongLineSink) {
        self.shared_mut().sink = Some(Arc::new(sink));
    }

    #[cfg(test)]
    pub(super) fn set_name(&self, name: &str) {
        self.shared_mut().name = Arc::from(name);
    }

    fn line(&self, line: &[u8]) {
        if line.len() > PIPE_BUF && self.offer(line) {
            return;
        }
        self.write(line);
    }

    fn write(&self, line: &[u8]) {
        let writing = self.read(|shared| shared.writing);
        let _turn = writing.lock().unwrap_or_else(PoisonError::into_inner);
        // A stderr that takes nothing is nobody's error: there is no place left to say so.
        let _ = match &self.to {
            None => write_all(io::stderr().as_fd(), line),
            Some(fd) => write_all(fd.as_fd(), line),
        };
    }

    /// Offers a long line to the sink.
    fn offer(&self, line: &[u8]) -> bool {
        /// Resets the mark also when the sink panics.
        struct Mark;
        impl Drop for Mark {
            fn drop(&mut self) {
                IN_SINK.set(false);
            }
        }
        let Some(sink) = self.read(|shared| shared.sink.clone()) else {
            return false;
        };
        if IN_SINK.replace(true) {
            return false;
        }
        let _mark = Mark;
        sink(line)
    }

    fn read<T>(&self, get: impl FnOnce(&Shared) -> T) -> T {
        get(&self.shared.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn shared_mut(&self) -> RwLockWriteGuard<'_, Shared> {
        self.shared.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One line with one line end at its end. Line ends within stay: they are written with it.
fn format_line(
    level: LogLevel,
    name: &str,
    message: &str,
    fields: &str,
    pid: Option<u32>,
) -> String {
    let message = message.trim_end_matches(['\n', '\r']);
    let mut line = String::with_capacity(message.len() + fields.len() + name.len() + 40);
    // Writing to a String can't fail.
    let _ = write!(line, "[{level}/{name}] {message}{fields}");
    line.truncate(line.trim_end_matches(['\n', '\r']).len());
    if let Some(pid) = pid {
        let _ = write!(line, " pid={pid}");
    }
    line.push('\n');
    line
}

/// Writes the whole line: in one write(2), unless the other side takes only a part.
fn write_all(to: BorrowedFd<'_>, mut line: &[u8]) -> nix::Result<()> {
    while !line.is_empty() {
        match nix::unistd::write(to, line) {
            Ok(0) => return Err(Errno::EIO),
            Ok(written) => line = &line[written..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => wait_for_room(to)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn wait_for_room(to: BorrowedFd<'_>) -> nix::Result<()> {
    let mut fds = [PollFd::new(to, PollFlags::POLLOUT)];
    match poll(&mut fds, PollTimeout::from(ROOM_WAIT_MS)) {
        Ok(0) => Err(Errno::EAGAIN),
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_pythons_and_ends_once() {
        let line =
            |message, fields, pid| format_line(LogLevel::Info, "Process-1:2", message, fields, pid);
        assert_eq!(
            line("child process calling self.run()", "", None),
            "[INFO/Process-1:2] child process calling self.run()\n"
        );
        assert_eq!(line("hello\n\n", " n=1", Some(7)), "[INFO/Process-1:2] hello n=1 pid=7\n");
        assert_eq!(line("two\nlines\n", "", None), "[INFO/Process-1:2] two\nlines\n");
        assert_eq!(line("", "", None), "[INFO/Process-1:2] \n");
        assert_eq!(line("x", " why=a\n", None), "[INFO/Process-1:2] x why=a\n");
    }

    #[test]
    fn a_closed_reader_and_a_full_pipe_lose_the_line_only() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let output = Output::new(Some(writer.into()));
        output.line(b"nobody reads this\n");
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        Output::new(Some(full.into())).line(b"no room\n");
    }

    #[test]
    fn a_sink_that_logs_long_lines_is_not_asked_about_them() {
        use std::io::Read;
        let (mut reader, writer) = io::pipe().unwrap();
        let output: &'static Output = Box::leak(Box::new(Output::new(Some(writer.into()))));
        output.set_sink(Box::new(|_| {
            output.line(&[b'i'; PIPE_BUF + 1]);
            true
        }));
        output.line(&[b'o'; PIPE_BUF + 1]);
        let mut got = vec![0; PIPE_BUF + 1];
        reader.read_exact(&mut got).unwrap();
        assert!(got.iter().all(|byte| *byte == b'i'));
    }

    #[test]
    fn a_pipe_that_does_not_block_is_waited_for() {
        use std::io::Read;
        let (mut reader, writer) = io::pipe().unwrap();
        nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))
            .unwrap();
        let long = [vec![b'x'; 300_000], vec![b'\n']].concat();
        let expected = long.len();
        let thread = std::thread::spawn(move || Output::new(Some(writer.into())).line(&long));
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        thread.join().unwrap();
        assert_eq!(got.len(), expected);
    }

    #[test]
    fn a_held_state_is_renewed_for_a_forked_child() {
        let output: &'static Output = Box::leak(Box::new(Output::new(None)));
        output.set_sink(Box::new(|_| true));
        let writing = output.read(|shared| shared.writing);
        let _stuck = writing.lock().unwrap();
        ForkHold { shared: output.shared_mut() }.renew();
        assert!(output.read(|shared| shared.writing.try_lock().is_ok()));
        assert!(output.read(|shared| shared.sink.is_none()));
    }
}
