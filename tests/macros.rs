//! What the macros refuse, and with which words; and what they take.

#[test]
fn mistakes_are_errors_that_point_at_them() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}

#[test]
fn all_else_compiles_without_a_warning() {
    trybuild::TestCases::new().pass("tests/compile_pass/*.rs");
}
