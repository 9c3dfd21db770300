//! What Python's methods become, and what it is answered.
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

use super::{Answer, Args, Refused, Request, Step, Verb, make, methods, step};
use crate::custody::ClientId;
use crate::dynamic::{Dynamic, Exception, Token};
use crate::manager::{Caller, Machine, Seed};
use crate::pickle::{self, Limits};

fn list(items: impl IntoIterator<Item = i64>) -> Dynamic {
    Dynamic::List(items.into_iter().map(Dynamic::from).collect())
}

/// An object of ours, as a Python program uses it.
struct Object {
    kind: &'static str,
    machine: Machine<Dynamic>,
}

impl Object {
    fn new(kind: &'static str, args: Vec<Dynamic>) -> Self {
        let made = make(kind, Args::new(args, Vec::new())).unwrap().unwrap();
        let super::Made::Stock(seed) = made else { panic!("{made:?}") };
        Self { kind, machine: Machine::new(seed) }
    }

    fn say(&mut self, method: &str, args: Vec<Dynamic>) -> Result<Dynamic, Exception> {
        match step(self.kind, None, method, Args::new(args, Vec::new())) {
            Ok(Step::Call { call, then, .. }) => {
                let caller = Caller { client: ClientId(2), thread: 0 };
                let mut due = Vec::new();
                self.machine.call(caller, 1, call, &mut due);
                then.answer(due.pop().unwrap().1)
            }
            Ok(Step::Say(value)) => Ok(value),
            Ok(other) => panic!("{other:?}"),
            Err(Refused::Raised(exception)) => Err(exception),
            Err(Refused::NoSuchMethod) => panic!("{method} is none of {}", self.kind),
        }
    }

    fn shows(&mut self, method: &str, args: Vec<Dynamic>, text: &str) {
        let said = match self.say(method, args) {
            Ok(value) => value.to_string(),
            Err(exception) => Dynamic::Exception(exception).to_string(),
        };
        assert_eq!(said, text, "{method}");
    }
}

#[test]
fn requests_and_answers_are_those_of_the_vectors() {
    let bytes = |hex: &str| -> Vec<u8> {
        let digit = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digit).collect()
    };
    let dummy = bytes("8004951000000000000000284e8c0564756d6d7994297d9474942e");
    let read = |bytes: &[u8]| pickle::read(bytes, Limits::default()).unwrap();
    let request = Request::read(read(&dummy)).unwrap();
    assert_eq!(request.object, None);
    assert_eq!(Verb::read(&request.method, request.args), Some(Verb::Dummy));
    assert_eq!(
        read(&pickle::write(&Request::write(None, "dummy", vec![], vec![])).unwrap()),
        read(&dummy)
    );
    let done = bytes("8004950e000000000000008c072352455455524e944e86942e");
    assert_eq!(Answer::Return(Dynamic::None).write(), read(&done));
    let token = Token { typeid: "x".into(), address: Box::new("/s".into()), id: "1f".into() };
    let answers = [
        Answer::Return(1.into()),
        Answer::Error(super::error("ValueError", "no")),
        Answer::Traceback("where".into()),
        Answer::Unserializable("what".into()),
        Answer::Proxy(vec!["get".into()], token),
    ];
    for answer in answers {
        assert_eq!(Answer::read(answer.clone().write()), Some(answer));
    }
    let created = Dynamic::Tuple(vec!["1f".into(), Dynamic::Tuple(vec!["get".into()])]);
    assert_eq!(Answer::read_created(created), Some(("1f".into(), vec!["get".into()])));
}

#[test]
fn what_is_no_request_is_none() {
    let none = [
        Dynamic::None,
        list([1, 2, 3, 4]),
        Dynamic::Tuple(vec![1.into(), "m".into(), list([]), Dynamic::Dict(vec![])]),
        Dynamic::Tuple(vec![().into(), "m".into(), list([]), list([])]),
        Dynamic::Tuple(vec![().into(), "m".into(), list([])]),
    ];
    for value in none {
        assert_eq!(Request::read(value.clone()), None, "{value}");
    }
    assert_eq!(Verb::read("system", Args::new(vec![], vec![])), None);
    assert_eq!(Verb::read("incref", Args::new(vec![1.into()], vec![])), None);
}

#[test]
fn containers_have_pythons_methods() {
    let mut object = Object::new("list", vec![list(0..5)]);
    object.shows("append", vec![7.into()], "None");
    object.shows("__getitem__", vec![(-1).into()], "7");
    let slice = Dynamic::Slice(Box::new([1.into(), 3.into(), ().into()]));
    object.shows("__getitem__", vec![slice.clone()], "[1, 2]");
    object.shows("__setitem__", vec![slice, list([9])], "None");
    object.shows("__repr__", vec![], "'[0, 9, 3, 4, 7]'");
    object.shows("__add__", vec![list([1])], "[0, 9, 3, 4, 7, 1]");
    object.shows("__mul__", vec![0.into()], "[]");
    object.shows("__contains__", vec![9.0.into()], "True");
    object.shows("#GETVALUE", vec![], "[0, 9, 3, 4, 7]");
    assert_eq!(object.say("__getitem__", vec![9.into()]).unwrap_err().class, "builtins.IndexError");
    assert_eq!(object.say("append", vec![]).unwrap_err().class, "builtins.TypeError");

    let mut object = Object::new("dict", vec![]);
    object.shows("__setitem__", vec![1.into(), "one".into()], "None");
    object.shows("__setitem__", vec![true.into(), "still one".into()], "None");
    object.shows("get", vec!["x".into(), 3.into()], "3");
    object.shows("copy", vec![], "{1: 'still one'}");
    object.shows("items", vec![], "[(1, 'still one')]");
    assert_eq!(object.say("__getitem__", vec![2.into()]).unwrap_err().args, [Dynamic::from(2)]);
    assert_eq!(object.say("get", vec![list([])]).unwrap_err().class, "builtins.TypeError");
    object.shows("popitem", vec![], "(1, 'still one')");
    assert_eq!(object.say("popitem", vec![]).unwrap_err().class, "builtins.KeyError");

    let mut object = Object::new("set", vec![list([1, 2])]);
    object.shows("__or__", vec![Dynamic::Set(vec![3.into()])], "{1, 2, 3}");
    object.shows("issubset", vec![list(0..5)], "True");
    assert_eq!(object.say("remove", vec![9.into()]).unwrap_err().class, "builtins.KeyError");
    object.shows("discard", vec![9.into()], "None");
    // Any number of others, none of them too.
    let others = || vec![list([2, 3]), list([2, 4])];
    object.shows("union", others(), "{1, 2, 3, 4}");
    object.shows("intersection", others(), "{2}");
    object.shows("difference", others(), "{1}");
    for method in ["union", "intersection", "difference"] {
        object.shows(method, vec![], "{1, 2}");
    }
    object.shows("__rsub__", vec![Dynamic::Set(vec![2.into(), 3.into()])], "{3}");
    object.shows("intersection_update", vec![], "None");
    object.shows("__iter__", vec![], "[1, 2]");
    object.shows("update", others(), "None");
    object.shows("difference_update", vec![list([1]), list([4])], "None");
    object.shows("__iter__", vec![], "[2, 3]");
    object.shows("intersection_update", others(), "None");
    object.shows("__iter__", vec![], "[2]");
    let error = object.say("symmetric_difference", vec![]).unwrap_err();
    assert_eq!(error.class, "builtins.TypeError");

    let mut object = Object::new("dict", vec![]);
    object.shows("fromkeys", vec![list([1, 2, 1])], "{1: None, 2: None}");
    object.shows("fromkeys", vec!["ab".into(), 0.into()], "{'a': 0, 'b': 0}");
    object.shows("__len__", vec![], "0");

    let mut object = Object::new("Value", vec!["i".into(), 5.into()]);
    object.shows("set", vec![6.into()], "None");
    object.shows("get", vec![], "6");
}

/// What each operator gives and leaves, as `CPython`'s `set` and `dict` do. In place, a proxy of
/// Python's takes itself for the result and looks at no answer.
#[test]
fn containers_have_pythons_operators() {
    let set = |items: &[i64]| Dynamic::Set(items.iter().map(|&item| item.into()).collect());
    let rows: [(&str, &[i64], &str, &str); 28] = [
        ("__lt__", &[1, 2, 3], "True", "[1, 2]"),
        ("__lt__", &[1, 2], "False", "[1, 2]"),
        ("__lt__", &[1, 3, 4], "False", "[1, 2]"),
        ("__le__", &[1, 2], "True", "[1, 2]"),
        ("__le__", &[2], "False", "[1, 2]"),
        ("__gt__", &[2], "True", "[1, 2]"),
        ("__gt__", &[1, 2], "False", "[1, 2]"),
        ("__gt__", &[], "True", "[1, 2]"),
        ("__gt__", &[3], "False", "[1, 2]"),
        ("__ge__", &[1, 2], "True", "[1, 2]"),
        ("__ge__", &[1, 2, 3], "False", "[1, 2]"),
        ("issubset", &[2, 1, 0], "True", "[1, 2]"),
        ("issuperset", &[2], "True", "[1, 2]"),
        ("issuperset", &[2, 3], "False", "[1, 2]"),
        ("isdisjoint", &[3, 4], "True", "[1, 2]"),
        ("isdisjoint", &[2, 3], "False", "[1, 2]"),
        ("isdisjoint", &[], "True", "[1, 2]"),
        ("__and__", &[2, 3], "{2}", "[1, 2]"),
        ("__sub__", &[2, 3], "{1}", "[1, 2]"),
        ("__xor__", &[2, 3], "{1, 3}", "[1, 2]"),
        ("__iand__", &[2, 3], "None", "[2]"),
        ("__iand__", &[], "None", "[]"),
        ("__ior__", &[2, 3], "None", "[1, 2, 3]"),
        ("__isub__", &[2, 3], "None", "[1]"),
        ("__ixor__", &[2, 3], "None", "[1, 3]"),
        ("__ixor__", &[1, 2], "None", "[]"),
        ("symmetric_difference_update", &[2, 3], "None", "[1, 3]"),
        ("symmetric_difference_update", &[], "None", "[1, 2]"),
    ];
    for (method, other, said, left) in rows {
        let mut object = Object::new("set", vec![list([1, 2])]);
        object.shows(method, vec![set(other)], said);
        object.shows("__iter__", vec![], left);
    }

    let pair = |key: i64, value: &str| (Dynamic::from(key), Dynamic::from(value));
    let other = || Dynamic::Dict(vec![pair(2, "B"), pair(3, "C")]);
    let rows = [
        ("__or__", "{1: 'a', 2: 'B', 3: 'C'}", "{1: 'a', 2: 'b'}"),
        // The other one stands on the left: its order, and our values.
        ("__ror__", "{2: 'b', 3: 'C', 1: 'a'}", "{1: 'a', 2: 'b'}"),
        ("__ior__", "None", "{1: 'a', 2: 'B', 3: 'C'}"),
    ];
    for (method, said, left) in rows {
        let pairs = Dynamic::Dict(vec![pair(1, "a"), pair(2, "b")]);
        let mut object = Object::new("dict", vec![pairs]);
        object.shows(method, vec![other()], said);
        object.shows("copy", vec![], left);
    }
    for (kind, method, arg) in
        [("set", "remove", 1.into()), ("dict", "__delitem__", Dynamic::from(1))]
    {
        let first = if kind == "set" { list([1]) } else { Dynamic::Dict(vec![pair(1, "a")]) };
        let mut object = Object::new(kind, vec![first]);
        object.shows(method, vec![arg.clone()], "None");
        assert_eq!(object.say(method, vec![arg.clone()]).unwrap_err().args, [arg]);
    }
    for (method, backwards) in [("__iter__", false), ("__reversed__", true)] {
        let found = step("dict", None, method, Args::new(vec![], vec![]));
        assert_eq!(found, Ok(Step::Iterate { backwards }), "{method}");
    }
}

#[test]
fn what_waits_has_pythons_methods() {
    let mut object = Object::new("Queue", vec![1.into()]);
    object.shows("put", vec!["x".into()], "None");
    object.shows("full", vec![], "True");
    object.shows("empty", vec![], "False");
    object.shows("get", vec![true.into(), 0.5.into()], "'x'");
    // Each of Python's queues counts what is not done.
    object.shows("task_done", vec![], "None");
    object.shows("join", vec![], "None");
    assert_eq!(object.say("task_done", vec![]).unwrap_err().class, "builtins.ValueError");
    let mut object = Object::new("Lock", vec![]);
    object.shows("acquire", vec![], "True");
    object.shows("release", vec![], "None");
    assert_eq!(object.say("release", vec![]).unwrap_err().class, "builtins.RuntimeError");
    let seed = Seed::Lock { recursive: true };
    let mut object = Object { kind: "Condition", machine: Machine::new(seed) };
    assert!(methods("Condition").contains(&"locked"));
    for (method, said) in [
        ("locked", "False"),
        ("acquire", "True"),
        ("locked", "True"),
        ("release", "None"),
        ("locked", "False"),
    ] {
        object.shows(method, vec![], said);
    }
    let mut object = Object::new("Barrier", vec![2.into()]);
    object.shows("__getattribute__", vec!["parties".into()], "2");
    object.shows("__getattribute__", vec!["broken".into()], "False");
    let limit = |method: &str, args: Vec<Dynamic>| {
        let kind = if method == "acquire" { "Lock" } else { "Queue" };
        match step(kind, None, method, Args::new(args, vec![])).unwrap() {
            Step::Call { limit_ms, .. } => limit_ms,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(limit("get", vec![]), None);
    assert_eq!(limit("get", vec![true.into(), 1.5.into()]), Some(1500));
    assert_eq!(limit("get", vec![false.into()]), Some(0));
    assert_eq!(limit("acquire", vec![true.into(), (-1).into()]), None);
    assert_eq!(limit("acquire", vec![true.into(), (-1.0).into()]), None);
    assert_eq!(limit("acquire", vec![true.into(), 2.into()]), Some(2000));
    assert_eq!(limit("acquire", vec![false.into(), (-1).into()]), Some(0));
    assert_eq!(limit("get", vec![false.into(), (-1).into()]), Some(0));
    let refused = |kind: &str, method: &str, args: Vec<Dynamic>| match step(
        kind,
        None,
        method,
        Args::new(args, vec![]),
    ) {
        Err(Refused::Raised(error)) => error.class,
        other => panic!("{other:?}"),
    };
    for (kind, method, blocks, time) in [
        ("Queue", "get", true, -0.5),
        ("Lock", "acquire", true, -0.5),
        ("Lock", "acquire", false, 1.0),
        ("Semaphore", "acquire", false, 1.0),
    ] {
        let class = refused(kind, method, vec![blocks.into(), time.into()]);
        assert_eq!(class, "builtins.ValueError", "{kind}.{method}");
    }
    let acquire = Args::new(vec![true.into(), (-1).into()], vec![]);
    let Ok(Step::Call { limit_ms, .. }) = step("Semaphore", None, "acquire", acquire) else {
        panic!("a semaphore is acquired by a call")
    };
    assert_eq!(limit_ms, Some(0));
}

/// Each method that a proxy is made with is known; no other is.
#[test]
fn every_method_is_answered() {
    let kinds = [
        "list",
        "dict",
        "set",
        "Array",
        "Value",
        "Namespace",
        "Queue",
        "JoinableQueue",
        "Lock",
        "RLock",
        "Semaphore",
        "BoundedSemaphore",
        "Condition",
        "Event",
        "Barrier",
    ];
    for kind in kinds {
        for method in methods(kind) {
            let found = step(kind, Some(0), method, Args::new(vec![], vec![]));
            assert_ne!(found, Err(Refused::NoSuchMethod), "{kind}.{method}");
        }
        let none = step(kind, Some(0), "__class__", Args::new(vec![], vec![]));
        assert_eq!(none, Err(Refused::NoSuchMethod));
    }
}
