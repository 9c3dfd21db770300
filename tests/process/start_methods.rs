//! Which start method a program uses. The choice is one per process, so each test makes
//! it in a child made for it.

use procession::{
    Error, Process, StartError, StartMethod, all_start_methods, context, cpu_count,
    force_start_method, freeze_support, set_start_method, start_method, start_method_if_set,
};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn apart<R: serde::Serialize + serde::de::DeserializeOwned + 'static>(
    body: impl Fn() -> R + Copy + 'static,
) -> R {
    Process::spawn(body, ()).unwrap().result_timeout(SOON).unwrap()
}

#[test]
fn a_context_leaves_the_programs_choice_alone() {
    let (before, inside, after) = apart(|| {
        let before = start_method_if_set();
        let p = context(StartMethod::Spawn)
            .spawn(|| procession::current_process().start_method(), ())
            .unwrap();
        (before, p.result_timeout(SOON).unwrap(), start_method_if_set())
    });
    assert_eq!((before, inside, after), (None, Some(StartMethod::Spawn), None));
}

#[test]
fn freeze_support_fixes_nothing() {
    let method = apart(|| {
        freeze_support();
        set_start_method(StartMethod::Spawn).unwrap();
        start_method()
    });
    assert_eq!(method, StartMethod::Spawn);
}

#[test]
fn the_choice_is_made_once_reaches_children_and_can_be_forced() {
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        let name = method.to_string();
        let said = Process::spawn(
            |name: String| {
                let method: StartMethod = name.parse().unwrap();
                set_start_method(method).unwrap();
                let again = matches!(set_start_method(method), Err(Error::StartMethodAlreadySet));
                let child = Process::spawn(
                    || (procession::current_process().start_method(), start_method_if_set()),
                    (),
                );
                let (started_by, inherited) = child.unwrap().result_timeout(SOON).unwrap();
                force_start_method(None);
                (
                    again,
                    started_by == Some(method),
                    inherited == Some(method),
                    start_method_if_set(),
                )
            },
            (name,),
        );
        let said = said.unwrap().result_timeout(SOON).unwrap();
        assert_eq!(said, (true, true, true, None), "{method}");
    }
}

#[test]
fn asking_for_the_method_fixes_the_default() {
    let (method, set) = apart(|| (start_method(), start_method_if_set()));
    assert_eq!(method, all_start_methods()[0]);
    assert_eq!(set, Some(method));
}

#[test]
fn names_of_methods_read_and_print() {
    for method in all_start_methods() {
        assert_eq!(method.to_string().parse(), Ok(method));
    }
    assert!("thread".parse::<StartMethod>().unwrap_err().to_string().contains("thread"));
}

#[test]
fn there_is_at_least_one_processor() {
    assert!(cpu_count().unwrap() >= 1);
}
/// What somebody meets who forks under the usual harness: a refusal that says why.
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
