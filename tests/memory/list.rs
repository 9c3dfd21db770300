//! `ShareableList`: items, travelling, Python's layout, damage.

use crate::{own_name, python};
use procession::ShareableItem::{Bool, Bytes, Float, Int, Str};
use procession::{
    Process, ShareableItem, ShareableList, ShareableListError, SharedMemory, SharedMemoryError,
};

fn one_of_each() -> [ShareableItem; 9] {
    [
        "howdy".into(),
        b"HoWdY".as_slice().into(),
        (-273.154).into(),
        100.into(),
        ().into(),
        true.into(),
        i64::MIN.into(),
        "grüße, 世界".into(),
        "".into(),
    ]
}

#[test]
fn items_come_back_whatever_they_are() {
    let items = one_of_each();
    let list = ShareableList::new(items.clone()).unwrap();
    assert_eq!((list.len(), list.is_empty()), (9, false));
    assert_eq!(list.iter().collect::<Result<Vec<_>, _>>().unwrap(), items);
    let formats: Vec<_> = (0..9).map(|at| list.format(at).unwrap()).collect();
    assert_eq!(formats, ["8s", "8s", "d", "q", "xxxxxx?x", "xxxxxxx?", "q", "16s", "8s"]);
    assert_eq!(list.index(true).unwrap(), 5);
    assert_eq!(list.count("howdy").unwrap(), 1);
    assert!(matches!(list.index("Howdy"), Err(ShareableListError::NoSuchItem)));
    assert!(format!("{list:?}").contains("howdy"));
    list.unlink().unwrap();
    let empty = ShareableList::named(&own_name("empty"), [0i64; 0]).unwrap();
    assert!(empty.is_empty() && ShareableList::attach(empty.name()).unwrap().is_empty());
    empty.unlink().unwrap();
}

#[test]
fn items_are_replaced_by_others_that_fit() {
    let list = ShareableList::new(one_of_each()).unwrap();
    list.set(2, 42).unwrap();
    list.set(3, "8 bytes!").unwrap();
    list.set(0, None::<i64>).unwrap();
    assert_eq!(list.get(2).unwrap(), Int(42));
    assert_eq!(list.get(3).unwrap(), Str("8 bytes!".into()));
    assert_eq!(list.get(0).unwrap(), ShareableItem::None);
    assert_eq!(list.format(3).unwrap(), "8s");
    let long = list.set(1, "nine bytes");
    assert!(matches!(long, Err(ShareableListError::TooLong { len: 10, room: 8 })), "{long:?}");
    assert_eq!(list.get(1).unwrap(), Bytes(b"HoWdY".into()));
    assert!(matches!(list.set(9, 1), Err(ShareableListError::OutOfRange { index: 9, len: 9 })));
    // As in Python, and for its reason: the length is not stored.
    list.set(1, b"\0a\0\0".as_slice()).unwrap();
    assert_eq!(list.get(1).unwrap(), Bytes(b"\0a".into()));
    list.unlink().unwrap();
}

/// What cannot be made leaves no name, and says why.
#[test]
fn a_text_that_is_too_long_leaves_nothing() {
    let name = own_name("too-long");
    let long = ["y".repeat(9_999_992)];
    let error = ShareableList::named(&name, long).unwrap_err();
    assert!(matches!(error, ShareableListError::TooLarge { len: 9_999_992 }), "{error}");
    assert!(!crate::exists(&name));
    let longest = "y".repeat(9_999_991);
    let list = ShareableList::named(&name, [longest.as_str()]).unwrap();
    assert_eq!(list.get(0).unwrap(), Str(longest));
    list.unlink().unwrap();
}

/// shlist-02. What travels is the name, whatever there is in the list.
#[test]
fn a_list_travels_by_its_name() {
    let many: Vec<i64> = (0..400).collect();
    let list = ShareableList::new(many).unwrap();
    let change = |list: ShareableList| {
        list.set(399, 2.5).unwrap();
        list.len()
    };
    assert_eq!(Process::spawn(change, (list.clone(),)).unwrap().result().unwrap(), 400);
    assert_eq!(list.get(399).unwrap(), Float(2.5));
    let few = ShareableList::new([1; 10]).unwrap();
    let size = |list: &ShareableList| procession_runtime::codec::encode(list).unwrap().bytes.len();
    assert!(size(&list).abs_diff(size(&few)) <= 2, "but for the size of the memory");
    list.unlink().unwrap();
    few.unlink().unwrap();
}

/// shlist-03.
#[test]
fn a_list_that_was_unlinked_does_not_arrive() {
    let list = ShareableList::new([1]).unwrap();
    list.unlink().unwrap();
    assert!(matches!(
        ShareableList::attach(list.name()),
        Err(ShareableListError::Memory(SharedMemoryError::NotFound(_)))
    ));
    let error = Process::spawn(|_: ShareableList| {}, (list,)).unwrap_err().to_string();
    assert!(error.contains("there is no shared memory named"), "{error}");
}

#[test]
fn memory_with_anything_in_it_is_no_list_but_no_danger() {
    let seed = std::env::var("PROCESSION_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut state = seed.unwrap_or_else(|| std::process::id().into());
    println!("PROCESSION_SEED={state}");
    let mut random = || {
        state = u64::wrapping_mul(state, 6_364_136_223_846_793_005).wrapping_add(1);
        state >> 33
    };
    let memory = SharedMemory::create(&own_name("damaged"), 200).unwrap();
    let words = memory.view::<i64>(0, 25).unwrap();
    let mut lists = 0;
    for _ in 0..5_000 {
        for at in 0..25 {
            let word = match random() % 4 {
                0 => i64::try_from(random() % 20).unwrap(),
                1 => i64::try_from(random() % 10 * 8).unwrap(),
                2 => i64::from_ne_bytes(*b"8s\0\0\0\0\0\0"),
                _ => (random() << 40).cast_signed(),
            };
            words.set(at, word).unwrap();
        }
        let Ok(list) = ShareableList::attach(memory.name().unwrap()) else { continue };
        lists += 1;
        for at in 0..list.len() {
            let _ = (list.get(at), list.format(at), list.set(at, "text"));
        }
    }
    assert!(lists > 0, "some of them pass for lists");
    memory.unlink().unwrap();
}

#[test]
fn python_and_this_read_each_others_lists() {
    const SCRIPT: &str = "
import sys
from multiprocessing import shared_memory, resource_tracker
l = shared_memory.ShareableList(name=sys.argv[1])
resource_tracker.unregister(l.shm._name, 'shared_memory')
print(ascii(list(l)), [l._get_packing_format(i) for i in range(len(l))])
l[0] = 'HOWDY'; l[2] = 1; l[3] = None; l[5] = False; l[6] = 0.5
l.shm.close()
own = shared_memory.ShareableList(['text', b'bytes', 1, 2.5, None, True, 'x' * 20])
resource_tracker.unregister(own.shm._name, 'shared_memory')
print(own.shm.name)
own.shm.close()
";
    let list = ShareableList::new(one_of_each()).unwrap();
    if let Some(said) = python(SCRIPT, &[list.name()]) {
        let mut lines = said.lines();
        assert_eq!(
            lines.next().unwrap(),
            "['howdy', b'HoWdY', -273.154, 100, None, True, -9223372036854775808, \
             'gr\\xfc\\xdfe, \\u4e16\\u754c', ''] \
             ['8s', '8s', 'd', 'q', 'xxxxxx?x', 'xxxxxxx?', 'q', '16s', '8s']"
        );
        let now = list.iter().collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(
            now[..7],
            [
                Str("HOWDY".into()),
                Bytes(b"HoWdY".into()),
                Int(1),
                ShareableItem::None,
                ShareableItem::None,
                Bool(false),
                Float(0.5)
            ]
        );
        let theirs = ShareableList::attach(lines.next().unwrap()).unwrap();
        let expected = [
            Str("text".into()),
            Bytes(b"bytes".into()),
            Int(1),
            Float(2.5),
            ShareableItem::None,
            Bool(true),
            Str("x".repeat(20)),
        ];
        assert_eq!(theirs.iter().collect::<Result<Vec<_>, _>>().unwrap(), expected);
        theirs.unlink().unwrap();
    }
    list.unlink().unwrap();
}
