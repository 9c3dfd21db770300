//! References that travel, and messages in wire form: the seam between references and
//! the node, with a node that loops everything back into this process.

#![allow(clippy::unwrap_used, reason = "a test's own helpers")]

use procession::{Actor, ActorRef, CallError, Down, Message, Monitor, Reply, methods};
use procession_protocols::id::{ActorId, NodeId, NodePath};
use procession_runtime::actor::remote::{
    Imported, LocalActor, Node, RefWire, Remote, Sending, install,
};
use procession_runtime::actor::{ReplyPort, Wire};
use procession_runtime::codec::{self, Encoded};
use procession_runtime::down::{DownSink, Tie};
use procession_runtime::wait;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, Once};
use std::time::{Duration, Instant};

/// Nothing here should take this long.
const LIMIT: Duration = Duration::from_secs(20);

static ACTORS: LazyLock<Mutex<HashMap<u64, Arc<dyn LocalActor>>>> = LazyLock::new(Mutex::default);
static NODE: LazyLock<NodeId> = LazyLock::new(NodeId::new);

/// A node whose "other process" is this one.
struct Mirror;

impl Node for Mirror {
    fn id(&self) -> NodeId {
        *NODE
    }

    fn export(&self, actor: Arc<dyn LocalActor>) -> Result<RefWire, CallError> {
        let id = actor.id();
        let name = actor.name().to_owned();
        ACTORS.lock().unwrap().insert(id.number, actor);
        Ok(RefWire {
            node: id.node,
            path: NodePath::default(),
            number: id.number,
            name,
            options: procession::MailboxOptions::DEFAULT,
            lifeline: None,
        })
    }

    fn import(&self, wire: RefWire) -> Result<Imported, CallError> {
        let actors = ACTORS.lock().unwrap();
        let actor = actors.get(&wire.number).cloned();
        let actor = actor.ok_or_else(|| CallError::Unreachable("no such actor".into()))?;
        Ok(if wire.name == "Home" {
            Imported::Local(actor)
        } else {
            Imported::Remote(Arc::new(Loop { actor, wire }))
        })
    }
}

/// An actor reached in wire form.
struct Loop {
    actor: Arc<dyn LocalActor>,
    wire: RefWire,
}

impl Remote for Loop {
    fn id(&self) -> ActorId {
        ActorId { node: self.wire.node, number: self.wire.number }
    }

    fn name(&self) -> &str {
        &self.wire.name
    }

    fn send(
        &self,
        message: Encoded,
        reply: Option<ReplyPort>,
        _deadline: Option<Instant>,
    ) -> Result<(), CallError> {
        self.actor.deliver(message, reply).map_err(|undelivered| undelivered.why)
    }

    fn send_async(&self, message: Encoded, reply: Option<ReplyPort>) -> Sending<'_> {
        Box::pin(async move { self.send(message, reply, None) })
    }

    fn wait(&self, ready: Pin<&mut dyn Future<Output = ()>>, deadline: Option<Instant>) {
        match deadline {
            Some(deadline) => drop(wait::block_on_until(ready, deadline)),
            None => wait::block_on(ready),
        }
    }

    fn watch(&self) -> Box<dyn Send> {
        Box::new(())
    }

    fn is_alive(&self) -> bool {
        self.actor.is_alive()
    }

    fn stop(&self) {
        self.actor.stop();
    }

    fn kill(&self) {
        self.actor.kill();
    }

    fn monitor(&self, sink: DownSink, _: Option<Instant>) -> Result<Tie, CallError> {
        self.actor.monitor(sink);
        Ok(Tie::default())
    }

    fn to_wire(&self) -> Result<RefWire, CallError> {
        Ok(self.wire.clone())
    }
}

/// Hosts an actor here. The first host of a process makes its node, which installs itself
/// unless there is one: ours comes before.
fn host<A: Actor + Send>(actor: A) -> A::Ref {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| assert!(install(Box::new(Mirror))));
    actor.host().unwrap()
}

fn travel<T: Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    let encoded = codec::encode(value).unwrap();
    codec::decode(&encoded.bytes, encoded.fds).unwrap()
}

/// A value whose `Deserialize` refuses odd numbers.
#[derive(Serialize, Debug, PartialEq)]
struct Even(u32);

impl<'de> Deserialize<'de> for Even {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let n = u32::deserialize(deserializer)?;
        if n % 2 == 0 { Ok(Self(n)) } else { Err(serde::de::Error::custom("odd")) }
    }
}

/// Its messages carry references to its own kind.
#[derive(Actor, Default)]
struct Peer {
    next: Option<PeerRef>,
    seen: u32,
}

#[methods]
impl Peer {
    pub fn join(&mut self, next: PeerRef) {
        self.next = Some(next);
    }

    pub fn see(&mut self, n: u32) -> u32 {
        self.seen += n;
        self.seen
    }

    pub fn pass(&mut self, n: u32) -> Option<Result<u32, CallError>> {
        self.next.as_ref().map(|next| next.see(n))
    }

    pub fn even(&mut self, n: Even) -> Even {
        Even(n.0 + 1)
    }

    pub fn fail(&mut self) {
        panic!("on purpose");
    }

    pub fn sleep(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}

#[test]
fn calls_and_casts_cross() {
    let peer = travel(&host(Peer::default()));
    assert_eq!(peer.see(2), Ok(2));
    peer.cast().see(3).unwrap();
    assert_eq!(peer.see_timeout(1, LIMIT), Ok(6));
    let answer = wait::block_on_until(peer.see_async(1), Instant::now() + LIMIT).unwrap();
    assert_eq!(answer, Ok(7));
    assert_eq!(peer.sleep_timeout(LIMIT, Duration::from_millis(5)), Err(CallError::Timeout));
}

#[test]
fn references_travel_in_messages() {
    let last = host(Peer::default());
    let first = travel(&host(Peer::default()));
    first.join(last.clone()).unwrap();
    assert_eq!(first.pass(4), Ok(Some(Ok(4))));
    let first = travel(&first);
    assert_eq!(first.pass(1), Ok(Some(Ok(5))));
    assert_eq!(last.see(0), Ok(5));
}

#[test]
fn what_does_not_decode_is_an_error_of_the_call() {
    let peer = travel(&host(Peer::default()));
    let message = peer.even(Even(1)).unwrap_err();
    assert!(matches!(&message, CallError::Decode(error) if error.why.contains("odd")), "{message}");
    let reply = peer.even(Even(2)).unwrap_err();
    assert!(matches!(&reply, CallError::Decode(error) if error.why.contains("odd")), "{reply}");
    assert_eq!(peer.see(0), Ok(0));
}

#[test]
fn a_panic_reaches_the_caller() {
    let peer = travel(&host(Peer::default()));
    let monitor: Monitor = peer.monitor().unwrap();
    let error = peer.fail_timeout(LIMIT).unwrap_err();
    let CallError::ActorDied { reason, .. } = error else { panic!("{error}") };
    let down: Down = wait::block_on_until(monitor, Instant::now() + LIMIT).unwrap();
    assert_eq!(down.reason, reason);
    assert!(!peer.is_alive());
}

#[derive(Actor)]
struct Home;

#[methods]
impl Home {
    pub fn here(&self) -> bool {
        true
    }
}

#[test]
fn a_reference_that_comes_home_is_local_again() {
    let home = host(Home);
    let back = travel(&home);
    assert_eq!(back.here(), Ok(true));
    let encoded = codec::encode(&back).unwrap();
    let error = codec::decode::<PeerRef>(&encoded.bytes, encoded.fds).unwrap_err();
    assert!(error.why.contains("another kind of actor"), "{error}");
}

#[test]
fn a_reference_serialises_only_in_a_transfer() {
    let peer = host(Peer::default());
    let error = bincode::serde::encode_to_vec(&peer, bincode::config::standard()).unwrap_err();
    assert!(error.to_string().contains("OutsideTransfer"), "{error}");
}

#[derive(Message, Debug)]
enum Shapes {
    Unit,
    Named { a: u8, back: Reply<String>, b: String },
    Tuple(Reply<u8>, i64),
}

#[test]
fn every_shape_of_variant_travels() {
    fn copy(message: &Shapes, reply: Option<ReplyPort>) -> Shapes {
        let encoded = codec::encode_with(|encoder| message.encode(encoder)).unwrap();
        let mut reply = reply;
        codec::decode_with(&encoded.bytes, Vec::new(), |decoder| {
            Shapes::decode(decoder, &mut reply)
        })
        .unwrap()
    }
    assert!(matches!(copy(&Shapes::Unit, None), Shapes::Unit));
    let (back, answer) = Reply::channel();
    let mut named = Shapes::Named { a: 1, back, b: "two".into() };
    assert!(named.expects_reply());
    let port = named.take_reply();
    assert!(!named.expects_reply());
    let Shapes::Named { a: 1, back, b } = copy(&named, port) else { panic!("{named:?}") };
    back.send(b);
    assert_eq!(answer.recv(), Ok("two".into()));
    let tuple = copy(&Shapes::Tuple(Reply::none(), -3), None);
    assert!(matches!(&tuple, Shapes::Tuple(reply, -3) if !reply.is_some()));
    assert_eq!(tuple.variant_name(), "Tuple");
    let error = codec::decode_with(&[9], Vec::new(), |decoder| Shapes::decode(decoder, &mut None));
    assert!(error.unwrap_err().why.contains("no variant 9"));
}

#[test]
fn a_typed_reference_is_made_from_a_remote() {
    let home = host(Home);
    let _ = travel(&home);
    let actor = ACTORS.lock().unwrap().get(&home.id().number).cloned().unwrap();
    let wire = RefWire {
        node: home.id().node,
        path: NodePath::default(),
        number: home.id().number,
        name: "Far".into(),
        options: procession::MailboxOptions::DEFAULT,
        lifeline: None,
    };
    let far = HomeRef::from(ActorRef::remote(Arc::new(Loop { actor, wire })).unwrap());
    assert_eq!((far.name(), far.here()), ("Far", Ok(true)));
}
