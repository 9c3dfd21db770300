//! Several items put, or got, in one call.
//!
//! Owns what that saves: a producer's items go into its ring in one piece, and a consumer
//! takes all that it is lent in one step. It must never hold a lock of the queue while an item
//! is encoded or decoded. Neighbours: `away` puts and gets single ones, and waits; `taken` has
//! the pieces that were taken.

use super::away::{Away, Blocked, Show, TOGETHER};
use super::own::Own;
use super::page::{HEADER, Header, INLINE};
use super::parcel::{Parcel, keep_buffer, take_buffer};
use super::points::{self, Point};
use super::waits::Patience;
use super::{NoItem, RawQueue, Refused, open};
use crate::codec;
use crate::share::Side;
use crate::sync::lock;
use crate::sys::rings::Ring;
use crate::wait::at_once;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Some items were not put.
#[derive(Debug)]
pub struct Stopped<I: Iterator> {
    /// How many were put.
    pub put: usize,
    /// Those that had been drawn and were not put, the one that failed first.
    pub drawn: Vec<I::Item>,
    /// Where the others are. There may be no end of them.
    pub behind: I,
    /// Why that one failed; `None` when the caller wanted no more to be put.
    pub why: Option<Refused>,
}

impl RawQueue {
    /// Puts items in their order, waiting for room, as long as it `goes_on`. Others can see
    /// them at the end, or before: when enough have gathered, and whenever this waits.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn put_many<I: IntoIterator<Item: Serialize>>(
        &self,
        tag: u32,
        items: I,
        patience: Patience,
        goes_on: impl Fn() -> bool,
    ) -> Result<(), Stopped<I::IntoIter>> {
        let mut items = items.into_iter();
        let mut put = 0;
        let stopped = |put, item: Option<I::Item>, behind, why: Option<Refused>| -> Result<(), _> {
            Err(Stopped { put, drawn: item.into_iter().collect(), behind, why })
        };
        let away = match self.side(patience).await {
            Ok(Side::Away(away)) => away,
            Ok(Side::Own(_)) => {
                while let Some(item) = items.next() {
                    if !goes_on() {
                        return stopped(put, Some(item), items, None);
                    }
                    if let Err(why) = self.put(&item, tag, patience).await {
                        return stopped(put, Some(item), items, Some(why));
                    }
                    put += 1;
                }
                return Ok(());
            }
            Err(why) => return stopped(0, items.next(), items, Some(why.into())),
        };
        // However it ends, what has been put is shown.
        let _shown = Shown(away);
        let expected = items.size_hint().0.min(EXPECTED);
        let mut run = Run::new(tag, expected);
        let mut gathered = Vec::with_capacity(expected);
        loop {
            let next = gather(&mut run, &mut gathered, &mut items, &goes_on);
            if let Err((count, why)) = away.put_run(&run, patience).await {
                let drawn = gathered.into_iter().skip(count).chain(next.item()).collect();
                return Err(Stopped { put: put + count, drawn, behind: items, why: Some(why) });
            }
            put += gathered.len();
            gathered.clear();
            run.bytes.clear();
            run.ends.clear();
            match next {
                Next::More => {}
                Next::End => return Ok(()),
                Next::Not(item, why) => return stopped(put, Some(item), items, why),
                Next::Alone(item, parcel) => {
                    let result = away.put(&parcel, patience, Show::Soon).await;
                    parcel.leave();
                    if let Err(why) = result {
                        return stopped(put, Some(item), items, Some(why));
                    }
                    put += 1;
                }
            }
        }
    }

    /// Gets at least one item, and as many more as are at hand, up to `most`: nobody is asked
    /// for more. One behind others that cannot be decoded ends the call, and is got next.
    ///
    /// # Errors
    /// [`NoItem`] when there was none.
    pub async fn get_many<T: DeserializeOwned>(
        &self,
        tag: u32,
        most: usize,
        patience: Patience,
    ) -> Result<Vec<T>, NoItem> {
        if most == 0 {
            return Ok(Vec::new());
        }
        let mut items = Vec::new();
        match self.side(patience).await? {
            Side::Own(own) => {
                own_at_hand(own, tag, most, &mut items);
                if items.is_empty() {
                    items.push(open(&mut own.get(patience).await?.item, tag)?);
                    own_at_hand(own, tag, most, &mut items);
                }
            }
            Side::Away(away) => {
                let most = u32::try_from(most).unwrap_or(u32::MAX);
                let mut taken = away.get(most, patience).await?;
                items.reserve(taken.len());
                if let Some(first) = taken.next(tag) {
                    items.push(first?.0);
                }
                loop {
                    taken.decode_onto(&mut items, tag);
                    let Some(item) = taken.next_decoded(tag) else { break };
                    items.push(item);
                }
            }
        }
        Ok(items)
    }
}

/// Gets what the owner has, up to the first item that cannot be decoded.
fn own_at_hand<T: DeserializeOwned>(own: &Own, tag: u32, most: usize, items: &mut Vec<T>) {
    while items.len() < most {
        let Ok(mut entry) = at_once(own.get(Patience::Never)) else { return };
        let Ok(item) = open(&mut entry.item, tag) else {
            return own.give_back(entry);
        };
        items.push(item);
    }
}

/// Memory is taken at once for so many items of a run at most.
const EXPECTED: usize = 256;

/// Encoded items in one piece, each behind its header, none of them large or with
/// descriptors.
struct Run {
    tag: u32,
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

/// What follows the items that were gathered.
enum Next<T> {
    More,
    End,
    /// One that goes alone.
    Alone(T, Parcel),
    /// One that is not put.
    Not(T, Option<Refused>),
}

impl<T> Next<T> {
    fn item(self) -> Option<T> {
        match self {
            Self::More | Self::End => None,
            Self::Alone(item, _) | Self::Not(item, _) => Some(item),
        }
    }
}

/// Encodes items until they are enough to be shown together.
fn gather<T: Serialize>(
    run: &mut Run,
    gathered: &mut Vec<T>,
    items: &mut impl Iterator<Item = T>,
    goes_on: impl Fn() -> bool,
) -> Next<T> {
    while (run.bytes.len() as u64) < TOGETHER {
        let Some(item) = items.next() else { return Next::End };
        if !goes_on() {
            return Next::Not(item, None);
        }
        match run.push(&item) {
            Ok(None) => gathered.push(item),
            Ok(Some(parcel)) => return Next::Alone(item, parcel),
            Err(why) => return Next::Not(item, Some(why)),
        }
    }
    Next::More
}

impl Run {
    fn new(tag: u32, expected: usize) -> Self {
        Self { tag, bytes: take_buffer(), ends: Vec::with_capacity(expected) }
    }

    /// Encodes an item behind the others; gives it back encoded when it must go alone.
    fn push<T: Serialize>(&mut self, item: &T) -> Result<Option<Parcel>, Refused> {
        if codec::as_bytes(item).is_some_and(|bytes| bytes.len() > INLINE) {
            return Parcel::encode(self.tag, item, true).map(Some);
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; HEADER]);
        let fds = codec::encode_onto(item, &mut self.bytes).inspect_err(|_| {
            self.bytes.truncate(start);
        })?;
        let len = self.bytes.len() - start - HEADER;
        if len > INLINE || !fds.is_empty() {
            let bytes = self.bytes.split_off(start + HEADER);
            self.bytes.truncate(start);
            return Parcel::encoded::<T>(self.tag, bytes, fds).map(Some);
        }
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        // Items without descriptors need no number.
        let header = Header { len, tag: self.tag, fds: 0, flags: 0, number: 0 };
        self.bytes[start..start + HEADER].copy_from_slice(&header.to_bytes());
        self.ends.push(self.bytes.len());
        Ok(None)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        keep_buffer(std::mem::take(&mut self.bytes));
    }
}

impl Away {
    /// Puts a run of items, waiting for room. When not all are put, says how many are.
    async fn put_run(&self, run: &Run, patience: Patience) -> Result<(), (usize, Refused)> {
        let mut put = 0;
        while put < run.ends.len() {
            match self.try_put_run(run, put) {
                Ok(count) => put += count,
                Err(Blocked::No(why)) => return Err((put, why)),
                Err(_) => {
                    // This one waits for room as one alone does.
                    let start = put.checked_sub(1).map_or(0, |before| run.ends[before]);
                    let bytes = run.bytes[start + HEADER..run.ends[put]].to_vec();
                    let one = Parcel::encoded::<()>(run.tag, bytes, Vec::new());
                    let one = one.map_err(|why| (put, why))?;
                    self.put(&one, patience, Show::Soon).await.map_err(|why| (put, why))?;
                    put += 1;
                }
            }
        }
        Ok(())
    }

    /// Puts items of a run, from this one on, as many as there is room for: at least one.
    fn try_put_run(&self, run: &Run, from: usize) -> Result<usize, Blocked> {
        let inner = &*self.inner;
        let tx = &mut *lock(&inner.tx);
        let room = self.room_to_put(tx)?;
        let start = from.checked_sub(1).map_or(0, |before| run.ends[before]);
        let mut count = run.ends[from..].partition_point(|end| end - start <= room);
        if count > 0 && self.capacity.is_some() {
            let most = u32::try_from(count).unwrap_or(u32::MAX);
            count = inner.page.places().take_many(most).map_or(0, |(_, count)| count as usize);
            points::reach(Point::PlaceTaken);
        }
        let Some(last) = count.checked_sub(1) else { return Err(Blocked::Room) };
        let piece = &run.bytes[start..run.ends[from + last]];
        tx.tail = inner.page.write_run(Ring::Up, tx.tail, piece);
        points::reach(Point::Written);
        inner.show_when(Show::Soon, tx);
        Ok(count)
    }
}

/// Shows what was put when it is dropped.
struct Shown<'a>(&'a Away);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.0.show();
    }
}
