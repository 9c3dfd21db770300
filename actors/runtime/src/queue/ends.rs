//! Where the items end that stand in a client's ring.
//!
//! Owns the places of what was written for the client and, as far as its owner knows, is not
//! taken. They are known from what was written, never read back: the client may write the
//! ring as well. Neighbour: `streams`.

use super::parcel::{Bytes, Parcel};
use super::run::Run;
use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(super) struct Ends {
    lots: VecDeque<Lot>,
    /// How many items these are.
    count: u32,
    /// Where the first of them begins.
    start: u64,
}

/// What was written in one go.
#[derive(Debug)]
struct Lot {
    count: u32,
    end: u64,
    /// Its items, when they are several.
    run: Option<Run>,
}

impl Ends {
    /// An item, or a run, was written, and ends here.
    pub(super) fn push(&mut self, parcel: &Parcel, end: u64) {
        let run = match parcel.bytes() {
            Bytes::Run(run) if run.count() > 1 => Some(run.clone()),
            _ => None,
        };
        let count = run.as_ref().map_or(1, Run::count);
        self.count += count;
        self.lots.push_back(Lot { count, end, run });
    }

    /// The first `count` are not there any more. False when there are not so many.
    pub(super) fn pass(&mut self, count: u32) -> bool {
        if count > self.count {
            return false;
        }
        let mut left = count;
        while left > 0
            && let Some(lot) = self.lots.front_mut()
        {
            if lot.count > left {
                lot.count -= left;
                lot.run.as_mut().map(|run| run.split(left));
                self.start = lot.end - lot.len();
                break;
            }
            left -= lot.count;
            self.start = lot.end;
            self.lots.pop_front();
        }
        self.count -= count;
        true
    }

    /// Only the first `count` are there. Gives where the last of them ends.
    pub(super) fn keep(&mut self, count: u32) -> u64 {
        while self.count > count
            && let Some(lot) = self.lots.back_mut()
        {
            let surplus = self.count - count;
            if lot.count > surplus {
                lot.end -= lot.len();
                lot.run = lot.run.as_mut().map(|run| run.split(lot.count - surplus));
                lot.end += lot.len();
                lot.count -= surplus;
                self.count = count;
            } else {
                self.count -= lot.count;
                self.lots.pop_back();
            }
        }
        self.lots.back().map_or(self.start, |lot| lot.end)
    }
}

impl Lot {
    /// How many bytes of a ring a run takes.
    fn len(&self) -> u64 {
        self.run.as_ref().map_or(0, |run| run.bytes().len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::page::{HEADER, Header};
    use super::*;
    use std::sync::Arc;

    /// Items of so many bytes, and how much of a ring they take.
    fn run(lens: &[u32]) -> (Parcel, u64) {
        let mut piece = Vec::new();
        for len in lens {
            let header = Header { len: *len, tag: 1, fds: 0, flags: 0, number: 0 };
            piece.extend_from_slice(&header.to_bytes());
            piece.resize(piece.len() + *len as usize, 7);
        }
        let len = piece.len() as u64;
        (Parcel::run(Run::of(&Arc::new(piece), 0).unwrap()), len)
    }

    #[test]
    fn items_of_a_run_are_passed_and_kept_one_by_one() {
        let mut ends = Ends::default();
        assert_eq!(ends.keep(0), 0);
        let header = HEADER as u64;
        let (three, end) = run(&[1, 20, 300]);
        ends.push(&three, end);
        let (two, len) = run(&[5, 6]);
        ends.push(&two, end + len);
        let (one, more) = run(&[9]);
        ends.push(&one, end + len + more);
        assert!(!ends.pass(7));
        assert!(ends.pass(1));
        assert_eq!(ends.keep(9), end + len + more);
        assert_eq!(ends.keep(3), end + header + 5);
        assert!(!ends.pass(4));
        assert!(ends.pass(1));
        assert_eq!(ends.keep(1), end);
        assert_eq!(ends.keep(0), end - header - 300);
        // What is written next begins there.
        ends.push(&one, end);
        assert!(ends.pass(1));
        assert_eq!(ends.keep(0), end);
    }
}
