//! A loader that does not tell what it has loaded: functions have no names then.
//!
//! Owns a `dl_iterate_phdr` that stands before the C library's and knows of no object as long
//! as it is told to. One test alone, since it holds for the whole process.
#![cfg(target_env = "gnu")]
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

use procession::{
    Actor, Error, Function, NotInImage, Process, SpawnError, StartError, StartMethod,
    active_children, methods, set_forkserver_preload,
};
use serde::{Deserialize, Serialize};
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

static IS_SILENT: AtomicBool = AtomicBool::new(false);

type Visit = unsafe extern "C" fn(*mut libc::dl_phdr_info, usize, *mut c_void) -> c_int;
type Walk = unsafe extern "C" fn(Visit, *mut c_void) -> c_int;

#[allow(unsafe_code, reason = "the C library's has this name and this form")]
#[unsafe(no_mangle)]
unsafe extern "C" fn dl_iterate_phdr(visit: Visit, data: *mut c_void) -> c_int {
    if IS_SILENT.load(SeqCst) {
        return 0;
    }
    // SAFETY: a name that ends, and what dlsym gives for it is the C library's function of
    // that form, which gets what this one got.
    unsafe {
        let walk = libc::dlsym(libc::RTLD_NEXT, c"dl_iterate_phdr".as_ptr());
        std::mem::transmute::<*mut c_void, Walk>(walk)(visit, data)
    }
}

#[derive(Actor, Serialize, Deserialize)]
struct Counter(i64);

#[methods]
impl Counter {
    pub fn add(&mut self, n: i64) -> i64 {
        self.0 += n;
        self.0
    }
}

fn is_unnamed<T>(started: Result<T, Error>) -> bool {
    matches!(started, Err(Error::Start(StartError::NoSuchFunction)))
}

#[test]
fn a_function_without_a_name_is_a_typed_error_and_nothing_is_left() {
    for method in [StartMethod::ForkServer, StartMethod::Spawn] {
        let made = Process::builder(|| 1, ()).start_method(method).build().unwrap();
        IS_SILENT.store(true, SeqCst);
        assert!(is_unnamed(Process::spawn(|| 1, ())));
        assert!(is_unnamed(Process::builder(|| 1, ()).start_method(method).start()));
        assert!(is_unnamed(Process::fork_builder(|| 1).build()));
        assert!(is_unnamed(set_forkserver_preload(|| ())));
        assert!(matches!(Function::new(|x: u8| x), Err(NotInImage)));
        let spawned = Counter(0).spawn().map(drop);
        assert!(
            matches!(&spawned, Err(SpawnError::Process(StartError::NoSuchFunction))),
            "{spawned:?}"
        );
        // It has its name already; where the fork server has none, it is started by spawn.
        made.start().unwrap();
        IS_SILENT.store(false, SeqCst);
        assert_eq!(made.result_timeout(SOON).unwrap(), 1);
        assert!(active_children().is_empty());
        assert_eq!(Process::spawn(|| 1, ()).unwrap().result_timeout(SOON).unwrap(), 1);
        let counter = Counter(0).spawn().unwrap();
        assert_eq!(counter.add(1), Ok(1));
        counter.stop_timeout(SOON).unwrap();
    }
}
