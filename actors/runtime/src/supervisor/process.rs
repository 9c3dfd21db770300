//! A supervisor in a process of its own.
//!
//! Owns the body of such a process: it makes its supervisor by a function, starts it on
//! its own hidden thread, and ends with it, or when its parent asks it to.

use super::{SupervisorPlan, Tree};
use crate::function::{Body, Ending, FunctionRef, NotInImage, Start, body_ref, conjure_entry};
use crate::launcher::hello::{Report, StartFault};
use crate::node::control;
use crate::sys::function::Descriptor;
use crate::wait;

/// Names the body that runs the supervisor which `make` describes.
///
/// # Errors
/// The function lies in no loaded object.
pub fn entry<F, S>(_make: F) -> Result<FunctionRef, NotInImage>
where
    F: Fn() -> S + Copy + 'static,
    S: Into<Result<SupervisorPlan, String>> + 'static,
{
    body_ref::<F>(const { &Descriptor::new(crate::function::BODY_TAG, run::<F, S> as Body) })
}

fn run<F, S>(Start { ready, .. }: Start<'_>) -> Result<Ending, StartFault>
where
    F: Fn() -> S + Copy + 'static,
    S: Into<Result<SupervisorPlan, String>>,
{
    let plan = conjure_entry::<F, ()>()().into().map_err(StartFault::Failed)?;
    control::attend().map_err(|error| StartFault::Failed(error.to_string()))?;
    let root = Tree::start(plan).map_err(|error| StartFault::Failed(error.to_string()))?;
    let tree = root.tree();
    ready();
    // It owes its watchdog no progress: its hidden thread does the work.
    control::note_idle(true);
    let exit = wait::block_on(async {
        tokio::select! {
            exit = tree.ended() => exit,
            () = control::shutdown_asked() => {
                tree.ask_to_stop();
                tree.ended().await
            }
        }
    });
    // Giving up reads as a shutdown, so that the supervisor above decides.
    Ok(Ending::said(Report::Ended(exit.reason())))
}
