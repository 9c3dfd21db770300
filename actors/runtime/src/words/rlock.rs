//! What `RLock` has beside the rest of the locks: giving back, once or altogether.
//!
//! Owns the count of how often it is held, which stands in its record and which only its
//! holder changes. Neighbour: `lock`, which takes it.

use super::WordError;
use super::lock::{NotHeld, RLock, give_once, release};
use std::sync::atomic::Ordering::Relaxed;

impl RLock {
    /// Gives it back once.
    ///
    /// # Errors
    /// [`NotHeld`] when the calling thread does not hold it.
    #[inline]
    pub fn release(&self) -> Result<Result<(), NotHeld>, WordError> {
        match self.0.near().and_then(|near| Some((near, near.seat()?))) {
            Some((near, seat)) if Self::give_fast(&near.words, seat) => Ok(Ok(())),
            _ => {
                let at = self.0.at()?;
                Ok(give_once(&at, Some(at.seat()?)))
            }
        }
    }

    /// Gives it back altogether, and says how often it was held.
    ///
    /// # Errors
    /// [`NotHeld`] when the calling thread does not hold it.
    pub fn release_all(&self) -> Result<Result<u32, NotHeld>, WordError> {
        let at = self.0.at()?;
        let seat = at.seat()?;
        let words = &at.words().words;
        if words.look().holder() != seat {
            return Ok(Err(NotHeld));
        }
        let depth = words.depth.load(Relaxed);
        Ok(release(&at, Some(seat)).map(|()| depth))
    }

    /// How often its holder holds it.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn depth(&self) -> Result<u32, WordError> {
        let at = self.0.at()?;
        let words = &at.words().words;
        Ok(if words.look().holder() == 0 { 0 } else { words.depth.load(Relaxed) })
    }

    /// After it was taken again: it is held so often.
    ///
    /// # Errors
    /// The owner has ended.
    pub fn set_depth(&self, depth: u32) -> Result<(), WordError> {
        self.0.at()?.words().words.depth.store(depth, Relaxed);
        Ok(())
    }
}
