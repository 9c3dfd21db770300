//! Calls under way on one stream, in every order in which threads, tasks, the reader aside
//! and the answers can come.
//!
//! Owns the world: threads and tasks with one call each, a stream on which the answers come
//! one by one, and who has been told to look. It checks that nobody is forgotten: when
//! nothing can happen any more, every call is over; and that whoever waits while an answer
//! lies on the stream is read for.

use procession_protocols::manager::{Calls, Told, Turn};
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Thread {
    Idle,
    /// It is about to ask for its turn.
    Looks,
    /// It sleeps until it is woken.
    Sleeps,
    Reads,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    /// It is about to look for its answer.
    Looks,
    /// It sleeps until it is woken.
    Sleeps,
}

#[derive(Debug, Clone)]
struct World {
    calls: Calls<u8, u8, u64>,
    threads: BTreeMap<u8, (Thread, u64)>,
    /// Tasks that have yet to begin, and those that have and have not left.
    unbegun: BTreeSet<u8>,
    tasks: BTreeMap<u8, (Task, u64)>,
    /// Whether the reader aside has been told to look, whether it reads, and whether it may
    /// do so for no task.
    is_called: bool,
    reads_aside: bool,
    watches: bool,
    /// Calls that the server has yet to answer, and answers on the stream.
    asked: BTreeSet<u64>,
    stream: VecDeque<u64>,
    has_ended: bool,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Begin(u8),
    BeginTask(u8),
    Look(u8),
    /// The thread's time is up.
    GiveUp(u8),
    LookTask(u8),
    DropTask(u8),
    /// The reader takes what is next.
    Read(u8),
    LookAside,
    /// The reader aside reads though no task waits.
    Watch,
    ReadAside,
    Answer(u64),
    End,
}

impl World {
    fn new((threads, tasks): (u8, u8), watches: bool) -> Self {
        Self {
            calls: Calls::after(0),
            threads: (0..threads).map(|thread| (thread, (Thread::Idle, 0))).collect(),
            unbegun: (0..tasks).collect(),
            tasks: BTreeMap::new(),
            is_called: false,
            reads_aside: false,
            watches,
            asked: BTreeSet::new(),
            stream: VecDeque::new(),
            has_ended: false,
        }
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (thread, (state, _)) in &self.threads {
            match state {
                Thread::Idle => steps.push(Step::Begin(*thread)),
                Thread::Looks => steps.push(Step::Look(*thread)),
                Thread::Sleeps => steps.push(Step::GiveUp(*thread)),
                Thread::Reads => {
                    steps.push(Step::GiveUp(*thread));
                    if self.has_ended || !self.stream.is_empty() {
                        steps.push(Step::Read(*thread));
                    }
                }
                Thread::Done => {}
            }
        }
        steps.extend(self.unbegun.iter().map(|task| Step::BeginTask(*task)));
        steps.extend(self.tasks.keys().map(|task| Step::DropTask(*task)));
        let looks = |(_, (state, _)): &(&u8, &(Task, u64))| *state == Task::Looks;
        steps.extend(self.tasks.iter().filter(looks).map(|(task, _)| Step::LookTask(*task)));
        if self.is_called {
            steps.push(Step::LookAside);
        }
        if self.watches && !self.reads_aside {
            steps.push(Step::Watch);
        }
        if self.reads_aside && (self.has_ended || !self.stream.is_empty()) {
            steps.push(Step::ReadAside);
        }
        steps.extend(self.asked.iter().map(|number| Step::Answer(*number)));
        if !self.has_ended {
            steps.push(Step::End);
        }
        steps
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Begin(thread) => {
                let begun = self.calls.begin(thread);
                let next = match begun {
                    Ok(number) => {
                        self.asked.insert(number);
                        (Thread::Looks, number)
                    }
                    Err(_) => (Thread::Done, 0),
                };
                self.threads.insert(thread, next);
            }
            Step::BeginTask(task) => {
                self.unbegun.remove(&task);
                if let Ok((number, calls_aside)) = self.calls.begin_task() {
                    self.asked.insert(number);
                    self.tasks.insert(task, (Task::Looks, number));
                    self.is_called |= calls_aside;
                }
            }
            Step::Look(thread) => {
                let (_, number) = self.threads[&thread];
                let state = match self.calls.turn(number) {
                    Turn::Leave(answer) => {
                        assert_eq!(answer, number, "another's answer");
                        Thread::Done
                    }
                    Turn::Read => Thread::Reads,
                    Turn::Wait => Thread::Sleeps,
                    Turn::Over => Thread::Done,
                };
                self.threads.insert(thread, (state, number));
            }
            Step::GiveUp(thread) => {
                let (_, number) = self.threads[&thread];
                self.threads.insert(thread, (Thread::Done, number));
                self.leave(number);
            }
            Step::LookTask(task) => {
                let (_, number) = self.tasks[&task];
                match self.calls.turn_of_task(number, |place| *place = Some(task)) {
                    Turn::Wait => {
                        self.tasks.insert(task, (Task::Sleeps, number));
                    }
                    Turn::Leave(answer) => {
                        assert_eq!(answer, number, "another's answer");
                        self.tasks.remove(&task);
                    }
                    Turn::Over => self.drop_task(task),
                    Turn::Read => panic!("a task reads"),
                }
            }
            Step::DropTask(task) => self.drop_task(task),
            Step::Read(thread) => {
                let (_, number) = self.threads[&thread];
                match self.stream.pop_front() {
                    Some(answer) if answer == number => {
                        self.threads.insert(thread, (Thread::Done, number));
                        self.leave(number);
                    }
                    Some(answer) => self.hand_out(answer),
                    None => {
                        self.threads.insert(thread, (Thread::Done, number));
                        self.end();
                        self.leave(number);
                    }
                }
            }
            Step::LookAside => {
                self.is_called = false;
                self.look_aside();
            }
            Step::Watch => self.reads_aside = self.calls.watch(),
            Step::ReadAside => {
                match self.stream.pop_front() {
                    Some(answer) => self.hand_out(answer),
                    None => self.end(),
                }
                self.look_aside();
            }
            Step::Answer(number) => {
                self.asked.remove(&number);
                self.stream.push_back(number);
            }
            Step::End => {
                self.has_ended = true;
                self.asked.clear();
            }
        }
    }

    fn leave(&mut self, number: u64) {
        let (told, answer) = self.calls.leave(number);
        assert!(answer.is_none_or(|answer| answer == number), "another's answer");
        self.tell(told);
    }

    fn drop_task(&mut self, task: u8) {
        let (state, number) = self.tasks.remove(&task).expect("it has not left");
        let (waker, answer) = self.calls.leave_task(number);
        assert!(waker.is_none_or(|waker| waker == task), "another's waker");
        assert!(answer.is_none_or(|answer| answer == number), "another's answer");
        assert!(answer.is_none() || state == Task::Looks, "it was not woken for its answer");
    }

    fn look_aside(&mut self) {
        self.reads_aside = match self.calls.aside() {
            Ok(()) => true,
            Err(told) => {
                self.tell(told);
                false
            }
        };
    }

    fn hand_out(&mut self, answer: u64) {
        match self.calls.answered(answer, answer) {
            Ok(told) => self.tell(told),
            Err(answer) => {
                let waits = |(state, number): &(Thread, u64)| {
                    *number == answer && matches!(state, Thread::Looks | Thread::Sleeps)
                };
                assert!(!self.threads.values().any(waits), "it was waited for");
                assert!(self.tasks.values().all(|(_, number)| *number != answer));
            }
        }
    }

    fn tell(&mut self, told: Told<u8, u8>) {
        match told {
            Told::Nobody => {}
            Told::Aside => self.is_called = true,
            Told::Thread(thread) => self.wake(thread),
            Told::Task(task) => self.wake_task(task),
        }
    }

    fn wake(&mut self, thread: u8) {
        if let Some((state @ Thread::Sleeps, _)) = self.threads.get_mut(&thread) {
            *state = Thread::Looks;
        }
    }

    fn wake_task(&mut self, task: u8) {
        let (state, _) = self.tasks.get_mut(&task).expect("who has left is not woken");
        assert_eq!(*state, Task::Sleeps);
        *state = Task::Looks;
    }

    fn end(&mut self) {
        let (threads, tasks) = self.calls.end();
        for thread in threads {
            self.wake(thread);
        }
        for task in tasks {
            self.wake_task(task);
        }
    }

    /// Somebody who waits is read for, or somebody has been told to look.
    fn check(&self) {
        let waits = |(state, _): &(Thread, u64)| *state == Thread::Sleeps;
        let sleeps = |(state, _): &(Task, u64)| *state == Task::Sleeps;
        let somebody_waits = self.threads.values().any(waits) || self.tasks.values().any(sleeps);
        let looks = |(state, _): &(Thread, u64)| matches!(state, Thread::Looks | Thread::Reads);
        let somebody_acts = self.is_called || self.reads_aside || self.threads.values().any(looks);
        assert!(!somebody_waits || somebody_acts, "nobody reads: {self:?}");
        let reads = |(state, _): &&(Thread, u64)| *state == Thread::Reads;
        let readers = self.threads.values().filter(reads).count();
        assert!(readers + usize::from(self.reads_aside) <= 1 || self.calls.is_over(), "{self:?}");
    }
}

/// How many states there are.
fn explore(callers: (u8, u8), watches: bool) -> usize {
    let (mut seen, mut open) = (HashSet::new(), vec![World::new(callers, watches)]);
    while let Some(world) = open.pop() {
        world.check();
        for step in world.steps() {
            let mut next = world.clone();
            next.step(step);
            if seen.insert(format!("{next:?}")) {
                open.push(next);
            }
        }
    }
    seen.len()
}

#[test]
fn whoever_waits_is_read_for_in_every_order() {
    for callers in [(3, 0), (2, 1), (1, 2)] {
        for watches in [false, true] {
            let states = explore(callers, watches);
            assert!(states > 1_000, "only {states} states of {callers:?} threads and tasks");
        }
    }
}
