//! Panics caught as data.
//!
//! Owns `catch`, and the panic hook that notes a panic's place and backtrace, which the
//! payload does not carry. In a program of the user's the hook is chained once, before
//! whatever hook there was; in a child it is the only one, and prints as Python does. A
//! program that replaces it later loses the place, not the message. It must never
//! swallow a panic's output.

use procession_protocols::exit::PanicReport;
use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

/// Runs `body`.
///
/// # Errors
/// What it said when it panicked.
pub fn catch<T>(body: impl FnOnce() -> T) -> Result<T, PanicReport> {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if DEPTH.try_with(Cell::get).unwrap_or(0) > 0 {
                note(report_of(info, &Backtrace::capture()));
            }
            before(info);
        }));
    });
    let outer = DEPTH.get();
    DEPTH.set(outer + 1);
    let result = panic::catch_unwind(AssertUnwindSafe(body));
    DEPTH.set(outer);
    result.map_err(|payload| {
        let message = text_of(payload.as_ref());
        let last = LAST.take();
        let_go(payload);
        last.filter(|report| report.message == message).unwrap_or_else(|| PanicReport {
            message,
            location: String::new(),
            backtrace: String::new(),
        })
    })
}

/// Drops what a panic carried. It is the user's, and its drop may panic in turn.
fn let_go(payload: Box<dyn Any + Send>) {
    if let Err(next) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // So may the drop of what that one carries; nothing is lost by a leak.
        std::mem::forget(next);
    }
}

/// As [`catch`], for calls whose panics are somebody else's to report: a child prints
/// nothing, and has no backtrace unless `RUST_BACKTRACE` asks for one.
///
/// # Errors
/// As [`catch`].
pub fn catch_quietly<T>(body: impl FnOnce() -> T) -> Result<T, PanicReport> {
    let outer = QUIET.replace(true);
    let result = catch(body);
    QUIET.set(outer);
    result
}

thread_local! {
    /// How many `catch` are open on this thread.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    static QUIET: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<PanicReport>> = const { RefCell::new(None) };
}

/// Makes panics in this process, which is a child, print its `name`, their message, their
/// place and their backtrace (unless `RUST_BACKTRACE` is 0).
pub(crate) fn print_as_child(name: impl Fn() -> String + Send + Sync + 'static) {
    HOOK.call_once(|| ());
    panic::set_hook(Box::new(move |info| {
        if QUIET.try_with(Cell::get).unwrap_or(false) {
            return note(report_of(info, &Backtrace::capture()));
        }
        let silent = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value == "0");
        let backtrace = if silent { Backtrace::disabled() } else { Backtrace::force_capture() };
        let report = report_of(info, &backtrace);
        let name = name();
        let PanicReport { message, location, backtrace } = &report;
        let text = format!("Process {name}:\npanicked at {location}:\n{message}\n{backtrace}");
        crate::log::write_here(text.as_bytes());
        note(report);
    }));
}

static HOOK: Once = Once::new();

fn note(report: PanicReport) {
    // A panic in a thread-local's destructor has nowhere to be kept.
    let _ = LAST.try_with(|last| *last.borrow_mut() = Some(report));
}

fn report_of(info: &PanicHookInfo<'_>, backtrace: &Backtrace) -> PanicReport {
    PanicReport {
        message: text_of(info.payload()),
        location: info.location().map(ToString::to_string).unwrap_or_default(),
        backtrace: match backtrace.status() {
            BacktraceStatus::Captured => of_user_code(backtrace.to_string()),
            _ => String::new(),
        },
    }
}

/// A backtrace down to the frame that runs a child's function: what is below is how the
/// process came to be, the same in every report.
fn of_user_code(mut text: String) -> String {
    if let Some(at) = text.find("function::run_entry") {
        // The frame's second line is its place.
        let mut ends = text[at..].match_indices('\n').map(|(end, _)| at + end + 1);
        let first = ends.next().unwrap_or(text.len());
        let second = ends.next().unwrap_or(text.len());
        let has_place = text[first..second].trim_start().starts_with("at ");
        text.truncate(if has_place { second } else { first });
    }
    text
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic whose payload is not text".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_and_place_are_noted() {
        let report = catch(|| panic!("number {}", 7)).unwrap_err();
        assert_eq!(report.message, "number 7");
        assert!(report.location.contains("panic.rs:"), "{}", report.location);
    }

    #[test]
    fn a_payload_that_panics_itself_is_caught_as_well() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in its drop");
            }
        }
        let report = catch(|| panic::panic_any(Bomb)).unwrap_err();
        assert!(report.message.contains("not text"));
        assert!(report.location.contains("panic.rs:"), "{}", report.location);
    }

    #[test]
    fn a_payload_without_text_is_reported_too() {
        let report = catch(|| panic::resume_unwind(Box::new(3))).unwrap_err();
        assert!(report.message.contains("not text"));
        assert_eq!(report.location, "");
    }
}
