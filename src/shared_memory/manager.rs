//! `SharedMemoryManager`: a scope whose shared memory is gone at its end.
//!
//! Owns the list of what it made. Python's manager is a process of its own, since there
//! somebody must outlive the maker to clean up; here that is the fork server anyway, so
//! there is none. It must never unlink what it did not make.

use super::{ShareableItem, ShareableList, ShareableListError, SharedMemory, SharedMemoryError};
use std::sync::{Mutex, PoisonError};

/// Makes shared memory and lists, and removes their names when it is dropped.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = procession::SharedMemoryManager::new();
/// let memory = manager.shared_memory(128)?;
/// let list = manager.shareable_list([1, 2, 3])?;
/// let name = memory.name().map(str::to_owned).ok_or("it has a name")?;
/// drop(manager);
/// assert!(procession::SharedMemory::attach(&name).is_err());
/// # assert_eq!(list.len(), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct SharedMemoryManager {
    made: Mutex<Vec<SharedMemory>>,
}

impl SharedMemoryManager {
    /// An empty scope.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`SharedMemory::create_unnamed`].
    ///
    /// # Errors
    /// As there.
    pub fn shared_memory(&self, size: usize) -> Result<SharedMemory, SharedMemoryError> {
        let memory = SharedMemory::create_unnamed(size)?;
        self.add(&memory);
        Ok(memory)
    }

    /// As [`ShareableList::new`].
    ///
    /// # Errors
    /// As there.
    pub fn shareable_list<I>(&self, items: I) -> Result<ShareableList, ShareableListError>
    where
        I: IntoIterator<Item: Into<ShareableItem>>,
    {
        let list = ShareableList::new(items)?;
        self.add(list.shared_memory());
        Ok(list)
    }

    fn add(&self, memory: &SharedMemory) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(memory.clone());
    }

    /// Removes all names now. The same as dropping it.
    pub fn shutdown(self) {}
}

impl Drop for SharedMemoryManager {
    fn drop(&mut self) {
        for memory in self.made.get_mut().unwrap_or_else(PoisonError::into_inner) {
            // Somebody may have unlinked it already.
            let _ = memory.unlink();
        }
    }
}
