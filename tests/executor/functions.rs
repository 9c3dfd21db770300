//! What an executor can call, beside the `fn` items and closures of the other tests.

use super::{executor, pow, soon, sqr};
use procession::Function;

/// As pools take them.
#[test]
fn a_function_value_is_called_as_well() {
    let executor = executor(2);
    let (sqr, pow) = (Function::new(sqr).unwrap(), Function::new(pow).unwrap());
    assert_eq!(soon(&executor.submit(sqr.clone(), (7,)).unwrap()).unwrap(), 49);
    assert_eq!(soon(&executor.submit(pow.clone(), (2, 5)).unwrap()).unwrap(), 32);
    let squares: Result<Vec<_>, _> = executor.map(sqr, 1..4).unwrap().collect();
    assert_eq!(squares.unwrap(), [1, 4, 9]);
    let powers: Result<Vec<_>, _> = executor.starmap(pow, [(3, 2), (10, 3)]).unwrap().collect();
    assert_eq!(powers.unwrap(), [9, 1000]);
}
