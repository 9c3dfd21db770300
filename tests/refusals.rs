//! What the macros refuse, and with which words: `cargo test --workspace --test refusals`.
//!
//! A command of its own: the cases are checked in a project that trybuild makes for them, and
//! all that they depend on once more with it. What the macros take is in
//! `tests/actor/macros.rs`.

use std::process::Command;

/// Those of trybuild. It adds the width for the cases alone, and other flags are another build:
/// all that the cases depend on would be checked twice. Flags from here hold for both.
const FLAGS: (&str, &str) = (
    "CARGO_ENCODED_RUSTFLAGS",
    "--cfg=trybuild\x1f--verbose\x1f-Adead_code\x1f--diagnostic-width=140",
);

#[test]
fn mistakes_are_errors_that_point_at_them() {
    if std::env::var(FLAGS.0).is_ok_and(|flags| flags == FLAGS.1) {
        trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
        return;
    }
    // Ends with all that it has started after ten minutes.
    let mut again = Command::new("timeout");
    again.arg("600").arg(std::env::current_exe().unwrap()).env(FLAGS.0, FLAGS.1);
    again.args(["mistakes_are_errors_that_point_at_them", "--exact", "--nocapture"]);
    assert!(again.status().unwrap().success());
}
