//! Names of shared memory that must not outlive their maker.
//!
//! Owns the list of them on both sides: in the process that makes named memory, and in its
//! zygote, which unlinks what is left on the list when its socket or that process ends.
//! A name is put on the list before it exists, with the number of the file that is to
//! have it, so nothing of somebody else's is ever removed. It must never unlink a name
//! while its maker lives. Neighbours: `forkserver` carries the messages, `zygote` answers
//! them, `crate::memory` makes the files.
//!
//! Python has a process of its own for this, the resource tracker, and one for the whole
//! tree; what a process made goes when the tree ends. Here it goes when that process ends.

use crate::sync::lock;
use crate::sys::memory::{self, Cleaner};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Mutex;

/// Device and number of a file.
pub(crate) type FileId = (u64, u64);

/// Longest message to a zygote, in bytes; as long as a line to Python's tracker may be.
pub(super) const MAX_MESSAGE: usize = 512;

/// What a process tells its zygote about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word<'a> {
    /// Unlink this name when I am gone, if it is this file's.
    Keep(&'a str, FileId),
    /// Do not, if you have it as this file's.
    Forget(&'a str, FileId),
    /// Not any of them: another zygote has them.
    ForgetAll,
}

impl<'a> Word<'a> {
    /// Its bytes, behind the number of a request.
    pub(super) fn to_bytes(self, request: u64) -> Vec<u8> {
        let (op, id, name) = match self {
            Self::Keep(name, id) => (1, id, name),
            Self::Forget(name, id) => (2, id, name),
            Self::ForgetAll => (3, (0, 0), ""),
        };
        let mut bytes = Vec::with_capacity(MAX_MESSAGE);
        bytes.extend(request.to_le_bytes());
        bytes.push(op);
        bytes.extend(id.0.to_le_bytes());
        bytes.extend(id.1.to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes
    }

    /// Reads what stands behind the number of a request.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (op, rest) = bytes.split_first()?;
        let (device, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let id = (u64::from_le_bytes(*device), u64::from_le_bytes(*number));
        let name = str::from_utf8(rest).ok()?;
        Some(match op {
            1 => Self::Keep(name, id),
            2 => Self::Forget(name, id),
            3 => Self::ForgetAll,
            _ => return None,
        })
    }
}

/// A list. Each name stands in it once: one that is given again, its file has lost before.
pub(super) type Names = BTreeMap<String, FileId>;

/// Takes a name off a list, if it stands there as this file's: the file that has it by now
/// may be another. False when it does not.
pub(super) fn forget(names: &mut Names, name: &str, id: FileId) -> bool {
    let is_its = names.get(name) == Some(&id);
    if is_its {
        names.remove(name);
    }
    is_its
}

/// The zygote's list.
#[derive(Debug, Default)]
pub(super) struct Kept {
    names: Names,
    were_some: bool,
    /// Tells who kills whole trees that this process comes last.
    cleaner: Option<Cleaner>,
}

impl Kept {
    /// Whether there ever was one on it.
    pub(super) fn were_some(&self) -> bool {
        self.were_some
    }

    /// Does as it is told. Words that mean nothing come from no parent of this build.
    pub(super) fn hear(&mut self, message: &[u8]) {
        if !self.were_some {
            self.were_some = true;
            self.cleaner = Cleaner::new().ok();
        }
        match Word::read(message) {
            Some(Word::Keep(name, id)) => drop(self.names.insert(name.to_owned(), id)),
            Some(Word::Forget(name, id)) => drop(forget(&mut self.names, name, id)),
            Some(Word::ForgetAll) => self.names.clear(),
            None => {}
        }
    }

    /// Unlinks what is left, and says so in Python's words. True when something was left.
    pub(super) fn unlink_all(self) -> bool {
        if self.names.is_empty() {
            return false;
        }
        let mut text = format!(
            "procession: There appear to be {} leaked shared_memory objects to clean up at \
             shutdown: {:?}\n",
            self.names.len(),
            self.names.keys().collect::<Vec<_>>(),
        );
        for (name, id) in &self.names {
            if let Err(error) = unlink_if(name, *id) {
                let _ = writeln!(text, "procession: {name:?}: {error}");
            }
        }
        // The stream may be closed, or its reader gone.
        let _ = io::stderr().write_all(text.as_bytes());
        true
    }
}

/// Unlinks a name if it is this file's. A name that another file has by now is another's.
fn unlink_if(name: &str, id: FileId) -> io::Result<()> {
    if memory::id_of_name(name)? == id {
        memory::unlink(name)?;
    }
    Ok(())
}

/// This process's own list, from which each new zygote is told. Touched on the launcher
/// thread only, which is the one that forks: a copy finds it unlocked, and another's.
static NAMES: Mutex<Option<(u32, Names)>> = Mutex::new(None);

/// Changes or reads this process's own list.
pub(super) fn with_own<R>(act: impl FnOnce(&mut Names) -> R) -> R {
    let (me, slot) = (std::process::id(), &mut *lock(&NAMES));
    match slot {
        Some((pid, names)) if *pid == me => act(names),
        _ => act(&mut slot.insert((me, Names::new())).1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_their_bytes() {
        for word in [Word::Keep("psm_1", (3, u64::MAX)), Word::Forget("x", (3, 4)), Word::ForgetAll]
        {
            let bytes = word.to_bytes(7);
            assert_eq!(bytes[..8], 7u64.to_le_bytes());
            assert_eq!(Word::read(&bytes[8..]), Some(word));
        }
        assert_eq!(Word::read(&[9; 40]), None);
        assert_eq!(Word::read(&[1, 2, 3]), None);
    }

    #[test]
    fn a_list_forgets_what_it_is_told_to() {
        let mut kept = Kept::default();
        assert!(!kept.were_some());
        kept.hear(&Word::Keep("one", (1, 1)).to_bytes(0)[8..]);
        kept.hear(&Word::Keep("two", (1, 2)).to_bytes(0)[8..]);
        kept.hear(&Word::Forget("one", (1, 1)).to_bytes(0)[8..]);
        // That file had the name once.
        kept.hear(&Word::Forget("two", (1, 1)).to_bytes(0)[8..]);
        kept.hear(b"\xff");
        assert_eq!(kept.names.keys().collect::<Vec<_>>(), ["two"]);
        kept.hear(&Word::ForgetAll.to_bytes(0)[8..]);
        assert!(kept.were_some() && !kept.unlink_all());
    }
}
