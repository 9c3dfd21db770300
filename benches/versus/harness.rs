//! Rows, sides and rounds: how a figure comes about.
//!
//! Owns the types of the comparison and the loop of a session: for each row, the
//! rounds of the three sides one after another (ours, python, raw, ours, ...), so
//! that whatever else the machine does meets all three alike; each side's figure
//! is the median of its rounds. It must never print a table, nor know what a row
//! does. A session tells its progress and its results on standard output, one
//! line each, tab-separated: `at`, `failed`, `row`.
//! Neighbours: `main` above reads those lines; `process`, `python` and `raw`
//! below are the sides.

use std::fmt;
use std::str::FromStr;

pub(crate) type Error = Box<dyn std::error::Error>;

/// A field of the comparison: its rows, and how to open the three sides.
pub(crate) struct Area {
    pub(crate) name: &'static str,
    pub(crate) rows: &'static [Row],
    pub(crate) open: fn() -> Result<Sides, Error>,
}

/// One line of the table: a piece of work that each side does in its own way.
pub(crate) struct Row {
    /// Short, stable, `snake_case`: others quote it.
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) better: Better,
    pub(crate) rounds: u32,
    pub(crate) ours: Share,
    pub(crate) python: Share,
    pub(crate) raw: Share,
    /// What the operations must add up to, or the answer is wrong.
    pub(crate) expected: fn(operations: u64) -> u64,
    pub(crate) targets: &'static [Target],
    /// Where the targets hold.
    pub(crate) judged: &'static [Mode],
}

/// How much of a row one side does.
pub(crate) struct Share {
    /// Operations in each round of a full run.
    pub(crate) full: u64,
    /// Operations in each round of a quick run; 0 leaves the side out.
    pub(crate) quick: u64,
    /// Takes part in every n-th round only, where a round takes seconds.
    pub(crate) every: u32,
}

impl Share {
    pub(crate) const fn new(full: u64, quick: u64) -> Self {
        Self { full, quick, every: 1 }
    }

    pub(crate) const fn every(self, rounds: u32) -> Self {
        Self { every: rounds, ..self }
    }
}

/// What a figure is given in, and with it what the sides answer. A cost and a rate
/// are both answered as the nanoseconds of all operations together.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    /// Nanoseconds per operation.
    Ns,
    /// Microseconds per operation.
    Us,
    /// Thousand operations per second.
    KPerS,
    /// Million operations per second.
    MPerS,
    /// Gibibytes per second, of so many bytes each operation.
    GibPerS(u64),
    /// Million turns per second; operations are the milliseconds of a window, and the
    /// sides answer how many turns they took in it.
    TurnsMPerS,
    /// A part of one; the sides answer in millionths.
    Part,
    /// Mebibytes; the sides answer in kibibytes.
    Mib,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ns => "ns",
            Self::Us => "us",
            Self::KPerS => "k/s",
            Self::MPerS | Self::TurnsMPerS => "M/s",
            Self::GibPerS(_) => "GiB/s",
            Self::Part => "part",
            Self::Mib => "MiB",
        }
    }

    /// From what a side answered to the figure of one operation.
    #[expect(clippy::cast_precision_loss, reason = "sums stay far below 2^53")]
    fn figure(self, answer: &Answer, operations: u64) -> f64 {
        let (value, operations) = (answer.value as f64, operations as f64);
        match self {
            Self::Ns => value / operations,
            Self::Us => value / operations / 1e3,
            Self::KPerS => operations / value * 1e6,
            Self::MPerS => operations / value * 1e3,
            Self::GibPerS(bytes) => operations / value * 1e9 * bytes as f64 / (1_u64 << 30) as f64,
            Self::TurnsMPerS => value / (operations * 1e3),
            Self::Part => value / 1e6,
            Self::Mib => value / operations / 1024.0,
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Better {
    Lower,
    Higher,
}

impl Better {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lower => "lower",
            Self::Higher => "higher",
        }
    }
}

/// What the project promised to reach.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// At most so many times the raw cost.
    TimesRaw(f64),
    /// At least so many times the raw rate.
    RateOfRaw(f64),
    /// At least so many times better than Python.
    BeatsPython(f64),
    /// At most this figure, in the row's unit.
    AtMost(f64),
    /// At least this figure, in the row's unit.
    AtLeast(f64),
}

/// The answer of a side to one round: sums over its operations.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) value: u64,
    pub(crate) check: u64,
}

/// One way to do the work.
pub(crate) trait Side {
    /// Does `operations` of the row, or says `None`: it has no counterpart.
    fn round(&mut self, row: &str, operations: u64) -> Result<Option<Answer>, Error>;
}

/// The side that has no counterpart for anything, such as Python without Python.
pub(crate) struct Absent;

impl Side for Absent {
    fn round(&mut self, _row: &str, _operations: u64) -> Result<Option<Answer>, Error> {
        Ok(None)
    }
}

/// The three sides, in the order of their turns.
pub(crate) struct Sides {
    pub(crate) ours: Box<dyn Side>,
    pub(crate) python: Box<dyn Side>,
    pub(crate) raw: Box<dyn Side>,
}

/// How long a run may take.
#[derive(Clone, Copy, Default)]
pub(crate) enum Effort {
    #[default]
    Full,
    /// A smoke run: the answers are checked, the figures mean little.
    Quick,
}

const QUICK_ROUNDS: u32 = 2;

/// On which CPUs a session runs, with everything that it starts.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    Free,
    Pinned,
}

impl Mode {
    pub(crate) const ALL: [Self; 2] = [Self::Free, Self::Pinned];

    /// The name that a row has in lists and in JSON.
    pub(crate) fn label(self, row: &Row) -> String {
        match self {
            Self::Free => row.name.to_string(),
            Self::Pinned => format!("{}_pinned", row.name),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Free => "free",
            Self::Pinned => "pinned",
        })
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let mode = Self::ALL.into_iter().find(|mode| mode.to_string() == name);
        mode.ok_or_else(|| format!("no such mode: {name}"))
    }
}

/// The medians of a row, in its unit; `None` where a side does not exist.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Measured {
    pub(crate) ours: Option<f64>,
    pub(crate) python: Option<f64>,
    pub(crate) raw: Option<f64>,
}

impl Measured {
    fn line(&self, name: &str) -> String {
        let figure =
            |side: Option<f64>| side.map_or_else(|| "-".to_string(), |figure| figure.to_string());
        format!("row\t{name}\t{}\t{}\t{}", figure(self.ours), figure(self.python), figure(self.raw))
    }

    /// The reverse of `line`, without its first word.
    pub(crate) fn parse(line: &str) -> Result<(String, Self), Error> {
        let mut fields = line.split('\t');
        let name = fields.next().unwrap_or_default().to_string();
        let mut figure = || match fields.next() {
            Some("-") => Ok(None),
            Some(figure) => figure.parse().map(Some).map_err(|_| format!("not a figure: {line}")),
            None => Err(format!("a figure is missing: {line}")),
        };
        Ok((name, Self { ours: figure()?, python: figure()?, raw: figure()? }))
    }
}

/// Measures every wanted row. A side that fails or answers wrongly is reported
/// and left out for the rest of its row; the other rows still run.
pub(crate) fn session(
    areas: &[Area],
    wants: &dyn Fn(&Row) -> bool,
    mode: Mode,
    effort: Effort,
) -> Result<(), Error> {
    for area in areas {
        let rows: Vec<_> = area.rows.iter().filter(|row| wants(row)).collect();
        if rows.is_empty() {
            continue;
        }
        let mut sides = (area.open)()?;
        for row in rows {
            let measured = measure(row, &mut sides, mode, effort);
            println!("{}", measured.line(row.name));
        }
    }
    Ok(())
}

fn measure(row: &Row, sides: &mut Sides, mode: Mode, effort: Effort) -> Measured {
    let rounds = match effort {
        Effort::Full => row.rounds,
        Effort::Quick => row.rounds.min(QUICK_ROUNDS),
    };
    let mut turns = [
        Turn::new("ours", &row.ours, sides.ours.as_mut()),
        Turn::new("python", &row.python, sides.python.as_mut()),
        Turn::new("raw", &row.raw, sides.raw.as_mut()),
    ];
    for round in 0..rounds {
        for turn in &mut turns {
            turn.take(row, round, mode, effort);
        }
    }
    let [ours, python, raw] = turns.map(|turn| median(turn.figures));
    Measured { ours, python, raw }
}

/// One side's way through the rounds of one row.
struct Turn<'a> {
    name: &'static str,
    share: &'a Share,
    side: &'a mut dyn Side,
    figures: Vec<f64>,
    over: bool,
}

impl<'a> Turn<'a> {
    fn new(name: &'static str, share: &'a Share, side: &'a mut dyn Side) -> Self {
        Self { name, share, side, figures: Vec::new(), over: false }
    }

    fn take(&mut self, row: &Row, round: u32, mode: Mode, effort: Effort) {
        let operations = match effort {
            Effort::Full => self.share.full,
            Effort::Quick => self.share.quick,
        };
        if self.over || operations == 0 || !round.is_multiple_of(self.share.every) {
            return;
        }
        println!("at\t{} of {}", self.name, mode.label(row));
        // The first round starts a zygote or a forkserver, and fills caches, so
        // one operation goes uncounted; where that takes seconds it is left out.
        if round == 0 && self.share.every == 1 {
            self.work(row, 1);
        }
        let figure = self.work(row, operations);
        self.figures.extend(figure);
    }

    fn work(&mut self, row: &Row, operations: u64) -> Option<f64> {
        if self.over {
            return None;
        }
        let expected = (row.expected)(operations);
        let failure = match self.side.round(row.name, operations) {
            Ok(Some(answer)) if answer.check == expected => {
                return Some(row.unit.figure(&answer, operations));
            }
            Ok(Some(answer)) => format!("answered {}, not {expected}", answer.check),
            Ok(None) => {
                self.over = true;
                return None;
            }
            Err(error) => error.to_string().replace(['\n', '\t'], " "),
        };
        println!("failed\t{} of {}: {failure}", self.name, row.name);
        // A figure beside a wrong answer would be read as a result.
        self.figures.clear();
        self.over = true;
        None
    }
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 {
        figures.get(middle).copied()
    } else {
        Some(f64::midpoint(*figures.get(middle.checked_sub(1)?)?, *figures.get(middle)?))
    }
}
