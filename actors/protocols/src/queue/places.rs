//! Who may put: the places of a bounded queue, lent to producers as items are lent to
//! consumers.
//!
//! Owns the count of places. Items, ready or lent, and places that somebody holds are
//! together never more than the capacity.

use super::{Client, Effect, Item, LEND_PLACES, Machine, Streams, Who};

impl<I: Item> Machine<I> {
    /// A client's thread waits for a place.
    pub fn short(&mut self, client: Client, streams: &mut impl Streams<I>) {
        let Some(member) = self.members.get_mut(&client) else { return };
        if member.places == 0 && !self.putters.contains(&Who::Client(client)) {
            self.putters.push_back(Who::Client(client));
        }
        self.distribute(streams);
    }

    /// A client asks for a place, and will not wait: it is lent one if there is one.
    pub fn ask_place(&mut self, client: Client, streams: &mut impl Streams<I>) {
        let Some(member) = self.members.get(&client) else { return };
        if member.places == 0 && self.putters.is_empty() && self.find_place(streams) {
            self.allow(client, streams);
        }
        self.distribute(streams);
    }

    /// Whether there is a place for one more item: takes back what others were lent ahead,
    /// and learns what has been taken, only when there seems to be none.
    pub(super) fn find_place(&mut self, streams: &mut impl Streams<I>) -> bool {
        if self.is_heavy() || self.free() == 0 {
            self.len(streams);
        }
        if self.is_heavy() {
            return false;
        }
        if self.free() > 0 {
            return true;
        }
        for (client, member) in &mut self.members {
            let owed = u32::from(member.owed_place);
            self.restless |= owed > 0;
            if member.places > owed {
                let used = streams.disallow(*client, owed);
                let unread = used.wrapping_sub(member.put);
                member.places = member.places.min(unread.saturating_add(owed));
            }
        }
        self.free() > 0
    }

    pub(super) fn admit_putters(&mut self, streams: &mut impl Streams<I>) {
        while let Some(who) = self.putters.front().copied() {
            if !self.find_place(streams) {
                return;
            }
            self.putters.pop_front();
            match who {
                Who::Waiter(waiter) => {
                    self.admitted += 1;
                    self.effects.push(Effect::Admit(waiter));
                }
                Who::Client(client) => self.allow(client, streams),
            }
        }
    }

    /// Lends places to a client that waits: one, or some ahead when nobody else does.
    fn allow(&mut self, client: Client, streams: &mut impl Streams<I>) {
        let ahead = if self.putters.is_empty() { LEND_PLACES } else { 1 };
        let count = u32::try_from(self.free()).unwrap_or(u32::MAX).min(ahead);
        let Some(member) = self.members.get_mut(&client) else { return };
        member.places += count;
        member.owed_place = true;
        streams.allow(client, count);
    }

    /// Places that nobody fills or holds.
    fn free(&self) -> u64 {
        let Some(capacity) = self.options.capacity else { return u64::MAX };
        let held: u64 = self.members.values().map(|member| u64::from(member.places)).sum();
        capacity.saturating_sub(self.present() + held + self.admitted)
    }
}
