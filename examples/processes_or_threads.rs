//! One program for both kinds of concurrency: only the import differs.

/// The same text stands for processes and for threads.
macro_rules! program {
    ($name:ident, $($import:tt)+) => {
        mod $name {
            use $($import)+::{Pool, Process, Queue};

            fn double(x: u64) -> u64 {
                2 * x
            }

            fn worker(input: Queue<u64>, output: Queue<(u64, u32)>) {
                while let Ok(x) = input.get() {
                    // Whoever made the output may be gone; then nobody wants it.
                    let _ = output.put((double(x), std::process::id()));
                }
            }

            /// The results, and whether they were made in this process.
            pub(super) fn run() -> procession::Result<(Vec<u64>, bool)> {
                let (input, output) = (Queue::new()?, Queue::new()?);
                let p = Process::spawn(worker, (input.clone(), output.clone()))?;
                for x in 1..4 {
                    input.put(x).map_err(|error| procession::Error::Put(error.why))?;
                }
                let mut results = Vec::new();
                let mut is_here = true;
                for _ in 1..4 {
                    let (result, pid) = output.get()?;
                    results.push(result);
                    is_here &= pid == std::process::id();
                }
                input.shutdown(false)?;
                p.join()?;
                results.extend(Pool::new(2)?.map(double, 4..7)?);
                Ok((results, is_here))
            }
        }
    };
}

program!(processes, procession);
program!(threads, procession::dummy);

fn main() -> procession::Result<()> {
    for (name, program) in
        [("processes", processes::run as fn() -> _), ("threads", threads::run as fn() -> _)]
    {
        let (results, is_here) = program()?;
        let place = if is_here { "this process" } else { "another process" };
        println!("{name}: {results:?}, in {place}");
    }
    Ok(())
}
