//! Async calls that come one upon another, gathered so that several go out in one write.
//!
//! Owns the *flow*: while answers come, whoever reads them aside writes what has been gathered
//! each time it looks, so a further call need not wake it. It is one word, which callers and
//! that reader change by single atomic steps; what a step means is said here. It must never
//! know what a call is. Neighbours: `calls` says who reads; the runtime's `channel` does the
//! steps and has the stream.
//!
//! ```text
//!  caller: puts the call in ──> adds CALL ──> carried? ──no──> calls the reader aside
//!  reader: looks ──> changes the word (`looked`) ──> word &= IS_ON, writes ──> waits
//! ```
//!
//! A call is put in before it is added, and the reader changes the word before it writes. So
//! a caller that sees the flow either is written by the very write that follows its end, or
//! by an earlier one. While the flow is on, the reader waits for a short time only, and ends
//! it then.

/// What the word of a flow said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow(pub u64);

/// What the reader does to the word after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Sets [`Flow::IS_ON`].
    Begin,
    /// Takes it away.
    End,
    /// Nothing.
    Keep,
}

impl Flow {
    /// What a gathered call adds. A write takes all calls away.
    pub const CALL: u64 = 2;

    /// Whether answers come.
    pub const IS_ON: u64 = 1;

    /// So many answers at one look are a flow, and so many calls under way are worth
    /// gathering.
    pub const FROM: usize = 4;

    /// Whether answers come.
    pub fn is_on(self) -> bool {
        self.0 & Self::IS_ON != 0
    }

    /// Of the word before a call was added: whether the call will be written without calling
    /// anybody. So many `others` are under way; when half of them are not written yet, too few
    /// answers are left to carry on.
    pub fn carries(self, others: usize) -> bool {
        let gathered = self.0 / Self::CALL + 1;
        self.is_on() && others as u64 >= 2 * gathered
    }

    /// What the reader aside makes of a look at which it took so many answers, if it is the
    /// reader at all.
    pub fn looked(is_reader: bool, taken: usize) -> Change {
        match taken {
            Self::FROM.. => Change::Begin,
            _ if !is_reader => Change::End,
            _ => Change::Keep,
        }
    }
}
