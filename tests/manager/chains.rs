//! Objects within objects, as deep as somebody makes them: what holds them may be dropped.

use crate::util::python::Python;
use crate::util::{Folder, until};
use procession::manager::ListProxy;
use procession::{Manager, PythonPeers};
use serde::{Deserialize, Serialize};

const KEY: &[u8] = b"abracadabra";

/// Far more than a stack has frames for.
const DEEP: usize = 12_000;

#[derive(Serialize, Deserialize)]
struct Link(Option<ListProxy<Link>>);

#[test]
fn a_long_chain_that_was_made_from_outside_is_dropped() {
    let folder = Folder::new("chains");
    let address = folder.file("socket");
    let manager = Manager::builder().address(address.as_str()).authkey(KEY).start().unwrap();
    let remote = Manager::connect(address.as_str(), KEY).unwrap();
    let mut last = remote.list([Link(None)]).unwrap();
    for _ in 0..DEEP {
        last = remote.list([Link(Some(last))]).unwrap();
    }
    assert_eq!(manager.object_count().unwrap(), DEEP + 1);
    drop(last);
    until("all of it is gone", || manager.object_count().unwrap() == 0);
}

#[test]
fn a_chain_that_a_python_program_made_is_dropped() {
    let manager = Manager::builder().address("127.0.0.1:0").authkey(KEY);
    let manager = manager.python_peers(PythonPeers::Md5).start().unwrap();
    let address = manager.address().unwrap().to_string();
    assert_eq!(Python::run("manager/client.py", &["chain", &address]).rest().trim(), "301");
    until("all of it is gone", || manager.object_count().unwrap() == 0);
}

#[test]
fn a_list_that_holds_itself_can_be_dropped() {
    let manager = Manager::start().unwrap();
    let itself = manager.list([Link(None)]).unwrap();
    itself.append(&Link(Some(itself.clone()))).unwrap();
    let Link(Some(same)) = itself.get(-1).unwrap() else { panic!("it holds a list") };
    assert!(same == itself && same.len().unwrap() == 2);
    drop((same, itself));
    // It stays, as in Python, and harms nobody.
    let stays = manager.list([1]).unwrap();
    assert_eq!(stays.len().unwrap(), 1);
    let other = manager.list([Link(None)]).unwrap();
    other.append(&Link(Some(other.clone()))).unwrap();
    let before = manager.object_count().unwrap();
    other.clear().unwrap();
    drop(other);
    until("one that holds itself no longer is gone", || {
        manager.object_count().unwrap() == before - 1
    });
    drop(stays);
    manager.shutdown().unwrap();
}
