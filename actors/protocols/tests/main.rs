//! The protocols' tests, in one program: built once and run side by side.
//!
//! Owns the list, in which each file and folder beside this one stands (a test checks it), and
//! how random cases are drawn.

mod custody;
#[path = "fuzz/main.rs"]
mod fuzz;
#[path = "manager_model/main.rs"]
mod manager_model;
mod pipe_debt;
mod pipe_turn;
mod pool_bell;
#[path = "pool_model/main.rs"]
mod pool_model;
#[path = "queue_model/main.rs"]
mod queue_model;
#[path = "queue_states/main.rs"]
mod queue_states;
mod queue_words;
#[path = "supervision/main.rs"]
mod supervision;
#[path = "supervision_model/main.rs"]
mod supervision_model;
mod word_loom;
#[path = "word_model/main.rs"]
mod word_model;

use proptest::test_runner::{Config, RngAlgorithm};

/// So many cases in a run, unless `PROPTEST_CASES` says otherwise.
fn config(cases: u32) -> Config {
    let default = Config::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { cases };
    // Each choice between strategies makes generators of its own. Those of the default draw a
    // block of ChaCha each, which took most of the time of all cases.
    Config { cases, rng_algorithm: RngAlgorithm::XorShift, ..default }
}
