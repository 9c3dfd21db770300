//! A queue in the process that owns it.
//!
//! Owns the machine, under a lock that is never held across a wait, and the owner's own
//! puts and gets. An item goes straight from the putting thread into the stream of a client
//! that waits. It must never decode an item. Neighbours: `streams` and `bells` below; `host`
//! serves clients' requests, `cell` has the owner's waiters.

use super::bells::{Bells, TURN};
use super::cell::{Cell, Outcome};
use super::channel::Heard;
use super::host::{self, Due};
use super::page::{OWNER_SLEEPS, waits};
use super::parcel::Parcel;
use super::streams::Clients;
use super::waits::Patience;
use super::{Got, NoItem, Refused};
use crate::node::hidden;
use crate::share::ShareError;
use crate::sync::lock;
use procession_protocols::queue::{
    Client, Effect, Entry, Holder, Machine, Options, Refusal, TooManyDone, Waiter,
};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::{Duration, Instant};

/// After so long, whoever was given something because it waited, and has not taken it, is
/// waited for no longer.
const TICK: Duration = Duration::from_millis(20);

/// A turn looks so often at one client before others have their turn.
const LOOKS: usize = 4;

/// Before it sleeps, a thread of the owner looks so often whether there is more, and lets
/// others run between.
const IDLE_LOOKS: usize = 10;

/// It looks so often at most, however much comes.
const LINGERING_LOOKS: usize = 100;

/// It lingers for so many clients at most: each look costs.
const LINGERED_FOR: usize = 8;

/// A queue at its owner.
#[derive(Debug)]
pub struct Own {
    pub(super) core: Mutex<Core>,
    pub(super) bells: OnceLock<Arc<Bells>>,
    me: Weak<Self>,
    /// Whether any client is attached: large items go into files then.
    pub(super) has_clients: AtomicBool,
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) machine: Machine<Parcel>,
    pub(super) clients: Clients,
    pub(super) due: HashMap<Waiter, Due>,
    /// Leases of clients, by the client's request.
    pub(super) leases: HashMap<Waiter, (Client, u64)>,
    last_waiter: Waiter,
    /// The waiter whose thread waits on the bells, and whether it sleeps.
    listener: Option<Waiter>,
    listener_sleeps: bool,
    is_heavy: bool,
    is_ticking: bool,
}

impl Own {
    pub(super) fn new(options: Options) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            core: Mutex::new(Core {
                machine: Machine::new(options),
                clients: Clients::default(),
                due: HashMap::new(),
                leases: HashMap::new(),
                last_waiter: 0,
                listener: None,
                listener_sleeps: false,
                is_heavy: false,
                is_ticking: false,
            }),
            bells: OnceLock::new(),
            me: me.clone(),
            has_clients: AtomicBool::new(false),
        })
    }

    pub(super) fn weak(&self) -> Weak<Self> {
        self.me.clone()
    }

    pub(super) fn options(&self) -> Options {
        lock(&self.core).machine.options()
    }

    /// Puts an item.
    pub(super) async fn put(&self, parcel: Parcel, patience: Patience) -> Result<(), Refused> {
        let cell = {
            let core = &mut *lock(&self.core);
            // What clients had put before goes first.
            self.read_news(core);
            let parcel = match core.put_own(parcel) {
                Ok(()) => {
                    self.settle(core);
                    return Ok(());
                }
                Err((Refusal::Shutdown, _)) => return Err(Refused::Shutdown),
                Err((Refusal::Full, parcel)) => parcel,
            };
            // Clients may have taken some, or put some that others have not seen yet.
            self.look_at_all(core);
            let parcel = match core.put_own(parcel) {
                Ok(()) => {
                    self.settle(core);
                    return Ok(());
                }
                Err((Refusal::Shutdown, _)) => return Err(Refused::Shutdown),
                Err((Refusal::Full, parcel)) => parcel,
            };
            if matches!(patience, Patience::Never) {
                self.settle(core);
                return Err(Refused::Full);
            }
            let cell = Cell::new(core.number(), Some(parcel));
            core.due.insert(cell.waiter, Due::Cell(cell.clone()));
            core.machine.wait_put(cell.waiter, &mut core.clients);
            self.settle(core);
            cell
        };
        match self.wait(&cell, patience).await? {
            Some(Outcome::Admitted) => Ok(()),
            Some(_) => Err(Refused::Shutdown),
            None => Err(Refused::Timeout),
        }
    }

    /// Gets an item.
    pub(super) async fn get(&self, patience: Patience) -> Result<Got, NoItem> {
        let cell = {
            let core = &mut *lock(&self.core);
            if let Some(entry) = self.get_now(core) {
                return Ok(entry.into());
            }
            if core.machine.is_shut() {
                return Err(NoItem::Shutdown);
            }
            if matches!(patience, Patience::Never) {
                return Err(NoItem::Empty);
            }
            self.wait_for_item(core, None)
        };
        match self.wait(&cell, patience).await? {
            Some(Outcome::Item(entry)) => Ok(entry.into()),
            Some(_) => Err(NoItem::Shutdown),
            None => Err(NoItem::Timeout),
        }
    }

    /// Gets an item that stays here, under the number that comes with it, until it is
    /// finished.
    pub(super) async fn lease(&self, patience: Patience) -> Result<(Waiter, Got), NoItem> {
        let cell = {
            let core = &mut *lock(&self.core);
            self.look_at_all(core);
            let cell = self.wait_for_item(core, Some(Holder::Owner));
            if matches!(patience, Patience::Never)
                && core.machine.cancel(cell.waiter, &mut core.clients)
            {
                core.due.remove(&cell.waiter);
                self.settle(core);
                return Err(if core.machine.is_shut() { NoItem::Shutdown } else { NoItem::Empty });
            }
            cell
        };
        match self.wait(&cell, patience).await? {
            Some(Outcome::Item(entry)) => Ok((cell.waiter, entry.into())),
            Some(_) => Err(NoItem::Shutdown),
            None => Err(NoItem::Timeout),
        }
    }

    /// Waits until every item is finished. False when the time was up first.
    pub(super) async fn join(&self, patience: Patience) -> Result<bool, ShareError> {
        let cell = {
            let core = &mut *lock(&self.core);
            self.look_at_all(core);
            let cell = Cell::new(core.number(), None);
            core.due.insert(cell.waiter, Due::Cell(cell.clone()));
            core.machine.join(cell.waiter);
            self.settle(core);
            cell
        };
        Ok(self.wait(&cell, patience).await?.is_some())
    }

    pub(super) fn task_done(&self, holder: Holder) -> Result<(), TooManyDone> {
        let core = &mut *lock(&self.core);
        // What a client had put before counts.
        self.look_at_all(core);
        let result = core.machine.task_done(holder, &mut core.clients);
        self.settle(core);
        result
    }

    /// Ends a lease: the item is finished, or comes back.
    pub(super) fn end_lease(&self, lease: Waiter, is_finished: bool) {
        let core = &mut *lock(&self.core);
        if is_finished {
            core.machine.finish(lease, &mut core.clients);
        } else {
            core.machine.give_back_lease(lease, &mut core.clients);
        }
        self.settle(core);
    }

    pub(super) fn len(&self) -> u64 {
        let core = &mut *lock(&self.core);
        self.look_at_all(core);
        core.machine.len(&mut core.clients)
    }

    pub(super) fn shutdown(&self, immediate: bool) {
        let core = &mut *lock(&self.core);
        self.look_at_all(core);
        core.machine.shutdown(immediate, &mut core.clients);
        for stream in core.clients.0.values() {
            stream.set_state(true, core.is_heavy);
        }
        self.settle(core);
    }

    /// Takes an item if there is one that nobody else was promised.
    fn get_now(&self, core: &mut Core) -> Option<Entry<Parcel>> {
        let mut entry = core.machine.get_own(&mut core.clients);
        if entry.is_none() {
            self.look_at_all(core);
            entry = core.machine.get_own(&mut core.clients);
        }
        self.settle(core);
        entry
    }

    fn wait_for_item(&self, core: &mut Core, lease: Option<Holder>) -> Arc<Cell> {
        let cell = Cell::new(core.number(), None);
        core.due.insert(cell.waiter, Due::Cell(cell.clone()));
        core.machine.wait_get(cell.waiter, lease, &mut core.clients);
        self.settle(core);
        cell
    }

    /// Waits for a cell's outcome; `None` when the time was up first.
    async fn wait(
        &self,
        cell: &Arc<Cell>,
        patience: Patience,
    ) -> Result<Option<Outcome>, ShareError> {
        let mut waiting = Waiting { own: self, cell, is_over: false };
        let outcome = match patience {
            Patience::Async => Some(cell.outcome().await),
            Patience::Until(_) if hidden::is_current() => return Err(ShareError::WouldDeadlock),
            Patience::Until(deadline) => self.block(cell, deadline),
            Patience::Never => cell.take(),
        };
        if outcome.is_some() {
            waiting.is_over = true;
            return Ok(outcome);
        }
        waiting.is_over = true;
        Ok(self.give_up(cell))
    }

    /// Ends a wait. What came in the last moment is given.
    fn give_up(&self, cell: &Arc<Cell>) -> Option<Outcome> {
        let core = &mut *lock(&self.core);
        core.due.remove(&cell.waiter);
        if core.machine.cancel(cell.waiter, &mut core.clients) {
            self.settle(core);
            return None;
        }
        cell.take()
    }

    fn block(&self, cell: &Arc<Cell>, deadline: Option<Instant>) -> Option<Outcome> {
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
            self.hear(&mut core, bells, &rang);
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
        let mut idle = 0;
        for _ in 0..LINGERING_LOOKS {
            drop(core);
            std::thread::yield_now();
            core = lock(&self.core);
            let any = clients.iter().fold(false, |any, client| core.look_once(*client) || any);
            self.settle(&mut core);
            idle = if any { 0 } else { idle + 1 };
            if idle == IDLE_LOOKS || is_over() {
                break;
            }
        }
        for client in clients {
            self.look_last(&mut core, *client, false);
        }
        self.settle(&mut core);
        core
    }

    /// Looks at the clients that rang.
    fn hear(&self, core: &mut Core, bells: &Bells, rang: &[Client]) {
        for client in rang {
            let Some(stream) = core.clients.0.get(client) else { continue };
            if stream.channel.hear() == Heard::End {
                let channel = stream.channel.clone();
                bells.remove(std::os::fd::AsFd::as_fd(&*channel));
            }
            self.look(core, *client);
        }
        self.settle(core);
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
    }

    /// Reads what clients have put since the last look at them.
    fn read_news(&self, core: &mut Core) {
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
        if core.look_once(client) || is_more {
            self.ring_for(core, client);
        }
    }

    /// There is more to read than one turn takes: another turn follows.
    fn ring_for(&self, core: &mut Core, client: Client) {
        let is_readable = !core.machine.is_heavy() && core.clients.0.contains_key(&client);
        if is_readable && let (Some(own), Ok(handle)) = (self.me.upgrade(), hidden::handle()) {
            handle.spawn(async move {
                let core = &mut *lock(&own.core);
                own.look(core, client);
                own.settle(core);
            });
        }
    }

    /// After every event: carries out what the machine says.
    pub(super) fn settle(&self, core: &mut Core) {
        loop {
            let mut any = false;
            for effect in core.machine.effects() {
                any = true;
                self.carry_out(core, effect);
            }
            let is_heavy = core.machine.is_heavy();
            if is_heavy != core.is_heavy {
                any = true;
                core.is_heavy = is_heavy;
                for stream in core.clients.0.values() {
                    stream.set_state(core.machine.is_shut(), is_heavy);
                }
                if !is_heavy {
                    self.look_at_all(core);
                }
            }
            if !any {
                break;
            }
        }
        if core.machine.is_restless() && !core.is_ticking {
            self.start_ticking(core);
        }
    }

    fn carry_out(&self, core: &mut Core, effect: Effect<Parcel>) {
        let (waiter, outcome) = match effect {
            Effect::Deliver(waiter, entry) => (waiter, Outcome::Item(entry)),
            Effect::Joined(waiter) => (waiter, Outcome::Joined),
            Effect::Ended(waiter) => (waiter, Outcome::Ended),
            Effect::Admit(waiter) => (waiter, Outcome::Admitted),
        };
        match core.due.remove(&waiter) {
            Some(Due::Cell(cell)) => {
                let outcome = match (outcome, cell.take_parcel()) {
                    (Outcome::Admitted, Some(parcel)) => {
                        match core.machine.put_admitted(parcel, &mut core.clients) {
                            Ok(()) => Outcome::Admitted,
                            Err(_) => Outcome::Ended,
                        }
                    }
                    (outcome, _) => outcome,
                };
                cell.fill(outcome);
                if core.listener == Some(waiter)
                    && core.listener_sleeps
                    && let Some(bells) = self.bells.get()
                {
                    bells.ring();
                }
            }
            Some(Due::Reply(reply)) => {
                if let Outcome::Item(_) = outcome {
                    core.leases.insert(waiter, (reply.client().id.0, reply.number()));
                }
                host::send(reply, outcome, waiter);
            }
            None => {
                if let Outcome::Admitted = outcome {
                    core.machine.cancel_admitted(&mut core.clients);
                }
            }
        }
    }

    fn start_ticking(&self, core: &mut Core) {
        let (Some(own), Ok(handle)) = (self.me.upgrade(), hidden::handle()) else { return };
        core.is_ticking = true;
        handle.spawn(async move {
            tokio::time::sleep(TICK).await;
            let core = &mut *lock(&own.core);
            core.is_ticking = false;
            core.machine.tick(&mut core.clients);
            own.settle(core);
        });
    }
}

impl Core {
    /// A fresh waiter's number.
    pub(super) fn number(&mut self) -> Waiter {
        self.last_waiter += 1;
        self.last_waiter
    }

    /// These clients need not ring for a while.
    fn disarm(&self, clients: &[Client]) {
        for stream in clients.iter().filter_map(|client| self.clients.0.get(client)) {
            stream.page.owner_bell().disarm(OWNER_SLEEPS);
        }
    }

    fn put_own(&mut self, parcel: Parcel) -> Result<(), (Refusal, Parcel)> {
        self.machine.put_own(parcel, &mut self.clients)
    }

    /// One look at a client. True when it found something.
    fn look_once(&mut self, client: Client) -> bool {
        let reads = !self.machine.is_heavy();
        let Some(stream) = self.clients.0.get_mut(&client) else { return false };
        let found = stream.look(reads);
        let (machine, clients) = (&mut self.machine, &mut self.clients);
        let is_any = !found.parcels.is_empty();
        for parcel in found.parcels {
            machine.put(client, parcel);
        }
        machine.rung(client, clients);
        machine.distribute(clients);
        if found.is_hungry {
            machine.hungry(client, clients);
        }
        if found.is_short {
            machine.short(client, clients);
        }
        if found.asks.is_some() {
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
        is_any || found.more
    }
}

/// A wait that may be dropped in the middle.
struct Waiting<'a> {
    own: &'a Own,
    cell: &'a Arc<Cell>,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if let Some(Outcome::Item(entry)) = self.own.give_up(self.cell) {
            let core = &mut *lock(&self.own.core);
            // A lease is ended by its number, an item that nobody saw comes back.
            if !core.machine.give_back_lease(self.cell.waiter, &mut core.clients) {
                core.machine.cancel_delivered(entry, &mut core.clients);
            }
            self.own.settle(core);
        }
    }
}

impl From<Entry<Parcel>> for Got {
    fn from(entry: Entry<Parcel>) -> Self {
        Self { parcel: entry.item, redelivered: entry.redelivered }
    }
}
