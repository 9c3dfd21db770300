//! What the owner does to a client's page, one access at a time.
//!
//! Owns the accesses, and the way to stop the machine in the midst of a call. The machine
//! calls the pages and gets answers; so a call is begun anew for each step, given the answers
//! that it got before, and left when it wants one more. Neighbour: `owner` has the calls.

use super::client::{At, Client};
use super::page::{ANSWER, ARMED, Got, ITEM, OWNER_SLEEPS, PLACE, RING};
use super::run::Run;
use procession_protocols::queue::cursor::{Bell, Cursor, Hunger, Word};
use procession_protocols::queue::hands::{Hands, Held};
use procession_protocols::queue::{Client as Number, Entry, Streams};
use std::panic::resume_unwind;

/// Of two words of a page: 0 is for an item, 1 for a place.
pub(crate) type Which = usize;

/// One access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    // Of what only the owner uses or writes: nobody sees when it is done.
    IsGone,
    Answered(Which),
    /// Items behind those that are lent, up to so many, with their mark.
    Write(Run, bool),
    // Of what both do.
    Disarm,
    Arm,
    Asked(Which),
    Answer(Which, u64),
    Hungry,
    Short,
    Up,
    Lend(u32),
    RingAt(Option<u32>),
    Taken,
    Held,
    Recall(u32),
    Calm,
    Stir,
    Allow(u32),
    Disallow(u32),
    /// Wakes who waits for this.
    Wake(u64),
    Reply(Got),
}

impl Access {
    /// Whether the client could tell when it is done.
    pub(crate) fn is_step(self) -> bool {
        !matches!(self, Self::IsGone | Self::Answered(_) | Self::Write(..))
    }

    /// The answer of one that changes nothing.
    pub(crate) fn tells(self, client: &Client) -> Option<u64> {
        let page = &client.page;
        Some(match self {
            Self::IsGone => client.is_gone.into(),
            Self::Answered(which) => page.answered[which].load(),
            Self::Asked(which) => page.asked[which].load(),
            Self::Hungry => Hunger(&page.hungry).count().into(),
            Self::Short => page.short.load(),
            Self::Taken => Cursor(&page.items).settle().taken.into(),
            Self::Held => {
                let held = Hands(page).held().unwrap();
                let pack = |held: &Held| u64::from(held.first) << 32 | u64::from(held.count);
                held.first().map_or(0, pack)
            }
            _ => return None,
        })
    }

    /// Does one that changes something, and gives the answer.
    pub(crate) fn act(self, client: &mut Client) -> u64 {
        let page = &client.page;
        match self {
            Self::Write(run, is_marked) => return writes(client, run, is_marked).into(),
            Self::Disarm => Bell(&page.owner_bell).disarm(OWNER_SLEEPS),
            Self::Arm => Bell(&page.owner_bell).arm(OWNER_SLEEPS),
            Self::Answer(which, number) => page.answered[which].store(number),
            Self::Up => {
                let tail = page.up_tail.load();
                return std::mem::replace(&mut client.up_head, tail) << 32 | tail;
            }
            Self::Lend(count) => _ = Cursor(&page.items).lend(count),
            Self::RingAt(taken) => {
                page.rings_at.store(taken.map_or(0, |taken| ARMED | u64::from(taken)));
            }
            Self::Recall(keep) => {
                let lent = Cursor(&page.items).recall(keep);
                client.down_tail = lent.limit;
                return lent.taken.into();
            }
            Self::Calm => Hunger(&page.hungry).calm(),
            Self::Stir => return Hunger(&page.hungry).stir().into(),
            Self::Allow(count) => _ = Cursor(&page.places).lend(count),
            Self::Disallow(keep) => return Cursor(&page.places).recall(keep).taken.into(),
            Self::Wake(bits) => client.bells += u8::from(Bell(&page.client_bell).ring(bits)),
            // Who has given up has said so, and the item comes back.
            Self::Reply(got) => client.reply = (client.at == At::Reply).then_some(got),
            _ => panic!("{self:?} changes nothing"),
        }
        0
    }
}

/// Writes items into the ring, if there is room.
fn writes(client: &mut Client, run: Run, is_marked: bool) -> bool {
    let head = u32::try_from(client.page.down_head.load()).unwrap();
    let has_room = client.down_tail + u32::from(run.count) - head <= RING;
    if has_room {
        for at in 0..run.count {
            client.page.down[(client.down_tail % RING) as usize] = (run.first + at, is_marked);
            client.down_tail += 1;
        }
    }
    has_room
}

/// A call ends for now: it wants this access to the page of this client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pause(pub(crate) usize, pub(crate) Access);

/// The pages, as a call sees them.
pub(crate) struct Pages<'a> {
    /// To what it wanted before.
    answers: std::slice::Iter<'a, u64>,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(answers: &'a [u64]) -> Self {
        Self { answers: answers.iter() }
    }

    pub(crate) fn access(&mut self, client: usize, access: Access) -> u64 {
        let answer = self.answers.next();
        *answer.unwrap_or_else(|| resume_unwind(Box::new(Pause(client, access))))
    }

    fn count(&mut self, client: Number, access: Access) -> u32 {
        u32::try_from(self.access(client.into(), access)).unwrap()
    }

    /// What this client has put: the number of the first of these items, and how many.
    pub(crate) fn reads(&mut self, client: usize) -> Option<(u64, u64)> {
        let word = self.access(client, Access::Up);
        let (head, tail) = (word >> 32, word & 0xffff_ffff);
        (tail > head).then_some((head, tail - head))
    }
}

impl Streams<Run> for Pages<'_> {
    fn write(&mut self, to: Number, entry: &Entry<Run>) -> bool {
        self.access(to.into(), Access::Write(entry.item, entry.redelivered)) == 1
    }

    fn lend(&mut self, to: Number, count: u32) {
        self.access(to.into(), Access::Lend(count));
        self.access(to.into(), Access::Wake(ITEM));
    }

    fn ring_at(&mut self, client: Number, taken: Option<u32>) -> u32 {
        self.access(client.into(), Access::RingAt(taken));
        self.taken(client)
    }

    fn taken(&mut self, client: Number) -> u32 {
        self.count(client, Access::Taken)
    }

    fn held(&mut self, client: Number) -> Option<Vec<Held>> {
        let word = self.access(client.into(), Access::Held);
        let held = Held { first: (word >> 32) as u32, count: word as u32 };
        Some(Some(held).filter(|held| held.count > 0).into_iter().collect())
    }

    fn recall(&mut self, from: Number, keep: u32) -> u32 {
        self.count(from, Access::Recall(keep))
    }

    fn hungry(&mut self, client: Number) -> u32 {
        self.count(client, Access::Hungry)
    }

    fn calm(&mut self, client: Number) {
        self.access(client.into(), Access::Calm);
    }

    fn stir(&mut self, client: Number) -> u32 {
        self.count(client, Access::Stir)
    }

    fn allow(&mut self, to: Number, count: u32) {
        self.access(to.into(), Access::Allow(count));
        self.access(to.into(), Access::Wake(PLACE));
    }

    fn disallow(&mut self, from: Number, keep: u32) -> u32 {
        self.count(from, Access::Disallow(keep))
    }
}

/// Answers what a client has asked.
pub(crate) fn answers(pages: &mut Pages<'_>, client: usize, which: Which, number: u64) {
    pages.access(client, Access::Answer(which, number));
    pages.access(client, Access::Wake(ANSWER));
}
