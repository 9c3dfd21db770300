//! Panics caught as data.
//!
//! Owns `catch`, and the panic hook that notes a panic's place and backtrace, which the
//! payload does not carry. The hook is chained once, before whatever hook the program
//! had; a program that replaces it later loses the place, not the message. It must
//! never swallow a panic's usual output.

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
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            note(info);
            before(info);
        }));
    });
    let outer = DEPTH.get();
    DEPTH.set(outer + 1);
    let result = panic::catch_unwind(AssertUnwindSafe(body));
    DEPTH.set(outer);
    result.map_err(|payload| {
        let message = text_of(payload.as_ref());
        LAST.take().filter(|report| report.message == message).unwrap_or_else(|| PanicReport {
            message,
            location: String::new(),
            backtrace: String::new(),
        })
    })
}

thread_local! {
    /// How many `catch` are open on this thread.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    static LAST: RefCell<Option<PanicReport>> = const { RefCell::new(None) };
}

fn note(info: &PanicHookInfo<'_>) {
    if DEPTH.try_with(Cell::get).unwrap_or(0) == 0 {
        return;
    }
    let backtrace = Backtrace::capture();
    LAST.set(Some(PanicReport {
        message: text_of(info.payload()),
        location: info.location().map(ToString::to_string).unwrap_or_default(),
        backtrace: match backtrace.status() {
            BacktraceStatus::Captured => backtrace.to_string(),
            _ => String::new(),
        },
    }));
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
    fn a_payload_without_text_is_reported_too() {
        let report = catch(|| panic::resume_unwind(Box::new(3))).unwrap_err();
        assert!(report.message.contains("not text"));
        assert_eq!(report.location, "");
    }
}
