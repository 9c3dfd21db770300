//! Our side of the rows about pipes.
//!
//! Owns one-way streams of frames and a round trip, between two children, by bytes as
//! the other sides have them. It must never use what a user does not have.

use std::hint::black_box;

use procession::{Connection, Failure, Pipe};

use super::workers::{Crew, Gate, Report, timed};
use crate::harness::{Answer, Error};

const SMALL_BYTES: usize = 64;

/// Which pipe carries a row.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    OneWay,
    Duplex,
}

/// A payload that is made at run time.
fn payload(bytes: usize) -> Vec<u8> {
    (0..=u8::MAX).map(|byte| byte.wrapping_mul(31).wrapping_add(7)).cycle().take(bytes).collect()
}

fn is_payload(bytes: &[u8], size: usize) -> bool {
    bytes.len() == size && bytes.first() == Some(&7)
}

fn send(gate: Gate, sender: Connection, bytes: usize, frames: u64) -> Result<Report, Failure> {
    let payload = payload(bytes);
    gate.pass(|| {
        for _ in 0..frames {
            sender.send_bytes(black_box(&payload))?;
        }
        Ok((0, 0))
    })
}

fn receive(gate: Gate, receiver: Connection, bytes: usize, frames: u64) -> Result<Report, Failure> {
    let mut buffer = vec![0; bytes];
    gate.pass(|| {
        let mut whole = 0;
        for _ in 0..frames {
            buffer[0] = 0;
            let size = receiver.recv_bytes_into(&mut buffer)?;
            whole += u64::from(is_payload(black_box(&buffer[..size]), bytes));
        }
        Ok((0, whole))
    })
}

pub(super) fn one_way(kind: Kind, bytes: usize, frames: u64) -> Result<Answer, Error> {
    let (receiver, sender) = match kind {
        Kind::OneWay => Pipe::one_way()?,
        Kind::Duplex => Pipe::duplex()?,
    };
    let mut crew = Crew::default();
    crew.add(|context, gate| context.spawn(send, (gate, sender, bytes, frames)))?;
    crew.add(|context, gate| context.spawn(receive, (gate, receiver, bytes, frames)))?;
    Ok(timed(&crew.run()?))
}

fn ask(gate: Gate, end: Connection, operations: u64) -> Result<Report, Failure> {
    let payload = payload(SMALL_BYTES);
    let mut buffer = vec![0; SMALL_BYTES];
    gate.pass(|| {
        let mut whole = 0;
        for _ in 0..operations {
            end.send_bytes(black_box(&payload))?;
            buffer[0] = 0;
            let size = end.recv_bytes_into(&mut buffer)?;
            whole += u64::from(is_payload(black_box(&buffer[..size]), SMALL_BYTES));
        }
        Ok((0, whole))
    })
}

fn echo(gate: Gate, end: Connection, operations: u64) -> Result<Report, Failure> {
    let mut buffer = vec![0; SMALL_BYTES];
    gate.pass(|| {
        for _ in 0..operations {
            let size = end.recv_bytes_into(&mut buffer)?;
            end.send_bytes(&buffer[..size])?;
        }
        Ok((0, 0))
    })
}

pub(super) fn round_trip(operations: u64) -> Result<Answer, Error> {
    let (left, right) = Pipe::duplex()?;
    let mut crew = Crew::default();
    crew.add(|context, gate| context.spawn(ask, (gate, left, operations)))?;
    crew.add(|context, gate| context.spawn(echo, (gate, right, operations)))?;
    Ok(timed(&crew.run()?))
}
