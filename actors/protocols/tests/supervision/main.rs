//! The supervision policy, one behaviour per test.
//!
//! Owns the readable cases, by subject; `supervision_model` has the random ones.

mod driver;
mod requests;
mod restart;
mod start;
mod stop;
mod strategies;
