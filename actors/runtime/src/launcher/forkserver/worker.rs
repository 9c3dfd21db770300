//! A worker that a zygote was asked for, until it gets its hello.
//!
//! Owns our ends of its links, and what is known of it: nothing at first, then that it is
//! born. All is said on its control link, by the zygote (`Cloned`, with a pidfd, or
//! `NotCloned`) and by the worker itself (`Born`), which is for the case that the zygote
//! dies in between. A worker that is given up is killed and reaped. Neighbour: `server`
//! asks; `crate::launcher::zygote` is the other side.
//!
//! ```text
//! asked ──Cloned──> made ──hello──> a child like any other
//!   ├──Born, zygote dead──> made      └──given up──> killed, reaped
//!   ├──NotCloned──> failed
//!   └──end of the link──> lost
//! ```

use super::REQUEST_TIMEOUT;
use super::server::{Zygote, is_gone};
use crate::launcher::birth::Birth;
use crate::launcher::hello::{self, ToParent};
use crate::launcher::zygote::RequestNumber;
use crate::launcher::{Ends, Raw, end_unheld, hold_making};
use crate::link::Link;
use crate::reap::try_reap;
use crate::sync::{after, poll};
use crate::sys::process::{pidfd_open, pidfd_send_signal, waitid_pidfd};
use crate::sys::socket;
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// A zygote whose end is under way has ended after this at the latest.
const END_DELAY: Duration = Duration::from_millis(100);

/// What a zygote makes of a request.
pub(super) enum Answer {
    /// There is a worker.
    Made(Box<Worker>),
    /// The zygote could not.
    Failed(io::Error),
    /// The zygote is dead, and there is no worker.
    Lost,
}

/// A worker that waits for its hello.
pub(crate) struct Worker {
    /// Control and data; gone once it is a child.
    links: Option<(Link, Link)>,
    raw: Option<Raw>,
    /// Its id, by its own word: it may be there before its pidfd is.
    pid: Option<i32>,
    /// The request that it answers, and where the zygote's last worker is noted: when both
    /// are killed at once, nobody else says that it was there.
    request: RequestNumber,
    birth: Birth,
}

/// What has been said of a worker.
enum News {
    Made,
    Failed(io::Error),
    /// Nothing yet.
    Nothing,
    /// Nothing any more.
    End,
}

/// What came of sending a request.
pub(super) enum Asked {
    Sent(Box<Worker>),
    /// So many others wait that there is no room for it.
    Full,
    /// Nobody takes it any more.
    Gone,
}

impl Worker {
    /// Sends the request.
    pub(super) fn ask(
        zygote: BorrowedFd<'_>,
        request: RequestNumber,
        birth: Birth,
    ) -> io::Result<Asked> {
        // A fork in this moment would keep the worker's ends of its links open.
        let _making = hold_making();
        let ends = Ends::new()?;
        let theirs = [ends.control.1.as_fd(), ends.data.1.as_fd()];
        match socket::send(zygote, &[IoSlice::new(&request.to_le_bytes())], &theirs) {
            Ok(_) => {
                let links = Some((Link::new(ends.control.0), Link::new(ends.data.0)));
                let worker = Self { links, raw: None, pid: None, request, birth };
                Ok(Asked::Sent(Box::new(worker)))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Asked::Full),
            Err(error) if is_gone(&error) => Ok(Asked::Gone),
            Err(error) => Err(error),
        }
    }

    /// Waits until it is born, or is known not to be. A zygote that does not answer in time
    /// is killed, unless it is at the requests before.
    pub(super) fn await_birth(mut self, zygote: &Zygote) -> io::Result<Answer> {
        let mut last = self.birth.last();
        loop {
            if let Some(answer) = self.hear(after(REQUEST_TIMEOUT), Some(zygote))? {
                return Ok(answer.map_or_else(Answer::Failed, |()| Answer::Made(Box::new(self))));
            }
            let before = std::mem::replace(&mut last, self.birth.last());
            if before == last || zygote.ends_within(Duration::ZERO) {
                break;
            }
        }
        // A worker may be half made. When the zygote is gone, it says so itself, or its link
        // ends.
        zygote.kill();
        let answer = self.hear(after(REQUEST_TIMEOUT), None)?;
        Ok(match answer {
            Some(Ok(())) => Answer::Made(Box::new(self)),
            _ if self.hold()? => Answer::Made(Box::new(self)),
            _ => Answer::Lost,
        })
    }

    /// Listens until there is an answer; `None` when there will be none, or not in time.
    /// With a zygote, its own word is waited for; without, the worker's is enough.
    fn hear(
        &mut self,
        deadline: Option<Instant>,
        zygote: Option<&Zygote>,
    ) -> io::Result<Option<io::Result<()>>> {
        loop {
            match self.next_news() {
                News::Made => return Ok(Some(Ok(()))),
                News::Failed(error) => return Ok(Some(Err(error))),
                News::End => {
                    // One that lives lacked the descriptors to take the request.
                    let lives = zygote.is_some_and(|zygote| !zygote.ends_within(END_DELAY));
                    let lacks = self.pid().is_none() && lives;
                    let lack = io::Error::from_raw_os_error(libc::EMFILE);
                    return Ok(lacks.then_some(Err(lack)));
                }
                News::Nothing if zygote.is_none() && self.pid().is_some() => return Ok(None),
                News::Nothing => {}
            }
            let mut fds = [self.control(), zygote.map_or(self.control(), Zygote::pidfd)]
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            let is_dead = !poll(&mut fds, deadline)?
                || zygote.is_some() && fds[1].any() == Some(true) && fds[0].any() != Some(true);
            if is_dead {
                return Ok(None);
            }
        }
    }

    fn next_news(&mut self) -> News {
        if self.raw.is_some() {
            return News::Made;
        }
        let Some((control, _)) = &self.links else { return News::End };
        loop {
            let mut frame = match control.try_recv() {
                Ok(Some(frame)) => frame,
                Ok(None) => return News::Nothing,
                Err(_) => return News::End,
            };
            let pidfd = frame.fds.pop();
            match (hello::read(frame), pidfd) {
                (Ok(ToParent::Cloned(pid)), Some(pidfd)) => {
                    self.raw = Some(Raw { pid, pidfd });
                    return News::Made;
                }
                // There was no number free for its pidfd. Nobody says more of it, and others may
                // be asked for without end.
                (Ok(ToParent::Cloned(pid)), None) => {
                    self.pid = Some(pid.cast_signed());
                    return self.hold().map_or_else(News::Failed, |_| News::Made);
                }
                (Ok(ToParent::Born(pid)), _) => self.pid = Some(pid.cast_signed()),
                (Ok(ToParent::NotCloned(error)), _) => {
                    return News::Failed(io::Error::from_raw_os_error(error));
                }
                _ => {}
            }
        }
    }

    /// Its id, by its own word or by the kernel's.
    fn pid(&self) -> Option<i32> {
        self.pid.or_else(|| self.birth.of(self.request))
    }

    /// Gets hold of a worker whose pidfd did not come; false when there is none.
    fn hold(&mut self) -> io::Result<bool> {
        if let Some(pid) = self.pid().filter(|_| self.raw.is_none()) {
            // It is our child and nobody has waited for it, so the number is still its own.
            let pidfd = pidfd_open(pid)?;
            self.raw = Some(Raw { pid: pid.cast_unsigned(), pidfd });
        }
        Ok(self.raw.is_some())
    }

    /// The control link's descriptor.
    pub(super) fn control(&self) -> BorrowedFd<'_> {
        match &self.links {
            Some((control, _)) => control.as_fd(),
            None => unreachable!("its links are taken only with itself"),
        }
    }

    /// Whether its control link has ended (which `poll` tells unasked): it waits for a hello
    /// for as long as it lives.
    pub(super) fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(self.control(), PollFlags::empty())];
        poll(&mut fds, Some(Instant::now())).unwrap_or(false)
    }

    /// Whether it has not ended. One that has is reaped by the asking.
    pub(super) fn lives(&self) -> bool {
        self.raw.as_ref().is_some_and(|raw| !matches!(try_reap(raw.pidfd.as_fd()), Ok(Some(_))))
    }

    /// Gives it to whoever has its hello: the process, control and data.
    pub(super) fn hire(mut self) -> Option<(Raw, Link, Link)> {
        let (control, data) = self.links.take()?;
        Some((self.raw.take()?, control, data))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.links.is_none() {
            return;
        }
        // One whose birth was not heard of yet must be, or it would stay a zombie.
        let deadline = after(REQUEST_TIMEOUT);
        while let News::Nothing = self.next_news() {
            let mut fds = [PollFd::new(self.control(), PollFlags::POLLIN)];
            if !poll(&mut fds, deadline).unwrap_or(false) {
                break;
            }
        }
        match (&self.raw, self.pid()) {
            (Some(raw), _) => {
                let _ = pidfd_send_signal(raw.pidfd.as_fd(), Signal::SIGKILL);
                let _ = waitid_pidfd(raw.pidfd.as_fd(), false);
            }
            (None, Some(pid)) => end_unheld(pid),
            (None, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::process::Command;
    use std::sync::atomic::Ordering::SeqCst;

    #[test]
    fn one_whose_pidfd_found_no_number_is_held_by_another() {
        let (birth, _file) = Birth::new().unwrap();
        let asked = Link::pair().unwrap();
        let Asked::Sent(mut worker) = Worker::ask(asked.0.as_fd(), 1, birth).unwrap() else {
            panic!("there is room")
        };
        let (mut number, mut ends) = ([0; 4], VecDeque::new());
        socket::receive(asked.1.as_fd(), &mut number, &mut ends, true).unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let control = Link::new(ends.pop_front().unwrap());
        hello::send(&control, &ToParent::Cloned(child.id()), None).unwrap();
        assert!(matches!(worker.next_news(), News::Made));
        assert!(worker.lives());
        drop(worker);
        assert_eq!(child.wait().unwrap_err().raw_os_error(), Some(libc::ECHILD));
    }

    #[test]
    fn one_that_died_with_its_zygote_before_either_spoke_is_reaped() {
        let (birth, _file) = Birth::new().unwrap();
        let asked = Link::pair().unwrap();
        let Asked::Sent(worker) = Worker::ask(asked.0.as_fd(), 1, birth.clone()).unwrap() else {
            panic!("there is room")
        };
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        birth.expect(1).store(child.id(), SeqCst);
        // The request, with the worker's ends in it, is gone with its receiver.
        drop(asked);
        drop(worker);
        assert_eq!(child.wait().unwrap_err().raw_os_error(), Some(libc::ECHILD));
    }
}
