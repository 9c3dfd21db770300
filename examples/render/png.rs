//! The least of a PNG file: grey, 8 bits, not compressed (PNG specification, third edition;
//! zlib's stored blocks, RFC 1950 and 1951).
//!
//! Owns the bytes of the file. It must never look at what the picture shows.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Most bytes of a stored block.
const BLOCK: usize = 65_535;

/// Writes lines of `width` points each.
pub(crate) fn write_grey(file: &Path, width: u32, lines: &[Vec<u8>]) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(file)?);
    out.write_all(b"\x89PNG\r\n\x1a\n")?;
    let height = u32::try_from(lines.len()).map_err(io::Error::other)?;
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    // 8 bits, grey, the usual compression, filters and order.
    header.extend([8, 0, 0, 0, 0]);
    chunk(&mut out, *b"IHDR", &header)?;
    // Each line begins with its filter: none.
    let raw: Vec<u8> =
        lines.iter().flat_map(|line| std::iter::once(0).chain(line.iter().copied())).collect();
    let mut data = vec![0x78, 0x01];
    for (at, block) in raw.chunks(BLOCK).enumerate() {
        let is_last = (at + 1) * BLOCK >= raw.len();
        let length = u16::try_from(block.len()).map_err(io::Error::other)?;
        data.push(u8::from(is_last));
        data.extend([length.to_le_bytes(), (!length).to_le_bytes()].concat());
        data.extend(block);
    }
    data.extend(adler(&raw).to_be_bytes());
    chunk(&mut out, *b"IDAT", &data)?;
    chunk(&mut out, *b"IEND", &[])?;
    out.flush()
}

fn chunk(out: &mut impl Write, name: [u8; 4], data: &[u8]) -> io::Result<()> {
    let length = u32::try_from(data.len()).map_err(io::Error::other)?;
    out.write_all(&length.to_be_bytes())?;
    out.write_all(&name)?;
    out.write_all(data)?;
    out.write_all(&crc(name.iter().chain(data)).to_be_bytes())
}

fn crc<'a>(bytes: impl Iterator<Item = &'a u8>) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

fn adler(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    b << 16 | a
}
