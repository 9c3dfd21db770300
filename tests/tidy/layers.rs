//! Which module may use which.
//!
//! Owns the table. In each crate the modules stand in a list, the lowest first, and a
//! module uses those before it. An arrow that points up closes a circle; the few that
//! there are stand in the list `UPWARD`, each with its reason. To add a module, put it
//! into the list above all that it uses.

use crate::source::Source;
use std::collections::BTreeSet;

/// A crate: its folder and its modules, the lowest first.
struct Crate {
    folder: &'static str,
    modules: &'static [&'static str],
    /// From a module to one above it, and why.
    upward: &'static [(&'static str, &'static str, &'static str)],
}

const CRATES: &[Crate] = &[
    Crate {
        folder: "actors/protocols/src/",
        modules: &[
            "exit",
            "id",
            "pipe",
            "wire",
            "word",
            "auth",
            "dynamic",
            "pickle",
            "custody",
            "manager",
            "supervision",
            "pool",
            "queue",
        ],
        upward: &[],
    },
    Crate {
        folder: "actors/macros/src/",
        modules: &["errors", "types", "message", "actor", "methods"],
        upward: &[],
    },
    Crate {
        folder: "actors/runtime/src/",
        modules: &[
            "sync",
            "spin",
            "threads",
            "wait",
            "prctl",
            "finalizer",
            "farewell",
            "log",
            "sys",
            "codec",
            "down",
            "relay",
            "reap",
            "proc_tree",
            "link",
            "panic",
            "seat",
            "function",
            "actor",
            "child",
            "launcher",
            "node",
            "share",
            "memory",
            "queue",
            "pipe",
            "listener",
            "words",
            "peer",
            "mail",
            "actor/process",
            "supervisor",
            "pool",
            "manager",
        ],
        upward: &[
            ("sys", "launcher", "the constructor is unsafe to declare, and enters the child"),
            (
                "sys",
                "memory",
                "a slice of memory is sound by the lock beside it: both are kept there",
            ),
            ("sys", "words", "that lock"),
            ("finalizer", "node", "what is to run at exit has the node's leaving prepared"),
            ("function", "launcher", "a body's end and a start's fault are words of the hello"),
            (
                "actor",
                "launcher",
                "an actor's process fails to start for the launcher's reasons, told whole",
            ),
            ("actor", "node", "the first actor makes the node, which fills the seam"),
            ("child", "launcher", "a child is made from a launch and read in the hello's words"),
            ("child", "node", "what a child asks to be passed on goes to the routes"),
            ("child", "mail", "a child's handle has the outbox of the mail to it"),
            ("launcher", "node", "a start needs to know who starts; a child is born as a node"),
            ("launcher", "share", "a copy of a process has to be given its handles anew"),
            ("node", "share", "a leaving node sends owners what they had no room for"),
            ("node", "manager", "an actor of a manager's is kept by the reference to its object"),
            ("node", "peer", "routes hand out links to actors: peers"),
            ("node", "supervisor", "a leaving node stops its trees; routes know their references"),
            ("peer", "supervisor", "the way to a place in a tree is found in its slot"),
        ],
    },
    Crate {
        folder: "src/",
        modules: &[
            "error",
            "finalizer",
            "function",
            "log",
            "pipe",
            "listener",
            "wait",
            "wrappers",
            "builder",
            "process",
            "fork",
            "run",
            "shared_memory",
            "sync",
            "value",
            "queue",
            "mailbox",
            "pool",
            "executor",
            "context",
            "current",
            "manager",
            "supervisor",
            "dummy",
        ],
        upward: &[
            ("builder", "process", "a builder makes a process, a process offers a builder"),
            ("error", "queue", "the base of all errors takes in those of each operation"),
            ("error", "sync", "the base of all errors has the locks' error in it"),
        ],
    },
];

/// Everything in which the code and the table disagree.
pub(crate) fn faults(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for one in CRATES {
        faults_of(one, sources, &mut found);
    }
    found
}

fn faults_of(one: &Crate, sources: &[Source], found: &mut Vec<String>) {
    let rank = |module: &str| one.modules.iter().position(|known| *known == module);
    let mut upward = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for source in sources {
        let Some(below) = source.path.strip_prefix(one.folder) else { continue };
        let stem = below.trim_end_matches(".rs").trim_end_matches("/mod");
        if stem == "lib" || one.folder == "src/" && stem.starts_with("bin/") {
            continue;
        }
        // The longest entry that names this file or a folder above it.
        let holds = |known: &&&str| {
            stem == **known || stem.strip_prefix(**known).is_some_and(|rest| rest.starts_with('/'))
        };
        let Some(from) = one.modules.iter().filter(holds).max_by_key(|known| known.len()) else {
            found.push(format!("{}: its module is not in the table", source.path));
            continue;
        };
        seen.insert(*from);
        let top = stem.split('/').next().unwrap_or(stem);
        for to in uses(source, stem.split('/').count()) {
            let (Some(low), Some(high)) = (rank(from), rank(&to)) else { continue };
            if to == top || high <= low {
                continue;
            }
            let known = one.upward.iter().find(|(a, b, _)| a == from && *b == to);
            match known {
                Some(arrow) => drop(upward.insert(*arrow)),
                None => found.push(format!("{}: {from} uses {to}, which is above", source.path)),
            }
        }
    }
    for arrow in one.upward.iter().filter(|arrow| !upward.contains(*arrow)) {
        found.push(format!("{}: no {} uses {} any more", one.folder, arrow.0, arrow.1));
    }
    for gone in one.modules.iter().filter(|module| !seen.contains(*module)) {
        found.push(format!("{}: there is no module {gone}", one.folder));
    }
}

/// The modules at the top of its crate that a file names, sorted. `depth` is how deep the
/// file's own module lies: so many `super` lead out to the top.
pub(crate) fn uses(source: &Source, depth: usize) -> Vec<String> {
    let mut found = BTreeSet::new();
    let outward = "super::".repeat(depth);
    for prefix in ["crate::", outward.as_str()] {
        for (at, _) in source.code.match_indices(prefix) {
            let before = source.code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let rest = &source.code[at + prefix.len()..];
            match rest.strip_prefix('{') {
                Some(group) => found.extend(first_names(group)),
                None => found.extend(name(rest)),
            }
        }
    }
    found.into_iter().collect()
}

/// The names that stand first in each path of a group, `{` taken already.
fn first_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0;
    let mut start = 0;
    for (at, c) in group.char_indices() {
        let ends = c == '}' && depth == 0;
        if ends || c == ',' && depth == 0 {
            names.extend(name(group[start..at].trim_start()));
            start = at + 1;
        }
        match c {
            _ if ends => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    names
}

fn name(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}
