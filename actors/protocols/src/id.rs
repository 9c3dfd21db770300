//! Who is who in a process tree: nodes, their places, actors.
//!
//! Owns the identifiers that travel in messages. A node's place in the tree (its
//! path) is what introductions are routed by; its `NodeId` says which life it is.

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// One life of one OS process that runs procession: a version 7 UUID, drawn after
/// the process came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeId(pub Uuid);

impl NodeId {
    /// Draws a new identifier.
    #[expect(clippy::new_without_default, reason = "two calls never give the same value")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A node's place in its tree: the child numbers from the root down. The root's
/// path is empty; the second child of the first child is `1:2`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct NodePath(pub Vec<u32>);

impl NodePath {
    /// The path of this node's child with number `number`.
    #[must_use]
    pub fn child(&self, number: u32) -> Self {
        let mut path = self.0.clone();
        path.push(number);
        Self(path)
    }

    /// The next step from this node towards `target`.
    pub fn step_to(&self, target: &Self) -> Step {
        match target.0.strip_prefix(self.0.as_slice()) {
            Some([]) => Step::Here,
            Some([next, ..]) => Step::Child(*next),
            None => Step::Parent,
        }
    }
}

/// Where a message for some node goes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It has arrived.
    Here,
    /// Down, to the child with this number.
    Child(u32),
    /// Up, to the parent.
    Parent,
}

/// Python's form: `1:2`; empty for the root.
impl fmt::Display for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, number) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(":")?;
            }
            write!(f, "{number}")?;
        }
        Ok(())
    }
}

/// An actor's address: its node, and its number there. Number 0 is the actor that
/// is the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ActorId {
    /// The node that hosts the actor.
    pub node: NodeId,
    /// The actor's number in that node.
    pub number: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(steps: &[u32]) -> NodePath {
        NodePath(steps.to_vec())
    }

    #[test]
    fn paths_print_as_python_names_them() {
        assert_eq!(path(&[1, 2]).to_string(), "1:2");
        assert_eq!(path(&[]).to_string(), "");
    }

    #[test]
    fn every_step_leads_to_the_target() {
        assert_eq!(path(&[1]).step_to(&path(&[1])), Step::Here);
        assert_eq!(path(&[1]).step_to(&path(&[1, 4, 2])), Step::Child(4));
        assert_eq!(path(&[1]).step_to(&path(&[2])), Step::Parent);
        assert_eq!(path(&[1, 2]).step_to(&path(&[1])), Step::Parent);
    }
}
