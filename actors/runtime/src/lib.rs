//! What carries messages and runs actors.
