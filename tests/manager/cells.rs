//! Sets, namespaces, values and arrays at a manager.

use crate::util::SOON;
use procession::manager::{ArrayProxy, Fault, NamespaceProxy, Range, ValueProxy};
use procession::{Manager, ManagerError, Process};

#[test]
fn a_set_is_made_of_anything_and_put_together_in_the_manager() {
    let manager = Manager::start().unwrap();
    let a = manager.set([1, 2, 3, 2]).unwrap();
    assert_eq!(a.len().unwrap(), 3);
    let b = manager.set(vec![3, 4]).unwrap();
    let other = || b.to_vec().unwrap();
    assert_eq!(a.union(other()).unwrap(), [1, 2, 3, 4]);
    assert_eq!(a.intersection(other()).unwrap(), [3]);
    assert_eq!(a.difference(other()).unwrap(), [1, 2]);
    assert_eq!(a.symmetric_difference(other()).unwrap(), [1, 2, 4]);
    assert!(a.is_subset(0..5).unwrap() && !a.is_subset(other()).unwrap());
    assert!(a.is_superset([1]).unwrap() && a.is_disjoint([9]).unwrap());
    assert!(a.add(&9).unwrap() && !a.add(&9).unwrap());
    assert!(a.remove(&9).unwrap() && !a.remove(&9).unwrap());
    a.extend([7]).unwrap();
    a.subtract([1]).unwrap();
    a.toggle([2, 8]).unwrap();
    assert_eq!(a.to_vec().unwrap(), [3, 7, 8]);
    a.intersect([8, 7]).unwrap();
    assert_eq!(a.pop().unwrap(), Some(7));
    assert!(a.contains(&8).unwrap());
    a.clear().unwrap();
    assert!(a.is_empty().unwrap() && a.pop().unwrap().is_none());
    let keys = manager.dict_of([("k".to_string(), 1)]).unwrap().keys().unwrap();
    assert_eq!(manager.set(keys).unwrap().to_vec().unwrap(), ["k"]);
}

#[test]
fn a_namespace_has_attributes_of_any_type() {
    let manager = Manager::start().unwrap();
    let ns = manager.namespace().unwrap();
    ns.set("x", &10).unwrap();
    ns.set("y", "hello").unwrap();
    let child = |ns: NamespaceProxy| {
        ns.update("x", |x: &mut i32, by: i32| *x += by, -1).unwrap();
        ns.set("z", &Some(0.25)).unwrap();
    };
    Process::spawn(child, (ns.clone(),)).unwrap().result_timeout(SOON).unwrap();
    assert_eq!(ns.names().unwrap(), ["x", "y", "z"]);
    assert_eq!(ns.get::<i32>("x").unwrap(), 9);
    assert_eq!(ns.get::<String>("y").unwrap(), "hello");
    assert!(matches!(ns.get::<u64>("y"), Err(ManagerError::Decode(_))));
    ns.delete("x").unwrap();
    assert!(!ns.has("x").unwrap());
    assert!(matches!(ns.get::<i32>("x"), Err(ManagerError::Fault(Fault::Key))));
    assert!(matches!(ns.delete("x"), Err(ManagerError::Fault(Fault::Key))));
}

#[test]
fn values_and_arrays_are_set_by_children() {
    let manager = Manager::start().unwrap();
    let value = manager.value(1).unwrap();
    let array = manager.array([0, 1]).unwrap();
    assert_eq!(value.get().unwrap(), 1);
    let child = |value: ValueProxy<i32>, array: ArrayProxy<i32>| {
        value.set(&2).unwrap();
        assert_eq!((array.get(0).unwrap(), array.get(-1).unwrap()), (0, 1));
        assert_eq!((array.len().unwrap(), array.to_vec().unwrap()), (2, vec![0, 1]));
        array.set(0, &7).unwrap();
    };
    let child = Process::spawn(child, (value.clone(), array.clone())).unwrap();
    child.result_timeout(SOON).unwrap();
    assert_eq!(value.get().unwrap(), 2);
    value.update(|n: &mut i32, by: i32| *n *= by, 21).unwrap();
    assert_eq!(value.get().unwrap(), 42);
    array.set_slice(Range::default(), [5, 6]).unwrap();
    assert_eq!(array.slice(Range { start: Some(1), ..Range::default() }).unwrap(), [6]);
    assert!(matches!(array.get(2), Err(ManagerError::Fault(Fault::Index))));
    assert!(array.set_slice(Range::default(), [1, 2, 3]).is_err());
}
