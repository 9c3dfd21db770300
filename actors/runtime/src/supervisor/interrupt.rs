//! A tree that Ctrl-C stops.
//!
//! Owns the one place where the library handles signals, and only because the program
//! asked for it. The first SIGINT or SIGTERM stops the tree in order, a second SIGINT
//! kills it; the supervised processes themselves ignore SIGINT.

use super::Tree;
use crate::node::hidden;
use procession_protocols::supervision::event::SupervisorExit;
use std::io;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

impl Tree {
    /// Waits until the tree has ended, by itself or because of a signal. From the first
    /// call on this process handles SIGINT and SIGTERM.
    ///
    /// # Errors
    /// The system refused the handlers.
    pub async fn serve(self: Arc<Self>) -> io::Result<SupervisorExit> {
        hidden::run(async move {
            let mut interrupts = signal(SignalKind::interrupt())?;
            let mut terminations = signal(SignalKind::terminate())?;
            let mut is_stopping = false;
            loop {
                tokio::select! {
                    exit = self.ended() => return Ok(exit),
                    _ = interrupts.recv() => {
                        if is_stopping {
                            tracing::warn!(target: "procession", "interrupted again: killing");
                            self.kill();
                        } else {
                            self.ask_to_stop();
                        }
                    }
                    _ = terminations.recv() => self.ask_to_stop(),
                }
                is_stopping = true;
            }
        })?
        .await
    }
}
