//! Values as text: what Python's `repr` says.
//!
//! Owns the texts; nothing reads them back.

use super::Dynamic;
use std::fmt::{self, Display, Formatter};

impl Display for Dynamic {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Int(value) => Display::fmt(value, f),
            Self::Big(value) => Display::fmt(value, f),
            Self::Float(value) => float(*value, f),
            Self::Str(text) => quoted(text, f),
            Self::Bytes(bytes) => write!(f, "b'{}'", bytes.escape_ascii()),
            Self::List(items) => row("[", items, "]", f),
            Self::Tuple(items) if items.len() == 1 => row("(", items, ",)", f),
            Self::Tuple(items) => row("(", items, ")", f),
            Self::Dict(entries) => {
                f.write_str("{")?;
                for (at, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{key}: {value}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
            Self::Set(items) if items.is_empty() => f.write_str("set()"),
            Self::Set(items) => row("{", items, "}", f),
            Self::FrozenSet(items) if items.is_empty() => f.write_str("frozenset()"),
            Self::FrozenSet(items) => row("frozenset({", items, "})", f),
            Self::Slice(parts) => row("slice(", &parts[..], ")", f),
            Self::Exception(exception) => {
                let class = exception.class.rsplit('.').next().unwrap_or_default();
                f.write_str(class)?;
                row("(", &exception.args, ")", f)
            }
            Self::Token(token) => {
                write!(
                    f,
                    "Token(typeid='{}', address={}, id='{}')",
                    token.typeid, token.address, token.id
                )
            }
            Self::Proxy(proxy) => {
                write!(
                    f,
                    "<{} object, typeid '{}' at {}>",
                    proxy.class, proxy.token.typeid, proxy.token.id
                )
            }
        }
    }
}

fn row(open: &str, items: &[Dynamic], close: &str, f: &mut Formatter<'_>) -> fmt::Result {
    f.write_str(open)?;
    for (at, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if at == 0 { "" } else { ", " })?;
    }
    f.write_str(close)
}

fn float(value: f64, f: &mut Formatter<'_>) -> fmt::Result {
    if value.is_nan() {
        f.write_str("nan")
    } else if value.is_infinite() {
        f.write_str(if value > 0.0 { "inf" } else { "-inf" })
    } else {
        // Rust's Debug writes whole floats with `.0` and large ones with an exponent.
        write!(f, "{value:?}")
    }
}

/// Double quotes where there are only single ones inside.
fn quoted(text: &str, f: &mut Formatter<'_>) -> fmt::Result {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    write!(f, "{quote}")?;
    for c in text.chars() {
        match c {
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\\' => f.write_str("\\\\")?,
            c if c == quote => write!(f, "\\{c}")?,
            c if c.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    write!(f, "{quote}")
}
