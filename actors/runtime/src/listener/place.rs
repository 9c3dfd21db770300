//! What a Unix listener leaves in the file system, and takes away again.
//!
//! Owns private folders for sockets without a given name, the removal of both when a
//! listener is closed or its process ends, and whose turn it is to put and remove them. It must
//! never remove what somebody else has put
//! there since: it knows its own file again.

use crate::finalizer::Finalizer;
use crate::sync::after;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// At exit it goes with what else the library has made.
const PRIORITY: i32 = 0;

/// A socket's file, and the folder that was made for it. Both are gone when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _removal: Finalizer,
}

impl Place {
    /// Of a socket that has just been bound.
    pub(super) fn new(path: PathBuf, folder: Option<Folder>) -> io::Result<Self> {
        let made = identity(&path)?;
        let removal = Finalizer::new(Some(PRIORITY), move || {
            // Between the look and the removal another's could come there.
            let _turn = Turn::at(&path);
            if identity(&path).is_ok_and(|now| now == made) {
                let _ = fs::remove_file(&path);
            }
            drop(folder);
        });
        Ok(Self { _removal: removal })
    }
}

/// A file's number, and when it was made: numbers are used again.
fn identity(path: &Path) -> io::Result<[i64; 4]> {
    let data = fs::symlink_metadata(path)?;
    Ok([data.dev().cast_signed(), data.ino().cast_signed(), data.mtime(), data.mtime_nsec()])
}

/// How long somebody may be at a folder's sockets: what is done there waits for nobody.
const PATIENCE: Duration = Duration::from_secs(1);

/// It is looked so often whether it is one's turn.
const NAP: Duration = Duration::from_millis(1);

/// The turn at the sockets of a folder, among the listeners of all processes: none of them takes
/// another's for one that was left, or removes it. It is a lock on the folder, and leaves no file.
pub(super) struct Turn {
    /// `None` where folders cannot be opened, or locked.
    _lock: Option<Flock<File>>,
}

impl Turn {
    /// Waits for it; `None` when somebody keeps it for longer than anything takes.
    pub(super) fn at(path: &Path) -> Option<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let Ok(mut folder) = File::open(folder.unwrap_or(Path::new("."))) else {
            return Some(Self { _lock: None });
        };
        let deadline = after(PATIENCE);
        loop {
            folder = match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Some(Self { _lock: Some(lock) }),
                Err((folder, Errno::EWOULDBLOCK | Errno::EINTR)) => folder,
                Err(_) => return Some(Self { _lock: None }),
            };
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return None;
            }
            std::thread::sleep(NAP);
        }
    }
}

/// A folder that only this user can enter; removed when it is dropped.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes one, in the user's run-time folder or among temporary files.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn new() -> io::Result<Self> {
        let name = format!("procession-{:.12}", uuid::Uuid::new_v4().simple());
        let mut last = None;
        for above in std::env::var_os("XDG_RUNTIME_DIR")
            .map(PathBuf::from)
            .into_iter()
            .chain([std::env::temp_dir(), "/tmp".into()])
        {
            let path = above.join(&name);
            if path.as_os_str().len() + NAME.len() + 1 > super::address::LONGEST_PATH {
                continue;
            }
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }

    /// Where a socket is to be in it.
    pub(super) fn socket(&self) -> PathBuf {
        self.0.join(NAME)
    }
}

const NAME: &str = "socket";

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
