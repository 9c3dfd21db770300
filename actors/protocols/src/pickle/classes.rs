//! The classes that may stand in a pickle.
//!
//! Owns the table, for reading and writing alike. Each is data to us; the exceptions are those
//! of Python's own whose arguments are plain. Nothing is added here that a Python program could
//! be made to run something by.

/// Something that a pickle names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Class {
    Set,
    FrozenSet,
    ByteArray,
    List,
    Tuple,
    Dict,
    Bytes,
    Slice,
    Range,
    /// `_codecs.encode`, by which the older protocols write bytes.
    Encode,
    /// `array.array`, and what makes one.
    Array,
    RebuildArray,
    /// An exception, by its name.
    Exception(String),
    Token,
    RebuildProxy,
    /// A class of proxies, by its name.
    Proxy(String),
}

/// Where managers' classes are.
pub(super) const MANAGERS: &str = "multiprocessing.managers";

/// The classes of proxies of Python's managers.
const PROXIES: &[&str] = &[
    "AcquirerProxy",
    "ArrayProxy",
    "AutoProxy",
    "BarrierProxy",
    "BaseListProxy",
    "BaseProxy",
    "ConditionProxy",
    "DictProxy",
    "EventProxy",
    "IteratorProxy",
    "ListProxy",
    "NamespaceProxy",
    "PoolProxy",
    "SetProxy",
    "ValueProxy",
];

/// Exceptions of `builtins` that do not end in `Error`.
const OTHER_EXCEPTIONS: &[&str] = &[
    "BaseException",
    "Exception",
    "GeneratorExit",
    "KeyboardInterrupt",
    "StopAsyncIteration",
    "StopIteration",
    "SystemExit",
];

/// Those of `builtins` that end in `Error`.
const ERRORS: &[&str] = &[
    "ArithmeticError",
    "AssertionError",
    "AttributeError",
    "BlockingIOError",
    "BrokenPipeError",
    "BufferError",
    "ChildProcessError",
    "ConnectionAbortedError",
    "ConnectionError",
    "ConnectionRefusedError",
    "ConnectionResetError",
    "EOFError",
    "FileExistsError",
    "FileNotFoundError",
    "FloatingPointError",
    "ImportError",
    "IndentationError",
    "IndexError",
    "InterruptedError",
    "IsADirectoryError",
    "KeyError",
    "LookupError",
    "MemoryError",
    "ModuleNotFoundError",
    "NameError",
    "NotADirectoryError",
    "NotImplementedError",
    "OSError",
    "OverflowError",
    "PermissionError",
    "ProcessLookupError",
    "RecursionError",
    "ReferenceError",
    "RuntimeError",
    "SyntaxError",
    "SystemError",
    "TimeoutError",
    "TypeError",
    "UnboundLocalError",
    "UnicodeError",
    "ValueError",
    "ZeroDivisionError",
];

/// Exceptions of other modules that managers give.
const ELSEWHERE: &[(&str, &str)] = &[
    ("_queue", "Empty"),
    ("multiprocessing.context", "AuthenticationError"),
    ("multiprocessing.context", "BufferTooShort"),
    ("multiprocessing.context", "ProcessError"),
    ("multiprocessing.context", "TimeoutError"),
    ("multiprocessing.managers", "RemoteError"),
    ("multiprocessing.pool", "MaybeEncodingError"),
    ("queue", "Empty"),
    ("queue", "Full"),
    ("queue", "ShutDown"),
    ("threading", "BrokenBarrierError"),
];

/// The class of this name; `None` for everything that is not in the table.
pub(super) fn of_name(module: &str, name: &str) -> Option<Class> {
    // Protocols 0 to 2 use the names of Python 2.
    let module = match module {
        "__builtin__" | "exceptions" => "builtins",
        "Queue" => "queue",
        other => other,
    };
    Some(match (module, name) {
        ("builtins", "set") => Class::Set,
        ("builtins", "frozenset") => Class::FrozenSet,
        ("builtins", "bytearray") => Class::ByteArray,
        ("builtins", "list") => Class::List,
        ("builtins", "tuple") => Class::Tuple,
        ("builtins", "dict") => Class::Dict,
        ("builtins", "bytes") => Class::Bytes,
        ("builtins", "slice") => Class::Slice,
        ("builtins", "range" | "xrange") => Class::Range,
        ("_codecs", "encode") => Class::Encode,
        ("array", "array") => Class::Array,
        ("array", "_array_reconstructor") => Class::RebuildArray,
        (MANAGERS, "Token") => Class::Token,
        (MANAGERS, "RebuildProxy") => Class::RebuildProxy,
        (MANAGERS, name) if PROXIES.contains(&name) => Class::Proxy(name.into()),
        (module, name) if is_exception(module, name) => {
            Class::Exception(format!("{module}.{name}"))
        }
        _ => return None,
    })
}

fn is_exception(module: &str, name: &str) -> bool {
    match module {
        "builtins" => OTHER_EXCEPTIONS.contains(&name) || ERRORS.contains(&name),
        _ => ELSEWHERE.contains(&(module, name)),
    }
}

/// Module and name of an exception, if it is one of the table.
pub(super) fn exception(class: &str) -> Option<(&str, &str)> {
    class.rsplit_once('.').filter(|(module, name)| is_exception(module, name))
}

/// Whether there is a class of proxies of this name.
pub(super) fn is_proxy(name: &str) -> bool {
    PROXIES.contains(&name)
}
