//! Workers as they are: each with its word, a stream of tasks to it and one of results
//! from it, and a life that may end between any two steps.

use procession_protocols::pool::{
    Effect, End, MOST_AHEAD, Options, Scheduler, TaskId, Terms, WorkerId, word,
};
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
    pub(crate) idle_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// A limit of 0 is none.
    Submit {
        items: u32,
        retries: u32,
        limit: u64,
    },
    /// The same without a limit, and left to the next event where that may be.
    Leave {
        items: u32,
        retries: u32,
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
    /// A worker uses too much memory.
    Outgrow(u8),
    /// A worker is found to do many tasks between two looks.
    Hurry(u8),
}

#[derive(Debug, Default)]
struct Worker {
    word: AtomicU64,
    is_ready: bool,
    is_dead: bool,
    is_retired: bool,
    inbox: VecDeque<(u32, usize)>,
    running: Option<usize>,
    results: VecDeque<usize>,
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
    /// The tasks, each with its first fate and how many items it has.
    ids: Vec<(TaskId, usize, u32)>,
    now: u64,
    ended: u32,
    pub(crate) begun_in_order: Vec<usize>,
}

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        let budget =
            Intensity { max_restarts: setup.budget, period: Duration::from_secs(1_000_000) };
        let Setup { workers, max_tasks, on_demand, .. } = setup;
        let options = Options { workers, max_tasks, budget, on_demand, idle_ms: setup.idle_ms };
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
            Step::Submit { items, retries, limit } => {
                let terms = Terms { limit_ms: (limit > 0).then_some(limit), retries };
                self.submit(items, terms, |it, first, out| {
                    it.submit(first, items, terms, now, out)
                });
            }
            Step::Leave { items, retries } => {
                let terms = Terms { limit_ms: None, retries };
                self.submit(items, terms, |it, first, out| {
                    if it.may_leave(terms) {
                        it.leave(first, items, terms)
                    } else {
                        it.submit(first, items, terms, now, out)
                    }
                });
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
                    let (id, first, items) = self.ids[at];
                    for fate in &mut self.fates[first..first + items as usize] {
                        fate.is_cancelled = true;
                    }
                    self.tell(|it, out| it.cancel(&[id], now, out));
                }
            }
            Step::Outgrow(which) => {
                if let Some(id) = self.pick(which, |w| w.is_ready && !w.is_dead) {
                    self.tell(|it, out| it.outgrown(id, out));
                }
            }
            Step::Hurry(which) => {
                if let Some(id) = self.pick(which, |w| w.is_ready && !w.is_dead) {
                    (0..4).for_each(|_| self.tell(|it, _| it.looked(id, MOST_AHEAD)));
                }
            }
            Step::Withdraw(which) => {
                if !self.ids.is_empty() {
                    let (id, _, items) = self.ids[usize::from(which) % self.ids.len()];
                    let holder = self.scheduler.sent_to(id);
                    let is_dead = |(id, _)| self.workers[&id].is_dead;
                    let is_begun = holder.is_some_and(|(worker, number)| {
                        word::begun(&self.workers[&worker].word) >= number
                    });
                    let is_simple = items == 1 && !holder.is_some_and(is_dead);
                    let was_there = self.scheduler.task(id).is_some();
                    self.tell(|it, out| it.withdraw(&[id], out));
                    let is_there = self.scheduler.task(id).is_some();
                    assert!(!is_simple || is_there == (was_there && is_begun));
                }
            }
        }
    }

    fn submit(
        &mut self,
        items: u32,
        terms: Terms,
        submit: impl FnOnce(
            &mut Scheduler<usize>,
            usize,
            &mut Vec<Effect<usize>>,
        ) -> Result<TaskId, usize>,
    ) {
        let first = self.fates.len();
        let fate = || Fate { allowed: 1 + terms.retries, ..Fate::default() };
        self.fates.extend((0..items).map(|_| fate()));
        let mut given = Err(0);
        self.tell(|it, out| given = submit(it, first, out));
        match given {
            Ok(id) => self.ids.push((id, first, items)),
            // The pool takes none any more: it is not ours to ask what became of it.
            Err(_) => self.fates.truncate(first),
        }
    }

    pub(crate) fn close(&mut self) {
        self.tell(Scheduler::close);
    }

    pub(crate) fn terminate(&mut self) {
        self.tell(Scheduler::terminate);
    }

    /// Whether all workers that there are have been told to end, or will not start.
    pub(crate) fn is_ending(&self) -> bool {
        self.workers.values().all(|worker| worker.is_dead)
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
        if let Some(item) = worker.running.take() {
            worker.results.push_back(item);
            self.fates[item].sent_results += 1;
        } else if let Some((number, item)) = worker.inbox.pop_front() {
            if word::begin(&worker.word, number) {
                worker.running = Some(item);
                self.fates[item].begun += 1;
                self.begun_in_order.push(item);
            }
        } else if worker.is_retired {
            worker.is_dead = true;
        }
    }

    fn receive(&mut self, id: WorkerId) {
        let now = self.now;
        let item = self.workers.get_mut(&id).unwrap().results.pop_front().unwrap();
        // Nobody waits any more for what a terminated pool has done.
        let Some((first, items)) = self.scheduler.current(id) else { return };
        assert_eq!(first + items.start as usize, item, "results come in order");
        self.tell(|it, out| {
            it.advance(id, 1, now, out);
        });
        self.tell(|it, _| it.looked(id, usize::from(items.len() == 1)));
        self.fates[item].ends.push(None);
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
            Effect::Send { worker, task, items, number } => {
                let inbox = &mut self.workers.get_mut(&worker).unwrap().inbox;
                inbox.extend((number..).zip(items.map(|item| task + item as usize)));
            }
            Effect::Retire(id) => self.workers.get_mut(&id).unwrap().is_retired = true,
            Effect::TakeBack { worker, last } => {
                let begun = word::take_back(&self.workers[&worker].word, last);
                self.scheduler.taken_back(worker, begun, self.now, more);
            }
            Effect::Kill(id) | Effect::Stop(id) => {
                let worker = self.workers.get_mut(&id).unwrap();
                // Some have just started when their start is to be cut off.
                if !worker.is_ready && id.0.is_multiple_of(2) {
                    worker.is_ready = true;
                    return self.scheduler.ready(id, self.now, more);
                }
                worker.is_dead = true;
            }
            Effect::Deliver { task, items, end, .. } => {
                for item in items {
                    self.fates[task + item as usize].ends.push(Some(end));
                }
            }
            Effect::Ended => self.ended += 1,
        }
    }
}
