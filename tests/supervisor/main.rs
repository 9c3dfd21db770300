//! Supervision trees of real processes, and the ractor actors that they are.
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod edges;
mod nested;
mod ractor;
mod specs;
mod tree;
