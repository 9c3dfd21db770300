//! The protocols' tests, in one program: built once and run side by side.
//!
//! Owns the list, in which each file and folder beside this one stands (a test checks it).

mod custody;
#[path = "fuzz/main.rs"]
mod fuzz;
#[path = "manager_model/main.rs"]
mod manager_model;
mod pipe_turn;
mod pool_bell;
#[path = "pool_model/main.rs"]
mod pool_model;
#[path = "queue_model/main.rs"]
mod queue_model;
mod queue_words;
#[path = "supervision/main.rs"]
mod supervision;
#[path = "supervision_model/main.rs"]
mod supervision_model;
mod word_loom;
#[path = "word_model/main.rs"]
mod word_model;
