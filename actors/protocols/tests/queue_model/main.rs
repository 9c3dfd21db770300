//! The queue's machine in a world of chance: producers, consumers, deaths at every step.
//!
//! Owns the histories. Proptest, because a failing history shrinks to the few steps that
//! matter and its seed repeats it. All of this is by chance; machine and words together are
//! explored whole in small worlds (`queue_states`), the words alone under loom
//! (`queue_words.rs`). Neighbour: `world` plays the clients and keeps the accounts.
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod run;
mod world;

use procession_protocols::queue::{BYTES, LEND_ITEMS, LEND_MOST, Options};
use proptest::prelude::*;
use world::{Fate, World};

#[derive(Debug, Clone, Copy)]
enum Step {
    Attach(u16),
    Put(u16, u32),
    PutDies(u16),
    Get(u16, u32),
    Take(u16, u32),
    TakeDies(u16, u32, Fate),
    Return(u16, usize, u32),
    Part(u16),
    PartDies(u16),
    TryGet(u16),
    Hear(u16),
    Dies(u16),
    DiesUnread(u16),
    ReadLate,
    OwnPut,
    OwnPutsMany,
    OwnPutWaits,
    OwnGet,
    OwnGetWaits,
    Cancel,
    Tick,
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 2u16..6;
    // One, or several together.
    let puts = (client.clone(), prop_oneof![6 => Just(1), 3 => 2..9u32, 1 => Just(LEND_ITEMS + 9)]);
    let gets = (client.clone(), prop_oneof![4 => Just(1), 4 => 2..9u32, 1 => Just(LEND_MOST)]);
    prop_oneof![
        2 => client.clone().prop_map(Step::Attach),
        10 => puts.prop_map(|(client, most)| Step::Put(client, most)),
        1 => client.clone().prop_map(Step::PutDies),
        10 => gets.clone().prop_map(|(client, most)| Step::Get(client, most)),
        4 => gets.clone().prop_map(|(client, most)| Step::Take(client, most)),
        1 => (gets, prop_oneof![Just(Fate::Opened), Just(Fate::Taken), Just(Fate::Held)])
            .prop_map(|((client, most), fate)| Step::TakeDies(client, most, fate)),
        4 => (client.clone(), 0..4usize, prop_oneof![Just(1), Just(u32::MAX)])
            .prop_map(|(client, call, most)| Step::Return(client, call, most)),
        2 => client.clone().prop_map(Step::Part),
        1 => client.clone().prop_map(Step::PartDies),
        3 => client.clone().prop_map(Step::TryGet),
        12 => client.clone().prop_map(Step::Hear),
        1 => client.clone().prop_map(Step::Dies),
        1 => client.prop_map(Step::DiesUnread),
        1 => Just(Step::ReadLate),
        4 => Just(Step::OwnPut),
        1 => Just(Step::OwnPutsMany),
        2 => Just(Step::OwnPutWaits),
        2 => Just(Step::OwnGet),
        2 => Just(Step::OwnGetWaits),
        1 => Just(Step::Cancel),
        1 => Just(Step::Tick),
        3 => Just(Step::Settle),
    ]
}

fn is_death(step: &Step) -> bool {
    use Step::{Dies, DiesUnread, PartDies, PutDies, TakeDies};
    matches!(step, PutDies(_) | TakeDies(..) | PartDies(_) | Dies(_) | DiesUnread(_))
}

fn history(deaths: bool) -> impl Strategy<Value = Vec<Step>> {
    let lively = move |step: &Step| deaths || !is_death(step);
    prop::collection::vec(step().prop_filter("no deaths", lively), 1..300)
}

fn play(options: Options, steps: &[Step]) -> World {
    let mut world = World::new(options);
    for client in 2..6 {
        world.attach(client);
    }
    for step in steps {
        match *step {
            Step::Attach(client) => world.attach(client),
            Step::Put(client, most) => world.client_puts(client, most, false),
            Step::PutDies(client) => world.client_puts(client, 1, true),
            Step::Get(client, most) => world.client_gets(client, most, true),
            Step::Take(client, most) => drop(world.client_takes(client, most, Fate::Lives)),
            Step::TakeDies(client, most, fate) => drop(world.client_takes(client, most, fate)),
            Step::Return(client, call, most) => world.client_returns(client, call, most),
            Step::Part(client) => world.client_parts(client, false),
            Step::PartDies(client) => world.client_parts(client, true),
            Step::TryGet(client) => world.client_gets(client, 1, false),
            Step::Hear(client) => world.hear(client),
            Step::Dies(client) => world.dies(client),
            Step::DiesUnread(client) => world.dies_unread(client),
            Step::ReadLate => world.reads_late(),
            Step::OwnPut => world.owner_puts(false),
            // More than a consumer is lent at first.
            Step::OwnPutsMany => (0..LEND_ITEMS + 9).for_each(|_| world.owner_puts(false)),
            Step::OwnPutWaits => world.owner_puts(true),
            Step::OwnGet => world.owner_gets(false),
            Step::OwnGetWaits => world.owner_gets(true),
            Step::Cancel => world.cancels(),
            Step::Tick => world.ticks(),
            Step::Settle => {
                world.settles();
                world.nobody_waits_in_vain();
            }
        }
        world.checks();
    }
    world.settles();
    world.nobody_waits_in_vain();
    world
}

fn options(capacity: Option<u64>, joinable: bool) -> Options {
    Options { capacity, bytes: BYTES, joinable }
}

proptest! {
    // More with PROPTEST_CASES.
    #![proptest_config(crate::config(200))]

    #[test]
    fn each_item_is_got_once(steps in history(true), capacity in prop::option::of(1u64..9)) {
        play(options(capacity, false), &steps).closes(false);
    }

    #[test]
    fn what_a_dead_consumer_had_not_finished_comes_back_marked(
        steps in history(true),
        capacity in prop::option::of(1u64..9),
    ) {
        play(options(capacity, true), &steps).closes(true);
    }

    #[test]
    fn one_consumer_gets_each_producers_items_in_order(
        steps in history(false),
        capacity in prop::option::of(1u64..9),
        own in any::<bool>(),
    ) {
        let one = |step: &Step| match step {
            Step::Get(client, _) | Step::TryGet(client) => !own && *client == 2,
            // Calls that return in another order than they took are several threads.
            Step::Take(..) | Step::Part(_) => false,
            Step::OwnGet | Step::OwnGetWaits => own,
            _ => true,
        };
        let steps: Vec<_> = steps.into_iter().filter(one).collect();
        let world = play(options(capacity, false), &steps);
        let mut last = std::collections::BTreeMap::new();
        for (thing, _) in &world.got {
            let before = last.insert(thing.producer, thing.number).unwrap_or(0);
            prop_assert!(before < thing.number, "{thing:?} after {before}");
        }
    }
}

#[test]
fn who_takes_all_before_more_comes_is_lent_more_until_others_want_some() {
    let mut world = World::new(options(None, false));
    for client in [2, 3] {
        world.attach(client);
    }
    (0..6 * LEND_MOST).for_each(|_| world.owner_puts(false));
    let mut lent = Vec::new();
    for _ in 0..8 {
        world.client_gets(2, LEND_MOST, true);
        world.hear(2);
        lent.push(world.lent(2));
    }
    assert_eq!(lent, [64, 128, 256, 512, 1024, 1024, 1024, 1024]);
    while world.lent(2) > 0 {
        world.client_gets(2, 300, true);
        world.hear(2);
    }
    // Of what the fast one has and has not taken, another gets half.
    (0..500).for_each(|_| world.owner_puts(false));
    world.client_gets(3, 1, true);
    world.hear(3);
    assert_eq!((world.lent(2), world.lent(3)), (64, 64));
}
