//! Calls and replies over other values.
//!
//! Owns the mapping: the same call, each of its values made anew. Neighbour: `python`, whose
//! values are plain data where a server's are encoded.

use super::{ArrayCall, Call, DictCall, ListCall, QueueCall, Reply, Seed, SetCall};

impl<V> Call<V> {
    /// The same call, each value as `f` makes it.
    pub fn map<W>(self, f: &mut impl FnMut(V) -> W) -> Call<W> {
        match self {
            Self::List(call) => Call::List(call.map(f)),
            Self::Dict(call) => Call::Dict(call.map(f)),
            Self::Set(call) => Call::Set(call.map(f)),
            Self::Array(call) => Call::Array(call.map(f)),
            Self::Queue(call) => Call::Queue(call.map(f)),
            Self::Lock(call) => Call::Lock(call),
            Self::Semaphore(call) => Call::Semaphore(call),
            Self::Event(call) => Call::Event(call),
            Self::Barrier(call) => Call::Barrier(call),
        }
    }
}

fn all<V, W>(values: Vec<V>, f: &mut impl FnMut(V) -> W) -> Vec<W> {
    values.into_iter().map(f).collect()
}

fn both<V, W>(pairs: Vec<(V, V)>, f: &mut impl FnMut(V) -> W) -> Vec<(W, W)> {
    pairs.into_iter().map(|(key, value)| (f(key), f(value))).collect()
}

impl<V> ListCall<V> {
    fn map<W>(self, f: &mut impl FnMut(V) -> W) -> ListCall<W> {
        use ListCall as To;
        match self {
            Self::Get(at) => To::Get(at),
            Self::Set(at, value) => To::Set(at, f(value)),
            Self::Delete(at) => To::Delete(at),
            Self::Len => To::Len,
            Self::Append(value) => To::Append(f(value)),
            Self::Extend(values) => To::Extend(all(values, f)),
            Self::Insert(at, value) => To::Insert(at, f(value)),
            Self::Pop(at) => To::Pop(at),
            Self::Remove(value) => To::Remove(f(value)),
            Self::Reverse => To::Reverse,
            Self::Contains(value) => To::Contains(f(value)),
            Self::Count(value) => To::Count(f(value)),
            Self::Index(value, range) => To::Index(f(value), range),
            Self::Clear => To::Clear,
            Self::Slice(range) => To::Slice(range),
            Self::SetSlice(range, values) => To::SetSlice(range, all(values, f)),
            Self::DeleteSlice(range) => To::DeleteSlice(range),
            Self::Repeat(times) => To::Repeat(times),
        }
    }
}

impl<V> DictCall<V> {
    fn map<W>(self, f: &mut impl FnMut(V) -> W) -> DictCall<W> {
        use DictCall as To;
        match self {
            Self::Get(key) => To::Get(f(key)),
            Self::Set(key, value) => To::Set(f(key), f(value)),
            Self::Replace(key, value) => To::Replace(f(key), f(value)),
            Self::SetDefault(key, value) => To::SetDefault(f(key), f(value)),
            Self::Pop(key) => To::Pop(f(key)),
            Self::PopItem => To::PopItem,
            Self::Contains(key) => To::Contains(f(key)),
            Self::Len => To::Len,
            Self::Clear => To::Clear,
            Self::Keys => To::Keys,
            Self::Values => To::Values,
            Self::Items => To::Items,
            Self::Update(pairs) => To::Update(both(pairs, f)),
            Self::Next { position, form, most, backwards } => {
                To::Next { position, form, most, backwards }
            }
        }
    }
}

impl<V> SetCall<V> {
    fn map<W>(self, f: &mut impl FnMut(V) -> W) -> SetCall<W> {
        use SetCall as To;
        match self {
            Self::Add(item) => To::Add(f(item)),
            Self::Remove(item) => To::Remove(f(item)),
            Self::Pop => To::Pop,
            Self::Contains(item) => To::Contains(f(item)),
            Self::Len => To::Len,
            Self::Clear => To::Clear,
            Self::Items => To::Items,
            Self::Combine { how, other, in_place } => {
                To::Combine { how, other: all(other, f), in_place }
            }
            Self::Relate(other) => To::Relate(all(other, f)),
        }
    }
}

impl<V> ArrayCall<V> {
    fn map<W>(self, f: &mut impl FnMut(V) -> W) -> ArrayCall<W> {
        use ArrayCall as To;
        match self {
            Self::Get(at) => To::Get(at),
            Self::Set(at, value) => To::Set(at, f(value)),
            Self::Len => To::Len,
            Self::Slice(range) => To::Slice(range),
            Self::SetSlice(range, values) => To::SetSlice(range, all(values, f)),
        }
    }
}

impl<V> QueueCall<V> {
    fn map<W>(self, f: &mut impl FnMut(V) -> W) -> QueueCall<W> {
        use QueueCall as To;
        match self {
            Self::Put(item) => To::Put(f(item)),
            Self::Get { kept } => To::Get { kept },
            Self::Kept(ticket) => To::Kept(ticket),
            Self::Len => To::Len,
            Self::IsFull => To::IsFull,
            Self::Capacity => To::Capacity,
            Self::TaskDone => To::TaskDone,
            Self::Join => To::Join,
            Self::Shutdown { immediate } => To::Shutdown { immediate },
        }
    }
}

impl<V> Seed<V> {
    /// The same seed, each value as `f` makes it.
    pub fn map<W>(self, f: &mut impl FnMut(V) -> W) -> Seed<W> {
        match self {
            Self::List(items) => Seed::List(all(items, f)),
            Self::Dict(pairs) => Seed::Dict(both(pairs, f)),
            Self::Set(items) => Seed::Set(all(items, f)),
            Self::Array(cells) => Seed::Array(all(cells, f)),
            Self::Queue { capacity, joinable } => Seed::Queue { capacity, joinable },
            Self::Lock { recursive } => Seed::Lock { recursive },
            Self::Semaphore { value, bounded } => Seed::Semaphore { value, bounded },
            Self::Event => Seed::Event,
            Self::Barrier { parties, patience_ms, acts } => {
                Seed::Barrier { parties, patience_ms, acts }
            }
        }
    }
}

impl<V> Reply<V> {
    /// The same reply, each value as `f` makes it.
    ///
    /// # Errors
    /// What `f` says first.
    pub fn try_map<W, E>(self, f: &mut impl FnMut(V) -> Result<W, E>) -> Result<Reply<W>, E> {
        Ok(match self {
            Self::Done => Reply::Done,
            Self::Bool(is) => Reply::Bool(is),
            Self::Number(number) => Reply::Number(number),
            Self::Value(value) => Reply::Value(f(value)?),
            Self::None => Reply::None,
            Self::Values(values) => {
                Reply::Values(values.into_iter().map(f).collect::<Result<_, _>>()?)
            }
            Self::Pairs(pairs) => {
                let pair = |(key, value)| Ok((f(key)?, f(value)?));
                Reply::Pairs(pairs.into_iter().map(pair).collect::<Result<_, _>>()?)
            }
            Self::Keys { form, position, keys } => {
                let keys = keys.into_iter().map(f).collect::<Result<_, _>>()?;
                Reply::Keys { form, position, keys }
            }
            Self::Item { item, redelivered, kept } => {
                Reply::Item { item: f(item)?, redelivered, kept }
            }
            Self::Acquired { after_death } => Reply::Acquired { after_death },
            Self::Relation { is_subset, is_superset, is_disjoint } => {
                Reply::Relation { is_subset, is_superset, is_disjoint }
            }
            Self::Barrier { parties, waiting, is_broken } => {
                Reply::Barrier { parties, waiting, is_broken }
            }
            Self::Act => Reply::Act,
            Self::Fault(fault) => Reply::Fault(fault),
        })
    }
}
