//! Proxies of other programs' managers, in copies of the process that connected.

use crate::SOON;
use crate::python::Python;
use procession::manager::{ListProxy, PythonManager, PythonQueue};
use procession::{
    Connection, Manager, ManagerError, Pipe, Process, PythonPeers, ShareError, StartMethod, context,
};

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

/// As in Python, whose proxies connect anew after a fork.
pub(crate) fn a_copy_has_a_connection_of_its_own_to_a_python_manager() {
    fn original() -> bool {
        let mut python = Python::run("manager/worker.py", &["stock", "127.0.0.1:0"]);
        let address = python.line();
        let manager = PythonManager::connect_with(address.as_str(), KEY, PythonPeers::Md5).unwrap();
        let get = || PythonQueue::<u32>::from(manager.get("get_tasks", ()).unwrap());
        // A reference of its own to the same object.
        let (tasks, theirs) = (get(), get());
        let both = |tasks: &PythonQueue<u32>, other: Connection| {
            // Both at a time.
            other.send(&()).unwrap();
            other.recv_timeout::<()>(SOON).unwrap();
            for n in 0..200 {
                tasks.put(n).unwrap();
                tasks.get_timeout(SOON).unwrap();
            }
        };
        let (here, there) = Pipe::duplex().unwrap();
        let copied = move || {
            both(&theirs, there);
            drop(theirs);
            // Whoever is told of that is told by a thread.
            std::thread::sleep(std::time::Duration::from_millis(200));
        };
        let copy = Process::fork(copied).unwrap();
        both(&tasks, here);
        copy.result_timeout(SOON).unwrap();
        // The copy had no reference to let go of.
        tasks.put(1).unwrap();
        tasks.get_timeout(SOON).unwrap() == 1
    }
    let process = context(StartMethod::Spawn).spawn(original, ()).unwrap();
    assert!(process.result_timeout(SOON).unwrap());
}
