//! Supervisors within supervisors: how their lives end, and begin again.

use crate::tree::{Counter, SOON, counter, lives};
use procession::{CallError, ChildSpec, Strategy, Supervisor, SupervisorError, SupervisorRef};
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

fn around(nested: Supervisor) -> Supervisor {
    Supervisor::new(Strategy::OneForOne)
        .intensity(1_000, Duration::from_mins(1))
        .child(ChildSpec::supervisor("nested", nested))
}

/// Has `wait` begin, then whatever `act` does happen, and only then lets it look again.
async fn late<T>(wait: impl Future<Output = T>, act: impl AsyncFnOnce()) -> T {
    let mut wait = std::pin::pin!(wait);
    assert!(Pin::as_mut(&mut wait).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    act().await;
    tokio::time::timeout(SOON, wait).await.expect("it has ended, and nobody is told")
}

#[tokio::test]
async fn a_stop_of_a_nested_supervisor_returns_though_it_is_started_again() {
    let tree = around(Supervisor::new(Strategy::OneForOne).child(counter("a")));
    let tree = tree.start_async().await.unwrap();
    let nested = tree.supervisor("nested").unwrap();
    let a = nested.actor::<Counter>("a").unwrap();
    let before = a.pid_async().await.unwrap();
    let is_back = async || while a.pid_async().await.ok().is_none_or(|pid| pid == before) {};
    late(nested.stop_async(), is_back).await.unwrap();
    assert_eq!(nested.exit(), None, "its supervisor has started it again");
    tree.stop_async().await.unwrap();
    assert!(nested.exit().is_some());
}

#[tokio::test]
async fn who_joins_a_nested_supervisor_hears_of_its_end_though_it_is_started_again() {
    let quick = Supervisor::new(Strategy::OneForOne)
        .intensity(0, Duration::from_secs(5))
        .child(counter("a"));
    let tree = around(quick).start_async().await.unwrap();
    let nested = tree.supervisor("nested").unwrap();
    let a = nested.actor::<Counter>("a").unwrap();
    let before = a.pid_async().await.unwrap();
    let is_back = async || {
        a.kill();
        while a.pid_async().await.ok().is_none_or(|pid| pid == before) {}
    };
    let outcome = late(nested.join_async(), is_back).await;
    assert!(matches!(outcome, Err(SupervisorError::GaveUp(_))), "{outcome:?}");
    tree.stop_async().await.unwrap();
}

/// What `wait` gives. A tree that does not end would keep this process for ever: it is killed.
async fn soon<T>(tree: &SupervisorRef, wait: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(SOON, wait).await;
    if let (Err(_), Some(cell)) = (&outcome, tree.ractor_cell()) {
        cell.kill();
    }
    outcome.expect("it ends, and whoever waits is told")
}

#[tokio::test]
async fn dynamic_children_may_be_supervisors() {
    let quick = Supervisor::new(Strategy::OneForOne)
        .intensity(0, Duration::from_secs(5))
        .child(counter("a"));
    let tree = Supervisor::new(Strategy::Dynamic { max_children: 3 })
        .intensity(10, Duration::from_mins(1))
        .child(ChildSpec::supervisor("nested", quick));
    let tree = tree.start_async().await.unwrap();
    let mut children = Vec::new();
    for _ in 0..3 {
        let incarnation = tree.start_dynamic_async(&()).await.unwrap().unwrap();
        let nested = tree.supervisor("nested").unwrap();
        let a = nested.actor::<Counter>("a").unwrap();
        let pid = a.pid_async().await.unwrap();
        children.push((incarnation, nested, a, pid));
    }
    let (incarnation, nested, a, pid) = children.remove(0);
    soon(&tree, tree.terminate_dynamic_async(incarnation)).await.unwrap();
    assert!(!lives(pid) && children.iter().all(|(.., pid)| lives(*pid)));
    assert!(
        nested.exit().is_some() && children.iter().all(|(_, nested, ..)| nested.exit().is_none())
    );
    assert!(matches!(a.add_async(1).await, Err(CallError::Stopped)));
    // One that gives up is started again, and is then reached by the same handles.
    let (_, nested, a, pid) = &children[0];
    a.kill();
    assert_ne!(a.pid_async().await.unwrap(), *pid);
    assert_eq!(nested.count_children_async().await.active, 1);
    soon(&tree, tree.stop_async()).await.unwrap();
    assert!(children.iter().all(|(.., pid)| !lives(*pid)));
    assert!(a.add_async(1).await.is_err());
}

#[tokio::test]
async fn a_reference_by_a_templates_id_is_to_the_youngest_actor_that_is_there() {
    let tree = Supervisor::new(Strategy::Dynamic { max_children: 3 }).child(counter("a"));
    let tree = tree.start_async().await.unwrap();
    let a = tree.actor::<Counter>("a").unwrap();
    let mut children = Vec::new();
    for _ in 0..3 {
        let incarnation = tree.start_dynamic_async(&()).await.unwrap().unwrap();
        children.push((incarnation, a.pid_async().await.unwrap()));
    }
    let [(first, first_pid), (second, second_pid), (third, third_pid)] = children[..] else {
        unreachable!("three were started")
    };
    tree.terminate_dynamic_async(second).await.unwrap();
    assert!(!lives(second_pid));
    assert_eq!(a.pid_async().await.unwrap(), third_pid);
    tree.terminate_dynamic_async(third).await.unwrap();
    assert_eq!(a.pid_async().await.unwrap(), first_pid);
    tree.terminate_dynamic_async(first).await.unwrap();
    let nobody = a.add_timeout(1, Duration::from_millis(50));
    assert!(matches!(nobody, Err(CallError::Timeout)), "{nobody:?}");
    tree.stop_async().await.unwrap();
}
