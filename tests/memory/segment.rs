//! `SharedMemory`: making, attaching, travelling, removing.
//!
//! Neighbour: `names.rs` has what becomes of names when processes die.

use crate::util::{METHODS, alone, back_to, holdings};
use crate::{exists, own_name, python};
use procession::{Process, SharedMemory, SharedMemoryError, SharedMemoryManager, context};
use std::sync::atomic::{AtomicU64, Ordering};

/// shm-03.
#[test]
fn a_drawn_name_that_is_taken_is_drawn_again() {
    let names = ["one", "one", "two"].map(|name| own_name(&format!("drawn-{name}")));
    let mut drawn = names.clone().into_iter();
    let first = SharedMemory::create_drawn(1, || drawn.next().unwrap()).unwrap();
    let second = SharedMemory::create_drawn(1, || drawn.next().unwrap()).unwrap();
    assert_eq!(first.name(), Some(names[0].as_str()));
    assert_eq!(second.name(), Some(names[2].as_str()));
    first.unlink().unwrap();
    second.unlink().unwrap();
    let python_like = SharedMemory::create_unnamed(1).unwrap();
    let name = python_like.name().unwrap().to_owned();
    assert!(name.len() == 12 && name.starts_with("psm_"), "{name}");
    python_like.unlink().unwrap();
}

/// shm-04.
#[test]
fn no_bytes_is_an_error_of_its_own() {
    let name = own_name("zero");
    assert!(matches!(SharedMemory::create(&name, 0), Err(SharedMemoryError::ZeroSize)));
    assert!(matches!(SharedMemory::anonymous(0), Err(SharedMemoryError::ZeroSize)));
    assert!(matches!(SharedMemory::create_unnamed(0), Err(SharedMemoryError::ZeroSize)));
    assert!(!exists(&name));
}

/// track-08.
#[test]
fn a_name_that_is_none_is_refused() {
    for name in ["", "a/b", &"x".repeat(256), &"x".repeat(600), ".."] {
        let made = SharedMemory::create(name, 1);
        assert!(matches!(made, Err(SharedMemoryError::InvalidName(_))), "{name:?}");
        let found = SharedMemory::attach(name);
        assert!(matches!(found, Err(SharedMemoryError::InvalidName(_))), "{name:?}");
    }
}

#[test]
fn making_attaching_and_removing_follow_python() {
    let name = own_name("life");
    let memory = SharedMemory::create(&format!("/{name}"), 100).unwrap();
    assert_eq!((memory.name(), memory.size()), (Some(name.as_str()), 100));
    assert_eq!(memory.to_vec(..).unwrap(), [0; 100]);
    let mode = std::fs::metadata(format!("/dev/shm/{name}")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
    assert!(matches!(SharedMemory::create(&name, 1), Err(SharedMemoryError::Exists(_))));

    let other = SharedMemory::attach(&name).unwrap();
    memory.write(95, b"howdy").unwrap();
    let mut bytes = [0; 5];
    other.read(95, &mut bytes).unwrap();
    assert_eq!(&bytes, b"howdy");
    assert!(memory.write(96, b"howdy").is_err() && other.read(96, &mut bytes).is_err());
    assert!(other.view::<u16>(0, 51).is_none() && other.view::<u16>(1, 1).is_none());

    other.clone().close();
    memory.unlink().unwrap();
    assert!(matches!(memory.unlink(), Err(SharedMemoryError::NotFound(_))));
    assert!(matches!(SharedMemory::attach(&name), Err(SharedMemoryError::NotFound(_))));
    other.write(0, b"still there").unwrap();
    assert_eq!(memory.to_vec(..11).unwrap(), b"still there");
    assert!(format!("{memory:?}").contains(&name));
    assert!(matches!(
        SharedMemory::anonymous(1).unwrap().unlink(),
        Err(SharedMemoryError::Anonymous)
    ));
}

/// shm-05, and its like without a name.
#[test]
fn a_handle_travels_and_both_sides_see_what_is_written() {
    let add = |memory: SharedMemory| {
        let before = memory.to_vec(..3).unwrap();
        memory.write(0, b"pong").unwrap();
        (before, memory)
    };
    for method in METHODS {
        for memory in [SharedMemory::create_unnamed(4), SharedMemory::anonymous(4)] {
            let memory = memory.unwrap();
            memory.write(0, b"ping").unwrap();
            let process = context(method).spawn(add, (memory.clone(),)).unwrap();
            let (before, back) = process.result().unwrap();
            assert_eq!(before, b"pin");
            assert_eq!(memory.to_vec(..).unwrap(), b"pong");
            back.write(0, b"!").unwrap();
            assert_eq!(memory.to_vec(..).unwrap(), b"!ong");
            assert_eq!(back.name(), memory.name());
            if memory.name().is_some() {
                memory.unlink().unwrap();
            }
        }
    }
}

#[test]
fn a_handle_stays_in_its_tree() {
    let memory = SharedMemory::anonymous(1).unwrap();
    let text = serde_json::to_string(&memory).unwrap_err().to_string();
    assert!(text.contains("OutsideTransfer"), "{text}");
}

/// shm-06.
#[test]
fn what_was_unlinked_does_not_arrive() {
    let memory = SharedMemory::create_unnamed(4).unwrap();
    memory.unlink().unwrap();
    let error = Process::spawn(|_: SharedMemory| {}, (memory,)).unwrap_err().to_string();
    assert!(error.contains("there is no shared memory named"), "{error}");
}

/// shm-07.
#[test]
fn a_child_attaches_by_name_or_by_handle() {
    let memory = SharedMemory::create(&own_name("attach"), 5).unwrap();
    let by_name = |name: String| SharedMemory::attach(&name).unwrap().write(0, b"howdy").unwrap();
    let by_handle = |memory: SharedMemory| memory.write(0, b"HELLO").unwrap();
    let name = memory.name().unwrap().to_owned();
    Process::spawn(by_name, (name,)).unwrap().result().unwrap();
    assert_eq!(memory.to_vec(..).unwrap(), b"howdy");
    Process::spawn(by_handle, (memory.clone(),)).unwrap().result().unwrap();
    assert_eq!(memory.to_vec(..).unwrap(), b"HELLO");
    memory.unlink().unwrap();
}

#[test]
fn a_full_file_system_is_an_error_and_no_signal() {
    let name = own_name("full");
    let Err(SharedMemoryError::Io(error)) = SharedMemory::create(&name, 1 << 50) else {
        panic!("a pebibyte")
    };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert!(!exists(&name));
    assert!(SharedMemory::anonymous(1 << 50).is_err());
}

#[test]
fn a_scope_removes_what_it_made() {
    let manager = SharedMemoryManager::new();
    let memory = manager.shared_memory(10).unwrap();
    let list = manager.shareable_list([1, 2]).unwrap();
    let gone = manager.shared_memory(1).unwrap();
    gone.unlink().unwrap();
    let names = [memory.name().unwrap().to_owned(), list.name().to_owned()];
    assert!(names.iter().all(|name| exists(name)));
    manager.shutdown();
    assert!(!names.iter().any(|name| exists(name)));
    memory.write(0, b"mine").unwrap();
}

#[test]
fn integers_are_counted_in_several_processes_at_once() {
    const TURNS: u64 = 20_000;
    let memory = SharedMemory::anonymous(64).unwrap();
    let add = |memory: SharedMemory| {
        let cell = memory.view::<u64>(8, 1).unwrap().at(0).unwrap();
        (0..TURNS).for_each(|_| _ = cell.fetch_add(1));
    };
    let processes: Vec<_> =
        (0..3).map(|_| Process::spawn(add, (memory.clone(),)).unwrap()).collect();
    for process in processes {
        process.result().unwrap();
    }
    assert_eq!(memory.view::<u64>(8, 1).unwrap().get(0), Some(3 * TURNS));
}

#[test]
fn nothing_is_left_of_closed_memory() {
    alone("segment::nothing_is_left_of_closed_memory", || {
        let turn = || {
            let memory = SharedMemory::create_unnamed(10_000).unwrap();
            let other = SharedMemory::attach(memory.name().unwrap()).unwrap();
            let anonymous = SharedMemory::anonymous(10_000).unwrap();
            other.write(0, &anonymous.to_vec(..100).unwrap()).unwrap();
            memory.unlink().unwrap();
        };
        turn();
        let baseline = holdings();
        (0..50).for_each(|_| turn());
        back_to(&baseline);
    });
}

#[test]
fn python_reads_and_writes_the_same_memory() {
    const SCRIPT: &str = "
import sys
from multiprocessing import shared_memory, resource_tracker
m = shared_memory.SharedMemory(sys.argv[1])
resource_tracker.unregister(m._name, 'shared_memory')
print(m.size, bytes(m.buf[:4]).decode())
m.buf[:6] = b'python'
m.close()
own = shared_memory.SharedMemory(create=True, size=3)
resource_tracker.unregister(own._name, 'shared_memory')
own.buf[:] = b'abc'
print(own.name)
own.close()
";
    let memory = SharedMemory::create_unnamed(10).unwrap();
    memory.write(0, b"rust").unwrap();
    if let Some(said) = python(SCRIPT, &[memory.name().unwrap()]) {
        let mut lines = said.lines();
        assert_eq!(lines.next(), Some("10 rust"));
        assert_eq!(memory.to_vec(..6).unwrap(), b"python");
        let theirs = SharedMemory::attach(lines.next().unwrap()).unwrap();
        assert_eq!(theirs.to_vec(..).unwrap(), b"abc");
        theirs.unlink().unwrap();
    }
    memory.unlink().unwrap();
}

/// Bytes that a reader copies while a writer copies others are old or new, each whole word.
#[test]
fn copies_of_words_do_not_tear() {
    let memory = SharedMemory::anonymous(4096).unwrap();
    let words = memory.view::<u64>(0, 512).unwrap();
    let turns = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in (0..250u64).cycle().take(2_000) {
                words.write(&[turn * 0x0101_0101_0101_0101; 512]).unwrap();
            }
            turns.store(1, Ordering::Release);
        });
        while turns.load(Ordering::Acquire) == 0 {
            for word in words.to_vec() {
                assert_eq!(word % 0x0101_0101_0101_0101, 0);
            }
        }
    });
}
