//! Who reads what the workers have done, who sleeps, and who has to be woken.
//!
//! Owns every decision about that of a pool's owner, in which many threads may wait at
//! once. One of those that wait is the *reader*: it looks into all outboxes, hands out what
//! is others', and sleeps until a worker rings. The others are its *followers*, each asleep
//! until its own result is there or the reader leaves. When no thread waits, the *attendant*
//! reads, which is a part of the runtime's own thread; it has no way to be told that a
//! thread has become the reader, so for a while both may sleep on the same bell. Anybody
//! may look in passing.
//!
//! The rule that keeps wake-ups from being lost: a ring is answered by whoever sees it
//! first, and if anybody still sleeps then, the bells are armed for the sleepers *before*
//! the outboxes are emptied. When nobody waits for a result, bells need not ring for each;
//! the first who waits then without being the reader wakes who sleeps.
//!
//! Who submits task after task may leave some of them to whoever comes next, while the
//! attendant *stands by*: it comes back after a moment, and sends what is left. It must never
//! wait, and knows no thread but by its name `R`.

use std::collections::VecDeque;

/// Of so many who pass one looks, and does what the others left.
const PASSES: u32 = 32;

/// When more than so many have passed within a moment, they will do so in the next one.
const OFTEN: u32 = PASSES;

/// The readers of one pool.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Readers<R> {
    reader: Option<R>,
    followers: VecDeque<R>,
    /// How often the reader's role has been taken.
    terms: u64,
    /// How many sleep until a worker rings.
    sleepers: usize,
    /// Whether the attendant is awake, or about to be.
    is_attended: bool,
    /// Whether it is to read at once: somebody waits without a thread.
    is_urgent: bool,
    /// Whether somebody waits without a thread, or has since nothing was left to do.
    is_awaited: bool,
    /// Whether those that sleep are not to be woken for each result.
    sleeps_long: bool,
    /// How often somebody has passed since the attendant asked.
    passes: u32,
    /// Whether the attendant comes back after a moment, though nobody rings for it.
    stands_by: bool,
}

/// Who is to go on, now that a reader has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Successor<R> {
    /// This follower: it is to be unparked.
    Follower(R),
    /// The attendant: it is to be notified.
    Attendant,
    /// Nobody has to be told.
    Nobody,
}

/// What the attendant does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// It rests until it is notified.
    Rest,
    /// A thread has begun to read: it looks again after a moment.
    StandBy,
    /// It reads.
    Read,
}

/// What a change of the pool's state was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// Whether somebody read, and this is what came of it.
    pub is_read: bool,
    /// Whether something came that the reader may wait for.
    pub has_news: bool,
    /// Whether there is a new moment at which somebody has to look.
    pub has_moment: bool,
    /// Whether nothing is left to be done.
    pub is_idle: bool,
}

impl<R> Default for Readers<R> {
    fn default() -> Self {
        Self {
            reader: None,
            followers: VecDeque::new(),
            terms: 0,
            sleepers: 0,
            is_attended: false,
            is_urgent: false,
            is_awaited: false,
            sleeps_long: false,
            passes: 0,
            stands_by: false,
        }
    }
}

impl<R: Clone + PartialEq> Readers<R> {
    /// Becomes the reader, or joins those that follow it; then it has to sleep, and to
    /// [`stop_following`](Self::stop_following) when it is woken.
    pub fn take_lead(&mut self, me: &R) -> bool {
        if self.reader.is_some() {
            self.followers.push_back(me.clone());
            return false;
        }
        self.reader = Some(me.clone());
        self.terms = self.terms.wrapping_add(1);
        true
    }

    /// The reader leaves. `has_business` says that somebody has to read on.
    pub fn give_up_lead(&mut self, has_business: bool) -> Successor<R> {
        self.reader = None;
        self.succeed(has_business)
    }

    /// A follower that was woken leaves the list, `for_good` or to ask for the lead again.
    /// When it was called to be the reader and wants nothing more, it calls another.
    pub fn stop_following(&mut self, me: &R, for_good: bool, has_business: bool) -> Successor<R> {
        let before = self.followers.len();
        self.followers.retain(|follower| follower != me);
        let was_called = self.followers.len() == before;
        if for_good && was_called && self.reader.is_none() {
            self.succeed(has_business)
        } else {
            Successor::Nobody
        }
    }

    fn succeed(&mut self, has_business: bool) -> Successor<R> {
        match self.followers.pop_front() {
            Some(next) => Successor::Follower(next),
            None if self.wants_attendant(has_business) => Successor::Attendant,
            None => Successor::Nobody,
        }
    }

    /// Whether another than this one is the reader, to whom looking is left.
    pub fn has_reader_beside(&self, me: &R) -> bool {
        self.reader.as_ref().is_some_and(|reader| reader != me)
    }

    /// Somebody waits without a thread: the attendant is to read at once.
    pub fn hurry(&mut self) {
        self.is_urgent = true;
    }

    /// Somebody wants a result, without a thread that waits. Whether the pool's own bell has
    /// to be rung, for who sleeps and would not be woken by each result.
    pub fn expect_results(&mut self) -> bool {
        self.is_awaited = true;
        std::mem::take(&mut self.sleeps_long)
    }

    /// Somebody submits a task, and does for the workers what is to be done just now. True
    /// once in a while: it is to look which of them run low.
    pub fn pass(&mut self) -> bool {
        self.passes = self.passes.wrapping_add(1);
        self.is_patient() && self.passes.is_multiple_of(PASSES)
    }

    /// The attendant asks whether to leave the workers to those who pass, and to look again
    /// after a moment: then no worker has to ring. Else it sleeps.
    pub fn stands_by(&mut self) -> bool {
        self.stands_by = std::mem::take(&mut self.passes) > OFTEN && self.is_patient();
        self.sleeps_long |= self.stands_by;
        self.stands_by
    }

    /// Whether who passes may leave what it has for a worker to whoever comes next: the
    /// attendant does, after a moment.
    pub fn may_hold_back(&self) -> bool {
        self.stands_by && self.sleepers == 0 && self.is_patient()
    }

    /// Who passes asks whether to leave all that is to be done to whoever comes next. Now and
    /// then it is to [`pass`](Self::pass) nevertheless.
    pub fn leaves(&mut self) -> bool {
        let passes = self.passes.wrapping_add(1);
        let leaves = self.may_hold_back() && !passes.is_multiple_of(PASSES);
        if leaves {
            self.passes = passes;
        }
        leaves
    }

    /// Whether nobody waits for any result: who sleeps then need not be woken for each.
    pub fn is_patient(&self) -> bool {
        self.reader.is_none() && self.followers.is_empty() && !self.is_awaited
    }

    /// Whether the attendant has to be notified, since there is something to be read.
    pub fn wants_attendant(&mut self, has_business: bool) -> bool {
        has_business && !std::mem::replace(&mut self.is_attended, true)
    }

    /// The attendant asks for its duty. `seen` is its own memory, from one time to the next.
    pub fn duty(&mut self, has_business: bool, seen: &mut Option<u64>) -> Duty {
        if !has_business {
            (self.is_attended, self.is_awaited, self.stands_by) = (false, false, false);
            return Duty::Rest;
        }
        let is_same = seen.replace(self.terms) == Some(self.terms);
        // A thread that took the role lately will take it again.
        let is_read = self.reader.is_some() || !is_same;
        if !is_read || std::mem::take(&mut self.is_urgent) {
            return Duty::Read;
        }
        if is_same {
            // It has had it for a while, and says so when it leaves.
            (self.is_attended, self.stands_by) = (false, false);
            return Duty::Rest;
        }
        Duty::StandBy
    }

    /// Whether the attendant goes on reading.
    pub fn attendant_reads_on(&self, has_business: bool) -> bool {
        self.reader.is_none() && has_business
    }

    /// Somebody is about to sleep until a worker rings. All bells were armed before, and
    /// nothing was in any outbox after that.
    pub fn fall_asleep(&mut self) {
        self.sleeps_long = self.is_patient();
        self.sleepers += 1;
    }

    /// It is awake.
    pub fn wake_up(&mut self) {
        self.sleepers -= 1;
    }

    /// Whether who empties the outboxes has to arm the bells first: a ring that ended its
    /// own sleep was the sleepers' as well.
    pub fn arms_bells(&self) -> bool {
        self.sleepers > 0
    }

    /// Whether who looks may empty the pool's own bell, which is the reader's: that one may
    /// be about to sleep on it.
    pub fn empties_own_bell(&self, me: &R) -> bool {
        !self.has_reader_beside(me)
    }

    /// Whether the pool's own bell has to be rung after a change that this one made.
    pub fn rings_own_bell(&self, me: &R, change: Change) -> bool {
        match &self.reader {
            Some(reader) => (change.has_news || change.has_moment) && reader != me,
            // The attendant waits for nothing itself; but it has to know when to stop.
            None => self.is_attended && !change.is_read && (change.has_moment || change.is_idle),
        }
    }
}
