//! A queue in the process that owns it.
//!
//! Owns the machine, under a lock that is never held across a wait, and the owner's own
//! puts and gets. An item goes straight from the putting thread into the stream of a client
//! that waits. It must never decode an item. Neighbours: `streams` below; `hear` reads what
//! clients put, `host` serves their requests, `cell` has the owner's waiters.

use super::bells::Bells;
use super::cell::{Cell, Outcome};
use super::host::{self, Due};
use super::parcel::Parcel;
use super::streams::{Clients, Stream};
use super::waits::{Looks, Patience};
use super::{Got, NoItem, Refused};
use crate::node::hidden;
use crate::share::ShareError;
use crate::sync::lock;
use procession_protocols::queue::{
    Client, Effect, Entry, Holder, Machine, Options, Refusal, TooManyDone, Waiter,
};
use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

/// After so long, whoever was given something because it waited, and has not taken it, is
/// waited for no longer.
const TICK: Duration = Duration::from_millis(20);

/// A queue at its owner.
#[derive(Debug)]
pub struct Own {
    pub(super) core: Mutex<Core>,
    pub(super) bells: OnceLock<Arc<Bells>>,
    pub(super) looks: Looks,
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
    pub(super) listener: Option<Waiter>,
    pub(super) listener_sleeps: bool,
    is_heavy: bool,
    is_ticking: bool,
    /// Of clients that are gone: what they had put and could not be read, for want of
    /// descriptors.
    pub(super) left: Vec<Stream>,
    /// A look at these follows.
    pub(super) is_napping: bool,
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
                left: Vec::new(),
                is_napping: false,
            }),
            bells: OnceLock::new(),
            looks: Looks::default(),
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
                Err((Refusal::Shutdown, _)) => {
                    self.settle(core);
                    return Err(Refused::Shutdown);
                }
                Err((Refusal::Full, parcel)) => parcel,
            };
            // Clients may have taken some, or put some that others have not seen yet.
            self.look_at_all(core);
            let parcel = match core.put_own(parcel) {
                Ok(()) => {
                    self.settle(core);
                    return Ok(());
                }
                Err((Refusal::Shutdown, _)) => {
                    self.settle(core);
                    return Err(Refused::Shutdown);
                }
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
    pub(super) async fn get(&self, patience: Patience) -> Result<Entry<Parcel>, NoItem> {
        let cell = {
            let core = &mut *lock(&self.core);
            if let Some(entry) = self.get_now(core) {
                return Ok(entry);
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
            Some(Outcome::Item(entry)) => Ok(entry),
            Some(_) => Err(NoItem::Shutdown),
            None => Err(NoItem::Timeout),
        }
    }

    /// An item that was got, and cannot be used, comes back to its place.
    pub(super) fn give_back(&self, entry: Entry<Parcel>) {
        let core = &mut *lock(&self.core);
        core.machine.cancel_delivered(entry, &mut core.clients);
        self.settle(core);
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
        let len = core.machine.len(&mut core.clients);
        self.settle(core);
        len
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
            // Who waited has given up.
            None => match outcome {
                Outcome::Admitted => core.machine.cancel_admitted(&mut core.clients),
                Outcome::Item(entry) => {
                    if !core.machine.cancel_lease(waiter, &mut core.clients) {
                        core.machine.cancel_delivered(entry, &mut core.clients);
                    }
                }
                Outcome::Joined | Outcome::Ended => {}
            },
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

    fn put_own(&mut self, parcel: Parcel) -> Result<(), (Refusal, Parcel)> {
        self.machine.put_own(parcel, &mut self.clients)
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
            if !core.machine.cancel_lease(self.cell.waiter, &mut core.clients) {
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
