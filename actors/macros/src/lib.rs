//! The derive macros of procession.
