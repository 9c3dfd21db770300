//! Items that came together, and stay so on their way from ring to ring.
//!
//! Owns how they are kept: as the bytes that stood in their producer's ring, headers and all,
//! in a piece that they may share with others. An item in a run has no descriptors and no
//! marks. What a run is made of was read out of shared memory once and checked; it must never
//! be looked up there again. Neighbours: `parcel` has single items as well, `streams` reads
//! runs and writes them.

use super::page::{HEADER, Header, flags};
use std::ops::Range;
use std::sync::Arc;

/// One item, or several.
#[derive(Debug, Clone)]
pub(super) struct Run {
    piece: Arc<Vec<u8>>,
    place: Range<usize>,
    count: u32,
}

impl Run {
    /// The items that stand whole in a piece from this place on, up to the first that is not
    /// plain. `None` when the first is not.
    pub(super) fn of(piece: &Arc<Vec<u8>>, start: usize) -> Option<Self> {
        let (mut end, mut count) = (start, 0);
        while let Some((header, next)) = whole(piece, end)
            && header.is_plain()
        {
            (end, count) = (next, count + 1);
        }
        (count > 0).then(|| Self { piece: piece.clone(), place: start..end, count })
    }

    /// How many items it has.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Its items with their headers, as they stand in a ring.
    pub(super) fn bytes(&self) -> &[u8] {
        // `of` found it there.
        self.piece.get(self.place.clone()).unwrap_or_default()
    }

    /// The same, each marked as had by a consumer before.
    pub(super) fn marked(&self) -> Vec<u8> {
        let mut bytes = self.bytes().to_vec();
        let mut at = 0;
        while let Some((header, next)) = whole(&bytes, at) {
            let marked = Header { flags: header.flags | flags::REDELIVERED, ..header };
            bytes[at..at + HEADER].copy_from_slice(&marked.to_bytes());
            at = next;
        }
        bytes
    }

    /// The first item's tag and bytes.
    pub(super) fn first(&self) -> (u32, &[u8]) {
        let Some((header, end)) = whole(self.bytes(), 0) else { return (0, &[]) };
        (header.tag, &self.bytes()[HEADER..end])
    }

    /// Takes the first `count` items off, or all.
    pub(super) fn split(&mut self, count: u32) -> Self {
        let mut end = self.place.start;
        let count = count.min(self.count);
        for _ in 0..count {
            end = whole(&self.piece, end).map_or(end, |(_, next)| next);
        }
        let first = Self { piece: self.piece.clone(), place: self.place.start..end, count };
        self.place.start = end;
        self.count -= count;
        first
    }
}

/// The header of the item that stands whole at this place, and where it ends.
#[inline]
pub(super) fn whole(piece: &[u8], at: usize) -> Option<(Header, usize)> {
    let header = Header::first_of(piece.get(at..)?)?;
    let end = at.checked_add(header.span()?).filter(|end| *end <= piece.len())?;
    Some((header, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(items: &[(&[u8], u16)]) -> Arc<Vec<u8>> {
        let mut piece = Vec::new();
        for (bytes, fds) in items {
            let len = u32::try_from(bytes.len()).unwrap();
            let header = Header { len, tag: 5, fds: *fds, flags: 0, number: 0 };
            piece.extend_from_slice(&header.to_bytes());
            piece.extend_from_slice(bytes);
        }
        Arc::new(piece)
    }

    #[test]
    fn a_run_ends_before_what_is_not_plain_and_what_is_not_whole() {
        let piece = piece(&[(b"one", 0), (b"", 0), (b"three", 1), (b"four", 0), (b"five", 0)]);
        let run = Run::of(&piece, 0).unwrap();
        assert_eq!((run.count(), run.bytes().len()), (2, 2 * HEADER + 3));
        assert!(Run::of(&piece, run.bytes().len()).is_none());
        let cut = Arc::new(piece[..piece.len() - 1].to_vec());
        let at = run.bytes().len() + HEADER + 5;
        assert_eq!(Run::of(&cut, at).map(|run| run.count()), Some(1));
        assert_eq!(Run::of(&piece, at).map(|run| run.count()), Some(2));
    }

    #[test]
    fn a_run_is_split_between_items() {
        let mut run = Run::of(&piece(&[(b"one", 0), (b"", 0), (b"three", 0)]), 0).unwrap();
        let first = run.split(1);
        assert_eq!((first.count(), first.first()), (1, (5, b"one".as_slice())));
        assert_eq!((run.count(), run.first()), (2, (5, b"".as_slice())));
        let rest = run.split(9);
        assert_eq!((rest.count(), run.count(), run.bytes()), (2, 0, b"".as_slice()));
        let marked = Arc::new(rest.marked());
        assert!(Run::of(&marked, 0).is_none());
        assert_eq!(whole(&marked, HEADER).unwrap().0.flags, flags::REDELIVERED);
    }
}
