//! Writing pickles.
//!
//! Owns the form that goes out: protocol 4, which every Python from 3.4 on reads, without a
//! memo. What is written names no class but those of the table and, where the library says so
//! itself, `iter`, so that no peer can have another one run something by what it sends through
//! here.

use super::classes::{self, MANAGERS};
use super::{Limits, PickleError};
use crate::dynamic::{Dynamic, Exception, Proxy, Token};

/// A value as a pickle.
///
/// # Errors
/// [`PickleError::Class`] for an exception or a proxy whose class is not known;
/// [`PickleError::TooDeep`].
pub fn write(value: &Dynamic) -> Result<Vec<u8>, PickleError> {
    let mut out = vec![0x80, 4];
    put(&mut out, value, 0)?;
    out.push(b'.');
    Ok(out)
}

/// A pair of a word and an iterator over items, as a pickle: `(word, iter([..]))`, the form in
/// which Python's own iterators travel.
///
/// # Errors
/// As [`write()`].
pub fn write_iterator(word: &str, items: &[Dynamic]) -> Result<Vec<u8>, PickleError> {
    /// The depth of the items: within the pair, the arguments of `iter`, and a list.
    const DEPTH: usize = 3;
    let mut out = vec![0x80, 4, b'('];
    put_str(&mut out, word);
    put_global(&mut out, "builtins", "iter");
    out.extend_from_slice(b"(]");
    put_items(&mut out, items, b'e', DEPTH)?;
    out.extend_from_slice(b"tRt.");
    Ok(out)
}

fn put(out: &mut Vec<u8>, value: &Dynamic, depth: usize) -> Result<(), PickleError> {
    let most = Limits::default().depth;
    if depth >= most {
        return Err(PickleError::TooDeep(most));
    }
    let deeper = depth + 1;
    match value {
        Dynamic::None => out.push(b'N'),
        Dynamic::Bool(value) => out.push(if *value { 0x88 } else { 0x89 }),
        Dynamic::Int(value) => put_int(out, *value),
        Dynamic::Big(value) => put_long(out, value.to_le_bytes()),
        Dynamic::Float(value) => {
            out.push(b'G');
            out.extend_from_slice(&value.to_be_bytes());
        }
        Dynamic::Str(text) => put_str(out, text),
        Dynamic::Bytes(bytes) => put_sized(out, [b'C', b'B', 0x8e], bytes),
        Dynamic::List(items) => {
            out.push(b']');
            put_items(out, items, b'e', deeper)?;
        }
        Dynamic::Tuple(items) => put_tuple(out, items, deeper)?,
        Dynamic::Dict(entries) => {
            out.extend_from_slice(b"}(");
            for (key, value) in entries {
                put(out, key, deeper)?;
                put(out, value, deeper)?;
            }
            out.push(b'u');
        }
        Dynamic::Set(items) => {
            out.push(0x8f);
            put_items(out, items, 0x90, deeper)?;
        }
        Dynamic::FrozenSet(items) => put_items(out, items, 0x91, deeper)?,
        Dynamic::Slice(parts) => {
            put_global(out, "builtins", "slice");
            put_tuple(out, &parts[..], deeper)?;
            out.push(b'R');
        }
        Dynamic::Exception(exception) => put_exception(out, exception, deeper)?,
        Dynamic::Token(token) => put_token(out, token, deeper)?,
        Dynamic::Proxy(proxy) => put_proxy(out, proxy, deeper)?,
    }
    Ok(())
}

fn put_int(out: &mut Vec<u8>, value: i64) {
    if let Ok(small) = u8::try_from(value) {
        out.extend_from_slice(&[b'K', small]);
    } else if let Ok(value) = i32::try_from(value) {
        out.push(b'J');
        out.extend_from_slice(&value.to_le_bytes());
    } else {
        put_long(out, &value.to_le_bytes());
    }
}

fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    if let Ok(len) = u8::try_from(bytes.len()) {
        out.extend_from_slice(&[0x8a, len]);
    } else {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        out.push(0x8b);
        out.extend_from_slice(&len.to_le_bytes());
    }
    out.extend_from_slice(bytes);
}

fn put_str(out: &mut Vec<u8>, text: &str) {
    put_sized(out, [0x8c, b'X', 0x8d], text.as_bytes());
}

/// By the operation for lengths of 1, 4 or 8 bytes.
fn put_sized(out: &mut Vec<u8>, [short, long, huge]: [u8; 3], bytes: &[u8]) {
    if let Ok(len) = u8::try_from(bytes.len()) {
        out.extend_from_slice(&[short, len]);
    } else if let Ok(len) = u32::try_from(bytes.len()) {
        out.push(long);
        out.extend_from_slice(&len.to_le_bytes());
    } else {
        out.push(huge);
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    }
    out.extend_from_slice(bytes);
}

/// A mark, the items, and the operation that takes them.
fn put_items(
    out: &mut Vec<u8>,
    items: &[Dynamic],
    operation: u8,
    depth: usize,
) -> Result<(), PickleError> {
    out.push(b'(');
    for item in items {
        put(out, item, depth)?;
    }
    out.push(operation);
    Ok(())
}

fn put_tuple(out: &mut Vec<u8>, items: &[Dynamic], depth: usize) -> Result<(), PickleError> {
    match items {
        [] => out.push(b')'),
        _ => put_items(out, items, b't', depth)?,
    }
    Ok(())
}

fn put_global(out: &mut Vec<u8>, module: &str, name: &str) {
    put_str(out, module);
    put_str(out, name);
    out.push(0x93);
}

fn put_exception(
    out: &mut Vec<u8>,
    exception: &Exception,
    depth: usize,
) -> Result<(), PickleError> {
    let (module, name) = classes::exception(&exception.class)
        .ok_or_else(|| PickleError::Class(exception.class.clone()))?;
    put_global(out, module, name);
    put_tuple(out, &exception.args, depth)?;
    out.push(b'R');
    Ok(())
}

fn put_token(out: &mut Vec<u8>, token: &Token, depth: usize) -> Result<(), PickleError> {
    put_global(out, MANAGERS, "Token");
    out.extend_from_slice(b")\x81(");
    put_str(out, &token.typeid);
    put(out, &token.address, depth)?;
    put_str(out, &token.id);
    out.extend_from_slice(b"tb");
    Ok(())
}

fn put_proxy(out: &mut Vec<u8>, proxy: &Proxy, depth: usize) -> Result<(), PickleError> {
    if !classes::is_proxy(&proxy.class) {
        return Err(PickleError::Class(proxy.class.clone()));
    }
    put_global(out, MANAGERS, "RebuildProxy");
    out.push(b'(');
    put_global(out, MANAGERS, &proxy.class);
    put_token(out, &proxy.token, depth)?;
    put_str(out, &proxy.serializer);
    out.push(b'}');
    if let Some(exposed) = &proxy.exposed {
        put_str(out, "exposed");
        out.push(b'(');
        for method in exposed {
            put_str(out, method);
        }
        out.extend_from_slice(b"ts");
    }
    out.extend_from_slice(b"tR");
    Ok(())
}
