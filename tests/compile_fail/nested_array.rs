//! A shared array has one dimension, and its lock is a lock.

use procession::{Array, RawArray, Value};

fn main() {
    let _rows = Array::new(vec![vec![1, 2], vec![3, 4]]);
    let _raw = RawArray::new([vec![1, 2], vec![3, 4]]);
    let _text = Value::new(String::from("it has a pointer in it"));
    let _lock = Value::with_lock(0, "notalock");
}
