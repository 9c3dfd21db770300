//! All kinds of shared objects at once: wherever they are made and used, and when those who
//! use them are killed.
//!
//! Each kind's own behaviour is in its own file; here they meet. Neighbour: `ways.rs` has
//! the mechanism that they have in common.

use crate::util::{Folder, METHODS, SOON, alone, alone_command, is_alone, run};
use procession::{
    Array, Barrier, BoundedSemaphore, Condition, Connection, Event, ExclusiveArray, Fd,
    JoinableQueue, Lock, Pipe, Process, Queue, RLock, RawArray, RawValue, Receiver, Semaphore,
    Sender, ShareableItem, ShareableList, SharedMemory, SimpleQueue, StartMethod, Value, context,
};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::sync::LazyLock;
use std::time::Duration;

const ALL: [StartMethod; 3] = [StartMethod::Spawn, StartMethod::ForkServer, StartMethod::Fork];

/// How often each user adds one.
const ROUNDS: u64 = 100;

#[derive(Clone, Serialize, Deserialize)]
struct Everything {
    lock: Lock,
    count: RawValue<u64>,
    queue: Queue<u64>,
    ready: Semaphore,
    go: Event,
    condition: Condition,
    barrier: Barrier,
    again: RLock,
    places: BoundedSemaphore,
    tasks: JoinableQueue<u64>,
    said: SimpleQueue<u64>,
    total: Value<u64>,
    sums: Array<u64>,
    numbers: RawArray<u64>,
    alone: ExclusiveArray<u64>,
    named: SharedMemory,
    unnamed: SharedMemory,
    list: ShareableList,
}

impl Everything {
    fn new(parties: u32) -> Self {
        Self {
            lock: Lock::new().unwrap(),
            count: RawValue::new(0).unwrap(),
            queue: Queue::new().unwrap(),
            ready: Semaphore::new(0).unwrap(),
            go: Event::new().unwrap(),
            condition: Condition::new().unwrap(),
            barrier: Barrier::new(parties).unwrap(),
            again: RLock::new().unwrap(),
            places: BoundedSemaphore::new(1).unwrap(),
            tasks: JoinableQueue::new().unwrap(),
            said: SimpleQueue::new().unwrap(),
            total: Value::new(0).unwrap(),
            sums: Array::new([0; 3]).unwrap(),
            numbers: RawArray::new([0; 3]).unwrap(),
            alone: ExclusiveArray::new([0; 3]).unwrap(),
            named: SharedMemory::create_unnamed(3).unwrap(),
            unnamed: SharedMemory::anonymous(3).unwrap(),
            list: ShareableList::new([0_i64; 3]).unwrap(),
        }
    }

    /// Adds one under the lock.
    fn add(&self) {
        let _guard = self.lock.lock_timeout(SOON).unwrap().unwrap();
        self.count.set(self.count.get().unwrap() + 1).unwrap();
    }
}

fn use_everything(all: Everything, number: u64) {
    all.ready.release().unwrap();
    assert!(all.go.wait_timeout(SOON).unwrap());
    all.barrier.wait_timeout(SOON).unwrap();
    for _ in 0..ROUNDS {
        all.add();
    }
    let guard = all.condition.lock().unwrap();
    all.queue.put(number).unwrap();
    all.condition.notify_all().unwrap();
    drop(guard);

    let at = usize::try_from(number).unwrap();
    let byte = u8::try_from(number).unwrap() + 1;
    for _ in 0..ROUNDS {
        let outer = all.again.lock().unwrap();
        let inner = all.again.lock().unwrap();
        let permit = all.places.permit().unwrap();
        all.numbers.set(0, all.numbers.get(0).unwrap() + 1).unwrap();
        drop((permit, inner, outer));
        all.total.fetch_add(1).unwrap();
        let mut sums = all.sums.lock().unwrap();
        sums.update(0, |sum| sum + 1).unwrap();
        drop(sums);
        all.alone.lock().unwrap()[0] += 1;
    }
    all.named.write(at, &[byte]).unwrap();
    all.unnamed.write(at, &[byte]).unwrap();
    all.list.set(at, i64::from(byte)).unwrap();
    let task = all.tasks.get_timeout(SOON).unwrap();
    all.said.put(task).unwrap();
    all.tasks.task_done().unwrap();
}

/// The ends and descriptors of one user, who has them alone.
type Ends = (Connection, Receiver<u64>, Sender<u64>, Fd);

fn use_ends((both, from, to, file): Ends, number: u64) {
    both.send(&number).unwrap();
    to.send(from.recv().unwrap()).unwrap();
    File::from(OwnedFd::from(file)).write_all(&[b'0' + u8::try_from(number).unwrap()]).unwrap();
}

fn use_all(all: Everything, ends: Ends, number: u64) {
    use_everything(all, number);
    use_ends(ends, number);
}

/// Made under this method, used under all.
fn made_under(method: StartMethod) {
    assert_eq!(procession::current_process().start_method(), Some(method));
    let all = Everything::new(3);
    let mut written = tempfile();
    let mut ours = Vec::new();
    let users: Vec<_> = (0..)
        .zip(ALL)
        .map(|(number, method)| {
            let (both, theirs) = Pipe::duplex().unwrap();
            let (to, from) = Pipe::typed().unwrap();
            let (there, back) = Pipe::typed::<u64>().unwrap();
            let file = Fd::from(OwnedFd::from(written.try_clone().unwrap()));
            to.send(number + 10).unwrap();
            all.tasks.put(number).unwrap();
            let user =
                context(method).spawn(use_all, (all.clone(), (theirs, from, there, file), number));
            ours.push((both, back));
            user.unwrap()
        })
        .collect();
    for _ in &users {
        assert!(all.ready.acquire_timeout(SOON).unwrap());
    }
    all.go.set().unwrap();
    for user in users {
        assert!(user.join_timeout(SOON).unwrap());
        assert_eq!(user.exitcode(), Some(0));
    }
    assert_eq!(all.count.get().unwrap(), ROUNDS * 3);
    let mut numbers: Vec<u64> = (0..3).map(|_| all.queue.get_timeout(SOON).unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2]);

    all.tasks.join_timeout(SOON).unwrap();
    let mut said: Vec<u64> = (0..3).map(|_| all.said.get().unwrap()).collect();
    said.sort_unstable();
    assert_eq!(said, [0, 1, 2]);
    assert_eq!((all.total.get().unwrap(), all.numbers.get(0).unwrap()), (ROUNDS * 3, ROUNDS * 3));
    assert_eq!((all.sums.get(0).unwrap(), all.alone.lock().unwrap()[0]), (ROUNDS * 3, ROUNDS * 3));
    for memory in [&all.named, &all.unnamed] {
        let mut bytes = [0; 3];
        memory.read(0, &mut bytes).unwrap();
        assert_eq!(bytes, [1, 2, 3]);
    }
    let listed = (0..3).map(|at| all.list.get(at).unwrap());
    assert!(listed.eq([1, 2, 3].map(ShareableItem::Int)));
    all.list.unlink().unwrap();
    all.named.unlink().unwrap();
    for (number, (both, back)) in (0..).zip(ours) {
        assert_eq!(both.recv::<u64>().unwrap(), number);
        assert_eq!(back.recv().unwrap(), number + 10);
    }
    let mut text = String::new();
    written.seek(SeekFrom::Start(0)).unwrap();
    written.read_to_string(&mut text).unwrap();
    assert_eq!(text.chars().filter(|digit| "012".contains(*digit)).count(), 3, "{text}");
}

/// A file without a name.
fn tempfile() -> File {
    let folder = Folder::new("handles-all");
    let path = folder.file("written");
    File::options().create_new(true).read(true).write(true).open(path).unwrap()
}

#[test]
fn all_kinds_work_in_all_nine_combinations() {
    let node = || {
        for made in ALL {
            let process = context(made).spawn(made_under, (made,)).unwrap();
            assert!(process.join_timeout(SOON).unwrap());
            assert_eq!(process.exitcode(), Some(0), "made under {made:?}");
        }
    };
    let node = context(StartMethod::Spawn).spawn(node, ()).unwrap();
    assert!(node.join_timeout(SOON).unwrap());
    assert_eq!(node.exitcode(), Some(0));
}

static SEMAPHORE: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(1).unwrap());

/// Takes what is there once: true in every process that has one of its own.
fn takes_the_static() -> bool {
    SEMAPHORE.try_acquire().unwrap() && !SEMAPHORE.try_acquire().unwrap()
}

// start-10
#[test]
fn a_static_semaphore_is_each_processs_own_and_nothing_is_said_of_it() {
    const NAME: &str = "all::a_static_semaphore_is_each_processs_own_and_nothing_is_said_of_it";
    if is_alone(NAME) {
        assert!(takes_the_static());
        for method in METHODS {
            let process = context(method).spawn(takes_the_static, ()).unwrap();
            assert!(process.result_timeout(SOON).unwrap());
        }
        return;
    }
    let output = run(alone_command(NAME));
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
}

static LOCK: LazyLock<Lock> = LazyLock::new(|| Lock::new().unwrap());

fn make_the_lock() {
    LazyLock::force(&LOCK);
}

/// Says how it finds the lock, and ends holding it.
fn find_the_lock() -> &'static str {
    let found = if LOCK.locked().unwrap() { "taken" } else { "ok" };
    LOCK.acquire().unwrap();
    found
}

// fsrv-05
#[test]
fn a_lock_made_by_a_preload_is_each_workers_own_and_nothing_is_said_of_it() {
    const NAME: &str =
        "all::a_lock_made_by_a_preload_is_each_workers_own_and_nothing_is_said_of_it";
    if is_alone(NAME) {
        procession::set_forkserver_preload(make_the_lock).unwrap();
        for _ in 0..3 {
            let process = context(StartMethod::ForkServer).spawn(find_the_lock_here, ()).unwrap();
            assert_eq!(process.result_timeout(SOON).unwrap(), "ok");
        }
        return;
    }
    let output = run(alone_command(NAME));
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
}

fn find_the_lock_here() -> String {
    assert!(LazyLock::get(&LOCK).is_some(), "the preload ran");
    find_the_lock().to_owned()
}

/// Uses everything for ever.
fn use_for_ever(all: Everything) {
    for number in 0.. {
        all.add();
        all.queue.put(number).unwrap();
        let _ = all.queue.try_get();
        let _permit = all.ready.try_permit().unwrap();
        if number % 16 == 0 {
            let mut guard = all.condition.lock().unwrap();
            let _ = guard.wait_timeout(Duration::from_micros(200)).unwrap();
        }
        // It attaches anew, now and then, by a handle that came with an item.
        if number % 64 == 0 {
            let travels = Queue::new().unwrap();
            travels.put(all.clone()).unwrap();
            travels.get_timeout(SOON).unwrap().add();
        }
    }
}

#[test]
fn users_killed_at_random_leave_everything_usable() {
    alone("all::users_killed_at_random_leave_everything_usable", || {
        let given = std::env::var("PROCESSION_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
        println!("PROCESSION_SEED={seed}");
        let mut random: u64 = seed;
        let mut next = || {
            // Knuth's MMIX generator; its high bits are the good ones.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random >> 33
        };
        let all = Everything::new(1);
        all.ready.release_n(2).unwrap();
        let mut users: Vec<Process<()>> = Vec::new();
        for round in 0..60 {
            users.push(Process::spawn(use_for_ever, (all.clone(),)).unwrap());
            std::thread::sleep(Duration::from_micros(next() % 8_000));
            if users.len() == 3 {
                let user = users.swap_remove(usize::try_from(next() % 3).unwrap());
                user.kill().unwrap();
                assert!(user.join_timeout(SOON).unwrap());
            }
            // Whoever held it is dead or alive: it comes free, and counts on.
            all.add();
            all.queue.put(round).unwrap();
            all.queue.get_timeout(SOON).unwrap();
        }
        for user in users {
            user.kill().unwrap();
            assert!(user.join_timeout(SOON).unwrap());
        }
        // Every death is repaired: permits are back, nobody waits, nobody holds.
        crate::util::until("the permits are back", || all.ready.value().unwrap() == 2);
        all.add();
        assert!(!all.lock.locked().unwrap());
        assert_eq!(all.barrier.wait_timeout(SOON).unwrap(), 0);
        all.condition.lock().unwrap().notify_all().unwrap();
        // What was lent to the dead comes back.
        crate::util::until("the queue is empty", || {
            while all.queue.try_get().is_ok() {}
            all.queue.qsize().unwrap() == 0
        });
    });
}
