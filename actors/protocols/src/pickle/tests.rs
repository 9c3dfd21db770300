//! Pickles that Python made, and some that it would not; written ones come back.

use super::*;
use crate::dynamic::{Dynamic, Exception, Proxy, Token};

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn read_all(bytes: &[u8]) -> Result<Dynamic, PickleError> {
    read(bytes, Limits::default())
}

fn token() -> Token {
    Token {
        typeid: "list".into(),
        address: Box::new(("127.0.0.1", 5000).into()),
        id: "7f00".into(),
    }
}

/// Made by `CPython`'s `pickle.dumps`.
/// As `range(10, 0, -3)` and the like come.
#[test]
fn ranges_are_lists_within_the_budget() {
    let range = |parts: &[u8]| {
        let mut bytes = b"\x80\x02cbuiltins\nrange\n(".to_vec();
        bytes.extend_from_slice(parts);
        bytes.extend_from_slice(b"tR.");
        read(&bytes, Limits::default())
    };
    assert_eq!(range(b"K\x0aK\x00J\xfd\xff\xff\xff").unwrap().to_string(), "[10, 7, 4, 1]");
    assert_eq!(range(b"K\x00K\x03K\x01").unwrap().to_string(), "[0, 1, 2]");
    assert_eq!(range(b"K\x03K\x00K\x01").unwrap().to_string(), "[]");
    assert!(range(b"K\x00K\x03K\x00").is_err());
    let long = b"K\x00\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\x01";
    assert!(matches!(range(long), Err(PickleError::TooLarge(_))));
}

#[test]
fn what_python_writes_is_read() {
    let vectors = [
        ("80049510000000000000005d94284b2a4e8c0568656c6c6f94652e", "[42, None, 'hello']"),
        ("8004951000000000000000284e8c0564756d6d7994297d9474942e", "(None, 'dummy', (), {})"),
        ("8004950e000000000000008c072352455455524e944e86942e", "('#RETURN', None)"),
        (
            "8004954b000000000000008c186d756c746970726f63657373696e672e6d616e6167657273948c05546f\
             6b656e9493942981948c046c697374948c093132372e302e302e31944d881386948c0437663030948794\
             622e",
            "Token(typeid='list', address=('127.0.0.1', 5000), id='7f00')",
        ),
    ];
    for (bytes, text) in vectors {
        assert_eq!(read_all(&hex(bytes)).unwrap().to_string(), text);
    }
    // Protocols 0 and 2 of [1, -2, True, None, 1.5, 'ä\n', b'\xff', {'a'}, 2**70].
    let protocol_0 = b"(lp0\nI1\naI-2\naI01\naNaF1.5\naV\xc3\xa4\\u000a\np1\nac_codecs\nencode\n\
        p2\n(V\xc3\xbf\np3\nVlatin1\np4\ntp5\nRp6\nac__builtin__\nset\np7\n((lp8\nVa\np9\natp10\nRp11\n\
        aL1180591620717411303424L\na.";
    let text = r"[1, -2, True, None, 1.5, 'ä\n', b'\xff', {'a'}, 1180591620717411303424]";
    assert_eq!(read_all(protocol_0).unwrap().to_string(), text);
}

#[test]
fn an_array_is_a_list_of_its_numbers() {
    // array.array('q', [1, -2]) by protocol 4, and with other formats and bytes in it.
    let array = |format: u8, bytes: &[u8]| {
        let front = b"carray\n_array_reconstructor\n(carray\narray\nX\x01\0\0\0qK";
        let len = u8::try_from(bytes.len()).unwrap();
        read_all(&[&front[..], &[format, b'C', len], bytes, b"tR."].concat())
    };
    let python = b"\x80\x04\x95R\0\0\0\0\0\0\0\x8c\x05array\x94\x8c\x14_array_reconstructor\x94\
        \x93\x94(\x8c\x05array\x94\x8c\x05array\x94\x93\x94\x8c\x01q\x94K\x0cC\x10\x01\0\0\0\0\0\0\0\
        \xfe\xff\xff\xff\xff\xff\xff\xff\x94t\x94R\x94.";
    assert_eq!(read_all(python).unwrap(), vec![1, -2].into());
    for (format, bytes, text) in [
        (0, &b"\x01\xff"[..], "[1, 255]"),
        (1, b"\x01\xff", "[1, -1]"),
        (3, b"\x01\xff", "[511]"),
        (4, b"\x01\xff", "[-255]"),
        (6, b"\xff\xff\xff\xff", "[4294967295]"),
        (9, b"\xff\xff\xff\xfe", "[-2]"),
        (10, b"\xff\xff\xff\xff\xff\xff\xff\xff", "[18446744073709551615]"),
        (15, b"\x3f\0\0\0", "[0.5]"),
        (16, b"\0\0\0\0\0\0\xe0\x3f", "[0.5]"),
        (16, b"", "[]"),
    ] {
        assert_eq!(array(format, bytes).unwrap().to_string(), text, "format {format}");
    }
    // As managers send it, which have a rule of their own.
    let sent = read_all(b"carray\narray\n(X\x01\0\0\0hC\x04\x01\0\xfe\xfftR.");
    assert_eq!(sent.unwrap(), vec![1, -2].into());
    let unfit = PickleError::Damaged("a class does not fit its arguments");
    for (format, bytes) in [(18, &b"ab"[..]), (12, b"1234567"), (255, b"")] {
        assert_eq!(array(format, bytes), Err(unfit.clone()), "format {format}");
    }
}

#[test]
fn what_is_written_is_read() {
    let values = [
        ().into(),
        true.into(),
        false.into(),
        Dynamic::from(vec![0, 1, -1, 127, 128, 255, 256, -129, 65_535, 65_536, i64::MIN, i64::MAX]),
        (1i128 << 100).into(),
        Dynamic::integer(&[1; 300]),
        Dynamic::from(vec![0.0, -1.5, f64::INFINITY]),
        "".into(),
        "ä".repeat(1000).into(),
        Dynamic::bytes(vec![7; 300]),
        Dynamic::Tuple(vec![]),
        (1, "a", vec![1, 2]).into(),
        Dynamic::Dict(vec![(1.into(), "1".into()), ((1, 2).into(), ().into())]),
        Dynamic::Set(vec![1.into(), "b".into()]),
        Dynamic::FrozenSet(vec![Dynamic::FrozenSet(vec![])]),
        Dynamic::Slice(Box::new([().into(), 5.into(), ().into()])),
        Exception { class: "_queue.Empty".into(), args: vec![] }.into(),
        Exception { class: "builtins.KeyError".into(), args: vec!["k".into()] }.into(),
        Dynamic::Token(token()),
        Dynamic::Proxy(Box::new(Proxy {
            class: "AutoProxy".into(),
            token: token(),
            serializer: "pickle".into(),
            exposed: Some(vec!["get".into(), "put".into()]),
        })),
    ];
    for value in values {
        let bytes = write(&value).unwrap();
        assert_eq!(read_all(&bytes).unwrap(), value);
        for cut in 0..bytes.len() {
            assert!(read_all(&bytes[..cut]).is_err(), "{value}, cut at {cut}");
        }
        assert_eq!(read_all(&[&bytes[..], b"."].concat()), Err(PickleError::LeftOver(1)));
    }
}

/// As `pickle.dumps(("#RETURN", iter([1, "a"])), 4)` has it, but for memo and frame; it is not read.
#[test]
fn an_iterator_is_written_as_python_does() {
    let bytes = write_iterator("#RETURN", &[1.into(), "a".into()]).unwrap();
    let wanted = b"\x80\x04(\x8c\x07#RETURN\x8c\x08builtins\x8c\x04iter\x93(](K\x01\x8c\x01aetRt.";
    assert_eq!(bytes, wanted);
    assert_eq!(read_all(&bytes), Err(PickleError::Class("builtins.iter".into())));
    let mut deep = Dynamic::None;
    for _ in 0..Limits::default().depth {
        deep = vec![deep].into();
    }
    assert!(matches!(write_iterator("", &[deep]), Err(PickleError::TooDeep(_))));
}

#[test]
fn what_names_code_is_refused_on_both_ways() {
    let class = |name: &str| Err(PickleError::Class(name.into()));
    assert_eq!(read_all(b"cos\nsystem\n(S'id'\ntR."), class("os.system"));
    assert_eq!(read_all(b"c__builtin__\neval\n(V1\ntR."), class("__builtin__.eval"));
    assert_eq!(read_all(b"\x80\x04\x8c\x02os\x8c\x06system\x93."), class("os.system"));
    // Dotted names reach through modules in Python.
    let dotted = b"\x80\x04\x8c\x08builtins\x8c\x0eKeyError.mro.x\x93.";
    assert!(matches!(read_all(dotted), Err(PickleError::Class(_))));
    for operation in [b'P', b'Q', b'i', b'o', 0x82, 0x83, 0x84, 0x92, 0x97, 0x98, b'S', 0xff] {
        let refused = read_all(&[b'N', operation, 0, 0, 0, 0, b'\n', b'\n', b'.']);
        assert_eq!(refused, Err(PickleError::Opcode(operation)));
    }
    // A peer that speaks another format cannot have them written either.
    let system = Exception { class: "os.system".into(), args: vec!["id".into()] };
    assert_eq!(write(&system.into()), Err(PickleError::Class("os.system".into())));
    let proxy =
        Proxy { class: "Popen".into(), token: token(), serializer: "pickle".into(), exposed: None };
    assert_eq!(write(&Dynamic::Proxy(Box::new(proxy))), Err(PickleError::Class("Popen".into())));
}

#[test]
fn neither_depth_nor_size_nor_a_circle_costs_more_than_the_limits() {
    // Nesting of 100,000.
    let deep = [&b"]".repeat(100_000)[..], &b"a".repeat(99_999), b"."].concat();
    assert_eq!(read_all(&deep), Err(PickleError::TooDeep(128)));
    let tuples = [&b")"[..], &b"\x85".repeat(100_000), b"."].concat();
    assert_eq!(read_all(&tuples), Err(PickleError::TooDeep(128)));
    let enough = [&b"]".repeat(128)[..], &b"a".repeat(127), b"."].concat();
    assert!(read_all(&enough).is_ok());
    // A list that holds itself.
    assert_eq!(read_all(b"]\x94h\x00a."), Err(PickleError::TooDeep(128)));
    // Each line doubles what the one before has: 2 to the power of 100.
    let mut bomb = b"]\x94".to_vec();
    for level in 0..100u8 {
        bomb.extend_from_slice(&[b']', 0x94, b'(', b'h', level, b'h', level, b'e']);
    }
    bomb.push(b'.');
    assert_eq!(read_all(&bomb), Err(PickleError::TooLarge(64 << 20)));
    // As many values as fit into a large message.
    let many = [&b"("[..], &b"N".repeat(4 << 20), b"l."].concat();
    assert_eq!(read_all(&many), Err(PickleError::TooLarge(64 << 20)));
    // Lengths beyond the end, and integers beyond reason.
    for bytes in
        [&b"B\xff\xff\xff\xff"[..], b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff", b"\x8c\x05abc"]
    {
        assert_eq!(read_all(bytes), Err(PickleError::Truncated));
    }
    assert_eq!(read_all(b"\x8b\xff\xff\xff\x7f"), Err(PickleError::TooLarge(LONGEST_INT)));
}

#[test]
fn damaged_pickles_are_errors() {
    for bytes in [
        &b"."[..],
        b"",
        b"N",
        b"0.",
        b"1.",
        b"2.",
        b"a.",
        b"Na.",
        b"NNa.",
        b"(a.",
        b"]s.",
        b"}Ns.",
        b"(Nd.",
        b"}(Nu.",
        b"h\x00.",
        b"g5\n.",
        b"gx\n.",
        b"Ix\n.",
        b"Fx\n.",
        b"V\\x\n.",
        b"V\\ud800\n.",
        b"X\x01\x00\x00\x00\xff.",
        b"NNR.",
        b"N)\x81.",
        b"cbuiltins\nset\n.",
        b"cbuiltins\nset\n(NNtR.",
        b"(]]d.",
        b"\x8f(]\x90.",
        b"N(Nb.",
        b"N\x85b.",
        b"(N\x86.",
        b"\x93.",
        b"NN\x93.",
    ] {
        assert!(read_all(bytes).is_err(), "{}", bytes.escape_ascii());
    }
    // Keys that are the same: the last value, at the first's place.
    assert_eq!(
        read_all(b"}(K\x01NK\x02NG\x3f\xf0\x00\x00\x00\x00\x00\x00K\x05u.").unwrap().to_string(),
        "{1: 5, 2: None}"
    );
    assert_eq!(read_all(b"\x8f(K\x01\x88K\x02\x90.").unwrap().to_string(), "{1, 2}");
}
