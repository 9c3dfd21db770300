//! Source files as text, and as text without comments and literals.
//!
//! Owns the walk over the project and a small reader of Rust's comments and literals. It
//! judges nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// A file of the project.
pub(crate) struct Source {
    /// Its path from the project's root, with `/`.
    pub(crate) path: String,
    /// What it says.
    pub(crate) text: String,
    /// The same lines, with comments and the insides of literals blanked.
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: code_of(text) }
    }
}

/// The root of the project.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a file below the root says; nothing when there is no such file.
pub(crate) fn read(path: &str) -> Option<String> {
    fs::read_to_string(root().join(path)).ok()
}

/// Every Rust file of the project; read once for all tests.
pub(crate) fn sources() -> &'static [Source] {
    static FOUND: LazyLock<Vec<Source>> = LazyLock::new(|| {
        let read = |path: &String| read(path).map(|text| Source::new(path, &text));
        files("rs").iter().filter_map(read).collect()
    });
    assert!(FOUND.len() > 50, "the walk finds {} files only", FOUND.len());
    &FOUND
}

/// The paths of all files with this ending, sorted, from the project's root.
pub(crate) fn files(ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(root(), ending, &mut found);
    found.sort();
    found
}

fn walk(folder: &Path, ending: &str, found: &mut Vec<String>) {
    let entries = fs::read_dir(folder).expect("the project can be read");
    for entry in entries.flatten() {
        let path: PathBuf = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // Hidden folders, and what cargo writes.
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, ending, found);
        } else if path.extension().is_some_and(|extension| extension == ending) {
            let below = path.strip_prefix(root()).expect("below the root");
            found.push(below.to_string_lossy().into_owned());
        }
    }
}

/// The text with comments and the insides of literals turned into spaces.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let blanked = comment(rest).or_else(|| literal(rest, &code));
        if let Some(length) = blanked {
            let (gone, left) = rest.split_at(length);
            code.extend(gone.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = left;
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    code
}

/// The length of a comment at the start of `rest`.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with("/*") {
        return None;
    }
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        let tail = &rest[at..];
        if tail.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += tail.chars().next().map_or(1, char::len_utf8);
        }
    }
    Some(rest.len())
}

/// The length of a text or character literal at the start of `rest`.
fn literal(rest: &str, before: &str) -> Option<usize> {
    if let Some(inside) = rest.strip_prefix('"') {
        return Some(1 + quoted(inside, '"'));
    }
    let part_of_name = before.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
    if (!part_of_name || before.ends_with('b'))
        && let Some(after) = rest.strip_prefix('r')
    {
        let hashes = after.len() - after.trim_start_matches('#').len();
        if after[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let inside = &after[hashes + 1..];
            let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
            return Some(1 + hashes + 1 + length);
        }
    }
    let inside = rest.strip_prefix('\'')?;
    let first = inside.chars().next()?;
    // 'a is a lifetime, 'a' is a character.
    if first == '\\' || inside[first.len_utf8()..].starts_with('\'') {
        return Some(1 + quoted(inside, '\''));
    }
    None
}

/// The length up to and with the closing quote.
fn quoted(inside: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    inside.len()
}
