//! Cycles of threads that wait for each other's locks.
//!
//! Owns the walk. A thread that waits without a deadline for a lock that is watched
//! writes into its seat which lock that is and in which turn (turns are numbered through
//! in a page, so a number belongs to one wait). From its own wait the walk goes to the
//! holder of the lock, to what that one waits for, and so on. Coming back to where it
//! began is a cycle; when a second walk finds the same turns, each thread of the cycle
//! has been in the same wait all the while and so has let go of nothing. The wait with
//! the highest turn closed the cycle, and it alone gives up. It must never judge by one
//! walk: locks move while it goes.

use super::Seat;

/// The most threads of a cycle that is found.
pub const MAX_CYCLE: usize = 64;

/// What the walk sees of a page.
pub trait Graph {
    /// What the thread on a seat waits for, and its turn.
    fn waits(&self, seat: Seat) -> Option<(u32, u32)>;
    /// Who holds a lock: 0 nobody.
    fn holder(&self, record: u32) -> Seat;
}

/// One edge of a cycle: a thread, and the lock that it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Who waits.
    pub seat: Seat,
    /// For the lock in which record.
    pub record: u32,
    turn: u32,
}

/// The cycle that the wait of `me` closes; `None` when there is none, or another wait
/// closed it.
pub fn cycle(graph: &impl Graph, me: Seat) -> Option<Vec<Edge>> {
    let first = walk(graph, me)?;
    let mine = first[0].turn;
    // Turns wrap; the differences of waits that are under way at once are small.
    let is_last = first.iter().all(|edge| mine.wrapping_sub(edge.turn).cast_signed() >= 0);
    if !is_last || walk(graph, me)? != first {
        return None;
    }
    Some(first)
}

fn walk(graph: &impl Graph, me: Seat) -> Option<Vec<Edge>> {
    let mut edges = Vec::new();
    let mut seat = me;
    while edges.len() < MAX_CYCLE {
        let (record, turn) = graph.waits(seat)?;
        edges.push(Edge { seat, record, turn });
        seat = graph.holder(record);
        if seat == 0 {
            return None;
        }
        if seat == me {
            return Some(edges);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seats and what they wait for; locks and who holds them.
    struct World(Vec<(Seat, u32, u32)>, Vec<(u32, Seat)>);

    impl Graph for World {
        fn waits(&self, seat: Seat) -> Option<(u32, u32)> {
            self.0.iter().find(|(who, ..)| *who == seat).map(|(_, lock, turn)| (*lock, *turn))
        }
        fn holder(&self, record: u32) -> Seat {
            self.1.iter().find(|(lock, _)| *lock == record).map_or(0, |(_, who)| *who)
        }
    }

    #[test]
    fn the_wait_that_closes_a_cycle_finds_it_and_no_other() {
        let world =
            World(vec![(1, 20, 5), (2, 30, 6), (3, 10, 7)], vec![(10, 1), (20, 2), (30, 3)]);
        assert_eq!(
            cycle(&world, 3).unwrap().iter().map(|edge| edge.seat).collect::<Vec<_>>(),
            [3, 1, 2]
        );
        assert_eq!(cycle(&world, 1), None);
        assert_eq!(cycle(&world, 2), None);
    }

    #[test]
    fn a_chain_is_no_cycle() {
        let world = World(vec![(1, 20, 5), (2, 30, 6)], vec![(10, 1), (20, 2), (30, 3)]);
        assert_eq!(cycle(&world, 2), None);
        assert_eq!(cycle(&world, 1), None);
    }

    #[test]
    fn a_cycle_that_one_only_leads_into_is_not_ones_own() {
        let world = World(vec![(1, 20, 9), (2, 30, 6), (3, 20, 7)], vec![(20, 2), (30, 3)]);
        assert_eq!(cycle(&world, 1), None);
        assert!(cycle(&world, 3).is_some());
    }

    #[test]
    fn a_thread_that_waits_for_its_own_lock_is_a_cycle() {
        let world = World(vec![(1, 20, 9)], vec![(20, 1)]);
        assert_eq!(cycle(&world, 1).unwrap().len(), 1);
    }
}
