//! This node: who this process is in its tree, and the children that it has.
//!
//! Owns the one global of the library. It is made on first use in a root process, and
//! at entry in a child; after a fork the child gets its own. It must never be locked
//! across a wait. Neighbours: `hidden` runs the control plane, `guard` is what a child's
//! hidden thread looks after, `reaper` keeps the children, `tree` is the ractor tree of
//! supervisors and of what they supervise, `routes` and `lifeline` are about references that
//! travel, `leave` is what happens at exit.

pub mod control;
pub mod guard;
pub mod hidden;
pub mod leave;
mod lifeline;
pub mod reaper;
pub(crate) mod routes;
pub mod tree;
pub(crate) mod writing;

use crate::child::Child;
use crate::launcher::StartMethod;
use crate::link::Link;
use crate::sync::lock;
use procession_protocols::id::{NodeId, NodePath};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Length of a root's own key, in bytes; it is drawn at random.
pub const AUTHKEY_LEN: usize = 32;

/// This process, as a node of a tree.
#[derive(Debug)]
pub struct Node {
    /// This life of this process.
    pub id: NodeId,
    /// Its place in the tree.
    pub path: NodePath,
    /// Whether it is ended at its parent's normal exit.
    pub daemon: bool,
    /// Whether it may have children although it is a daemon.
    pub allow_nested: bool,
    /// How it was started; `None` for a root.
    pub method: Option<StartMethod>,
    pub(crate) parent: Option<Parent>,
    pub(crate) children: Mutex<BTreeMap<u32, Arc<Child>>>,
    pub(crate) ending: AtomicBool,
    name: Mutex<String>,
    authkey: Mutex<Vec<u8>>,
    argv: Vec<OsString>,
    last_child: AtomicU32,
}

/// The parent of a node.
#[derive(Debug)]
pub struct Parent {
    /// Its process id.
    pub pid: u32,
    /// Its life.
    pub id: NodeId,
    /// Its name when it started us.
    pub name: String,
    /// Becomes readable when it ends; `None` when no descriptor was free.
    pub pidfd: Option<OwnedFd>,
    pub(crate) control: Link,
    pub(crate) data: Arc<Link>,
    /// Whether the control link has ended.
    pub(crate) ended: AtomicBool,
    /// How many messages of its mailbox this process has taken.
    pub(crate) mail_taken: AtomicU64,
}

/// What a node is made from in a child.
pub(crate) struct Birth {
    pub(crate) id: NodeId,
    pub(crate) path: NodePath,
    pub(crate) name: String,
    pub(crate) daemon: bool,
    pub(crate) allow_nested: bool,
    pub(crate) method: StartMethod,
    pub(crate) authkey: Vec<u8>,
    pub(crate) argv: Vec<OsString>,
    pub(crate) parent: Parent,
}

static NODE: Mutex<Option<Arc<Node>>> = Mutex::new(None);

/// This process's node. A process that nobody started is a root named `MainProcess`.
pub fn current() -> Arc<Node> {
    lock(&NODE)
        .get_or_insert_with(|| {
            routes::install();
            Arc::new(Node::root())
        })
        .clone()
}

/// Keeps what this module knows still across a fork, so that the child can use it.
pub(crate) fn hold_for_fork() -> impl Sized {
    let supervisors = crate::supervisor::hold_for_fork();
    let reaper = reaper::hold_for_fork();
    (
        lock(&hidden::HIDDEN),
        lock(&NODE),
        lock(&METHOD),
        routes::hold_for_fork(),
        supervisors,
        reaper,
    )
}

/// Forgets, in a forked child, what its parent reached and heard. Nothing is dropped: it
/// belongs to threads that the child does not have.
pub(crate) fn forget_inherited() {
    control::forget_inherited();
    routes::forget_inherited();
    crate::supervisor::forget_inherited();
}

/// Makes this process the node that its parent says it is.
pub(crate) fn be_born(birth: Birth) -> Arc<Node> {
    let node = Arc::new(Node {
        id: birth.id,
        path: birth.path,
        daemon: birth.daemon,
        allow_nested: birth.allow_nested,
        method: Some(birth.method),
        parent: Some(birth.parent),
        children: Mutex::default(),
        ending: AtomicBool::new(false),
        name: Mutex::new(birth.name),
        authkey: Mutex::new(birth.authkey),
        argv: birth.argv,
        last_child: AtomicU32::new(0),
    });
    routes::install();
    // What a fork left here belongs to the parent's threads: it is not dropped.
    std::mem::forget(lock(&NODE).replace(node.clone()));
    node
}

/// The start method that was set for the whole program.
static METHOD: Mutex<Option<StartMethod>> = Mutex::new(None);

/// The start method that was set, if one was.
pub fn fixed_start_method() -> Option<StartMethod> {
    *lock(&METHOD)
}

/// Sets or unsets the start method. True when it was unset before.
pub fn fix_start_method(method: Option<StartMethod>, force: bool) -> bool {
    let slot = &mut *lock(&METHOD);
    let free = slot.is_none();
    if free || force {
        *slot = method;
    }
    free
}

impl Node {
    fn root() -> Self {
        let mut authkey = Vec::with_capacity(AUTHKEY_LEN);
        while authkey.len() < AUTHKEY_LEN {
            authkey.extend_from_slice(uuid::Uuid::new_v4().as_bytes());
        }
        Self {
            id: NodeId::new(),
            path: NodePath::default(),
            daemon: false,
            allow_nested: false,
            method: None,
            parent: None,
            children: Mutex::default(),
            ending: AtomicBool::new(false),
            name: Mutex::new("MainProcess".into()),
            authkey: Mutex::new(authkey),
            argv: std::env::args_os().collect(),
            last_child: AtomicU32::new(0),
        }
    }

    /// Its name.
    pub fn name(&self) -> String {
        lock(&self.name).clone()
    }

    /// Renames it, in its log lines too.
    pub fn set_name(&self, name: String) {
        crate::log::set_process_name(&name);
        *lock(&self.name) = name;
    }

    /// Its key for managers and listeners, which its children inherit.
    pub fn authkey(&self) -> Vec<u8> {
        lock(&self.authkey).clone()
    }

    /// Sets its key.
    pub fn set_authkey(&self, authkey: Vec<u8>) {
        *lock(&self.authkey) = authkey;
    }

    /// The root's real command line.
    pub fn argv(&self) -> Vec<OsString> {
        self.argv.clone()
    }

    /// The parent, unless this is a root.
    pub fn parent(&self) -> Option<&Parent> {
        self.parent.as_ref()
    }

    /// The number for the next child.
    pub fn next_child(&self) -> u32 {
        self.last_child.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The children that have not ended. Those that have are reaped on the way. In a copy that
    /// the user made by a fork of his own, those of the original are none.
    pub fn children(&self) -> Vec<Arc<Child>> {
        let mut children: Vec<_> = lock(&self.children).values().cloned().collect();
        children.retain(|child| child.is_of_this_process() && child.reap().is_none());
        children
    }

    /// Whether no more processes may be started.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }
}
