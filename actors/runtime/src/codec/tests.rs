//! What goes in comes out; descriptors travel beside it.

use super::*;
use std::io::{Read, Write};

#[test]
fn values_come_back() {
    let encoded = encode(&(7u64, "text".to_string(), vec![1i8, -1])).unwrap();
    let back: (u64, String, Vec<i8>) = decode(&encoded.bytes, encoded.fds).unwrap();
    assert_eq!(back, (7, "text".to_string(), vec![1, -1]));
}

#[test]
fn bytes_are_written_as_inside_another_value() {
    let bytes = vec![7u8; 300];
    let alone = encode(&bytes).unwrap();
    let one = encode(&(bytes.clone(),)).unwrap();
    let inside = encode(&(bytes.clone(), ())).unwrap();
    assert_eq!((&alone.bytes, &one.bytes), (&inside.bytes, &inside.bytes));
    assert_eq!(decode::<Vec<u8>>(&alone.bytes, Vec::new()).unwrap(), bytes);
    assert_eq!(decode::<(Vec<u8>,)>(&alone.bytes, Vec::new()).unwrap().0, bytes);
    assert!(decode::<Vec<u8>>(&alone.bytes[..200], Vec::new()).is_err());
}

#[test]
fn bytes_are_written_and_read_where_they_are() {
    let bytes = vec![7u8; 300];
    let whole = encode(&bytes).unwrap().bytes;
    assert_eq!([&head(300).unwrap(), as_bytes(&bytes).unwrap()].concat(), whole);
    assert!(as_bytes(&"text").is_none());
    let copy = |at: usize, count: usize| whole[at..][..count].to_vec();
    assert_eq!(decode_as_bytes::<Vec<u8>>(whole.len(), copy), Some(bytes));
    assert_eq!(decode_as_bytes::<Vec<u8>>(whole.len() - 1, copy), None);
    assert_eq!(decode_as_bytes::<Vec<i8>>(whole.len(), copy), None);
}

#[test]
fn more_bytes_than_there_can_be_are_none() {
    let whole = [head(usize::MAX).unwrap(), vec![7; 300]].concat();
    let copy = |at: usize, count: usize| whole[at..][..count].to_vec();
    assert_eq!(decode_as_bytes::<Vec<u8>>(whole.len(), copy), None);
}

#[test]
fn left_over_bytes_are_an_error() {
    let encoded = encode(&(1u8, 2u8)).unwrap();
    assert!(decode::<u8>(&encoded.bytes, Vec::new()).unwrap_err().why.contains("left over"));
}

#[test]
fn a_descriptor_travels_only_in_a_transfer() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let fd = Fd(writer.into());
    assert!(bincode::serde::encode_to_vec(&fd, CONFIG).is_err());
    let encoded = encode(&("pipe", &fd)).unwrap();
    drop(fd);
    let (name, fd): (String, Fd) = decode(&encoded.bytes, encoded.fds).unwrap();
    assert_eq!(name, "pipe");
    std::fs::File::from(OwnedFd::from(fd)).write_all(b"through").unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "through");
    assert!(!in_transfer());
}

#[test]
fn a_descriptor_that_was_not_sent_is_an_error() {
    let encoded = encode(&3u16).unwrap();
    assert!(decode::<Fd>(&encoded.bytes, Vec::new()).is_err());
}

#[test]
fn no_length_makes_room_for_more_than_some_times_of_what_came() {
    let endless = [0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3];
    bounded(|| {
        assert!(decode::<String>(&endless, Vec::new()).is_err());
        assert!(decode::<Vec<u8>>(&endless, Vec::new()).is_err());
        assert!(decode::<(u64, String)>(&endless, Vec::new()).is_err());
        // What is whole is read, however much more room it takes than bytes.
        for count in [1, 1 << 10, 1 << 16] {
            let numbers = encode(&vec![1u128; count]).unwrap();
            let back: Vec<u128> = decode(&numbers.bytes, Vec::new()).unwrap();
            assert_eq!(back.len(), count);
            let text = encode(&"x".repeat(count)).unwrap();
            assert_eq!(decode::<String>(&text.bytes, Vec::new()).unwrap().len(), count);
        }
    });
    let text = encode(&"text").unwrap();
    assert_eq!(decode::<String>(&text.bytes, Vec::new()).unwrap(), "text");
}
