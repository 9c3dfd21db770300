//! What somebody meets who forks under the usual test harness: a refusal that says why.

use procession::{Error, Process, StartError, StartMethod, context};

#[test]
fn fork_is_refused_beside_the_harness_threads() {
    let captured = String::from("captured");
    for error in [
        Process::fork(move || captured.len()).map(drop).unwrap_err(),
        context(StartMethod::Fork).spawn(|| 1, ()).map(drop).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Start(StartError::ForeignThreads { .. })), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("fork is refused") && text.contains("threads"), "{text}");
    }
}
