//! Both handshakes over byte vectors; messages cut, flipped, repeated and sent back.

use super::python::{CHALLENGE, Challenge, FAILURE, WELCOME, answer};
use super::*;

const RANDOM: [u8; 40] = [7; 40];
const OTHER: [u8; 40] = [9; 40];

fn key(text: &str) -> AuthKey {
    AuthKey::new(text).unwrap()
}

fn terms(key_text: &str) -> Terms {
    Terms { key: key(key_text), python: Python::Sha256, seals: true, fingerprint: 0 }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// Lets the two talk; what each side ends with. `meddle` may change what goes over.
fn talk(
    listener: Terms,
    client: Terms,
    mut meddle: impl FnMut(&mut Vec<u8>),
) -> [Option<Result<Session, AuthError>>; 2] {
    let (mut acceptor, first) = Acceptor::new(listener, &RANDOM);
    let mut connector = Connector::new(client, &OTHER);
    let mut ends = [None, None];
    let (mut message, mut to_client) = (Some(first), true);
    while let Some(mut said) = message.take() {
        meddle(&mut said);
        let step = if to_client { connector.hear(&said) } else { acceptor.hear(&said) };
        if let Some(end) = step.end {
            ends[usize::from(to_client)] = Some(end);
        }
        message = step.send;
        to_client = !to_client;
    }
    ends
}

#[test]
fn digests_are_those_of_python() {
    let vectors = [
        ("", "f08c5aa7ef61fc426b5b135fd8a223ae"),
        ("{md5}", "2b30be753d06dcff0a1db3c97c96e7eb"),
        ("{sha256}", "0ed2bf5258efb96604b831848a9212d31f7468b3fc6fc61af1ebe84f08349e47"),
        (
            "{sha384}",
            "6e1f8271304a4881208ccb08e87056add2ffad158e27907b7be42cc522d1a72702ceb7c5aa4ad6f504146d7d5d988f53",
        ),
        ("{sha3_256}", "ea3b8daca21f2fd35aff21a61dec99d454a95c90d61c86ef8729852ba59c5ded"),
        (
            "{sha3_384}",
            "2a30bd714bec3961f46fa88b0c3dfa7352f1231125f2461af11d5e16af11095586c2ce42134b519d4cd47497f02656e8",
        ),
    ];
    for (prefix, mac) in vectors {
        let message = [CHALLENGE, prefix.as_bytes(), b"is-twenty-bytes-long"].concat();
        let (_, answer) = answer(&key("supadupasecretkey"), &message, Python::Md5).unwrap();
        assert_eq!(answer, [prefix.as_bytes(), &hex(mac)].concat(), "{prefix}");
    }
}

#[test]
fn a_challenge_takes_python_s_answers_of_both_kinds() {
    let random: [u8; 40] = std::array::from_fn(|at| u8::try_from(at).unwrap());
    let challenge = Challenge::new(Digest::Sha256, &random);
    assert_eq!(challenge.message().len(), 59);
    let new = [
        b"{sha256}".to_vec(),
        hex("fc57fbe650d6124b98215e7b5d197d5807ad69982d275a9735ea2d56f1fa6989"),
    ]
    .concat();
    let old = hex("8e48d2bb349b4b72b9382999ed5b62eb");
    let check = |answer: &[u8], allowed| challenge.check(&key("secret"), answer, allowed);
    assert_eq!(check(&new, Python::Sha256), Ok(Digest::Sha256));
    assert_eq!(check(&old, Python::Md5), Ok(Digest::Md5));
    assert_eq!(check(&old, Python::Sha256), Err(AuthError::NotAllowed(Digest::Md5)));
    assert_eq!(check(&new, Python::Off), Err(AuthError::NotAllowed(Digest::Sha256)));
    assert_eq!(check(b"something bogus", Python::Md5), Err(AuthError::WrongDigest));
    assert_eq!(check(b"", Python::Md5), Err(AuthError::WrongDigest));
    for cut in 0..new.len() {
        assert!(check(&new[..cut], Python::Md5).is_err(), "{cut}");
    }
    for bit in 0..new.len() * 8 {
        let mut flipped = new.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(check(&flipped, Python::Md5).is_err(), "{bit}");
    }
}

#[test]
fn bad_challenges_are_not_answered() {
    let answered = |message: &[u8], allowed| answer(&key("secret"), message, allowed);
    for bad in [&b"something bogus"[..], CHALLENGE, b"#CHALLENGE#short", b"", WELCOME] {
        assert!(matches!(answered(bad, Python::Md5), Err(AuthError::Protocol(_))), "{bad:?}");
    }
    let unknown = b"#CHALLENGE#{crc32}0123456789012345678901234567890123456789";
    assert!(matches!(answered(unknown, Python::Md5), Err(AuthError::Protocol(_))));
    let old = [CHALLENGE, &[1; 20]].concat();
    assert_eq!(answered(&old, Python::Sha256), Err(AuthError::NotAllowed(Digest::Md5)));
    assert!(answered(&old, Python::Md5).is_ok());
}

#[test]
fn two_of_this_library_come_together_and_seal_what_they_say() {
    let ends = talk(terms("secret"), terms("secret"), |_| {});
    let [Some(Ok(listener)), Some(Ok(client))] = ends else { panic!("{ends:?}") };
    let Session::Native { seal: Some(listener), minor: MINOR, fingerprint: 0 } = listener else {
        panic!("{listener:?}")
    };
    let Session::Native { seal: Some(client), .. } = client else { panic!("{client:?}") };
    let sealed = [&b"message"[..], &client.seal(0, b"message")].concat();
    assert_eq!(listener.open(0, &sealed), Some(7));
    assert_eq!(listener.open(1, &sealed), None, "repeated");
    assert_eq!(client.open(0, &sealed), None, "sent back");
    assert_eq!(listener.open(0, &sealed[..5]), None);
    for bit in 0..sealed.len() * 8 {
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(listener.open(0, &flipped), None, "{bit}");
    }
}

#[test]
fn seals_are_there_when_a_side_wants_them() {
    for (listener, client) in [(true, false), (false, true), (false, false)] {
        let with = |seals| Terms { seals, ..terms("secret") };
        let ends = talk(with(listener), with(client), |_| {});
        for end in ends {
            let Some(Ok(Session::Native { seal, .. })) = end else { panic!("{end:?}") };
            assert_eq!(seal.is_some(), listener || client);
        }
    }
}

#[test]
fn another_key_is_an_error_on_both_sides() {
    let ends = talk(terms("secret"), terms("guess"), |_| {});
    assert_eq!(ends, [Some(Err(AuthError::WrongDigest)), Some(Err(AuthError::Rejected))]);
    assert_eq!(AuthKey::new(""), Err(AuthError::EmptyKey));
    assert!(!format!("{:?}", key("secret")).contains("secret"));
}

#[test]
fn other_types_are_an_error_on_both_sides() {
    let with = |fingerprint| Terms { fingerprint, ..terms("secret") };
    let ends = talk(with(1), with(2), |_| {});
    assert_eq!(ends, [Some(Err(AuthError::Fingerprint)), Some(Err(AuthError::Fingerprint))]);
    for (listener, client) in [(1, 1), (0, 1), (1, 0)] {
        assert!(matches!(talk(with(listener), with(client), |_| {}), [Some(Ok(_)), Some(Ok(_))]));
    }
}

#[test]
fn another_version_is_an_error_on_both_sides() {
    // The major version stands behind the magic, in the challenge and in the answer.
    let ends = talk(terms("secret"), terms("secret"), |message| {
        if message.starts_with(native::ANSWER) {
            message[native::ANSWER.len() + 3] = 2;
        }
    });
    let version = AuthError::Version { ours: MAJOR, theirs: 2 };
    assert_eq!(ends, [Some(Err(version.clone())), Some(Err(AuthError::OtherVersion))]);
    let ends = talk(terms("secret"), terms("secret"), |message| {
        if message.starts_with(CHALLENGE) {
            message[CHALLENGE.len() + 8 + 3] = 2;
        }
    });
    assert_eq!(ends, [None, Some(Err(version))]);
}

/// Whatever is changed, nobody who knows the key believes in the connection but where both
/// said the same.
#[test]
fn every_flipped_bit_and_every_cut_fails() {
    let lengths = {
        let mut lengths = Vec::new();
        talk(terms("secret"), terms("secret"), |message| lengths.push(message.len()));
        lengths
    };
    assert_eq!(lengths.len(), 3);
    for (at, len) in lengths.into_iter().enumerate() {
        for bit in 0..len * 8 {
            let mut seen = 0;
            let ends = talk(terms("secret"), terms("secret"), |message| {
                if seen == at {
                    message[bit / 8] ^= 1 << (bit % 8);
                }
                seen += 1;
            });
            // The client must never be content; the listener is done before its last word.
            assert!(!matches!(ends[1], Some(Ok(_))), "message {at}, bit {bit}: {ends:?}");
            assert!(at == 2 || !matches!(ends[0], Some(Ok(_))), "message {at}, bit {bit}");
        }
        for cut in 0..len {
            let mut seen = 0;
            let ends = talk(terms("secret"), terms("secret"), |message| {
                if seen == at {
                    message.truncate(cut);
                }
                seen += 1;
            });
            assert!(!matches!(ends[1], Some(Ok(_))), "message {at}, cut at {cut}");
        }
    }
}

#[test]
fn what_was_said_before_is_of_no_use_again() {
    let mut said = Vec::new();
    talk(terms("secret"), terms("secret"), |message| said.push(message.clone()));
    // Another handshake: the listener has other random bytes.
    let (mut acceptor, _) = Acceptor::new(terms("secret"), &[8; 40]);
    assert_eq!(acceptor.hear(&said[1]).end, Some(Err(AuthError::WrongDigest)));
    assert!(matches!(acceptor.hear(&said[1]).end, Some(Err(AuthError::Protocol(_)))));
    let mut connector = Connector::new(terms("secret"), &[8; 40]);
    assert!(connector.hear(&said[0]).end.is_none());
    assert_eq!(connector.hear(&said[2]).end, Some(Err(AuthError::WrongDigest)));
    // Its own words sent back to each.
    let (mut acceptor, first) = Acceptor::new(terms("secret"), &RANDOM);
    assert!(matches!(acceptor.hear(&first).end, Some(Err(_))));
    let mut connector = Connector::new(terms("secret"), &OTHER);
    let answer = connector.hear(&said[0]).send.unwrap();
    assert!(matches!(connector.hear(&answer).end, Some(Err(_))));
}

/// Python's side of the handshake, as a client and as a listener, by the words alone.
#[test]
fn python_is_served_in_its_own_words() {
    let secret = key("secret");
    let (mut acceptor, first) = Acceptor::new(terms("secret"), &RANDOM);
    let (_, response) = answer(&secret, &first, Python::Sha256).unwrap();
    assert_eq!(acceptor.hear(&response).send.unwrap(), WELCOME);
    let theirs = Challenge::new(Digest::Sha256, &OTHER);
    let response = acceptor.hear(&theirs.message()).send.unwrap();
    assert_eq!(theirs.check(&secret, &response, Python::Sha256), Ok(Digest::Sha256));
    let end = acceptor.hear(WELCOME).end;
    assert_eq!(end, Some(Ok(Session::Python(Digest::Sha256))));

    let mut connector = Connector::new(terms("secret"), &RANDOM);
    let theirs = Challenge::new(Digest::Sha256, &OTHER);
    let response = connector.hear(&theirs.message()).send.unwrap();
    assert_eq!(theirs.check(&secret, &response, Python::Sha256), Ok(Digest::Sha256));
    let ours = connector.hear(WELCOME).send.unwrap();
    let (_, response) = answer(&secret, &ours, Python::Sha256).unwrap();
    let step = connector.hear(&response);
    assert_eq!(step.send.as_deref(), Some(WELCOME));
    assert_eq!(step.end, Some(Ok(Session::Python(Digest::Sha256))));

    // A listener that says something else than welcome.
    let mut connector = Connector::new(terms("secret"), &RANDOM);
    connector.hear(&theirs.message());
    assert_eq!(connector.hear(b"something bogus").end, Some(Err(AuthError::Rejected)));
    // One that turns the client away at once.
    for (first, why) in
        [(Acceptor::not_this_user(), AuthError::OtherUser), (FAILURE.to_vec(), AuthError::Rejected)]
    {
        let step = Connector::new(terms("secret"), &RANDOM).hear(&first);
        assert_eq!((step.send, step.end), (None, Some(Err(why))));
    }
    // A client that answers nonsense is told so.
    let (mut acceptor, _) = Acceptor::new(terms("secret"), &RANDOM);
    let step = acceptor.hear(b"something bogus");
    assert_eq!(step.send.as_deref(), Some(FAILURE));
    assert_eq!(step.end, Some(Err(AuthError::WrongDigest)));
}

#[test]
fn where_python_is_off_nobody_speaks_its_words() {
    let off = || Terms { python: Python::Off, ..terms("secret") };
    let (mut acceptor, first) = Acceptor::new(off(), &RANDOM);
    let (_, response) = answer(&key("secret"), &first, Python::Sha256).unwrap();
    let step = acceptor.hear(&response);
    assert_eq!(step.send.as_deref(), Some(FAILURE));
    assert_eq!(step.end, Some(Err(AuthError::NotAllowed(Digest::Sha256))));
    let mut connector = Connector::new(off(), &RANDOM);
    let theirs = Challenge::new(Digest::Sha256, &OTHER).message();
    let step = connector.hear(&theirs);
    assert!(step.send.is_none() && matches!(step.end, Some(Err(AuthError::NotAllowed(_)))));
    assert!(matches!(talk(off(), off(), |_| {}), [Some(Ok(_)), Some(Ok(_))]));
}
