//! A client's process: one thread, its page, and the socket between it and the owner.
//!
//! Owns the order of its steps, which is that of the runtime's `queue::away`, `taken` and
//! `waiting`. A step is one access to a shared word, or one message. What a thread does more
//! often than need be (looking a few times before it sleeps) is left out.

use super::page::{ANSWER, ARMED, Got, ITEM, OWNER_SLEEPS, PLACE, Page, Plain, RING};
use procession_protocols::queue::cursor::{Bell, Cursor, Hunger, Word};
use procession_protocols::queue::hands::{Hands, Held};
use smallvec::SmallVec;

/// What a client's thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    Put,
    TryPut,
    /// Gets so many at most.
    Get(u32),
    TryGet,
    /// A request that waits at the owner, until the item is finished.
    Lease,
}

/// What goes over the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Message {
    Lease,
    Finish,
    Cancel,
}

/// What follows a bell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Then {
    Sleep,
    Close,
    Leave,
    Done,
}

/// Where the thread is: about to do this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum At {
    Start,
    // Taking.
    Look,
    Open,
    Take,
    Narrow,
    Copy,
    Rings,
    Unring(u64),
    Close,
    // Putting.
    LookPlace,
    TakePlace,
    Show,
    // Waiting.
    Enter,
    Ask,
    Arm,
    Ready,
    MustRing,
    Sleep,
    Late,
    MustAsk,
    AskLater,
    Leave(bool),
    // Bells.
    Ring(Then),
    Send(Then),
    // Leasing.
    Reply,
    Finish,
}

/// What the rest of the world must know of a step.
#[derive(Debug)]
pub(crate) enum News {
    Nothing,
    /// The owner can see this item.
    Put(u8),
    /// A call has returned these.
    Got(SmallVec<[Got; 2]>),
    /// A try has returned without.
    Without,
}

#[derive(Debug, Clone, Hash)]
pub(crate) struct Client {
    /// The number of its first item.
    first: u8,
    is_bounded: bool,
    /// What is still to be done, the next one last.
    ops: SmallVec<[Op; 4]>,
    pub(crate) at: At,
    /// Of a try: it has been answered.
    is_answered: bool,
    held: Held,
    copied: SmallVec<[Got; 2]>,
    pub(crate) may_be_late: u8,
    pub(crate) may_die: bool,
    pub(crate) is_dead: bool,
    /// The owner has heard of the death.
    pub(crate) is_gone: bool,
    pub(crate) page: Page,
    /// Bells in its socket, and whether there is one in the owner's.
    pub(crate) bells: u8,
    pub(crate) has_rung: bool,
    pub(crate) messages: SmallVec<[Message; 4]>,
    pub(crate) reply: Option<Got>,
    /// The owner's own: up to where it has read, and where it writes next.
    pub(crate) up_head: u64,
    pub(crate) down_tail: u32,
}

impl Client {
    pub(crate) fn new(first: u8, is_bounded: bool, ops: &[Op]) -> Self {
        let page = Page::default();
        page.owner_bell.store(OWNER_SLEEPS);
        Self {
            first,
            is_bounded,
            ops: ops.iter().rev().copied().collect(),
            at: At::Start,
            is_answered: false,
            held: Held::default(),
            copied: SmallVec::new(),
            may_be_late: 0,
            may_die: false,
            is_dead: false,
            is_gone: false,
            page,
            bells: 0,
            has_rung: false,
            messages: SmallVec::new(),
            reply: None,
            up_head: 0,
            down_tail: 0,
        }
    }

    pub(crate) fn op(&self) -> Option<Op> {
        self.ops.last().copied()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_dead || self.ops.is_empty()
    }

    /// The item that it shows as this one.
    fn item(&self, number: u64) -> u8 {
        self.first + u8::try_from(number).unwrap()
    }

    /// Whether its thread has a next step.
    pub(crate) fn can_step(&self) -> bool {
        !self.is_over()
            && match self.at {
                At::Sleep => self.bells > 0,
                At::Reply => self.reply.is_some(),
                _ => true,
            }
    }

    /// Whether its time may be up now.
    pub(crate) fn can_be_late(&self) -> bool {
        !self.is_over() && self.may_be_late > 0 && matches!(self.at, At::Sleep | At::Reply)
    }

    pub(crate) fn is_late(&mut self) {
        self.may_be_late -= 1;
        if self.at == At::Sleep {
            self.at = At::Late;
        } else {
            self.messages.push(Message::Cancel);
            self.ends();
        }
    }

    /// Dies. What it had in its memory is gone.
    pub(crate) fn dies(&mut self) {
        (self.may_die, self.is_dead) = (false, true);
        (self.at, self.held, self.is_answered) = (At::Start, Held::default(), false);
        self.copied.clear();
        self.ops.clear();
    }

    /// The items that its thread has, and has not returned.
    pub(crate) fn in_hand(&self) -> u32 {
        let taken =
            matches!(self.at, At::Narrow | At::Copy | At::Rings | At::Unring(_) | At::Close)
                || matches!(self.at, At::Ring(Then::Close) | At::Send(Then::Close));
        if taken { self.held.count } else { 0 }
    }

    /// The owner has heard of its death, and closes its page.
    pub(crate) fn is_closed(&mut self) {
        self.is_gone = true;
        self.page = Page::default();
        (self.bells, self.has_rung, self.reply) = (0, false, None);
        (self.up_head, self.down_tail) = (0, 0);
    }

    fn ends(&mut self) {
        self.ops.pop();
        (self.at, self.held, self.is_answered) = (At::Start, Held::default(), false);
    }

    fn has(word: &Plain) -> bool {
        Cursor(word).look().left() > 0
    }

    /// There is nothing to take, or no place.
    fn finds_nothing(&mut self) -> News {
        self.held = Held::default();
        match self.ops.last() {
            Some(Op::TryGet | Op::TryPut) if self.is_answered => {
                self.ends();
                return News::Without;
            }
            Some(Op::TryGet | Op::TryPut) => self.at = At::Ask,
            _ => self.at = At::Enter,
        }
        News::Nothing
    }

    fn is_put(&self) -> bool {
        matches!(self.op(), Some(Op::Put | Op::TryPut))
    }

    fn is_try(&self) -> bool {
        matches!(self.op(), Some(Op::TryPut | Op::TryGet))
    }

    /// Its next step.
    #[expect(clippy::too_many_lines, reason = "one arm for each step")]
    pub(crate) fn step(&mut self) -> News {
        let is_put = self.is_put();
        let which = usize::from(is_put);
        let page = &self.page;
        match self.at {
            At::Start => {
                self.at = match self.ops.last() {
                    Some(Op::Lease) => {
                        self.messages.push(Message::Lease);
                        At::Reply
                    }
                    Some(Op::Put | Op::TryPut) if self.is_bounded => At::LookPlace,
                    Some(Op::Put | Op::TryPut) => At::Show,
                    _ => At::Look,
                };
                // Only a message is a step of its own.
                if self.at != At::Reply {
                    return self.step();
                }
            }
            At::Look => {
                let most = if let Some(Op::Get(most)) = self.op() { most } else { 1 };
                let lent = Cursor(&page.items).look();
                self.held = Held { first: lent.taken, count: lent.left().min(most) };
                if self.held.count == 0 {
                    return self.finds_nothing();
                }
                self.at = At::Open;
            }
            At::Open => {
                assert_eq!(Hands(page).open(self.held), Some(0), "one call, one hand");
                self.at = At::Take;
            }
            At::Take => {
                let most = self.held.count;
                let taken = Cursor(&page.items).take_many(most).map_or(0, |taken| taken.1);
                self.at = if taken < most { At::Narrow } else { At::Copy };
                self.held.count = taken;
            }
            At::Narrow => {
                Hands(page).narrow(0, self.held, self.held.count);
                if self.held.count == 0 {
                    return self.finds_nothing();
                }
                self.at = At::Copy;
            }
            At::Copy => {
                let numbers = (0..self.held.count).map(|at| self.held.first + at);
                self.copied = numbers.map(|number| page.down[(number % RING) as usize]).collect();
                page.down_head.store(u64::from(self.held.first + self.held.count));
                self.at = At::Rings;
            }
            At::Rings => {
                let now = page.rings_at.load();
                let taken = u64::from(self.held.first + self.held.count);
                let is_due = now & ARMED != 0 && taken >= now & !ARMED;
                self.at = if is_due { At::Unring(now) } else { At::Close };
            }
            At::Unring(now) => {
                let is_mine = page.rings_at.replace(now, 0).is_ok();
                self.at = if is_mine { At::Ring(Then::Close) } else { At::Close };
            }
            At::Close => {
                Hands(page).close(0);
                self.ends();
                return News::Got(std::mem::take(&mut self.copied));
            }
            At::LookPlace if Self::has(&page.places) => self.at = At::TakePlace,
            At::TakePlace if Cursor(&page.places).take().is_some() => self.at = At::Show,
            At::LookPlace | At::TakePlace => return self.finds_nothing(),
            At::Show => {
                let number = page.up_tail.add(1);
                self.at = At::Ring(Then::Done);
                return News::Put(self.item(number));
            }
            At::Enter if is_put => {
                page.short.add(1);
                self.at = At::Arm;
            }
            At::Enter => {
                Hunger(&page.hungry).enter();
                self.at = At::Arm;
            }
            At::Ask => {
                page.asked[which].add(1);
                self.is_answered = true;
                self.at = At::Arm;
            }
            At::Arm => {
                Bell(&page.client_bell).arm(self.bits());
                self.at = At::Ready;
            }
            At::Ready | At::Late => {
                let is_late = self.at == At::Late;
                let lent = Self::has(if is_put { &page.places } else { &page.items });
                let is_ready = lent
                    || self.is_try() && page.answered[which].load() >= page.asked[which].load();
                self.at = match self.op() {
                    Some(Op::TryPut | Op::TryGet) if is_ready || is_late => self.again(),
                    _ if is_ready => At::Leave(true),
                    Some(Op::Put) if is_late => At::AskLater,
                    _ if is_late => At::MustAsk,
                    Some(Op::Get(_)) => At::MustRing,
                    _ => At::Ring(Then::Sleep),
                };
            }
            At::MustRing => {
                let must = Hunger(&page.hungry).must_ring();
                self.at = if must { At::Ring(Then::Sleep) } else { At::Sleep };
            }
            At::Sleep => {
                self.bells -= 1;
                self.at = At::Arm;
            }
            At::MustAsk => {
                let must = Hunger(&page.hungry).must_ring();
                self.at = if must { At::AskLater } else { At::Leave(false) };
            }
            At::AskLater => {
                page.asked[which].add(1);
                self.at = At::Ring(Then::Leave);
            }
            At::Leave(goes_on) => {
                if is_put {
                    page.short.add(u64::MAX);
                } else {
                    Hunger(&page.hungry).leave();
                }
                if goes_on {
                    self.at = self.again();
                } else {
                    self.ends();
                }
            }
            At::Ring(then) => {
                if Bell(&page.owner_bell).ring(OWNER_SLEEPS) {
                    self.at = At::Send(then);
                } else {
                    self.goes_on(then);
                }
            }
            At::Send(then) => {
                self.has_rung = true;
                self.goes_on(then);
            }
            At::Reply => {
                let got = self.reply.take().unwrap();
                self.at = At::Finish;
                return News::Got(SmallVec::from_slice(&[got]));
            }
            At::Finish => {
                self.messages.push(Message::Finish);
                self.ends();
            }
        }
        News::Nothing
    }

    fn goes_on(&mut self, then: Then) {
        match then {
            Then::Sleep => self.at = At::Sleep,
            Then::Close => self.at = At::Close,
            Then::Leave => self.at = At::Leave(false),
            Then::Done => self.ends(),
        }
    }

    fn again(&self) -> At {
        if self.is_put() { At::LookPlace } else { At::Look }
    }

    fn bits(&self) -> u64 {
        match self.op() {
            Some(Op::Put) => PLACE,
            Some(Op::Get(_)) => ITEM,
            _ => ANSWER | ITEM | PLACE,
        }
    }
}
