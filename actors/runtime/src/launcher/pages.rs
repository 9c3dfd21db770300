//! Page tables that a zygote's copies inherit.
//!
//! Owns one trick. A copy of a process gets the page table entries of a mapping only where
//! that mapping has a page of the process's own; pages of a mapped file without such a page
//! are left out, and the copy takes a fault for each of them that it touches (some forty for
//! program and libraries, which is a third of a worker's start). So the zygote gives each
//! mapping of a file one page of its own, with the same bytes, and its copies find
//! everything where it has it. Where the system refuses that, they are only slower. It must
//! never change a byte. Neighbour: `zygote` calls it, once.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Makes it so that copies of this process inherit what it has mapped of files.
pub(super) fn share_with_copies() -> io::Result<()> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let program = std::fs::read_link("/proc/self/exe")?;
    let program = program.to_string_lossy();
    // Writing this way is not stopped by a mapping that cannot be written to, and leaves
    // the file alone: the page is copied first.
    let memory = File::options().read(true).write(true).open("/proc/self/mem")?;
    for start in maps.lines().filter_map(|line| worth_it(line, &program)) {
        let mut byte = [0];
        memory.read_exact_at(&mut byte, start)?;
        memory.write_all_at(&byte, start)?;
    }
    Ok(())
}

/// Where a private mapping of a file starts that copies should inherit: code, and what the
/// program itself reads. Its libraries' tables were read at their loading, and hardly since.
/// Mappings that can be written to have pages of their own already.
fn worth_it(line: &str, program: &str) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace();
    let (range, rights) = (fields.next()?, fields.next()?);
    let inode = fields.nth(2)?;
    let is_file = rights.starts_with("r-") && rights.ends_with('p') && inode != "0";
    let is_wanted = is_file && (rights.contains('x') || line.ends_with(program));
    let start = u64::from_str_radix(range.split('-').next()?, 16).ok()?;
    is_wanted.then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_what_the_program_reads_are_meant() {
        for wanted in [
            "55d0a000-55d0b000 r-xp 00001000 fe:00 1234   /usr/lib/y",
            "55d0a000-55d0b000 r--p 00001000 fe:00 1234   /usr/bin/x",
        ] {
            assert_eq!(worth_it(wanted, "/usr/bin/x"), Some(0x55d0_a000), "{wanted}");
        }
        for other in [
            "55d0a000-55d0b000 r--p 00001000 fe:00 1234   /usr/lib/y",
            "55d0a000-55d0b000 rw-p 00001000 fe:00 1234   /usr/bin/x",
            "55d0a000-55d0b000 r--s 00001000 fe:00 1234   /usr/bin/x",
            "55d0a000-55d0b000 r-xp 00000000 00:00 0      [vdso]",
            "",
        ] {
            assert_eq!(worth_it(other, "/usr/bin/x"), None, "{other}");
        }
    }

    #[test]
    fn nothing_changes() {
        let sum = || {
            let text = share_with_copies as fn() -> io::Result<()> as usize;
            let mut bytes = [0; 4096];
            let start = (text as u64) & !0xFFF;
            File::open("/proc/self/mem").unwrap().read_exact_at(&mut bytes, start).unwrap();
            bytes
        };
        let before = sum();
        share_with_copies().unwrap();
        assert_eq!(sum(), before);
    }
}
