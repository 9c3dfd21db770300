//! Functions that travel: a zero-sized function value out of nothing, and a function's
//! descriptor as an address in the image.
//!
//! Owns the two steps that the language has no safe form for. Which function may be
//! named by whom is decided by the callers: the launcher and `crate::function`.

use super::image;
use std::ptr::NonNull;

/// A function as it is named between two processes of one tree: it stands in the
/// read-only data of the image, once for each pair of function and types.
#[repr(C)]
pub(crate) struct Descriptor<F: Copy + 'static> {
    magic: u64,
    tag: u64,
    /// The code.
    pub(crate) run: F,
}

/// Marks a descriptor, so that a wrong offset is found out before it is called.
const MAGIC: u64 = 0x7072_6f63_5f66_6e31;

impl<F: Copy + 'static> Descriptor<F> {
    /// Describes `run`; `tag` says its types.
    pub(crate) const fn new(tag: u64, run: F) -> Self {
        Self { magic: MAGIC, tag, run }
    }

    /// Where this descriptor stands: (build id, offset). `None` when it lies in no
    /// loaded object.
    pub(crate) fn locate(&'static self) -> Option<(Vec<u8>, u64)> {
        image::locate(std::ptr::from_ref(self) as usize)
    }

    /// The descriptor at `offset` of the object with this build id, when there is one
    /// with this tag.
    pub(crate) fn resolve(build_id: &[u8], offset: u64, tag: u64) -> Option<&'static Self> {
        let address = image::resolve(build_id, offset, size_of::<Self>())?;
        let words = address as *const u64;
        // SAFETY: `resolve` says that the object is loaded and that as many bytes are
        // readable and aligned there; any bits are a u64.
        let (magic, found) = unsafe { (words.read(), words.add(1).read()) };
        // SAFETY: the same build (its build id is equal) has a descriptor where the
        // sender saw one; magic and tag confirm that it is of this type, since a tag
        // names the types of the function, and all descriptors with a given tag are
        // made by one generic constant. Objects are never unloaded.
        (magic == MAGIC && found == tag).then(|| unsafe { &*(address as *const Self) })
    }
}

/// A value of a function type that has no data: a `fn` item, or a closure that captures
/// nothing.
///
/// # Panics
/// At compile time, when the type has a size.
pub(crate) fn conjure<F: Copy + 'static>() -> F {
    const { assert!(size_of::<F>() == 0, "a function that travels must capture nothing") }
    // SAFETY: the type has no bytes, so any aligned pointer that is not null may be read.
    // It is inhabited: only code that held an `F` (a `FunctionRef` is made from one) names
    // the instance of this function that runs. `Copy` says that a second value is no harm.
    unsafe { NonNull::<F>::dangling().read() }
}
