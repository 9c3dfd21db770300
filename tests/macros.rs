//! What the macros refuse, and with which words; and what they take.

#[path = "macros/takes.rs"]
pub mod takes;

#[test]
fn mistakes_are_errors_that_point_at_them() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
