//! How the owner of a queue learns what its clients put and want.
//!
//! Owns the looks into their pages: by the hidden thread when a client rings, by a thread of
//! the owner's while it waits itself, and before the owner decides anything that depends on
//! what they have done. It must never wait with the queue's lock held. Neighbours: `own`
//! (the machine), `bells` and `streams` below.

use super::bells::{Bells, TURN};
use super::cell::{Cell, Outcome};
use super::channel::Heard;
use super::own::{Core, Own};
use super::page::{OWNER_SLEEPS, waits};
use super::waiting::NAP;
use crate::node::hidden;
use crate::sync::lock;
use procession_protocols::queue::Client;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

/// A turn looks so often at one client before others have their turn.
const LOOKS: usize = 4;

/// Before it sleeps, a thread of the owner looks whether there is more: so often at most,
/// however much comes.
const LINGERING_LOOKS: usize = 100;

/// It lingers for so many clients at most: each look costs.
const LINGERED_FOR: usize = 8;

impl Own {
    /// Waits for an outcome; hears the clients itself, if no other thread does.
    pub(super) fn block(&self, cell: &Arc<Cell>, deadline: Option<Instant>) -> Option<Outcome> {
        let mut core = lock(&self.core);
        let Some(bells) = self.bells.get().filter(|_| core.listener.is_none()) else {
            drop(core);
            return cell.block(deadline);
        };
        // This thread hears the clients itself.
        core.listener = Some(cell.waiter);
        bells.shut_gate();
        let clients: Vec<_> = core.clients.0.keys().copied().collect();
        core = self.linger(core, &clients, || cell.is_filled());
        let outcome = loop {
            let outcome = cell.take();
            if outcome.is_some() || deadline.is_some_and(|at| Instant::now() >= at) {
                break outcome;
            }
            core.listener_sleeps = true;
            drop(core);
            let rang = bells.listen(deadline);
            core = lock(&self.core);
            core.listener_sleeps = false;
            if !self.hear(&mut core, bells, &rang) {
                drop(core);
                std::thread::sleep(NAP);
                core = lock(&self.core);
            }
        };
        core.listener = None;
        bells.open_gate();
        // The hidden thread hears who rings from now on, not who has rung: while the gate was
        // shut it was told of nobody, and opening it tells it of nobody again.
        while self.hear_now(&mut core, bells) {}
        outcome
    }

    /// Looks at the clients that have rung. True when there may be more of them.
    fn hear_now(&self, core: &mut Core, bells: &Bells) -> bool {
        let rang = bells.listen(Some(Instant::now()));
        self.hear(core, bells, &rang);
        rang.len() >= TURN
    }

    /// Looks at clients that have just been active, or are about to be, for a moment, in
    /// which they ring no bells. Ends at once when it `is_over`.
    fn linger<'a>(
        &'a self,
        mut core: MutexGuard<'a, Core>,
        clients: &[Client],
        is_over: impl Fn() -> bool,
    ) -> MutexGuard<'a, Core> {
        if clients.is_empty() || clients.len() > LINGERED_FOR {
            return core;
        }
        core.disarm(clients);
        drop(core);
        for _ in 0..LINGERING_LOOKS {
            let is_any = self.looks.find(|| {
                let core = &mut *lock(&self.core);
                let active = clients.iter().filter(|client| core.look_once(**client)).count();
                self.settle(core);
                active > 0 || is_over()
            });
            if !is_any || is_over() {
                break;
            }
        }
        core = lock(&self.core);
        for client in clients {
            self.look_last(&mut core, *client, false);
        }
        self.settle(&mut core);
        core
    }

    /// Looks at the clients that rang. False when one cannot be heard now, for want of a
    /// descriptor.
    fn hear(&self, core: &mut Core, bells: &Bells, rang: &[Client]) -> bool {
        let mut is_heard = true;
        for client in rang {
            let Some(stream) = core.clients.0.get(client) else { continue };
            match stream.channel.hear() {
                Heard::End => {
                    let channel = stream.channel.clone();
                    bells.remove(std::os::fd::AsFd::as_fd(&*channel));
                }
                Heard::NoRoom => is_heard = false,
                Heard::Something | Heard::Nothing => {}
            }
            self.look(core, *client);
        }
        self.settle(core);
        is_heard
    }

    /// The hidden thread's turn. True when another must follow without a bell.
    pub(super) fn turn(&self, bells: &Bells) -> bool {
        let mut core = lock(&self.core);
        if core.listener.is_some() {
            return false;
        }
        let rang = bells.listen(Some(Instant::now()));
        self.hear(&mut core, bells, &rang);
        drop(self.linger(core, &rang, || false));
        rang.len() >= TURN
    }

    /// Reads what every client has put, and does what they ask.
    pub(super) fn look_at_all(&self, core: &mut Core) {
        let clients: Vec<_> = core.clients.0.keys().copied().collect();
        for client in clients {
            self.look(core, client);
        }
        self.look_at_left(core);
    }

    /// Reads what is left of clients that are gone. What still cannot be read, for want of
    /// descriptors, is looked at again a little later.
    pub(super) fn look_at_left(&self, core: &mut Core) {
        if core.left.is_empty() {
            return;
        }
        let machine = &mut core.machine;
        core.left.retain_mut(|stream| {
            while stream.look(true, |parcel| machine.put_late(parcel)).more {}
            stream.is_stuck
        });
        machine.distribute(&mut core.clients);
        if core.left.is_empty() || std::mem::replace(&mut core.is_napping, true) {
            return;
        }
        let (own, Ok(handle)) = (self.weak(), hidden::handle()) else { return };
        handle.spawn(async move {
            tokio::time::sleep(NAP).await;
            // With the queue, what is left of it goes.
            let Some(own) = own.upgrade() else { return };
            let core = &mut *lock(&own.core);
            core.is_napping = false;
            own.look_at_left(core);
            own.settle(core);
        });
    }

    /// Reads what clients have put since the last look at them.
    pub(super) fn read_news(&self, core: &mut Core) {
        if core.machine.is_heavy() {
            return;
        }
        let mut news = Vec::new();
        news.extend(core.clients.0.iter().filter(|(_, one)| one.has_news()).map(|(id, _)| *id));
        for client in news {
            self.look(core, client);
        }
    }

    /// Looks at one client, until there is nothing new or others must have their turn.
    pub(super) fn look(&self, core: &mut Core, client: Client) {
        core.disarm(&[client]);
        let mut is_more = true;
        for _ in 0..LOOKS {
            is_more = core.look_once(client);
            if !is_more {
                break;
            }
        }
        self.look_last(core, client, is_more);
    }

    /// A client rings from here on.
    fn look_last(&self, core: &mut Core, client: Client, is_more: bool) {
        if let Some(stream) = core.clients.0.get(&client) {
            stream.page.owner_bell().arm(OWNER_SLEEPS);
        }
        // What came since the last look, the client did not ring for.
        let is_more = core.look_once(client) || is_more;
        let is_heavy = core.machine.is_heavy();
        let Some(stream) = core.clients.0.get_mut(&client).filter(|_| !is_heavy) else { return };
        if stream.is_stuck {
            if !std::mem::replace(&mut stream.is_napping, true) {
                self.look_after(NAP, client);
            }
        } else if is_more {
            // There is more to read than one turn takes.
            self.look_after(Duration::ZERO, client);
        }
    }

    /// Another look follows without a bell.
    fn look_after(&self, pause: Duration, client: Client) {
        let (Some(own), Ok(handle)) = (self.weak().upgrade(), hidden::handle()) else { return };
        handle.spawn(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let core = &mut *lock(&own.core);
            if let Some(stream) = core.clients.0.get_mut(&client) {
                stream.is_napping &= pause.is_zero();
                own.look(core, client);
                own.settle(core);
            }
        });
    }
}

impl Core {
    /// These clients need not ring for a while.
    fn disarm(&self, clients: &[Client]) {
        for stream in clients.iter().filter_map(|client| self.clients.0.get(client)) {
            stream.page.owner_bell().disarm(OWNER_SLEEPS);
        }
    }

    /// One look at a client. True when it found something.
    fn look_once(&mut self, client: Client) -> bool {
        let reads = !self.machine.is_heavy();
        let (machine, clients) = (&mut self.machine, &mut self.clients);
        let Some(stream) = clients.0.get_mut(&client) else { return false };
        let found = stream.look(reads, |parcel| machine.put(client, parcel));
        machine.rung(client, clients);
        machine.distribute(clients);
        if found.is_hungry {
            machine.hungry(client, clients);
        }
        if found.is_short {
            machine.short(client, clients);
        }
        if found.asks.is_some() {
            // Whoever asks may have learned by other ways of what others had put by then.
            if reads {
                clients.read_news(|other, parcel| machine.put(other, parcel));
            }
            machine.ask(client, clients);
        }
        if found.asks_place.is_some() {
            machine.ask_place(client, clients);
        }
        if let Some(stream) = self.clients.0.get(&client) {
            if let Some(number) = found.asks {
                stream.page.answered().store(number, Ordering::Release);
            }
            if let Some(number) = found.asks_place {
                stream.page.answered_place().store(number, Ordering::Release);
            }
            if found.asks.is_some() || found.asks_place.is_some() {
                stream.wake(waits::ANSWER);
            }
        }
        found.count > 0 || found.more
    }
}
