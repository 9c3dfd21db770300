//! The supervision policy.
