//! A managed array: cells whose number never changes. A managed value is one cell.
//!
//! Owns the cells; the rules for indices are the list's.

use super::list::{index, set_slice, slice};
use super::{ArrayCall, Fault, Place, Reply, Value};

#[derive(Debug, Clone)]
pub(super) struct Array<V> {
    cells: Vec<V>,
}

impl<V: Value> Array<V> {
    pub(super) fn new(cells: Vec<V>) -> Self {
        Self { cells }
    }

    pub(super) fn call(&mut self, call: ArrayCall<V>) -> Reply<V> {
        self.answer(call).unwrap_or_else(Reply::Fault)
    }

    fn answer(&mut self, call: ArrayCall<V>) -> Result<Reply<V>, Fault> {
        let cells = &mut self.cells;
        Ok(match call {
            ArrayCall::Get(at) => Reply::Value(cells[index(at, cells.len())?].clone()),
            ArrayCall::Set(at, value) => {
                let at = index(at, cells.len())?;
                cells[at] = value;
                Reply::Done
            }
            ArrayCall::Len => Reply::Number(cells.len() as u64),
            ArrayCall::Slice(range) => Reply::Values(slice(cells, range)?),
            ArrayCall::SetSlice(range, values) => {
                set_slice(cells, range, values)?;
                Reply::Done
            }
        })
    }

    pub(super) fn fetch(&self, place: &Place<V>) -> Result<Vec<V>, Fault> {
        match place {
            Place::All => Ok(self.cells.clone()),
            Place::Index(at) => Ok(vec![self.cells[index(*at, self.cells.len())?].clone()]),
            Place::Key(_) => Err(Fault::NoSuchMethod),
        }
    }

    pub(super) fn store(&mut self, place: Place<V>, values: Vec<V>) -> Result<(), Fault> {
        match place {
            Place::All if values.len() == self.cells.len() => self.cells = values,
            Place::Index(at) => {
                let at = index(at, self.cells.len())?;
                let [value] = <[V; 1]>::try_from(values).map_err(|_| Fault::Slice)?;
                self.cells[at] = value;
            }
            Place::All => return Err(Fault::Slice),
            Place::Key(_) => return Err(Fault::NoSuchMethod),
        }
        Ok(())
    }
}
