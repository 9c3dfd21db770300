//! Workers as they are: each with its word, a stream of tasks to it and one of results
//! from it, and a life that may end between any two steps.

use procession_protocols::pool::{Effect, End, Options, Scheduler, TaskId, Terms, WorkerId, word};
use procession_protocols::supervision::intensity::Intensity;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) workers: usize,
    pub(crate) max_tasks: Option<u32>,
    pub(crate) budget: u32,
    pub(crate) on_demand: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// A limit of 0 is none.
    Submit {
        retries: u32,
        limit: u64,
    },
    Start,
    FailToStart,
    /// A worker begins its next task, or finishes the one that it has begun.
    Work(u8),
    /// The owner reads one result.
    Receive(u8),
    Kill(u8),
    /// The owner learns of all deaths.
    Bury,
    Pass(u64),
    Cancel(u8),
    Withdraw(u8),
}

#[derive(Debug, Default)]
struct Worker {
    word: AtomicU64,
    is_ready: bool,
    is_dead: bool,
    is_retired: bool,
    inbox: VecDeque<(u32, TaskId)>,
    running: Option<(u32, TaskId)>,
    results: VecDeque<u32>,
}

#[derive(Debug, Default)]
struct Fate {
    allowed: u32,
    begun: u32,
    is_cancelled: bool,
    sent_results: u32,
    /// `None` is a result.
    ends: Vec<Option<End>>,
}

pub(crate) struct World {
    scheduler: Scheduler<usize>,
    workers: BTreeMap<WorkerId, Worker>,
    fates: Vec<Fate>,
    ids: Vec<TaskId>,
    now: u64,
    ended: u32,
    pub(crate) begun_in_order: Vec<TaskId>,
}

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        let budget =
            Intensity { max_restarts: setup.budget, period: Duration::from_secs(1_000_000) };
        let Setup { workers, max_tasks, on_demand, .. } = setup;
        let options = Options { workers, max_tasks, budget, on_demand };
        let mut world = Self {
            scheduler: Scheduler::new(options),
            workers: BTreeMap::new(),
            fates: Vec::new(),
            ids: Vec::new(),
            now: 0,
            ended: 0,
            begun_in_order: Vec::new(),
        };
        world.tell(Scheduler::begin);
        world
    }

    pub(crate) fn step(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Submit { retries, limit } => {
                let terms = Terms { limit_ms: (limit > 0).then_some(limit), retries };
                let number = self.fates.len();
                let mut given = Err(0);
                self.tell(|it, out| given = it.submit(number, terms, now, out));
                if let Ok(id) = given {
                    self.ids.push(id);
                } else {
                    // The pool takes none any more: it is not ours to ask what became of it.
                    return;
                }
                if self.fates.len() == number {
                    self.fates.push(Fate::default());
                }
                self.fates[number].allowed = 1 + retries;
            }
            Step::Start | Step::FailToStart => {
                let starting = self.workers.iter().find(|(_, w)| !w.is_ready && !w.is_dead);
                let Some(id) = starting.map(|(id, _)| *id) else { return };
                if matches!(step, Step::Start) {
                    self.workers.get_mut(&id).unwrap().is_ready = true;
                    self.tell(|it, out| it.ready(id, now, out));
                } else {
                    self.workers.remove(&id);
                    self.tell(|it, out| it.died(id, 0, now, out));
                }
            }
            Step::Work(which) => self.work(which),
            Step::Receive(which) => {
                if let Some(id) = self.pick(which, |w| !w.results.is_empty()) {
                    self.receive(id);
                }
            }
            Step::Kill(which) => {
                if let Some(id) = self.pick(which, |w| w.is_ready && !w.is_dead) {
                    self.workers.get_mut(&id).unwrap().is_dead = true;
                }
            }
            Step::Bury => self.bury(),
            Step::Pass(time) => {
                self.now += time;
                let now = self.now;
                self.tell(|it, out| it.tick(now, out));
            }
            Step::Cancel(which) => {
                if !self.ids.is_empty() {
                    let at = usize::from(which) % self.ids.len();
                    let id = self.ids[at];
                    self.fates[at].is_cancelled = true;
                    self.tell(|it, out| it.cancel(id, now, out));
                }
            }
            Step::Withdraw(which) => {
                if !self.ids.is_empty() {
                    let id = self.ids[usize::from(which) % self.ids.len()];
                    let is_begun = self.scheduler.sent_to(id).is_some_and(|(worker, number)| {
                        word::begun(&self.workers[&worker].word) >= number
                    });
                    let was_there = self.scheduler.task(id).is_some();
                    self.tell(|it, out| it.withdraw(id, out));
                    assert_eq!(self.scheduler.task(id).is_some(), was_there && is_begun);
                }
            }
        }
    }

    pub(crate) fn close(&mut self) {
        self.tell(Scheduler::close);
    }

    pub(crate) fn terminate(&mut self) {
        self.tell(Scheduler::terminate);
    }

    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
    }

    pub(crate) fn unfinished(&self) -> usize {
        self.scheduler.unfinished()
    }

    /// Lets everything run to its end.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.workers.is_empty() {
                return;
            }
            self.step(Step::Start);
            for which in 0..4 {
                self.step(Step::Work(which));
                self.step(Step::Receive(which));
            }
            self.step(Step::Bury);
            self.step(Step::Pass(1));
        }
        panic!("the pool does not end: {:?}", self.scheduler);
    }

    pub(crate) fn check(&self) {
        assert!(self.scheduler.has_ended() && self.ended == 1, "ended {} times", self.ended);
        assert_eq!(self.scheduler.unfinished(), 0);
        for (number, fate) in self.fates.iter().enumerate() {
            let [end] = fate.ends[..] else {
                panic!("task {number} ended {} times", fate.ends.len())
            };
            assert!(fate.begun <= fate.allowed, "task {number} was begun {} times", fate.begun);
            match end {
                None => assert!(fate.sent_results > 0),
                // What had been sent was not lost; what had not been begun is nobody's death.
                Some(End::Died | End::TimedOut) => {
                    assert_eq!(fate.sent_results, 0, "the result of task {number} was lost");
                    let is_spent = fate.begun == fate.allowed || fate.is_cancelled;
                    assert!(is_spent, "task {number} had lives left");
                }
                Some(End::Cancelled | End::Broken) => {}
            }
        }
    }

    pub(crate) fn ends(&self) -> impl Iterator<Item = Option<End>> + '_ {
        self.fates.iter().flat_map(|fate| fate.ends.iter().copied())
    }

    fn pick(&self, which: u8, is_fit: impl Fn(&Worker) -> bool) -> Option<WorkerId> {
        let fit: Vec<_> =
            self.workers.iter().filter(|(_, worker)| is_fit(worker)).map(|(id, _)| *id).collect();
        (!fit.is_empty()).then(|| fit[usize::from(which) % fit.len()])
    }

    fn work(&mut self, which: u8) {
        let can = |w: &Worker| w.is_ready && !w.is_dead;
        let Some(id) = self.pick(which, can) else { return };
        let worker = self.workers.get_mut(&id).unwrap();
        if let Some((number, task)) = worker.running.take() {
            worker.results.push_back(number);
            self.fate(task).sent_results += 1;
        } else if let Some((number, task)) = worker.inbox.pop_front() {
            if word::begin(&worker.word, number) {
                worker.running = Some((number, task));
                self.fate(task).begun += 1;
                self.begun_in_order.push(task);
            }
        } else if worker.is_retired {
            worker.is_dead = true;
        }
    }

    fn fate(&mut self, task: TaskId) -> &mut Fate {
        let at = self.ids.iter().position(|id| *id == task).unwrap();
        &mut self.fates[at]
    }

    fn receive(&mut self, id: WorkerId) {
        let now = self.now;
        let number = self.workers.get_mut(&id).unwrap().results.pop_front().unwrap();
        let mut done = None;
        self.tell(|it, out| done = it.finished(id, number, now, out));
        if let Some(task) = done {
            self.fates[task].ends.push(None);
        }
    }

    fn bury(&mut self) {
        while let Some(id) = self.pick(0, |w| w.is_dead) {
            while !self.workers[&id].results.is_empty() {
                self.receive(id);
            }
            let begun = word::begun(&self.workers.remove(&id).unwrap().word);
            let now = self.now;
            self.tell(|it, out| it.died(id, begun, now, out));
        }
    }

    /// Tells the scheduler something, and carries out its effects to the last.
    fn tell(&mut self, event: impl FnOnce(&mut Scheduler<usize>, &mut Vec<Effect<usize>>)) {
        let mut effects = Vec::new();
        event(&mut self.scheduler, &mut effects);
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            let mut more = Vec::new();
            self.carry_out(effect, &mut more);
            effects.extend(more);
        }
    }

    fn carry_out(&mut self, effect: Effect<usize>, more: &mut Vec<Effect<usize>>) {
        match effect {
            Effect::Start(id) => drop(self.workers.insert(id, Worker::default())),
            Effect::Send { worker, task, number } => {
                assert!(self.scheduler.task(task).is_some());
                self.workers.get_mut(&worker).unwrap().inbox.push_back((number, task));
            }
            Effect::Retire(id) => self.workers.get_mut(&id).unwrap().is_retired = true,
            Effect::TakeBack { worker, last } => {
                let begun = word::take_back(&self.workers[&worker].word, last);
                self.scheduler.taken_back(worker, begun, self.now, more);
            }
            Effect::Condemn { worker, number, last } => {
                let begun = word::take_back(&self.workers[&worker].word, last);
                if begun <= number {
                    self.workers.get_mut(&worker).unwrap().is_dead = true;
                }
                self.scheduler.condemned(worker, number, begun, self.now, more);
            }
            Effect::Kill(id) => self.workers.get_mut(&id).unwrap().is_dead = true,
            Effect::Deliver { task, end } => {
                if self.fates.len() == task {
                    self.fates.push(Fate::default());
                }
                self.fates[task].ends.push(Some(end));
            }
            Effect::Ended => self.ended += 1,
        }
    }
}
