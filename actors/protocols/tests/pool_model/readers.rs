//! Who reads a pool's outboxes, in every interleaving of small worlds: threads that wait,
//! leave or look in passing, the attendant, and workers that put results, ring, and die.
//!
//! Owns the bells as the runtime has them, step by step: what is done under the pool's lock
//! is one step unless a worker may come between. In each world everybody who waits gets
//! what is due, from every state that can be reached: no wake-up is ever lost.

use crate::word_model::explorer::{World, explore};
use procession_protocols::pool::{Change, Duty, Readers, Successor};

/// A worker, its outbox and its bell.
#[derive(Debug, Clone, Hash)]
struct Worker {
    /// The jobs of its tasks, in order.
    tasks: Vec<u8>,
    put: u8,
    taken: u8,
    /// Whether it has put something in, and not looked yet whether to ring for it.
    must_look: bool,
    /// For what its bell is armed, and whether it has rung.
    armed: Armed,
    rung: bool,
    is_dead: bool,
    /// The end of its stream has not been read.
    hung_up: bool,
    is_buried: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
enum Armed {
    #[default]
    Not,
    /// For each result.
    Each,
    /// For the last of its tasks.
    Last,
}

impl Worker {
    fn is_done(&self) -> bool {
        usize::from(self.put) == self.tasks.len()
    }

    /// Whether who armed its bell has to take something first.
    fn is_busy(&self) -> bool {
        !self.is_buried && self.put != self.taken && (self.armed == Armed::Each || self.is_done())
    }
}

#[derive(Debug, Clone, Hash, Default)]
struct Job {
    has_come: bool,
    /// Its waiter is to be unparked, and has been.
    is_registered: bool,
    is_unparked: bool,
}

/// Which descriptors were ready at a look: a bit for each worker, and the last for the pool.
type Ready = u8;

const OWN: Ready = 1 << 7;

/// How far a thread is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum At {
    Start,
    /// The reader: looks whether its own has come.
    Lead,
    /// Arms the bells one by one, and looks into each outbox after that.
    Arm(u8, bool),
    Check(u8, bool),
    Asleep,
    Awake(Ready),
    Serve(Ready),
    /// With the lock: arms or silences a bell, then empties that outbox.
    Silence(Ready, u8, bool),
    Collect(Ready, u8, bool),
    GiveUp,
    Register,
    Park,
    StopFollowing,
    /// Nobody waits: with the lock, has a bell ring for the sleepers when it is time.
    Rearm(Ready, u8, bool),
    Recheck(Ready, u8, bool),
    Recollect(Ready, u8, bool),
    /// Of who waits without a thread.
    Poll,
    Pending,
    /// Of the attendant, and of who looks in passing.
    Rest,
    Duty,
    StandBy,
    Look,
    Snap,
    ReadsOn,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Waiter,
    Attendant,
    Looker,
    /// Waits without a thread.
    Poller,
}

#[derive(Debug, Clone, Hash)]
struct Thread {
    kind: Kind,
    at: At,
    /// Its time was up.
    is_late: bool,
    seen: Option<u64>,
}

#[derive(Debug, Clone, Hash)]
struct Pool {
    readers: Readers<u8>,
    locked_by: Option<u8>,
    own_bell: bool,
    is_notified: bool,
    workers: Vec<Worker>,
    jobs: Vec<Job>,
    threads: Vec<Thread>,
    kills: u8,
    leaves: u8,
}

/// As many waiters as jobs that are waited for; a worker for each list of jobs.
fn pool(waiters: usize, tasks: &[&[u8]], lookers: usize, is_attended: bool) -> Pool {
    let worker = |tasks: &&[u8]| Worker {
        tasks: tasks.to_vec(),
        put: 0,
        taken: 0,
        must_look: false,
        // As when it starts: whoever reads may be asleep.
        armed: Armed::Each,
        rung: false,
        is_dead: false,
        hung_up: false,
        is_buried: false,
    };
    let thread = |kind, at| Thread { kind, at, is_late: false, seen: None };
    let mut threads = vec![thread(Kind::Waiter, At::Start); waiters];
    threads.push(thread(Kind::Attendant, At::Rest));
    threads.extend(vec![thread(Kind::Looker, At::Look); lookers]);
    let jobs = tasks.iter().copied().flatten().max().map_or(0, |last| usize::from(*last) + 1);
    let mut readers = Readers::default();
    let is_notified = is_attended && readers.wants_attendant(true);
    Pool {
        readers,
        locked_by: None,
        own_bell: false,
        is_notified,
        workers: tasks.iter().map(worker).collect(),
        jobs: vec![Job::default(); jobs],
        threads,
        kills: 0,
        leaves: 0,
    }
}

impl Pool {
    fn has_business(&self) -> bool {
        self.jobs.iter().any(|job| !job.has_come)
    }

    fn ready(&self) -> Ready {
        let one = |(at, worker): (usize, &Worker)| {
            u8::from((worker.rung || worker.hung_up) && !worker.is_buried) << at
        };
        let workers: Ready = self.workers.iter().enumerate().map(one).sum();
        workers | if self.own_bell { OWN } else { 0 }
    }

    fn deliver(&mut self, job: u8) {
        let job = &mut self.jobs[usize::from(job)];
        job.has_come = true;
        job.is_unparked |= std::mem::take(&mut job.is_registered);
    }

    /// Hands out what is in an outbox. Whether that was anything.
    fn collect(&mut self, at: usize) -> bool {
        let worker = &mut self.workers[at];
        let new = usize::from(worker.taken)..usize::from(worker.put);
        worker.taken = worker.put;
        let jobs: Vec<_> = worker.tasks[new].to_vec();
        for job in &jobs {
            self.deliver(*job);
        }
        !jobs.is_empty()
    }

    fn succeeded_by(&mut self, successor: Successor<u8>) {
        match successor {
            Successor::Follower(next) => self.jobs[usize::from(next)].is_unparked = true,
            Successor::Attendant => self.is_notified = true,
            Successor::Nobody => {}
        }
    }

    fn changed(&mut self, me: u8, change: Change) {
        let change = Change { is_idle: !self.has_business(), ..change };
        self.own_bell |= self.readers.rings_own_bell(&me, change);
    }

    /// A worker's next step, if it has one.
    fn work(&mut self, at: usize) -> bool {
        let worker = &mut self.workers[at];
        if worker.is_dead {
            return false;
        }
        if worker.must_look {
            worker.must_look = false;
            if worker.armed == Armed::Each || worker.armed == Armed::Last && worker.is_done() {
                worker.armed = Armed::Not;
                worker.rung = true;
            }
            return true;
        }
        worker.must_look = usize::from(worker.put) < worker.tasks.len();
        worker.put += u8::from(worker.must_look);
        worker.must_look
    }

    fn kill(&mut self, at: usize) {
        self.kills -= 1;
        self.workers[at].is_dead = true;
        self.workers[at].hung_up = true;
    }

    /// The owner learns of a death, on the attendant's thread.
    fn bury(&mut self, at: usize, me: u8) {
        let worker = &mut self.workers[at];
        worker.is_buried = true;
        let mut has_news = self.collect(at);
        let lost = self.workers[at].tasks[usize::from(self.workers[at].put)..].to_vec();
        has_news |= !lost.is_empty();
        for job in lost {
            self.deliver(job);
        }
        self.changed(me, Change { has_news, ..Change::default() });
    }

    /// A thread's next step, if it has one.
    fn step(&mut self, me: u8) -> bool {
        let Thread { kind, at, .. } = self.threads[usize::from(me)];
        let holds = self.locked_by == Some(me);
        // What a step of these does is done with the lock, or before it is taken.
        let needs_no_lock = matches!(
            at,
            At::Lead | At::Asleep | At::Register | At::Park | At::Rest | At::StandBy | At::Snap
        );
        if self.locked_by.is_some() && !holds && !needs_no_lock {
            return false;
        }
        let Some(next) = self.act(me, kind, at) else { return false };
        self.threads[usize::from(me)].at = next;
        true
    }

    fn act(&mut self, me: u8, kind: Kind, at: At) -> Option<At> {
        let mine = usize::from(me);
        let has_business = self.has_business();
        Some(match at {
            At::Start if self.jobs[mine].has_come => At::Done,
            At::Start if self.readers.take_lead(&me) => At::Lead,
            At::Start => At::Register,
            At::Lead if self.jobs[mine].has_come || self.threads[mine].is_late => At::GiveUp,
            At::Lead => At::Arm(0, false),
            At::Arm(worker, is_busy) => {
                self.locked_by = Some(me);
                self.arm(worker);
                At::Check(worker, is_busy)
            }
            At::Check(at, is_busy) => {
                let worker = &self.workers[usize::from(at)];
                let is_busy = is_busy || worker.is_busy();
                if usize::from(at) + 1 < self.workers.len() {
                    return Some(At::Arm(at + 1, is_busy));
                }
                self.locked_by = None;
                if !is_busy {
                    self.readers.fall_asleep();
                    return Some(At::Asleep);
                }
                if kind == Kind::Waiter { At::Snap } else { At::Look }
            }
            At::Asleep => match self.ready() {
                0 => return None,
                ready => At::Awake(ready),
            },
            At::Awake(ready) => {
                self.readers.wake_up();
                if kind == Kind::Waiter { At::Serve(ready) } else { At::Look }
            }
            At::Snap => At::Serve(self.ready()),
            At::Serve(ready) => {
                self.locked_by = Some(me);
                if ready & OWN != 0 && self.readers.empties_own_bell(&me) {
                    self.own_bell = false;
                }
                for (at, worker) in self.workers.iter_mut().enumerate() {
                    if ready & 1 << at != 0 {
                        (worker.rung, worker.hung_up) = (false, false);
                    }
                }
                At::Silence(ready, 0, false)
            }
            At::Silence(ready, worker, has_news) => {
                let armed = &mut self.workers[usize::from(worker)].armed;
                match (self.readers.arms_bells(), self.readers.is_patient()) {
                    (false, _) => *armed = Armed::Not,
                    (true, false) => *armed = Armed::Each,
                    (true, true) => {}
                }
                At::Collect(ready, worker, has_news)
            }
            At::Collect(ready, worker, has_news) => {
                let has_news = self.collect(usize::from(worker)) || has_news;
                if usize::from(worker) + 1 < self.workers.len() {
                    return Some(At::Silence(ready, worker + 1, has_news));
                }
                if self.readers.arms_bells() && self.readers.is_patient() {
                    return Some(At::Rearm(ready, 0, has_news));
                }
                self.served(me, kind, ready, has_news)
            }
            At::GiveUp => {
                let successor = self.readers.give_up_lead(has_business);
                self.succeeded_by(successor);
                At::Done
            }
            At::Register => {
                self.jobs[mine].is_registered = true;
                if self.jobs[mine].has_come { At::StopFollowing } else { At::Park }
            }
            At::Park if !std::mem::take(&mut self.jobs[mine].is_unparked) => return None,
            At::Park => At::StopFollowing,
            At::StopFollowing => {
                self.jobs[mine].is_registered = false;
                let for_good = self.jobs[mine].has_come || self.threads[mine].is_late;
                let successor = self.readers.stop_following(&me, for_good, has_business);
                self.succeeded_by(successor);
                if for_good { At::Done } else { At::Start }
            }
            At::Rest | At::Duty | At::StandBy | At::Look | At::ReadsOn => {
                return self.attend(me, kind, at);
            }
            At::Rearm(..) | At::Recheck(..) | At::Recollect(..) => self.rearm(me, kind, at),
            At::Poll | At::Pending => return self.poll(me, at),
            At::Done => return None,
        })
    }

    /// A step of who arms the bells for sleepers who wait for nothing.
    fn rearm(&mut self, me: u8, kind: Kind, at: At) -> At {
        match at {
            At::Rearm(ready, worker, has_news) => {
                self.arm(worker);
                At::Recheck(ready, worker, has_news)
            }
            At::Recheck(ready, worker, has_news) if self.workers[usize::from(worker)].is_busy() => {
                self.workers[usize::from(worker)].armed = Armed::Each;
                At::Recollect(ready, worker, has_news)
            }
            At::Recheck(ready, worker, has_news) => self.rearmed(me, kind, ready, worker, has_news),
            At::Recollect(ready, worker, has_news) => {
                let has_news = self.collect(usize::from(worker)) || has_news;
                self.rearmed(me, kind, ready, worker, has_news)
            }
            _ => at,
        }
    }

    /// A step of who waits without a thread.
    fn poll(&mut self, me: u8, at: At) -> Option<At> {
        let mine = usize::from(me);
        let has_business = self.has_business();
        if at == At::Pending {
            return std::mem::take(&mut self.jobs[mine].is_unparked).then_some(At::Poll);
        }
        if self.jobs[mine].has_come {
            return Some(At::Done);
        }
        self.jobs[mine].is_registered = true;
        self.readers.hurry();
        self.own_bell |= self.readers.expect_results();
        self.is_notified |= self.readers.wants_attendant(has_business);
        Some(At::Pending)
    }

    /// Arms a bell for who sleeps, or is about to.
    fn arm(&mut self, worker: u8) {
        let armed = if self.readers.is_patient() { Armed::Last } else { Armed::Each };
        self.workers[usize::from(worker)].armed = armed;
    }

    fn rearmed(&mut self, me: u8, kind: Kind, ready: Ready, worker: u8, has_news: bool) -> At {
        if usize::from(worker) + 1 < self.workers.len() {
            return At::Rearm(ready, worker + 1, has_news);
        }
        self.served(me, kind, ready, has_news)
    }

    /// All that came of a look is dealt with.
    fn served(&mut self, me: u8, kind: Kind, ready: Ready, has_news: bool) -> At {
        self.changed(me, Change { is_read: true, has_news, ..Change::default() });
        self.locked_by = None;
        match kind {
            Kind::Waiter => At::Lead,
            _ if ready != 0 => At::Look,
            Kind::Looker => At::Done,
            Kind::Attendant | Kind::Poller => At::ReadsOn,
        }
    }

    /// A step of the attendant, or of who looks in passing.
    fn attend(&mut self, me: u8, kind: Kind, at: At) -> Option<At> {
        let has_business = self.has_business();
        Some(match at {
            At::Rest if !std::mem::take(&mut self.is_notified) => return None,
            At::Duty => {
                let seen = &mut self.threads[usize::from(me)].seen;
                match self.readers.duty(has_business, seen) {
                    Duty::Rest => {
                        *seen = None;
                        At::Rest
                    }
                    Duty::StandBy => At::StandBy,
                    Duty::Read => At::Look,
                }
            }
            At::Look if !self.readers.has_reader_beside(&me) => At::Snap,
            At::Look if kind == Kind::Looker => At::Done,
            At::Look => At::ReadsOn,
            At::ReadsOn if self.readers.attendant_reads_on(has_business) => At::Arm(0, false),
            _ => At::Duty,
        })
    }

    /// A thread's time is up while it sleeps.
    fn is_late(&mut self, me: usize) -> bool {
        let thread = &mut self.threads[me];
        if thread.kind != Kind::Waiter || !matches!(thread.at, At::Asleep | At::Park) {
            return false;
        }
        self.leaves -= 1;
        thread.is_late = true;
        thread.at = if thread.at == At::Asleep { At::Awake(0) } else { At::StopFollowing };
        true
    }
}

impl World for Pool {
    fn next(&self, into: &mut Vec<Self>) {
        let mut add = |change: &dyn Fn(&mut Self) -> bool| {
            let mut next = self.clone();
            if change(&mut next) {
                into.push(next);
            }
        };
        let attendant = self.threads.iter().position(|one| one.kind == Kind::Attendant);
        for (at, worker) in self.workers.iter().enumerate() {
            add(&|pool| pool.work(at));
            if self.kills > 0 && !worker.is_dead {
                add(&|pool| {
                    pool.kill(at);
                    true
                });
            }
            if worker.is_dead && !worker.is_buried && self.locked_by.is_none() {
                add(&|pool| {
                    pool.bury(at, u8::try_from(attendant.unwrap()).unwrap());
                    true
                });
            }
        }
        for me in 0..self.threads.len() {
            add(&|pool| pool.step(u8::try_from(me).unwrap()));
            if self.leaves > 0 {
                add(&|pool| pool.is_late(me));
            }
        }
    }

    fn is_over(&self) -> bool {
        let waits = |one: &Thread| matches!(one.kind, Kind::Waiter | Kind::Poller);
        let is_done = |one: &Thread| !waits(one) || one.at == At::Done;
        self.threads.iter().all(is_done) && !self.has_business()
    }
}

#[test]
fn two_wait_and_a_third_looks() {
    explore("two wait, a third looks", pool(2, &[&[1, 0]], 1, false));
    explore("two wait for two workers", pool(2, &[&[1], &[0]], 0, false));
}

#[test]
fn the_attendant_sleeps_beside_a_reader() {
    explore("one waits, attended", pool(1, &[&[0, 0]], 0, true));
    explore("one waits, attended, a third looks", pool(1, &[&[0]], 1, true));
    explore("two wait, attended", pool(2, &[&[1, 0]], 0, true));
    explore("nobody waits", pool(0, &[&[0], &[1]], 0, true));
    explore("nobody waits for several tasks", pool(0, &[&[0, 0], &[1]], 1, true));
}

#[test]
fn somebody_waits_without_a_thread() {
    let polled = |mut pool: Pool| {
        let poller = Thread { kind: Kind::Poller, at: At::Poll, is_late: false, seen: None };
        // Threads and jobs have the same numbers.
        pool.threads.insert(0, poller);
        pool
    };
    explore("one polls", polled(pool(0, &[&[0, 1]], 0, true)));
    explore(
        "one polls, and a worker dies",
        Pool { kills: 1, ..polled(pool(0, &[&[0, 1]], 0, true)) },
    );
    explore("one polls beside a looker", polled(pool(0, &[&[0, 1]], 1, true)));
}

#[test]
fn a_reader_leaves_and_a_worker_dies() {
    let late = |leaves, pool| Pool { leaves, ..pool };
    explore("one of two leaves", late(1, pool(2, &[&[1, 0]], 0, false)));
    explore("both leave", late(2, pool(2, &[&[1, 0]], 0, false)));
    let dying = |pool| Pool { kills: 1, ..pool };
    explore("a worker dies", dying(pool(2, &[&[1, 0]], 0, false)));
    explore("a worker dies, attended", dying(pool(1, &[&[0, 1]], 0, true)));
    explore("a worker dies and one leaves", late(1, dying(pool(2, &[&[0, 1]], 0, false))));
}
