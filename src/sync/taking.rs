//! What locks of both kinds have in common: they are taken and given back.
//!
//! Owns the calls of `Lock` and `RLock` that are the same but for a word, and what their
//! guards know. It must never say anything that holds for one of them only: that stands in
//! `lock` and `rlock`, with how a guard is made.

/// Implements them for a lock and its guard. `$it` is what a call takes, in the documentation.
macro_rules! taking {
    (
        $lock:ident, $guard:ident, $it:literal;
        $(#[$acquire:meta])* acquire;
        $(#[$release:meta])* release, $not_held:path
    ) => {
        impl $lock {
            $(#[$acquire])*
            #[inline]
            pub fn acquire(&self) -> SyncResult<Acquired> {
                Ok(self.acquired(self.inner.acquire()?))
            }

            #[doc = concat!("Takes ", $it, ", waiting at most so long. `None` when the time was up.")]
            ///
            /// # Errors
            /// [`SyncError::OwnerGone`].
            pub fn acquire_timeout(&self, timeout: Duration) -> SyncResult<Option<Acquired>> {
                Ok(self.inner.acquire_until(after(timeout))?.map(|held| self.acquired(held)))
            }

            #[doc = concat!("Takes ", $it, " if it can be had at once.")]
            ///
            /// # Errors
            /// [`SyncError::OwnerGone`].
            pub fn try_acquire(&self) -> SyncResult<Option<Acquired>> {
                Ok(self.inner.try_acquire()?.map(|held| self.acquired(held)))
            }

            $(#[$release])*
            #[inline]
            pub fn release(&self) -> SyncResult<()> {
                self.inner.release()?.map_err(|_| $not_held)
            }

            #[doc = concat!("Takes ", $it, " for as long as the guard lives.")]
            ///
            /// # Errors
            /// As [`acquire`](Self::acquire).
            #[inline]
            pub fn lock(&self) -> SyncResult<$guard<'_>> {
                let held = self.inner.acquire()?;
                Ok(self.guard(held))
            }

            #[doc = concat!("Takes ", $it, " for as long as the guard lives, waiting at most so long.")]
            /// `None` when the time was up.
            ///
            /// # Errors
            /// [`SyncError::OwnerGone`].
            pub fn lock_timeout(&self, timeout: Duration) -> SyncResult<Option<$guard<'_>>> {
                Ok(self.inner.acquire_until(after(timeout))?.map(|held| self.guard(held)))
            }

            #[doc = concat!("Takes ", $it, " for as long as the guard lives, if it can be had at once.")]
            ///
            /// # Errors
            /// [`SyncError::OwnerGone`].
            pub fn try_lock(&self) -> SyncResult<Option<$guard<'_>>> {
                Ok(self.inner.try_acquire()?.map(|held| self.guard(held)))
            }

            /// Whether anybody holds it.
            ///
            /// # Errors
            /// [`SyncError::OwnerGone`].
            pub fn locked(&self) -> SyncResult<bool> {
                Ok(self.inner.is_locked()?)
            }

            #[inline]
            fn acquired(&self, held: Held) -> Acquired {
                self.inner.death(held).map_or(Acquired::Clean, Acquired::AfterDeath)
            }

            pub(super) fn inner(&self) -> &words::$lock {
                &self.inner
            }
        }

        impl $guard<'_> {
            /// Who held the lock before and died with it, if that was so.
            pub fn previous_holder(&self) -> Option<Death> {
                self.lock.inner.death(self.held)
            }

            /// Makes it an error that the holder before died, for what cannot be mended.
            ///
            /// # Errors
            /// [`HolderDied`], with the guard in it.
            pub fn strict(self) -> Result<Self, Box<HolderDied<Self>>> {
                match self.previous_holder() {
                    None => Ok(self),
                    Some(death) => Err(Box::new(HolderDied { death, guard: self })),
                }
            }
        }

        impl Drop for $guard<'_> {
            #[inline]
            fn drop(&mut self) {
                self.lock.inner.release_held(self.held);
            }
        }
    };
}

pub(super) use taking;
