//! Dropping objects that hold others.
//!
//! Owns a list for each thread. An object may hold the last handle to another, and that one to
//! a third, as many as there are: each is dropped when the one before has been, so that a long
//! chain needs no more of the stack than a short one. Neighbours: `handle` and `host` let
//! objects go.

use super::Stock;
use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    /// Those that are dropped when the one has been that this thread drops just now.
    static NEXT: RefCell<Option<Vec<Arc<dyn Stock>>>> = const { RefCell::new(None) };
}

/// Drops an object: when this returns, or when what its drop is part of has ended.
pub(super) fn let_fall(object: Arc<dyn Stock>) {
    /// Also when a drop panics the thread can drop others.
    struct Over;
    impl Drop for Over {
        fn drop(&mut self) {
            drop(NEXT.take());
        }
    }
    let mut object = Some(object);
    let is_first = NEXT.try_with(|next| {
        let next = &mut *next.borrow_mut();
        match next {
            Some(others) => others.extend(object.take()),
            None => *next = Some(Vec::new()),
        }
        object.is_some()
    });
    // A thread that is ending has no list any more.
    if is_first != Ok(true) {
        return drop(object);
    }
    let _over = Over;
    while let Some(one) = object {
        drop(one);
        object = NEXT.with_borrow_mut(|next| next.as_mut().and_then(Vec::pop));
    }
}
