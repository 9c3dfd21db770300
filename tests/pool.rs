//! Pools: what they give, and in which order.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "tests say what they expect by unwrapping it; arguments that travel are owned"
)]

mod util;

use procession::{Error, Pool, TaskError, TaskOptions};
use std::time::{Duration, Instant};
use util::SOON;

fn sqr(x: i64) -> i64 {
    x * x
}

/// Row pool-01.
#[test]
fn apply_gives_what_the_function_returns() {
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.apply(sqr, (5,)).unwrap(), 25);
    assert_eq!(
        pool.apply(
            |x: i64, wait: u64| {
                std::thread::sleep(Duration::from_millis(wait));
                x * x
            },
            (3, 1)
        )
        .unwrap(),
        9
    );
    assert_eq!(pool.map(sqr, 0..10).unwrap(), (0..10).map(sqr).collect::<Vec<_>>());
}
