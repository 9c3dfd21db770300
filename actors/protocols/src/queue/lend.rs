//! Who gets the items: those who wait, in the order in which they came, and then, ahead
//! of their asking, consumers that have few left.
//!
//! Owns lending and recalling. Nobody waits while an item is ready, or is lent to somebody
//! who has neither taken it nor been waiting for it.

use super::{Client, Effect, Entry, Getter, Holder, Item, LEND_BYTES, Machine, Streams, Who};

impl<I: Item> Machine<I> {
    /// A client's thread waits for an item.
    pub fn hungry(&mut self, client: Client, streams: &mut impl Streams<I>) {
        let taken = streams.taken(client);
        self.settle(client, taken, streams);
        self.consumes(client, streams);
        self.wait(client);
        self.distribute(streams);
    }

    /// A client asks for an item, and will not wait: it is lent one if there is one.
    pub fn ask(&mut self, client: Client, streams: &mut impl Streams<I>) {
        let taken = streams.taken(client);
        self.settle(client, taken, streams);
        self.consumes(client, streams);
        let Some(member) = self.members.get_mut(&client) else { return };
        if member.lent.is_empty() {
            if self.ready.is_empty() {
                self.recall_some(streams);
            }
            self.lend(client, 1, streams);
            if let Some(member) = self.members.get_mut(&client) {
                member.owed_item = !member.lent.is_empty();
            }
        }
        self.distribute(streams);
    }

    /// A client has rung: it has taken what it was to ring at.
    pub fn rung(&mut self, client: Client, streams: &mut impl Streams<I>) {
        if let Some(member) = self.members.get_mut(&client) {
            member.rings_at = None;
        }
        let taken = streams.taken(client);
        self.settle(client, taken, streams);
    }

    /// Gives items and places to those who wait, and lends ahead. To be called after
    /// [`put`](Self::put) and [`rung`](Self::rung); the other events do it themselves.
    pub fn distribute(&mut self, streams: &mut impl Streams<I>) {
        loop {
            self.restless = false;
            self.serve_getters(streams);
            if self.getters.is_empty() {
                self.lend_ahead(streams);
            }
            self.admit_putters(streams);
            if self.shut.is_some() {
                self.end_waiters();
            }
            if !self.arrange_rings(streams) && !self.arrange_calm(streams) {
                return;
            }
        }
    }

    /// Whether the only consumer must tell when it waits. True when it waits, and has not
    /// been served: there is more to distribute.
    fn arrange_calm(&mut self, streams: &mut impl Streams<I>) -> bool {
        let mut consumers = self.members.iter().filter(|(_, member)| member.consumes);
        let only = match (consumers.next(), consumers.next()) {
            (Some((client, _)), None) => Some(*client),
            _ => None,
        };
        let others_have = |client| {
            self.members.iter().any(|(other, member)| *other != client && !member.lent.is_empty())
        };
        let calm = only.filter(|client| self.ready.is_empty() && !others_have(*client));
        if calm == self.calm {
            return false;
        }
        let is_more = self.stir(streams) && !self.ready.is_empty();
        self.calm = calm;
        if let Some(client) = calm {
            streams.calm(client);
        }
        is_more
    }

    /// Wants to be told when the only consumer waits, and has it stand among the getters if
    /// it does already. True if so.
    pub(super) fn stir(&mut self, streams: &mut impl Streams<I>) -> bool {
        let Some(client) = self.calm.take() else { return false };
        if streams.stir(client) == 0 {
            return false;
        }
        let taken = streams.taken(client);
        self.settle(client, taken, streams);
        self.wait(client)
    }

    /// A client takes items. Whoever did so alone and waits comes before it.
    fn consumes(&mut self, client: Client, streams: &mut impl Streams<I>) {
        if self.calm != Some(client) {
            self.stir(streams);
        }
        if let Some(member) = self.members.get_mut(&client) {
            member.consumes = true;
        }
    }

    /// A client that waits stands among the getters, unless it has something. True when it
    /// does so from now on.
    fn wait(&mut self, client: Client) -> bool {
        let Some(member) = self.members.get_mut(&client) else { return false };
        let is_new = !member.waits && member.lent.is_empty();
        if is_new {
            member.waits = true;
            self.getters.push_back(Getter { who: Who::Client(client), lease: None });
        }
        is_new
    }

    /// The owner learns how many items a client has taken. What its calls have not returned
    /// stays here, without counting for anything.
    pub(super) fn settle(&mut self, client: Client, taken: u32, streams: &mut impl Streams<I>) {
        let joinable = self.options.joinable;
        let Some(member) = self.members.get_mut(&client) else { return };
        if joinable {
            while let Some((_, entry)) = member.take_until(taken) {
                member.kept.push(entry);
            }
        } else if member.taken != taken || !member.held.is_empty() {
            let hands = streams.held(client);
            let hands = hands.as_deref();
            for (number, entry) in std::mem::take(&mut member.held) {
                member.hold(hands, number, entry);
            }
            while let Some((number, entry)) = member.take_until(taken) {
                self.bytes -= entry.item.weight();
                member.hold(hands, number, entry);
            }
        }
    }

    /// Takes back all but `keep` of what is lent to a client. True when that gave any.
    pub(super) fn recall(
        &mut self,
        client: Client,
        keep: u32,
        streams: &mut impl Streams<I>,
    ) -> bool {
        let taken = streams.recall(client, keep);
        self.settle(client, taken, streams);
        let Some(member) = self.members.get_mut(&client) else { return false };
        if member.untaken() <= keep {
            return false;
        }
        let back = member.take_back(keep as usize);
        // It is busy, or stopped: it is lent ahead again when it has asked again.
        member.consumes = false;
        self.give_back(back, false);
        true
    }

    /// Takes back what is lent and not taken by the client that has most, so that the oldest
    /// comes first. Gives the client.
    pub(super) fn recall_some(&mut self, streams: &mut impl Streams<I>) -> Option<Client> {
        let mut clients: Vec<_> =
            self.members.iter().map(|(client, member)| (member.untaken(), *client)).collect();
        clients.sort_unstable_by(|a, b| b.cmp(a));
        for (_, client) in clients {
            loop {
                let taken = streams.taken(client);
                self.settle(client, taken, streams);
                let Some(member) = self.members.get(&client) else { break };
                let owed = u32::from(member.owed_item);
                self.restless |= owed > 0;
                if member.untaken() <= owed {
                    break;
                }
                if self.recall(client, owed, streams) {
                    return Some(client);
                }
            }
        }
        None
    }

    fn serve_getters(&mut self, streams: &mut impl Streams<I>) {
        while let Some(getter) = self.getters.front() {
            let who = getter.who;
            if let Who::Client(client) = who
                && streams.hungry(client) == 0
            {
                self.forget_getter(client);
                continue;
            }
            let mut victim = None;
            if self.ready.is_empty() {
                victim = self.recall_some(streams);
                if victim.is_none() {
                    return;
                }
            }
            match who {
                Who::Waiter(_) => self.deliver(),
                Who::Client(client) => {
                    let sharers = self.getters.len() + usize::from(victim.is_some());
                    let share = self.ready.len() / sharers;
                    if self.lend(client, share.max(1), streams) == 0 {
                        // No room in its stream: it copies what it took. A little later.
                        self.restless = true;
                        return;
                    }
                    self.forget_getter(client);
                    if let Some(member) = self.members.get_mut(&client) {
                        member.owed_item = true;
                    }
                    if let Some(victim) = victim
                        && self.getters.is_empty()
                    {
                        // It goes on with the younger half.
                        self.lend(victim, self.ready.len(), streams);
                    }
                }
            }
        }
    }

    fn forget_getter(&mut self, client: Client) {
        self.getters.retain(|getter| getter.who != Who::Client(client));
        if let Some(member) = self.members.get_mut(&client) {
            member.waits = false;
        }
    }

    /// Gives the first item to the first getter, which is a waiter.
    fn deliver(&mut self) {
        let Some(Getter { who: Who::Waiter(waiter), lease }) = self.getters.pop_front() else {
            return;
        };
        let Some(entry) = self.ready.take(1) else { return };
        match lease {
            Some(holder) => drop(self.leases.insert(waiter, (holder, entry.clone()))),
            None => self.bytes -= entry.item.weight(),
        }
        self.effects.push(Effect::Deliver(waiter, entry));
    }

    /// Lends up to `most` of the first items to a client.
    fn lend(&mut self, client: Client, most: usize, streams: &mut impl Streams<I>) -> usize {
        let Some(member) = self.members.get_mut(&client) else { return 0 };
        let most = most.min(member.room() as usize);
        let mut count = 0;
        while count < most
            && let Some(entry) = self.ready.take(most - count)
        {
            let bytes = member.lent.burden() + entry.item.burden();
            if bytes > LEND_BYTES && !member.lent.is_empty() || !streams.write(client, &entry) {
                self.ready.put_back(entry);
                break;
            }
            count += entry.item.count() as usize;
            member.lend(entry);
        }
        if count > 0 {
            streams.lend(client, u32::try_from(count).unwrap_or(u32::MAX));
        }
        count
    }

    fn lend_ahead(&mut self, streams: &mut impl Streams<I>) {
        let low = |(client, member): (&Client, &super::Member<I>)| {
            (member.consumes && member.untaken() <= member.low())
                .then_some((member.untaken(), *client))
        };
        if self.ready.is_empty() {
            return;
        }
        let mut clients: Vec<_> = self.members.iter().filter_map(low).collect();
        // Who has least comes first.
        clients.sort_unstable();
        let count = clients.len();
        for (at, (_, client)) in clients.into_iter().enumerate() {
            let share = self.ready.len().div_ceil(count - at);
            self.lend(client, share, streams);
        }
    }

    /// Has consumers ring when the owner waits for what they take. True when one has taken
    /// that much already: there is more to distribute.
    fn arrange_rings(&mut self, streams: &mut impl Streams<I>) -> bool {
        let pressed = !self.putters.is_empty() || self.is_heavy();
        let mut have_taken = Vec::new();
        for (client, member) in &mut self.members {
            let left = member.untaken();
            let at = if left == 0 {
                None
            } else if pressed {
                Some(member.taken.wrapping_add(1))
            } else if !self.ready.is_empty() && member.consumes {
                // One with fewer would have been lent more just now, had there been room.
                Some(member.taken.wrapping_add(left.saturating_sub(member.low()).max(1)))
            } else {
                None
            };
            if at == member.rings_at {
                continue;
            }
            member.rings_at = at;
            let taken = streams.ring_at(*client, at);
            if at.is_some_and(|at| taken.wrapping_sub(at) <= u32::MAX / 2) {
                member.rings_at = None;
                streams.ring_at(*client, None);
                have_taken.push((*client, taken));
            }
        }
        for (client, taken) in &have_taken {
            self.settle(*client, *taken, streams);
        }
        !have_taken.is_empty()
    }

    fn end_waiters(&mut self) {
        for who in std::mem::take(&mut self.putters) {
            // Clients see the shutdown in their pages.
            if let Who::Waiter(waiter) = who {
                self.effects.push(Effect::Ended(waiter));
            }
        }
        if !self.ready.is_empty() {
            return;
        }
        for getter in std::mem::take(&mut self.getters) {
            match getter.who {
                Who::Waiter(waiter) => self.effects.push(Effect::Ended(waiter)),
                Who::Client(client) => {
                    if let Some(member) = self.members.get_mut(&client) {
                        member.waits = false;
                    }
                }
            }
        }
    }

    /// What a client was given under a lease, for the host's reply.
    pub fn leased(&self, lease: super::Waiter) -> Option<(Holder, &Entry<I>)> {
        self.leases.get(&lease).map(|(holder, entry)| (*holder, entry))
    }
}
