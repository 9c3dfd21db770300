//! The door of a child: a constructor that runs before `main`.
//!
//! Owns the `.init_array` entry and the running of the constructors that stand behind
//! it. Whether this process is a child at all is decided in `crate::launcher::child`,
//! which does not return when it is.

use super::image::dynamic_section;
use crate::launcher::child;
use std::ffi::{c_char, c_int};

type Constructor = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

/// Runs in every process that links procession. In an ordinary one it looks for one
/// environment variable and returns.
#[used]
#[unsafe(link_section = ".init_array")]
static ENTRY: Constructor = entry;

extern "C" fn entry(count: c_int, args: *const *const c_char, env: *const *const c_char) {
    if std::env::var_os(child::MARK).is_some() {
        child::enter(|| run_the_rest(count, args, env));
    }
}

/// Runs the constructors that come after ours, which user code may rely on.
fn run_the_rest(count: c_int, args: *const *const c_char, env: *const *const c_char) {
    for constructor in behind_ours() {
        constructor(count, args, env);
    }
}

fn behind_ours() -> Vec<Constructor> {
    const DT_INIT_ARRAY: usize = 25;
    const DT_INIT_ARRAYSZ: usize = 27;
    let Some((base, tags)) = dynamic_section(entry as *const () as usize) else {
        return Vec::new();
    };
    let value = |wanted| tags.iter().find(|(tag, _)| *tag == wanted).map(|(_, value)| *value);
    let (Some(start), Some(bytes)) = (value(DT_INIT_ARRAY), value(DT_INIT_ARRAYSZ)) else {
        return Vec::new();
    };
    let count = bytes / size_of::<usize>();
    let first = base.wrapping_add(start) as *const usize;
    // SAFETY: the loader has just walked this array of this object, up to our entry.
    let words = unsafe { std::slice::from_raw_parts(first, count) };
    let ours = words.iter().position(|word| *word == entry as *const () as usize);
    let behind = ours.map_or(&[][..], |at| &words[at + 1..]);
    behind
        .iter()
        // The linker pads with 0, and old ones mark with -1.
        .filter(|word| **word != 0 && **word != usize::MAX)
        // SAFETY: every other word of the array is a constructor, of the signature that
        // the C library calls it with.
        .map(|word| unsafe { std::mem::transmute::<usize, Constructor>(*word) })
        .collect()
}
