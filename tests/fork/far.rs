//! Proxies of other programs' managers, in copies of the process that connected.

use crate::SOON;
use procession::manager::ListProxy;
use procession::{Manager, ManagerError, Process, ShareError, StartMethod, context};

const KEY: &[u8] = b"abracadabra";

/// A copy would speak with the other's voice, and take its answers.
pub(crate) fn a_copy_leaves_the_others_connection_to_a_manager_alone() {
    fn original() -> bool {
        let builder = Manager::builder().address("127.0.0.1:0").authkey(KEY);
        let manager = builder.offer::<ListProxy<u8>>("list").start().unwrap();
        let remote = Manager::connect(manager.address().unwrap().clone(), KEY).unwrap();
        let list = remote.get::<ListProxy<u8>>("list").unwrap();
        // A reference of its own to the same object.
        let theirs = remote.get::<ListProxy<u8>>("list").unwrap();
        let copied = move || {
            let asked = theirs.len();
            let is_refused = matches!(asked, Err(ManagerError::Share(ShareError::Forked)));
            drop(theirs);
            is_refused
        };
        #[allow(unsafe_code, reason = "what is tested")]
        // SAFETY: the other threads are the library's, and the closure needs no lock of theirs.
        let copy = unsafe { Process::fork_unchecked(copied) }.unwrap();
        let is_refused = copy.result_timeout(SOON).unwrap();
        list.append(&1).unwrap();
        is_refused && list.to_vec().unwrap() == [1]
    }
    let process = context(StartMethod::Spawn).spawn(original, ()).unwrap();
    assert!(process.result_timeout(SOON).unwrap());
}
