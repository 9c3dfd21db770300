//! Every scenario of `process/life.rs`, which runs by the default method, once more by spawn.
//! Fork's share is in `fork.rs`, since fork is refused under this harness.

#[path = "process/life.rs"]
mod process;

/// The harness has no place to set something before its tests; the loader has.
#[used]
#[allow(unsafe_code, reason = "a place in the image")]
#[unsafe(link_section = ".init_array")]
static SET: extern "C" fn() = set;

extern "C" fn set() {
    procession::force_start_method(Some(procession::StartMethod::Spawn));
}

#[test]
fn the_scenarios_run_by_spawn() {
    let method = || procession::current_process().start_method();
    let process = procession::Process::spawn(method, ()).unwrap();
    assert_eq!(process.result().unwrap(), Some(procession::StartMethod::Spawn));
}
