//! A picture of the Mandelbrot set, rendered to a PNG by a pool of processes, with a bar on a terminal; and the
//! same by rayon's threads, to compare.
//!
//! `cargo run --release --example render -- [FILE] [--size N] [--workers N]`

mod png;

use procession::{Pool, TaskOptions};
use rayon::prelude::*;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Lines that travel together.
const LINES: usize = 8;

struct Options {
    file: PathBuf,
    size: u32,
    workers: usize,
}

impl Options {
    fn from_args() -> Result<Self, Box<dyn std::error::Error>> {
        let file = std::env::temp_dir().join(format!("mandelbrot-{}.png", std::process::id()));
        let mut options = Self { file, size: 800, workers: procession::cpu_count()? };
        let mut args = std::env::args().skip(1);
        while let Some(name) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--size" => options.size = value()?.parse()?,
                "--workers" => options.workers = value()?.parse()?,
                _ => options.file = name.into(),
            }
        }
        Ok(options)
    }
}

/// One line of the picture, a shade of grey for each point.
fn line(y: u32, size: u32) -> Vec<u8> {
    let scale = 3.0 / f64::from(size);
    let im = f64::from(y).mul_add(scale, -1.5);
    (0..size).map(|x| shade(f64::from(x).mul_add(scale, -2.2), im)).collect()
}

/// How soon a point leaves the circle; black when it does not.
fn shade(re: f64, im: f64) -> u8 {
    let (mut x, mut y) = (0.0_f64, 0.0_f64);
    for step in 0..1_000_u32 {
        if x.mul_add(x, y * y) > 4.0 {
            return u8::try_from(255 - step % 256).unwrap_or(0);
        }
        (x, y) = (x.mul_add(x, re) - y * y, (2.0 * x).mul_add(y, im));
    }
    0
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let begun = Instant::now();
    let value = work();
    (begun.elapsed(), value)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Options { file, size, workers } = Options::from_args()?;
    let pool = Pool::new(workers)?;
    let threads = rayon::ThreadPoolBuilder::new().num_threads(workers).build()?;
    let tasks = pool.with(TaskOptions::new().chunksize(LINES).progress());
    let (by_processes, lines) = timed(|| tasks.starmap(line, (0..size).map(|y| (y, size))));
    let lines = lines?;
    let (by_threads, same) =
        timed(|| threads.install(|| (0..size).into_par_iter().map(|y| line(y, size)).collect()));
    let same: Vec<Vec<u8>> = same;
    println!(
        "{size} x {size} points by {workers} processes: {:.0} ms",
        by_processes.as_secs_f64() * 1e3
    );
    println!("by {workers} threads: {:.0} ms", by_threads.as_secs_f64() * 1e3);
    println!("the pictures are equal: {}", lines == same);
    png::write_grey(&file, size, &lines)?;
    println!("{} bytes in a PNG", std::fs::metadata(&file)?.len());
    if file.starts_with(std::env::temp_dir()) {
        std::fs::remove_file(&file)?;
    }
    Ok(())
}
