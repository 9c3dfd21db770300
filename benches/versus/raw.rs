//! The raw side's C program: compiled here, driven as a helper.
//!
//! Owns how a program of `benches/raw/` is compiled, with the C compiler that
//! Rust links with, and started. Small and single-threaded, it does the work with
//! nothing between itself and the system. It must never make a run fail because
//! there is no compiler: what needs the program is then without a raw figure.
//! Neighbours: `helper` drives the program; an area's own raw side sits above.

use std::path::PathBuf;
use std::process::Command;

use crate::harness::Error;
use crate::helper::Helper;

/// Compiles and starts a program, named by its source's path in the repository.
pub(crate) fn open(source: &str) -> Result<Option<Helper>, Error> {
    let source = format!("{}/{source}", env!("CARGO_MANIFEST_DIR"));
    // Runs in parallel must not overwrite each other's program.
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("versus-raw-{}", std::process::id()));
    let compiled = Command::new("cc")
        .args(["-std=gnu11", "-O3", "-s", "-o"])
        .arg(&program)
        .arg(&source)
        .status();
    match compiled {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("cc {source}: {status}").into()),
        Err(error) => {
            eprintln!("versus: cc: {error}; the raw figures that need it are left out");
            return Ok(None);
        }
    }
    let helper = Helper::start(&mut Command::new(&program));
    // The program runs on without its name, and so nothing is left behind.
    std::fs::remove_file(&program)?;
    Ok(Some(helper?))
}
