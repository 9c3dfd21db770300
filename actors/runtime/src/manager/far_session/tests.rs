//! What a program that knows the key may ask, mutated at random.
//!
//! Owns the target; it runs as those of `actors/protocols/tests/fuzz` do, whose file it has.
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

#[path = "../../../../protocols/tests/fuzz/mutate.rs"]
mod mutate;

use super::super::actor::host_as_object;
use super::super::door::Reception;
use super::super::object::count;
use super::*;
use crate::actor::message::MethodNames;
use crate::actor::{
    Handler, MailboxOptions, Message, Reply as ActorReply, ReplyPort, Wire, WireFns,
};
use crate::codec::{self, DecodeError, Decoder, EncodeError, Encoder};
use mutate::{Random, fuzz};
use procession_protocols::manager::{
    ArrayCall, BarrierCall, Call, DictCall, EventCall, ListCall, LockCall, Machine, QueueCall,
    Range, Seed, SemaphoreCall, SetCall, Union,
};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A server with one client.
struct World {
    session: Arc<Session>,
    answers: mpsc::Receiver<Answer>,
    /// Somebody else's object.
    good: Proxy,
}

/// An actor of a user's.
struct Echo;

/// What it takes, as `#[methods]` would have it: references, or a text, given back.
enum EchoMsg {
    References(Vec<Proxy>, ActorReply<Vec<Proxy>>),
    Text(String, ActorReply<String>),
}

impl Handler for Echo {
    type Msg = EchoMsg;

    fn handle(&mut self, message: EchoMsg) {
        match message {
            EchoMsg::References(references, reply) => reply.send(references),
            EchoMsg::Text(text, reply) => reply.send(text),
        }
    }
}

impl Message for EchoMsg {
    fn variant_name(&self) -> &'static str {
        "Echo"
    }

    fn expects_reply(&self) -> bool {
        true
    }

    fn wire() -> Option<WireFns<Self>> {
        Some(WireFns::of())
    }
}

impl Wire for EchoMsg {
    const FINGERPRINT: u64 = 1;

    const METHODS: &'static [MethodNames] = &[];

    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        match self {
            Self::References(references, _) => encoder.value(&(0_u32, references)),
            Self::Text(text, _) => encoder.value(&(1_u32, text)),
        }
    }

    fn take_reply(&mut self) -> Option<ReplyPort> {
        match self {
            Self::References(_, reply) => std::mem::replace(reply, ActorReply::none()).into_port(),
            Self::Text(_, reply) => std::mem::replace(reply, ActorReply::none()).into_port(),
        }
    }

    fn decode(
        decoder: &mut Decoder<'_>,
        reply: &mut Option<ReplyPort>,
    ) -> Result<Self, DecodeError> {
        if decoder.value::<u32>()? == 0 {
            let references = decoder.value()?;
            Ok(Self::References(references, ActorReply::from_port(reply.take())))
        } else {
            let text = decoder.value()?;
            Ok(Self::Text(text, ActorReply::from_port(reply.take())))
        }
    }
}

/// A message with references: each is a variant and an object's number.
type References = (u32, Vec<(u32, u64)>);

fn references_to(variant: u32, references: Vec<(u32, u64)>) -> far_actor::Packed {
    far_actor::Packed(codec::encode(&(variant, references)).unwrap().bytes)
}

/// One of each kind, with things in it.
fn seeds() -> Vec<Seed<Stored>> {
    let values = || vec![stored(&1), stored(&"two"), stored(&(3, "three"))];
    vec![
        Seed::List(values()),
        Seed::Dict(vec![(stored(&"a"), stored(&1)), (stored(&2), stored(&"b"))]),
        Seed::Set(values()),
        Seed::Array(values()),
        Seed::Queue { capacity: Some(2), joinable: false },
        Seed::Queue { capacity: None, joinable: true },
        Seed::Lock { recursive: false },
        Seed::Lock { recursive: true },
        Seed::Semaphore { value: 1, bounded: false },
        Seed::Semaphore { value: 2, bounded: true },
        Seed::Event,
        Seed::Barrier { parties: 2, patience_ms: Some(5), acts: true },
    ]
}

fn stored<T: serde::Serialize>(value: &T) -> Stored {
    Stored::encode(value, node::current().id).unwrap()
}

impl World {
    fn new(values: Values) -> Self {
        let (out, answers) = mpsc::channel();
        let session = Arc::new(Session::new(share::enlist().unwrap(), out, values));
        let door = Reception::open(BTreeMap::new()).unwrap();
        session.grant(door.own().unwrap(), &door);
        for seed in seeds() {
            let proxy = Proxy::host(Object::stock(Machine::new(seed)));
            session.grant(proxy.own().unwrap(), &proxy);
        }
        let echo = host_as_object(Echo, "echo", MailboxOptions::DEFAULT, None).unwrap();
        encode(End::Server(session.clone()), &echo).unwrap();
        let good = Proxy::host(Object::stock(Machine::new(Seed::List(vec![stored(&1)]))));
        Self { session, answers, good }
    }

    fn end(&self) -> End {
        End::Server(self.session.clone())
    }

    /// Objects have other numbers in each run: the one of this place among the client's.
    fn object(&self, place: u64) -> u64 {
        let held = lock(&self.session.held);
        let mut numbers: Vec<_> = held.keys().copied().collect();
        numbers.sort_unstable();
        let len = numbers.len() as u64;
        numbers.get(usize::try_from(place % (len + 1)).unwrap()).copied().unwrap_or(place)
    }

    /// The same for the references in a message to the actor, if it is like one.
    fn message(&self, message: far_actor::Packed) -> far_actor::Packed {
        match codec::decode::<References>(&message.0, Vec::new()) {
            Ok((variant, mut references)) => {
                for (_, object) in &mut references {
                    *object = self.object(*object);
                }
                references_to(variant, references)
            }
            Err(_) => message,
        }
    }

    fn hear(&self, input: &[u8]) {
        let Ok(Heard::Message(message)) = hear(&self.session, input) else { return };
        let message = match message {
            // A list may be made as long as this, but not at each input.
            ToServer::Ask {
                ask: Ask::Call { call: Call::List(ListCall::Repeat(1000..)), .. },
                ..
            } => return,
            ToServer::Ask { number, object, ask } => {
                ToServer::Ask { number, object: self.object(object), ask }
            }
            ToServer::Cancel { number, object } => {
                ToServer::Cancel { number, object: self.object(object) }
            }
            // What the client lets go of for good may hold itself, and then stays.
            ToServer::Release { object } => {
                let object = self.object(object);
                let has_more = |(_, count): &(Proxy, u64)| *count > 1;
                if !lock(&self.session.held).get(&object).is_some_and(has_more) {
                    return;
                }
                ToServer::Release { object }
            }
            ToServer::Message { number, object, message } => {
                let message = self.message(message);
                ToServer::Message { number, object: self.object(object), message }
            }
            ToServer::Watch { number, object } => {
                ToServer::Watch { number, object: self.object(object) }
            }
            ToServer::Stop { object, is_kill } => {
                ToServer::Stop { object: self.object(object), is_kill }
            }
            ToServer::Bye => ToServer::Bye,
        };
        self.session.heard(message);
        for Answer { number, reply, place, .. } in self.answers.try_iter() {
            // What cannot be encoded is a fault, as `far_reply` has it.
            drop(encode(self.end(), &(number, reply)));
            drop(place);
        }
        let under_way = self.session.under_way.load(Ordering::Relaxed);
        assert!(under_way <= MAX_UNDER_WAY, "{under_way} calls are under way");
    }

    /// The client leaves: nothing of it is left, and others are served.
    fn close(self) {
        let held = self.session.close();
        self.session.presence.end();
        for (proxy, _) in held.values() {
            // An object that holds itself would stay.
            let object = proxy.own().unwrap();
            let _ = object.amend(|machine| *machine = Machine::new(Seed::Event));
        }
        drop(held);
        share::discharge(self.session.client);
        let reply = self.good.call(Call::List(ListCall::Len), None).unwrap();
        assert_eq!(reply, Reply::Number(1));
        drop(self);
        let begun = Instant::now();
        while count() != 0 {
            assert!(begun.elapsed() < Duration::from_secs(30), "{} objects are left", count());
            thread::yield_now();
        }
    }
}

/// How many objects a client begins with; the actor is the last.
const OBJECTS: u64 = 14;

/// Requests as they should be, with places for objects.
fn requests() -> Vec<ToServer> {
    let call = |call| Ask::Call { thread: 1, limit_ms: Some(3), call };
    let value = || stored(&(3, "three"));
    let range = Range { start: Some(-2), stop: None, step: Some(1) };
    let next = DictCall::Next { position: Some(1), form: Some(1), most: 9, backwards: true };
    let combined = SetCall::Combine { how: Union::OneOf, other: vec![value()], in_place: true };
    let calls = vec![
        Call::List(ListCall::Append(value())),
        Call::List(ListCall::SetSlice(range, vec![value(), value()])),
        Call::List(ListCall::Slice(range)),
        Call::List(ListCall::Repeat(3)),
        Call::Dict(DictCall::Set(stored(&"a"), value())),
        Call::Dict(DictCall::Update(vec![(value(), value())])),
        Call::Dict(DictCall::Items),
        Call::Dict(next),
        Call::Set(combined),
        Call::Set(SetCall::Relate(vec![stored(&1)])),
        Call::Array(ArrayCall::Set(-1, value())),
        Call::Array(ArrayCall::SetSlice(range, vec![value()])),
        Call::Queue(QueueCall::Put(value())),
        Call::Queue(QueueCall::Get { kept: true }),
        Call::Queue(QueueCall::Kept(1)),
        Call::Queue(QueueCall::TaskDone),
        Call::Queue(QueueCall::Shutdown { immediate: true }),
        Call::Lock(LockCall::Acquire),
        Call::Lock(LockCall::Condition),
        Call::Lock(LockCall::Wait(0)),
        Call::Lock(LockCall::Notify(0, 2)),
        Call::Lock(LockCall::Release),
        Call::Semaphore(SemaphoreCall::Acquire),
        Call::Semaphore(SemaphoreCall::Release(2)),
        Call::Event(EventCall::Wait),
        Call::Event(EventCall::Set),
        Call::Barrier(BarrierCall::Wait),
        Call::Barrier(BarrierCall::Acted),
        Call::Barrier(BarrierCall::Reset),
    ];
    let asks = calls.into_iter().map(call);
    let asks = asks.chain(seeds().into_iter().map(Ask::Create));
    let make = Ask::Make { name: "tasks".into(), args: stored(&()) };
    let asks = asks.chain([make, Ask::Names, Ask::Count, Ask::Exposed("tasks".into())]);
    let mut place = 0;
    let mut requests: Vec<_> = asks
        .map(|ask| {
            place += 1;
            ToServer::Ask { number: place, object: place % OBJECTS, ask }
        })
        .collect();
    requests.push(ToServer::Cancel { number: 14, object: 5 });
    requests.push(ToServer::Release { object: 3 });
    let object = OBJECTS - 1;
    let text = far_actor::Packed(codec::encode(&(1_u32, "three")).unwrap().bytes);
    for message in [far_actor::Packed(vec![0, 1, 2]), text, references_to(0, vec![(2, 3), (2, 13)])]
    {
        requests.push(ToServer::Message { number: 7, object, message });
    }
    requests.push(ToServer::Watch { number: 8, object });
    requests.push(ToServer::Stop { object, is_kill: false });
    requests.push(ToServer::Bye);
    requests
}

/// Whatever is asked, it is answered or refused; when the client has gone nothing is left of
/// it.
#[test]
fn fuzz_requests_of_a_client() {
    let mut corpus = Vec::new();
    for values in [Values::Native, Values::Json] {
        let world = World::new(values);
        // As JSON some values do not go.
        let encoded = requests().into_iter().filter_map(|one| encode(world.end(), &one).ok());
        corpus.extend(encoded);
        world.close();
    }
    assert!(corpus.len() > requests().len(), "of both kinds");
    let mut world = Some(World::new(Values::Native));
    let mut inputs = 0;
    fuzz(&corpus, |input, random: &mut Random| {
        inputs += 1;
        let kind = if random.below(2) == 0 { Values::Native } else { Values::Json };
        let current = world.get_or_insert_with(|| World::new(kind));
        current.hear(input);
        if inputs % 1000 == 0
            && let Some(old) = world.take()
        {
            old.close();
        }
    });
    if let Some(last) = world {
        last.close();
    }
}
