//! Clients that write into their page what cannot be.

use crate::util::SOON;
use procession::{Event, Process, Queue};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long the page of a queue's client is: its words, and two rings.
const PAGE: u64 = 4096 + 2 * 256 * 1024;

/// Where the word stands that says up to where the client has read its ring.
const READ_UP_TO: u64 = 2 * 64;

/// And the one that says how many of its threads wait for an item.
const WAITING: u64 = 3 * 64;

/// The memory of this process, and where the page of its one queue begins.
fn page() -> (File, u64) {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let hex = |text| u64::from_str_radix(text, 16).unwrap();
    let pages: Vec<_> = maps
        .lines()
        .filter(|line| line.contains("procession-memory"))
        .filter_map(|line| line.split(' ').next()?.split_once('-'))
        .map(|(from, to)| (hex(from), hex(to)))
        .filter(|(from, to)| to - from == PAGE)
        .collect();
    assert_eq!(pages.len(), 1, "{maps}");
    let memory = OpenOptions::new().read(true).write(true).open("/proc/self/mem").unwrap();
    (memory, pages[0].0)
}

/// Says that it has read so many bytes more than were written, and that it waits for an item,
/// to the end of its life.
fn reads_ahead(queue: Queue<u64>, begins: Event, ahead: u64) {
    assert_eq!(queue.get().unwrap(), 0);
    let (memory, page) = page();
    let mut word = [0; 8];
    memory.read_exact_at(&mut word, page + READ_UP_TO).unwrap();
    let word = u64::from_ne_bytes(word).wrapping_add(ahead).to_ne_bytes();
    memory.write_all_at(&word, page + READ_UP_TO).unwrap();
    memory.write_all_at(&1u64.to_ne_bytes(), page + WAITING).unwrap();
    begins.set().unwrap();
    let _ = queue.get_timeout(2 * SOON);
    std::thread::sleep(2 * SOON);
}

#[test]
fn a_client_that_has_read_what_was_not_written_holds_nobody_up() {
    for ahead in [1 << 40, 1] {
        let (queue, begins) = (Queue::new().unwrap(), Event::new().unwrap());
        queue.put(0).unwrap();
        let args = (queue.clone(), begins.clone(), ahead);
        let liar = Process::spawn(reads_ahead, args).unwrap();
        assert!(begins.wait_timeout(SOON).unwrap());
        // It comes to wait in this time; whether it does, nobody else is to notice.
        let (begun, (wants, wanted)) = (Instant::now(), mpsc::channel());
        let puts = queue.clone();
        let putter = std::thread::spawn(move || {
            for item in wanted {
                // Most often the other waits by then.
                std::thread::sleep(Duration::from_millis(1));
                puts.put(item).unwrap();
            }
        });
        for item in 1.. {
            wants.send(item).unwrap();
            assert_eq!(queue.get_timeout(SOON).unwrap(), item, "{ahead}");
            if begun.elapsed() > Duration::from_secs(1) {
                break;
            }
        }
        drop(wants);
        putter.join().unwrap();
        liar.kill().unwrap();
        liar.join().unwrap();
    }
}
