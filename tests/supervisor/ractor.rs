//! The supervision tree is ractor actors: their supervision events tell of processes.

use procession::{Actor, ChildSpec, Reply, Strategy, Supervisor, methods};
use ractor::{ActorProcessingErr, ActorRef, SupervisionEvent};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::mpsc;

#[derive(Actor, Serialize, Deserialize)]
struct Counter {
    value: i64,
}

#[methods]
impl Counter {
    pub fn add(&mut self, n: i64) -> i64 {
        self.value += n;
        self.value
    }
}

/// Writes down what happens to the actors that it supervises.
struct Witness;

impl ractor::Actor for Witness {
    type Msg = ();
    type State = mpsc::UnboundedSender<String>;
    type Arguments = mpsc::UnboundedSender<String>;

    async fn pre_start(
        &self,
        _: ActorRef<()>,
        events: mpsc::UnboundedSender<String>,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(events)
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        event: SupervisionEvent,
        events: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let line = match event {
            SupervisionEvent::ActorTerminated(_, _, why) => {
                format!("terminated: {}", why.unwrap_or_default())
            }
            SupervisionEvent::ActorFailed(_, error) => format!("failed: {error}"),
            _ => return Ok(()),
        };
        events.send(line)?;
        Ok(())
    }
}

async fn witness() -> (ractor::ActorCell, mpsc::UnboundedReceiver<String>) {
    let (sender, events) = mpsc::unbounded_channel();
    let (witness, _) = ractor::Actor::spawn(None, Witness, sender).await.unwrap();
    (witness.get_cell(), events)
}

async fn next(events: &mut mpsc::UnboundedReceiver<String>) -> String {
    tokio::time::timeout(Duration::from_secs(20), events.recv()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_actor_is_a_ractor_actor() {
    let counter = Counter { value: 0 }.spawn().unwrap();
    let plain = counter.ractor().unwrap();
    for n in 1..=3 {
        let sum = ractor::call!(plain, |port| CounterMsg::Add(n, Reply::from(port))).unwrap();
        assert_eq!(sum, n * (n + 1) / 2);
    }
    plain.cast(CounterMsg::Add(10, Reply::none())).unwrap();
    // Messages of one sender by one way stay in order.
    let sum = ractor::call!(plain, |port| CounterMsg::Add(0, Reply::from(port))).unwrap();
    assert_eq!(sum, 16);

    let (cell, mut events) = witness().await;
    plain.get_cell().link(cell);
    counter.kill();
    assert_eq!(next(&mut events).await, "failed: killed by SIGKILL");
    assert!(ractor::call!(plain, |port| CounterMsg::Add(1, Reply::from(port))).is_err());

    let counter = Counter { value: 0 }.spawn().unwrap();
    let (cell, mut events) = witness().await;
    counter.ractor().unwrap().get_cell().link(cell);
    counter.stop();
    assert_eq!(next(&mut events).await, "terminated: shutdown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervision_tree_is_a_ractor_tree() {
    let counter = |id| ChildSpec::actor(id, || Counter { value: 0 }, ());
    let tree = Supervisor::new(Strategy::OneForOne)
        .child(counter("a"))
        .child(counter("b"))
        .child(ChildSpec::supervisor(
            "nested",
            Supervisor::new(Strategy::OneForOne)
                .intensity(0, Duration::from_secs(5))
                .child(counter("c")),
        ))
        .start_async()
        .await
        .unwrap();
    let cell = tree.ractor_cell().unwrap();
    assert_eq!(cell.get_children().len(), 3);
    let nested = tree.supervisor("nested").unwrap();
    assert_eq!(nested.ractor_cell().unwrap().get_children().len(), 1);

    let (witness, mut events) = witness().await;
    cell.link(witness);
    tree.stop_async().await.unwrap();
    assert_eq!(next(&mut events).await, "terminated: shutdown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_that_ractor_ends_has_ended() {
    for kills in [false, true] {
        let tree = Supervisor::new(Strategy::OneForOne)
            .child(ChildSpec::actor("a", || Counter { value: 0 }, ()))
            .start_async()
            .await
            .unwrap();
        let counter = tree.actor::<Counter>("a").unwrap();
        let pid = tree.which_children_async().await[0].pid.unwrap();
        let cell = tree.ractor_cell().unwrap();
        if kills {
            cell.kill();
        } else {
            cell.stop(None);
        }
        tokio::time::timeout(Duration::from_secs(20), tree.join_async()).await.unwrap().unwrap();
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
        assert!(counter.add_async(1).await.is_err());
        assert!(tree.ractor_cell().is_none());
    }
}
