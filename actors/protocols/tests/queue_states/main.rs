//! The queue in every interleaving of small worlds: its machine and its words together, with
//! deaths and time-outs between any two steps.
//!
//! Owns the worlds. What is explored whole is what these worlds have: one thread in each of
//! up to four clients, a few items, one bounded or unbounded queue, the owner's own threads,
//! leases. What is left to chance (`queue_model`) is all that is larger: long histories, many
//! clients, several calls under way in one client, items that are finished by `task_done`,
//! windows that grow, weights that count, what is read late. The order of memory, and hands
//! that change their hold while they are read, are loom's (`queue_words`). Neighbours: `world`
//! has the accounts, `client` and `owner` the steps.
//!
//! Two properties hold in each world: no item is lost, or got twice without a mark, and from
//! each state everybody can finish, or waits for what is not there. Where only one gets, it
//! finds by a try what was put before.
//!
//! A death or a time-out that may still come is a way out for whoever hangs. So one world
//! without it stands beside those with it, and few may die in any.
//!
//! While the owner is about to access a client's page, only the two of them step: the others'
//! steps touch neither that page nor the machine, and lead to the same states later.

#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(clippy::cast_possible_truncation, reason = "the worlds are small")]

mod client;
mod kept;
mod owner;
mod page;
mod pages;
mod run;
mod world;

use crate::word_model::explorer::explore;
use client::Op;
use owner::Own;
use world::queue;

const G: Op = Op::Get(1);
const G2: Op = Op::Get(2);
const P: Op = Op::Put;
const L: Op = Op::Lease;
const TG: Op = Op::TryGet;
const TP: Op = Op::TryPut;

#[test]
fn one_puts_and_one_gets_while_either_may_die() {
    explore("1 to 1, 2 kills", queue(None, &[&[P, P], &[G, G]], &[]).kill(0).kill(1));
    explore("1 to 1, together, 2 kills", queue(None, &[&[P, P], &[G2, G]], &[]).kill(0).kill(1));
    explore("1 to 1, late, a kill", queue(None, &[&[P], &[G, G]], &[]).late(1).kill(0));
}

#[test]
fn a_full_queue_has_one_wait_for_a_place() {
    explore("1 place", queue(Some(1), &[&[P, P], &[G]], &[]));
    explore("1 place, a kill", queue(Some(1), &[&[P, P], &[G]], &[]).kill(1));
    let owner = queue(Some(1), &[&[P]], &[Own::Put, Own::Get]);
    explore("1 place that the owner has, late", owner.late(0));
}

#[test]
fn what_is_lent_to_one_is_there_for_others() {
    explore("the owner puts for 1, a kill", queue(None, &[&[G2, G]], &[Own::Put; 2]).kill(0));
    explore("the owner gets from 1, a kill", queue(Some(1), &[&[P, P]], &[Own::Get; 2]).kill(0));
    let both = [Own::Put, Own::Put, Own::Put, Own::Get];
    explore("the owner gets what 1 was lent", queue(None, &[&[G, G]], &both).coarse());
    explore("the same, a kill", queue(None, &[&[G, G]], &[Own::Put, Own::Get]).kill(0));
}

#[test]
fn who_tries_is_answered() {
    explore("tries, a kill", queue(Some(1), &[&[TP, TG]], &[Own::Put]).kill(0));
    explore("tries, of 2", queue(None, &[&[P], &[TG]], &[]).kill(0).kill(1));
}

#[test]
fn what_is_leased_is_finished_or_comes_back() {
    explore("a lease, late, a kill", queue(None, &[&[L], &[P]], &[]).late(0).kill(0));
    explore("2 leases, a kill", queue(None, &[&[L], &[L], &[P, P]], &[]).kill(0));
    explore("a lease and a get, a kill", queue(None, &[&[L], &[G]], &[Own::Put]).kill(0));
}

#[test]
fn several_put_and_several_get() {
    // What the owner does at a time is one step here.
    explore("2 to 2", queue(None, &[&[P], &[P], &[G], &[G]], &[]).coarse());
    let two = queue(None, &[&[P], &[P], &[G], &[G]], &[]).coarse();
    explore("2 to 2, 2 kills", two.kill(0).kill(2));
    let two = queue(Some(1), &[&[P], &[P], &[G], &[G]], &[]).coarse();
    explore("2 to 2 over 1 place, a kill", two.kill(2));
    let two = queue(Some(1), &[&[P], &[P], &[G, G]], &[]).coarse();
    explore("2 to 1 over 1 place, late, a kill", two.late(0).kill(1));
    let one = queue(Some(1), &[&[P, P], &[G, G]], &[]).coarse();
    explore("1 to 1 over 1 place, late, 2 kills", one.late(1).kill(0).kill(1));
    // Who gives up may have been lent something in that moment.
    let two = queue(Some(1), &[&[P], &[P], &[G]], &[]).coarse();
    explore("2 to 1 over 1 place, late", two.late(0));
    let two = queue(None, &[&[G], &[G], &[P]], &[]).coarse();
    explore("1 to 2, late", two.late(0));
    let two = queue(None, &[&[G], &[G]], &[Own::Put]).coarse();
    explore("the owner puts 1 for 2, a kill", two.kill(0));
    let own = queue(Some(1), &[&[P], &[P]], &[Own::Get]).coarse();
    explore("2 to the owner over 1 place, a kill", own.own_late().kill(0));
    let leases = queue(None, &[&[L], &[G], &[P]], &[]).coarse();
    explore("a lease and a get, late, 2 kills", leases.late(0).kill(0).kill(1));
    let tries = queue(Some(1), &[&[TP, TG], &[TP, TG]], &[]).coarse();
    explore("tries of 2, a kill", tries.kill(0));
}
