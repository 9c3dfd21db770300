//! What goes through a queue: values of all sizes, handles, descriptors, what does not fit.

use crate::util::{METHODS, SOON, late};
use procession::{GetError, Process, PutFault, Queue, context};
use std::time::{Duration, Instant};

#[test]
fn a_consumer_gets_what_was_put_by_every_kind_of_get() {
    for method in METHODS {
        let queue = Queue::<u32>::new().unwrap();
        let done = Queue::<bool>::new().unwrap();
        let child = context(method)
            .spawn(
                |queue: Queue<u32>, done: Queue<bool>| {
                    let got = [
                        queue.get().unwrap(),
                        queue.get_timeout(SOON).unwrap(),
                        queue.get_timeout(SOON).unwrap(),
                        queue.try_get().unwrap(),
                    ];
                    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
                    let begun = Instant::now();
                    let wait = Duration::from_millis(200);
                    assert!(matches!(queue.get_timeout(wait), Err(GetError::Timeout)));
                    assert!(begun.elapsed() >= wait);
                    done.put(true).unwrap();
                    got.to_vec()
                },
                (queue.clone(), done.clone()),
            )
            .unwrap();
        queue.put_many([2, 3, 4, 5]).unwrap();
        assert!(done.get_timeout(SOON).unwrap());
        assert_eq!(child.result_timeout(SOON).unwrap(), [2, 3, 4, 5]);
        assert!(matches!(queue.try_get(), Err(GetError::Empty)));
        let begun = Instant::now();
        assert!(queue.get_timeout(Duration::from_millis(200)).unwrap_err().is_empty());
        assert!(begun.elapsed() >= Duration::from_millis(100));
    }
}

#[test]
fn parent_and_child_put_into_the_same_queue_in_order() {
    for method in METHODS {
        let queue = Queue::<u32>::new().unwrap();
        queue.put_many(0..10).unwrap();
        let child = context(method)
            .spawn(|queue: Queue<u32>| queue.put_many(10..20).unwrap(), (queue.clone(),))
            .unwrap();
        child.result_timeout(SOON).unwrap();
        let got: Vec<_> = (0..20).map(|_| queue.get_timeout(SOON).unwrap()).collect();
        assert_eq!(got, (0..20).collect::<Vec<_>>());
        assert!(matches!(queue.try_get(), Err(GetError::Empty)));
    }
}

#[test]
fn items_pass_through_two_queues_and_back() {
    let (there, back) = (Queue::<u64>::new().unwrap(), Queue::<u64>::new().unwrap());
    let child = Process::spawn(
        |there: Queue<u64>, back: Queue<u64>| {
            for item in &there {
                back.put(item.unwrap() + 1).unwrap();
            }
        },
        (there.clone(), back.clone()),
    )
    .unwrap();
    for i in 0..2000 {
        there.put(i).unwrap();
        assert_eq!(back.get_timeout(SOON).unwrap(), i + 1);
    }
    for i in 0..20_000 {
        there.put(i).unwrap();
    }
    for i in 0..20_000 {
        assert_eq!(back.get_timeout(SOON).unwrap(), i + 1);
    }
    there.shutdown(false).unwrap();
    child.result_timeout(SOON).unwrap();
}

#[test]
fn its_size_is_exact_here_and_in_a_child() {
    let queue = Queue::<u32>::new().unwrap();
    let size = || queue.qsize().unwrap();
    assert_eq!(size(), 0);
    queue.put(1).unwrap();
    assert_eq!(size(), 1);
    queue.put(2).unwrap();
    assert_eq!(size(), 2);
    let child = Process::spawn(
        |queue: Queue<u32>| {
            let before = queue.qsize().unwrap();
            assert_eq!(queue.get().unwrap(), 1);
            let after = queue.qsize().unwrap();
            queue.put_many([3, 4]).unwrap();
            (before, after, queue.qsize().unwrap())
        },
        (queue.clone(),),
    );
    assert_eq!(child.unwrap().result_timeout(SOON).unwrap(), (2, 1, 3));
    assert_eq!(size(), 3);
    assert_eq!(queue.get_many(10).unwrap(), [2, 3, 4]);
    assert_eq!(size(), 0);
    assert!(queue.is_empty().unwrap() && !queue.is_full().unwrap());
}

#[test]
fn a_megabyte_put_and_joined_before_it_is_got_ends() {
    for (method, len) in [(METHODS[0], 1 << 20), (METHODS[1], 1 << 20), (METHODS[1], 64 << 20)] {
        let queue = Queue::<String>::new().unwrap();
        let put = |queue: Queue<String>, len: usize| queue.put("X".repeat(len)).unwrap();
        let child = context(method).spawn(put, (queue.clone(), len)).unwrap();
        child.result_timeout(SOON).unwrap();
        let text = queue.get_timeout(SOON).unwrap();
        assert!(text.len() == len && text.bytes().all(|byte| byte == b'X'));
    }
}

#[test]
fn items_of_all_sizes_come_whole() {
    let queue = Queue::<String>::new().unwrap();
    let back = Queue::<String>::new().unwrap();
    let child = Process::spawn(
        |queue: Queue<String>, back: Queue<String>| {
            for item in &queue {
                back.put(item.unwrap()).unwrap();
            }
        },
        (queue.clone(), back.clone()),
    )
    .unwrap();
    let sizes = [0, 1, 4095, 65_500, 65_535, 65_536, 65_537, 100_000, 300_000, 3_000_000];
    for round in 0..3 {
        for (n, size) in sizes.into_iter().enumerate() {
            let letter = char::from(b'a' + u8::try_from(n + round).unwrap());
            queue.put(letter.to_string().repeat(size)).unwrap();
        }
        for (n, size) in sizes.into_iter().enumerate() {
            let letter = b'a' + u8::try_from(n + round).unwrap();
            let text = back.get_timeout(SOON).unwrap();
            assert!(text.len() == size && text.bytes().all(|byte| byte == letter), "{size}");
        }
    }
    queue.shutdown(false).unwrap();
    child.result_timeout(SOON).unwrap();
}

#[test]
fn a_child_passes_its_queue_on() {
    for method in METHODS {
        let queue = Queue::<u32>::new().unwrap();
        let child = context(method)
            .spawn(
                |queue: Queue<u32>| {
                    let grandchild = |queue: Queue<u32>| queue.put(2).unwrap();
                    let child = Process::spawn(grandchild, (queue.clone(),)).unwrap();
                    queue.put(1).unwrap();
                    child.result_timeout(SOON).unwrap();
                },
                (queue.clone(),),
            )
            .unwrap();
        let mut got = [queue.get_timeout(SOON).unwrap(), queue.get_timeout(SOON).unwrap()];
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
        child.result_timeout(SOON).unwrap();
    }
}

#[test]
fn queues_and_descriptors_travel_on_queues() {
    let queue = Queue::<(Queue<String>, procession::Fd)>::new().unwrap();
    let child = Process::spawn(
        |queue: Queue<(Queue<String>, procession::Fd)>| {
            for i in 0..20 {
                let (inner, fd) = queue.get().unwrap();
                let mut file = std::fs::File::from(std::os::fd::OwnedFd::from(fd));
                std::io::Write::write_all(&mut file, &[i]).unwrap();
                inner.put(format!("in {i}")).unwrap();
            }
        },
        (queue.clone(),),
    )
    .unwrap();
    for i in 0..20 {
        let (reader, writer) = std::io::pipe().unwrap();
        let inner = Queue::new().unwrap();
        let fd = procession::Fd::from(std::os::fd::OwnedFd::from(writer));
        queue.put((inner.clone(), fd)).unwrap();
        assert_eq!(inner.get_timeout(SOON).unwrap(), format!("in {i}"));
        let mut byte = [0];
        std::io::Read::read_exact(&mut &reader, &mut byte).unwrap();
        assert_eq!(byte, [i]);
    }
    child.result_timeout(SOON).unwrap();
}

/// Encodes only when it is asked to.
#[derive(Debug, PartialEq, serde::Deserialize)]
struct Fussy(bool);

impl serde::Serialize for Fussy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 {
            serializer.serialize_newtype_struct("Fussy", &self.0)
        } else {
            Err(serde::ser::Error::custom("not this one"))
        }
    }
}

#[test]
fn what_cannot_be_encoded_comes_back_and_takes_no_place() {
    let queue = Queue::<Fussy>::bounded(1).unwrap();
    let child = Process::spawn(
        |queue: Queue<Fussy>| {
            let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
            let notes = seen.clone();
            queue.on_feed_error(move |error, item| {
                notes.lock().unwrap().push((error.why.clone(), item.0));
            });
            for _ in 0..3 {
                let refused = queue.put(Fussy(false)).unwrap_err();
                assert!(matches!(refused.why, PutFault::Encode(_)) && refused.item == Fussy(false));
            }
            queue.put_timeout(Fussy(true), SOON).unwrap();
            let seen = seen.lock().unwrap().clone();
            assert!(seen.iter().all(|(why, item)| why.contains("not this one") && !item));
            seen.len()
        },
        (queue.clone(),),
    )
    .unwrap();
    assert_eq!(child.result_timeout(SOON).unwrap(), 3);
    assert!(queue.put(Fussy(false)).is_err());
    assert!(queue.get_timeout(SOON).unwrap().0);
    assert!(queue.is_empty().unwrap());
}

/// Each begins when the one before has ended.
#[test]
fn what_processes_put_one_after_another_comes_in_that_order() {
    let queue = Queue::<u32>::new().unwrap();
    let expected: Vec<u32> = (0..60).collect();
    for n in &expected {
        let put = |queue: Queue<u32>, n: u32| queue.put(n).unwrap();
        let process = Process::spawn(put, (queue.clone(), *n)).unwrap();
        process.result_timeout(SOON).unwrap();
    }
    assert_eq!(queue.get_many(60).unwrap(), expected);
}

#[test]
fn an_item_of_another_type_is_an_error_and_the_next_one_comes() {
    let queue = Queue::<u32>::new().unwrap();
    let child = Process::spawn(
        |inner: Queue<Queue<u32>>| {
            // What travels does not say its type: only items do.
            let queue = inner.get().unwrap();
            queue.put(7).unwrap();
        },
        {
            let inner = Queue::<Queue<u32>>::new().unwrap();
            inner.put(queue.clone()).unwrap();
            (inner,)
        },
    )
    .unwrap();
    child.result_timeout(SOON).unwrap();
    let confused =
        Process::spawn(|queue: Queue<u32>| queue.put_many([1, 2]).unwrap(), (queue.clone(),));
    confused.unwrap().result_timeout(SOON).unwrap();
    let text: Queue<String> = retyped(&queue);
    assert!(matches!(text.get(), Err(GetError::Decode(_))));
    text.put("words".into()).unwrap();
    assert_eq!(queue.get_many(2).unwrap(), [1, 2]);
    assert!(matches!(queue.get(), Err(GetError::Decode(_))));
    queue.put(3).unwrap();
    assert_eq!(queue.get().unwrap(), 3);
    // Among others it has its turn.
    queue.put_many([4, 5]).unwrap();
    text.put("words".into()).unwrap();
    queue.put_many([6, 7]).unwrap();
    assert_eq!(queue.get_many(9).unwrap(), [4, 5]);
    assert!(matches!(queue.clone().try_get(), Err(GetError::Decode(_))));
    assert_eq!(queue.get_many(9).unwrap(), [6, 7]);
}

#[test]
fn several_are_got_up_to_one_that_cannot_be_and_nothing_is_lost() {
    let queue = Queue::<u32>::new().unwrap();
    let text: Queue<String> = retyped(&queue);
    let child = Process::spawn(
        |queue: Queue<u32>, ready: Queue<()>| {
            ready.get().unwrap();
            let first = queue.get_many(9).unwrap();
            // Whoever knows what it is gets it.
            let text: Queue<String> = retyped(&queue);
            let handles = (first, text.get().unwrap(), queue.get_many(9).unwrap());
            queue.put_many((0..3000).chain([7])).unwrap();
            handles
        },
        {
            let ready = Queue::new().unwrap();
            queue.put_many([1, 2]).unwrap();
            text.put("words".into()).unwrap();
            queue.put_many([3, 4]).unwrap();
            ready.put(()).unwrap();
            (queue.clone(), ready)
        },
    );
    let (first, words, rest) = child.unwrap().result_timeout(SOON).unwrap();
    assert_eq!((first, words.as_str(), rest), (vec![1, 2], "words", vec![3, 4]));
    let mut left = Vec::new();
    while left.len() <= 3000 {
        left.extend(queue.get_many_timeout(700, SOON).unwrap());
    }
    // Some were lent to the child, and come later.
    left.sort_unstable();
    assert!(left.into_iter().eq((0..8).chain(7..3000)));
}

/// The same queue as one of items of another type.
pub(crate) fn retyped<T: 'static>(queue: &Queue<u32>) -> Queue<T> {
    let encoded = procession_runtime::codec::encode(queue).unwrap();
    procession_runtime::codec::decode(&encoded.bytes, encoded.fds).unwrap()
}

#[test]
fn a_thread_that_ends_puts_and_gets_as_well() {
    let queue = Queue::<String>::new().unwrap();
    late(move || {
        queue.put("one".into()).unwrap();
        queue.put_many(["two".to_owned(), "three".to_owned()]).unwrap();
        let got = [(); 3].map(|()| queue.get_timeout(SOON).unwrap());
        assert_eq!(got, ["one", "two", "three"]);
    });
}
