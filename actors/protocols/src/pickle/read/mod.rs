//! Reading pickles.
//!
//! Owns the machine: its stack, its memo, and all values that it has made, by number, so that
//! a value that is named often is there once. Texts and bytes stay where they are in the
//! pickle. What the values are in the end is for `build` to say. The machine spends from one
//! budget for everything that it makes, and never calls itself.

mod build;
mod numbers;

use super::classes::{self, Class};
use super::{LONGEST_INT, Limits, PickleError};
use crate::dynamic::Dynamic;
use numbers::Format;
use std::borrow::Cow;
use std::collections::HashMap;

/// The data of a pickle, all of whose bytes must belong to it.
///
/// # Errors
/// It is damaged, asks for more than the limits, or names a class that is not known.
pub fn read(bytes: &[u8], limits: Limits) -> Result<Dynamic, PickleError> {
    let mut machine = Machine {
        rest: bytes,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        budget: Budget { left: limits.memory, all: limits.memory },
    };
    let root = machine.run()?;
    if !machine.rest.is_empty() {
        return Err(PickleError::LeftOver(machine.rest.len()));
    }
    build::build(&machine.nodes, root, limits)
}

/// The number of a value.
type Id = usize;

/// A value in the making.
#[derive(Debug)]
enum Node<'a> {
    None,
    Bool(bool),
    /// In two's complement, lowest byte first.
    Int(Cow<'a, [u8]>),
    Float(f64),
    Str(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Set(Vec<Id>),
    FrozenSet(Vec<Id>),
    Class(Class),
    Slice([Id; 3]),
    /// The integers that it is are made at the end.
    Range([Id; 3]),
    Exception(String, Vec<Id>),
    /// Its parts, once they have come.
    Token(Option<[Id; 3]>),
    Proxy([Id; 4]),
    /// An `array.array`, which becomes a list.
    Numbers(Format, Cow<'a, [u8]>),
}

/// Memory that may still be used.
struct Budget {
    left: usize,
    all: usize,
}

impl Budget {
    fn spend(&mut self, bytes: usize) -> Result<(), PickleError> {
        self.left = self.left.checked_sub(bytes).ok_or(PickleError::TooLarge(self.all))?;
        Ok(())
    }
}

/// What one entry costs beside the value itself: its place on the stack, in a list.
const PLACE: usize = 16;
const NODE: usize = size_of::<Node<'static>>() + PLACE;
const MEMO: usize = 48;

struct Machine<'a> {
    rest: &'a [u8],
    nodes: Vec<Node<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    budget: Budget,
}

const EMPTY: PickleError = PickleError::Damaged("it takes more from its stack than is there");

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Id, PickleError> {
        loop {
            let [operation] = self.take_array()?;
            match operation {
                b'.' => return self.pop(),
                // Protocol, frame: how it is cut into pieces says nothing about it.
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                b'(' => {
                    self.budget.spend(PLACE)?;
                    self.marks.push(self.stack.len());
                }
                b'0' => self.pop_any()?,
                b'1' => drop(self.pop_mark()?),
                b'2' => {
                    let top = self.top()?;
                    self.push_id(top)?;
                }
                0x94 => self.memoize(self.memo.len() as u64)?,
                b'q' | b'r' | b'p' => {
                    let at = self.index(operation)?;
                    self.memoize(at)?;
                }
                b'h' | b'j' | b'g' => {
                    let at = self.index(operation)?;
                    let known = self.memo.get(&at).copied();
                    self.push_id(known.ok_or(PickleError::Damaged("its memo has no such entry"))?)?;
                }
                b'c' | 0x93 => self.global(operation)?,
                b'R' | 0x81 | b'b' => self.object(operation)?,
                b']'
                | b'l'
                | b'a'
                | b'e'
                | b')'
                | b't'
                | 0x85..=0x87
                | b'}'
                | b'd'
                | b's'
                | b'u'
                | 0x8f
                | 0x90
                | 0x91 => self.container(operation)?,
                _ => {
                    let scalar = self.scalar(operation)?;
                    self.push(scalar)?;
                }
            }
        }
    }

    fn scalar(&mut self, operation: u8) -> Result<Node<'a>, PickleError> {
        Ok(match operation {
            b'N' => Node::None,
            0x88 => Node::Bool(true),
            0x89 => Node::Bool(false),
            b'K' => unsigned(self.take(1)?),
            b'M' => unsigned(self.take(2)?),
            b'J' => Node::Int(self.take(4)?.into()),
            0x8a => Node::Int(self.take_sized::<1>(LONGEST_INT)?.into()),
            0x8b => Node::Int(self.take_sized::<4>(LONGEST_INT)?.into()),
            b'I' | b'L' => decimal(self.line()?)?,
            b'G' => Node::Float(f64::from_be_bytes(self.take_array()?)),
            b'F' => Node::Float(self.line()?.parse().map_err(|_| BAD_NUMBER)?),
            0x8c => Node::Str(text(self.take_sized::<1>(usize::MAX)?)?),
            b'X' => Node::Str(text(self.take_sized::<4>(usize::MAX)?)?),
            0x8d => Node::Str(text(self.take_sized::<8>(usize::MAX)?)?),
            b'V' => Node::Str(escaped(self.line()?)?),
            b'C' | b'U' => Node::Bytes(self.take_sized::<1>(usize::MAX)?.into()),
            b'B' | b'T' => Node::Bytes(self.take_sized::<4>(usize::MAX)?.into()),
            0x8e | 0x96 => Node::Bytes(self.take_sized::<8>(usize::MAX)?.into()),
            other => return Err(PickleError::Opcode(other)),
        })
    }

    fn container(&mut self, operation: u8) -> Result<(), PickleError> {
        let made = match operation {
            b']' => Node::List(Vec::new()),
            b'}' => Node::Dict(Vec::new()),
            b')' => Node::Tuple(Vec::new()),
            0x8f => Node::Set(Vec::new()),
            b'l' => Node::List(self.pop_mark()?),
            b't' => Node::Tuple(self.pop_mark()?),
            0x91 => Node::FrozenSet(self.pop_mark()?),
            b'd' => Node::Dict(pairs(self.pop_mark()?)?),
            0x85..=0x87 => {
                let count = usize::from(operation - 0x84);
                let from = self.stack.len().checked_sub(count).ok_or(EMPTY)?;
                if self.marks.last().is_some_and(|mark| *mark > from) {
                    return Err(EMPTY);
                }
                self.budget.spend(count * PLACE)?;
                Node::Tuple(self.stack.split_off(from))
            }
            b'a' => {
                let item = self.pop()?;
                return self.extend(vec![item]);
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                return self.extend(vec![key, value]);
            }
            _ => {
                let items = self.pop_mark()?;
                return self.extend(items);
            }
        };
        self.push(made)
    }

    /// Adds to the list, set or dict on the stack.
    fn extend(&mut self, items: Vec<Id>) -> Result<(), PickleError> {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::List(known) | Node::Set(known) => known.extend(items),
            Node::Dict(known) => known.extend(pairs(items)?),
            _ => return Err(PickleError::Damaged("it adds to what holds nothing")),
        }
        Ok(())
    }

    fn global(&mut self, operation: u8) -> Result<(), PickleError> {
        let (module, name) = if operation == b'c' {
            (Cow::from(self.line()?), Cow::from(self.line()?))
        } else {
            let (name, module) = (self.pop()?, self.pop()?);
            match (&self.nodes[module], &self.nodes[name]) {
                (Node::Str(module), Node::Str(name)) => (module.clone(), name.clone()),
                _ => return Err(PickleError::Damaged("it names a class by no text")),
            }
        };
        let class = classes::of_name(&module, &name)
            .ok_or_else(|| PickleError::Class(short(&format!("{module}.{name}"))))?;
        self.push(Node::Class(class))
    }

    /// What Python would call is looked up: what comes of it is known.
    fn object(&mut self, operation: u8) -> Result<(), PickleError> {
        const UNFIT: PickleError = PickleError::Damaged("a class does not fit its arguments");
        let args = self.pop()?;
        if operation == b'b' {
            return self.set_state(args);
        }
        let class = self.pop()?;
        let Node::Class(class) = &self.nodes[class] else { return Err(UNFIT) };
        let Node::Tuple(args) = &self.nodes[args] else { return Err(UNFIT) };
        self.budget.spend(args.len() * PLACE)?;
        let text = |id: &Id| match &self.nodes[*id] {
            Node::Str(text) => Ok(text.clone()),
            _ => Err(UNFIT),
        };
        let made = match (class, &args[..], operation) {
            (Class::Token, [], 0x81) => Node::Token(None),
            (_, _, 0x81) => return Err(UNFIT),
            (Class::Exception(name), args, _) => Node::Exception(name.clone(), args.to_vec()),
            (Class::RebuildProxy, [class, token, serializer, rest], _) => {
                Node::Proxy([*class, *token, *serializer, *rest])
            }
            (Class::Slice, [from, to, by], _) => Node::Slice([*from, *to, *by]),
            (Class::Range, [from, to, by], _) => Node::Range([*from, *to, *by]),
            (Class::Encode, [encoded, encoding], _) => {
                if !matches!(&*text(encoding)?, "latin1" | "latin-1") {
                    return Err(UNFIT);
                }
                Node::Bytes(Cow::Owned(latin1(&text(encoded)?)?))
            }
            (Class::ByteArray, [encoded, _], _) => {
                Node::Bytes(Cow::Owned(latin1(&text(encoded)?)?))
            }
            (Class::RebuildArray, [class, _, format, bytes], _) => {
                match (&self.nodes[*class], &self.nodes[*format]) {
                    (Node::Class(Class::Array), Node::Int(number)) => {
                        let format = Dynamic::integer(number).as_int().and_then(Format::of);
                        self.numbers(format, *bytes).ok_or(UNFIT)?
                    }
                    _ => return Err(UNFIT),
                }
            }
            (Class::Array, [code, bytes], _) => {
                self.numbers(Format::of_code(&text(code)?), *bytes).ok_or(UNFIT)?
            }
            (Class::Bytes | Class::ByteArray, [], _) => Node::Bytes(Cow::Borrowed(&[])),
            (Class::Dict, [], _) => Node::Dict(Vec::new()),
            (class, args, _) => {
                let items = match args {
                    [] => Vec::new(),
                    [items] => match &self.nodes[*items] {
                        Node::List(items) | Node::Tuple(items) | Node::Set(items) => items.clone(),
                        Node::Bytes(bytes) if *class == Class::ByteArray => {
                            let bytes = bytes.clone();
                            return self.push(Node::Bytes(bytes));
                        }
                        _ => return Err(UNFIT),
                    },
                    _ => return Err(UNFIT),
                };
                self.budget.spend(items.len() * PLACE)?;
                match class {
                    Class::Set => Node::Set(items),
                    Class::FrozenSet => Node::FrozenSet(items),
                    Class::List => Node::List(items),
                    Class::Tuple => Node::Tuple(items),
                    _ => return Err(UNFIT),
                }
            }
        };
        self.push(made)
    }

    fn numbers(&self, format: Option<Format>, bytes: Id) -> Option<Node<'a>> {
        match &self.nodes[bytes] {
            Node::Bytes(bytes) => {
                format?.count(bytes)?;
                Some(Node::Numbers(format?, bytes.clone()))
            }
            _ => None,
        }
    }

    fn set_state(&mut self, state: Id) -> Result<(), PickleError> {
        let parts = match &self.nodes[state] {
            Node::Tuple(parts) => <[Id; 3]>::try_from(&parts[..]).ok(),
            _ => None,
        };
        let top = self.top()?;
        match (&mut self.nodes[top], parts) {
            (Node::Token(known @ None), Some(parts)) => *known = Some(parts),
            // What an exception has beside its arguments, such as notes.
            (Node::Exception(..), _) => {}
            _ => return Err(PickleError::Damaged("it gives a state to what has none")),
        }
        Ok(())
    }

    fn push(&mut self, node: Node<'a>) -> Result<(), PickleError> {
        self.budget.spend(NODE)?;
        if let Node::Bytes(Cow::Owned(bytes)) | Node::Numbers(_, Cow::Owned(bytes)) = &node {
            self.budget.spend(bytes.len())?;
        }
        self.nodes.push(node);
        self.stack.push(self.nodes.len() - 1);
        Ok(())
    }

    fn push_id(&mut self, id: Id) -> Result<(), PickleError> {
        self.budget.spend(PLACE)?;
        self.stack.push(id);
        Ok(())
    }

    /// A mark is no value: what lies below it is out of reach.
    fn top(&self) -> Result<Id, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() > floor { self.stack.last().copied().ok_or(EMPTY) } else { Err(EMPTY) }
    }

    fn pop(&mut self) -> Result<Id, PickleError> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// A value, or the mark if there is none above it.
    fn pop_any(&mut self) -> Result<(), PickleError> {
        match self.pop() {
            Ok(_) => Ok(()),
            Err(_) => self.marks.pop().map(drop).ok_or(EMPTY),
        }
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, PickleError> {
        let mark = self.marks.pop().ok_or(PickleError::Damaged("there is no mark"))?;
        let items = self.stack.split_off(mark);
        self.budget.spend(items.len() * PLACE)?;
        Ok(items)
    }

    fn memoize(&mut self, at: u64) -> Result<(), PickleError> {
        let top = self.top()?;
        self.budget.spend(MEMO)?;
        self.memo.insert(at, top);
        Ok(())
    }

    fn index(&mut self, operation: u8) -> Result<u64, PickleError> {
        match operation {
            b'q' | b'h' => Ok(self.take(1)?[0].into()),
            b'r' | b'j' => Ok(u32::from_le_bytes(self.take_array()?).into()),
            _ => self.line()?.parse().map_err(|_| BAD_NUMBER),
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], PickleError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(PickleError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(PickleError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// So many bytes as the `N` bytes in front say.
    fn take_sized<const N: usize>(&mut self, most: usize) -> Result<&'a [u8], PickleError> {
        let mut len = [0; 8];
        len[..N].copy_from_slice(&self.take_array::<N>()?);
        let len = usize::try_from(u64::from_le_bytes(len)).map_err(|_| PickleError::Truncated)?;
        if len > most {
            return Err(PickleError::TooLarge(most));
        }
        self.take(len)
    }

    fn line(&mut self) -> Result<&'a str, PickleError> {
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let line = self.take(end.ok_or(PickleError::Truncated)?)?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| BAD_TEXT)
    }
}

const BAD_NUMBER: PickleError = PickleError::Damaged("a number is none");
const BAD_TEXT: PickleError = PickleError::Damaged("a text is no UTF-8");

/// Longest part of a name that an error repeats, in characters.
const NAME_IN_ERROR: usize = 100;

fn short(name: &str) -> String {
    name.chars().take(NAME_IN_ERROR).collect()
}

fn pairs(items: Vec<Id>) -> Result<Vec<(Id, Id)>, PickleError> {
    let (pairs, rest) = items.as_chunks();
    if !rest.is_empty() {
        return Err(PickleError::Damaged("a dict has a key without a value"));
    }
    Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
}

/// A number without a sign: the last byte is not the sign.
fn unsigned<'a>(bytes: &[u8]) -> Node<'a> {
    Node::Int(Cow::Owned([bytes, &[0]].concat()))
}

fn text(bytes: &[u8]) -> Result<Cow<'_, str>, PickleError> {
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| BAD_TEXT)
}

/// Text of characters that are bytes.
fn latin1(text: &str) -> Result<Vec<u8>, PickleError> {
    text.chars().map(|c| u8::try_from(u32::from(c)).map_err(|_| BAD_TEXT)).collect()
}

/// A number of protocol 0, and its booleans.
fn decimal<'a>(line: &str) -> Result<Node<'a>, PickleError> {
    match line {
        "00" => return Ok(Node::Bool(false)),
        "01" => return Ok(Node::Bool(true)),
        _ => {}
    }
    let number: i128 = line.trim_end_matches('L').parse().map_err(|_| BAD_NUMBER)?;
    Ok(Node::Int(Cow::Owned(number.to_le_bytes().to_vec())))
}

/// A text of protocol 0, in which some characters stand as `\u0000`.
fn escaped(line: &str) -> Result<Cow<'_, str>, PickleError> {
    let mut text = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let digits = match rest.as_bytes().get(at + 1) {
            Some(b'u') => 4,
            Some(b'U') => 8,
            _ => return Err(BAD_TEXT),
        };
        let code = rest.get(at + 2..at + 2 + digits).ok_or(BAD_TEXT)?;
        let code = u32::from_str_radix(code, 16).map_err(|_| BAD_TEXT)?;
        text.push(char::from_u32(code).ok_or(BAD_TEXT)?);
        rest = &rest[at + 2 + digits..];
    }
    text.push_str(rest);
    Ok(text.into())
}
