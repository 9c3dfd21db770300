//! A managed list.
//!
//! Owns the items, and Python's rules for indices and slices, which arrays share.

use super::{Fault, ListCall, Place, Range, Reply, Value};

#[derive(Debug, Clone)]
pub(super) struct List<V> {
    items: Vec<V>,
}

/// Most items that `Repeat` may make of a list.
const MOST_REPEATED: usize = 1 << 24;

impl<V: Value> List<V> {
    pub(super) fn new(items: Vec<V>) -> Self {
        Self { items }
    }

    pub(super) fn call(&mut self, call: ListCall<V>) -> Reply<V> {
        self.answer(call).unwrap_or_else(Reply::Fault)
    }

    fn answer(&mut self, call: ListCall<V>) -> Result<Reply<V>, Fault> {
        let items = &mut self.items;
        Ok(match call {
            ListCall::Get(at) => Reply::Value(items[index(at, items.len())?].clone()),
            ListCall::Set(at, value) => {
                let at = index(at, items.len())?;
                items[at] = value;
                Reply::Done
            }
            ListCall::Delete(at) => {
                items.remove(index(at, items.len())?);
                Reply::Done
            }
            ListCall::Len => Reply::Number(items.len() as u64),
            ListCall::Append(value) => {
                items.push(value);
                Reply::Done
            }
            ListCall::Extend(values) => {
                items.extend(values);
                Reply::Done
            }
            ListCall::Insert(at, value) => {
                items.insert(clamp(at, items.len()), value);
                Reply::Done
            }
            ListCall::Pop(at) => Reply::Value(items.remove(index(at, items.len())?)),
            ListCall::Remove(value) => {
                let at = items.iter().position(|item| *item == value).ok_or(Fault::Value)?;
                items.remove(at);
                Reply::Done
            }
            ListCall::Reverse => {
                items.reverse();
                Reply::Done
            }
            ListCall::Contains(value) => Reply::Bool(items.contains(&value)),
            ListCall::Count(value) => {
                Reply::Number(items.iter().filter(|item| **item == value).count() as u64)
            }
            ListCall::Index(value, Range { start, stop, .. }) => {
                let start = start.map_or(0, |at| clamp(at, items.len()));
                let stop = stop.map_or(items.len(), |at| clamp(at, items.len()));
                let within = items.get(start..stop).unwrap_or_default();
                let at = within.iter().position(|item| *item == value).ok_or(Fault::Value)?;
                Reply::Number((start + at) as u64)
            }
            ListCall::Clear => {
                items.clear();
                Reply::Done
            }
            ListCall::Slice(range) => Reply::Values(slice(items, range)?),
            ListCall::SetSlice(range, values) => {
                if range.step.is_none_or(|step| step == 1) {
                    let (start, stop) = plain(range, items.len());
                    items.splice(start..stop, values);
                } else {
                    set_slice(items, range, values)?;
                }
                Reply::Done
            }
            ListCall::DeleteSlice(range) => {
                let mut gone = vec![false; items.len()];
                for at in indices(range, items.len())? {
                    gone[at] = true;
                }
                let mut gone = gone.into_iter();
                items.retain(|_| !gone.next().unwrap_or(false));
                Reply::Done
            }
            ListCall::Repeat(times) => {
                let times = usize::try_from(times).unwrap_or(0);
                if items.is_empty() {
                    // Nothing is repeated at once, however often.
                    return Ok(Reply::Done);
                }
                if items.len().checked_mul(times).is_none_or(|len| len > MOST_REPEATED) {
                    return Err(Fault::Value);
                }
                *items = std::iter::repeat_n(&*items, times).flatten().cloned().collect();
                Reply::Done
            }
        })
    }

    pub(super) fn fetch(&self, place: &Place<V>) -> Result<Vec<V>, Fault> {
        match place {
            Place::All => Ok(self.items.clone()),
            Place::Index(at) => Ok(vec![self.items[index(*at, self.items.len())?].clone()]),
            Place::Key(_) => Err(Fault::NoSuchMethod),
        }
    }

    pub(super) fn store(&mut self, place: Place<V>, values: Vec<V>) -> Result<(), Fault> {
        match place {
            Place::All => self.items = values,
            Place::Index(at) => {
                let at = index(at, self.items.len())?;
                let [value] = <[V; 1]>::try_from(values).map_err(|_| Fault::Slice)?;
                self.items[at] = value;
            }
            Place::Key(_) => return Err(Fault::NoSuchMethod),
        }
        Ok(())
    }
}

/// The item that an index means; negative ones count from the end.
pub(super) fn index(at: i64, len: usize) -> Result<usize, Fault> {
    let at = if at < 0 { at.saturating_add_unsigned(len as u64) } else { at };
    usize::try_from(at).ok().filter(|at| *at < len).ok_or(Fault::Index)
}

/// As [`index`], but beyond either end it is that end.
fn clamp(at: i64, len: usize) -> usize {
    let at = if at < 0 { at.saturating_add_unsigned(len as u64) } else { at };
    usize::try_from(at).map_or(0, |at| at.min(len))
}

/// Where a slice of step 1 begins and ends.
fn plain(range: Range, len: usize) -> (usize, usize) {
    let start = range.start.map_or(0, |at| clamp(at, len));
    let stop = range.stop.map_or(len, |at| clamp(at, len));
    (start, stop.max(start))
}

/// The indices that a slice means, in its order.
pub(super) fn indices(range: Range, len: usize) -> Result<Vec<usize>, Fault> {
    let by = range.step.unwrap_or(1);
    if by == 0 {
        return Err(Fault::Slice);
    }
    let stride = usize::try_from(by.unsigned_abs()).unwrap_or(usize::MAX);
    if by > 0 {
        let (start, end) = plain(range, len);
        return Ok((start..end).step_by(stride).collect());
    }
    // Downwards both ends stand one higher: 0 is before the first item.
    let edge = |at: i64| {
        let at = if at < 0 { at.saturating_add_unsigned(len as u64) } else { at };
        usize::try_from(at.saturating_add(1)).map_or(0, |at| at.min(len))
    };
    let start = range.start.map_or(len, edge);
    let end = range.stop.map_or(0, edge);
    Ok((end..start.max(end)).rev().step_by(stride).collect())
}

/// The items of a slice.
pub(super) fn slice<V: Clone>(items: &[V], range: Range) -> Result<Vec<V>, Fault> {
    Ok(indices(range, items.len())?.into_iter().map(|at| items[at].clone()).collect())
}

/// Replaces the items of a slice one for one.
pub(super) fn set_slice<V>(items: &mut [V], range: Range, values: Vec<V>) -> Result<(), Fault> {
    let places = indices(range, items.len())?;
    if places.len() != values.len() {
        return Err(Fault::Slice);
    }
    for (at, value) in places.into_iter().zip(values) {
        items[at] = value;
    }
    Ok(())
}
