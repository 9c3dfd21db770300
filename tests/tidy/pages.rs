//! Pages and manifests: what they name exists, and is as agreed.
//!
//! Owns the reading of docs/conformance.md and docs/failures.md, of links between pages, and of the lists of
//! dependencies. It reads tables as lines of text.

use crate::source::{files, read, root};
use std::collections::BTreeSet;

/// How a row of docs/conformance.md may stand; `waits for ...` and `not applicable: ...`
/// go on.
const STATUS: &[&str] = &["done", "open", "waits for ", "not applicable: "];

/// What the pure crate may depend on: codes over bytes are pure as well.
const PURE: &[&str] = &["hmac", "md-5", "serde", "sha2", "sha3", "smallvec", "thiserror", "uuid"];

/// Rows that name a test that there is not, or have a status that means nothing.
pub(crate) fn conformance_faults() -> Vec<String> {
    let Some(page) = read("docs/conformance.md") else { return Vec::new() };
    let mut found = Vec::new();
    let mut ids = BTreeSet::new();
    for line in page.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        if cells[0] == "id" || cells[0].starts_with("--") {
            continue;
        }
        let [id, _, tests, status] = cells[..] else {
            found.push(format!("not four cells: {line}"));
            continue;
        };
        if !ids.insert(id) {
            found.push(format!("{id}: stands there twice"));
        }
        let named: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        for test in &named {
            if let Err(why) = find_test(test) {
                found.push(format!("{id}: {why}"));
            }
        }
        let known = STATUS.iter().any(|known| {
            if known.ends_with(' ') {
                status.len() > known.len() && status.starts_with(known)
            } else {
                status == *known
            }
        });
        if !known {
            found.push(format!("{id}: {status:?} is none of {STATUS:?}"));
        }
        if status == "done" && named.is_empty() {
            found.push(format!("{id}: done, but no test shows it"));
        }
    }
    found
}

/// Cases of docs/failures.md that name no test, or one that there is not.
pub(crate) fn failure_faults() -> Vec<String> {
    let page = read("docs/failures.md").unwrap_or_default();
    let mut found = Vec::new();
    let rows = page.lines().filter(|line| line.starts_with("| F"));
    let mut count = 0;
    for line in rows {
        count += 1;
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let (id, tests) = (cells[0], cells[cells.len() - 1]);
        let named: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        if named.is_empty() {
            found.push(format!("{id}: no test shows it"));
        }
        let faults = named.into_iter().filter_map(|test| find_test(test).err());
        found.extend(faults.map(|why| format!("{id}: {why}")));
    }
    if count == 0 {
        found.push("no case is found".into());
    }
    found
}

/// Tests of the protocols that their one program does not list: they would not run.
pub(crate) fn unlisted_tests() -> Vec<String> {
    let folder = "actors/protocols/tests/";
    let list = read(&format!("{folder}main.rs")).unwrap_or_default();
    let tests = files("rs");
    let tests = tests.iter().filter_map(|path| path.strip_prefix(folder)?.split('/').next());
    let names: BTreeSet<_> = tests.map(|name| name.trim_end_matches(".rs")).collect();
    let is_listed = |name: &str| name == "main" || list.contains(&format!("mod {name};"));
    names.into_iter().filter(|name| !is_listed(name)).map(str::to_owned).collect()
}

fn find_test(test: &str) -> Result<(), String> {
    let (file, name) = test.split_once("::").ok_or(format!("`{test}` is not `file::name`"))?;
    let source = read(file).ok_or(format!("there is no {file}"))?;
    let is_test = source.match_indices(&format!("fn {name}(")).any(|(at, _)| {
        // What stands between it and the end of what comes before.
        let before = &source[..at];
        let above = before.rsplit("\n\n").next().unwrap_or(before);
        above.contains("#[test]") || above.contains("#[tokio::test")
    });
    // Tests without libtest are listed, by text or beside their function.
    let listed = source.matches(name).count() > source.matches(&format!("fn {name}(")).count();
    let is_case = !source.contains("#[test]") && listed;
    if is_test || is_case { Ok(()) } else { Err(format!("{file} has no test {name}")) }
}

/// Relative links in pages that lead nowhere.
pub(crate) fn link_faults() -> Vec<String> {
    let mut found = Vec::new();
    for page in files("md") {
        let text = read(&page).unwrap_or_default();
        let folder = root().join(&page);
        let folder = folder.parent().unwrap_or(root());
        for part in text.split("](").skip(1) {
            let target = part.split([')', '#']).next().unwrap_or_default();
            let is_file = !target.is_empty() && !target.contains(':');
            if is_file && !folder.join(target).exists() {
                found.push(format!("{page}: {target}"));
            }
        }
    }
    found
}

/// Dependencies from elsewhere, in the wrong crate, or with what must stay off.
pub(crate) fn dependency_faults() -> Vec<String> {
    let mut found = Vec::new();
    let lock = read("Cargo.lock").unwrap_or_default();
    for line in lock.lines().filter(|line| line.starts_with("source = ")) {
        if line != "source = \"registry+https://github.com/rust-lang/crates.io-index\"" {
            found.push(format!("Cargo.lock: {line}"));
        }
    }
    for name in dependencies("actors/protocols/Cargo.toml") {
        if !PURE.contains(&name.as_str()) {
            found.push(format!("actors/protocols depends on {name}; it may on {PURE:?}"));
        }
    }
    for manifest in files("toml") {
        let text = read(&manifest).unwrap_or_default();
        let is_of = |line: &&str, name: &str| line.trim_start().starts_with(name);
        if text.lines().any(|line| is_of(&line, "ractor") && line.contains("cluster")) {
            found.push(format!("{manifest}: ractor's cluster changes what its users' crates mean"));
        }
    }
    let workspace = read("Cargo.toml").unwrap_or_default();
    if !workspace.contains("bincode = { version = \"=2.0.1\"") {
        found.push("bincode is pinned to =2.0.1: 3.0.0 does not compile".into());
    }
    found
}

fn dependencies(manifest: &str) -> Vec<String> {
    let text = read(manifest).unwrap_or_default();
    let mut lines = text.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let mut names = Vec::new();
    for line in lines.by_ref().take_while(|line| !line.starts_with('[')) {
        let end = line.find(['.', ' ', '=']).unwrap_or(line.len());
        if end > 0 {
            names.push(line[..end].to_owned());
        }
    }
    names
}
