//! A tree that Ctrl-C stops.
//!
//! Owns the one place where the library handles signals, and only because the program
//! asked for it. The first SIGINT or SIGTERM stops the tree in order, a second SIGINT
//! kills it; the supervised processes themselves ignore SIGINT.

use super::Tree;
use crate::node::hidden;
use crate::sys::interrupt::catch;
use crate::sys::watch::{Held, watch};
use nix::sys::signal::Signal;
use procession_protocols::supervision::event::SupervisorExit;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use tokio::io::Interest;

impl Tree {
    /// Waits until the tree has ended, by itself or because of a signal. From the first
    /// call on this process handles SIGINT and SIGTERM.
    ///
    /// # Errors
    /// The system refused the handlers.
    pub async fn serve(self: Arc<Self>) -> io::Result<SupervisorExit> {
        hidden::run(async move {
            let pipe = Arc::new(catch(&[Signal::SIGINT, Signal::SIGTERM])?);
            let watched = watch(Held::new(&pipe, AsFd::as_fd), Interest::READABLE)?;
            let mut is_stopping = false;
            loop {
                let mut ready = tokio::select! {
                    exit = self.ended() => return Ok(exit),
                    ready = watched.readable() => ready?,
                };
                // One byte for each signal; the pipe has at least one.
                let mut signals = [0; 16];
                let count = nix::unistd::read(&*pipe, &mut signals)?;
                ready.clear_ready();
                for signal in &signals[..count] {
                    if is_stopping && i32::from(*signal) == Signal::SIGINT as i32 {
                        tracing::warn!(target: "procession", "interrupted again: killing");
                        self.kill();
                    } else {
                        self.ask_to_stop();
                    }
                    is_stopping = true;
                }
            }
        })?
        .await
    }
}
