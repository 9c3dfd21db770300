//! The gathering of calls, in every order in which callers, the reader aside, the socket and
//! the peer's death can come.
//!
//! Owns the world: callers with one call each, a stream that may have no room, and the reader
//! aside, which looks, changes the word, writes and waits as the runtime's does. It checks
//! that no call is left unwritten while the reader waits for nothing.

use procession_protocols::manager::{Change, Flow};
use std::collections::HashSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Caller {
    /// It has begun its call beside so many others, and puts it in next.
    Begun(usize),
    /// Its call is in, and it adds it to the word next.
    In(usize),
    /// It is about to call the reader.
    Calls,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Reader {
    Idle,
    Looks,
    /// It has looked, as the reader or as somebody else is, and has taken so many answers.
    Looked(bool, usize),
    Writes(bool),
    /// It waits for answers if it is the reader, for room if not all is written, to be
    /// called, and while the flow is on for a short time only.
    Waits {
        is_reader: bool,
        is_written: bool,
    },
    Ended,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    word: u64,
    callers: Vec<Caller>,
    /// Calls that are in and not written, that the server has, and answers on the stream.
    gathered: usize,
    asked: usize,
    answers: usize,
    reader: Reader,
    is_called: bool,
    is_dead: bool,
}

impl World {
    /// So many calls are with the server already.
    fn new(callers: usize, asked: usize) -> Self {
        Self {
            word: 0,
            callers: vec![Caller::Begun(asked); callers],
            gathered: 0,
            asked,
            answers: 0,
            reader: Reader::Looks,
            is_called: false,
            is_dead: false,
        }
    }

    fn next(&self) -> Vec<Self> {
        let mut next = Vec::new();
        let mut step = |act: &dyn Fn(&mut Self)| {
            let mut world = self.clone();
            act(&mut world);
            next.push(world);
        };
        for at in 0..self.callers.len() {
            match self.callers[at] {
                Caller::Begun(others) => step(&|world| {
                    world.gathered += 1;
                    world.callers[at] = Caller::In(others);
                }),
                Caller::In(others) => step(&|world| {
                    let before = Flow(world.word);
                    world.word += Flow::CALL;
                    let is_carried = before.carries(others);
                    world.callers[at] = if is_carried { Caller::Done } else { Caller::Calls };
                }),
                Caller::Calls => step(&|world| {
                    world.is_called = true;
                    world.callers[at] = Caller::Done;
                }),
                Caller::Done => {}
            }
        }
        if self.asked > 0 && !self.is_dead {
            step(&|world| {
                world.asked -= 1;
                world.answers += 1;
            });
        }
        if !self.is_dead {
            step(&|world| world.is_dead = true);
        }
        match self.reader {
            Reader::Idle if self.is_called => step(&|world| {
                world.is_called = false;
                world.reader = Reader::Looks;
            }),
            Reader::Looks if self.is_dead && self.answers == 0 => {
                step(&|world| world.reader = Reader::Ended);
            }
            Reader::Looks => {
                step(&|world| {
                    let taken = std::mem::take(&mut world.answers);
                    world.reader = Reader::Looked(true, taken);
                });
                // A thread reads.
                step(&|world| world.reader = Reader::Looked(false, 0));
            }
            Reader::Looked(is_reader, taken) => step(&|world| {
                match Flow::looked(is_reader, taken) {
                    Change::Begin => world.word |= Flow::IS_ON,
                    Change::End => world.word &= !Flow::IS_ON,
                    Change::Keep => {}
                }
                world.reader = Reader::Writes(is_reader);
            }),
            Reader::Writes(_) if self.is_dead => step(&|world| world.reader = Reader::Ended),
            Reader::Writes(is_reader) => {
                step(&|world| {
                    world.word &= Flow::IS_ON;
                    world.asked += std::mem::take(&mut world.gathered);
                    world.reader = if is_reader {
                        Reader::Waits { is_reader, is_written: true }
                    } else {
                        Reader::Idle
                    };
                });
                if self.gathered > 0 {
                    // There is no room.
                    step(&|world| {
                        world.word &= Flow::IS_ON;
                        world.reader = Reader::Waits { is_reader, is_written: false };
                    });
                }
            }
            Reader::Waits { is_reader, is_written } => {
                let has_come = is_reader && (self.answers > 0 || self.is_dead);
                if has_come || !is_written {
                    step(&|world| world.reader = Reader::Looks);
                }
                if self.is_called {
                    step(&|world| {
                        world.is_called = false;
                        world.reader = Reader::Looks;
                    });
                }
                if Flow(self.word).is_on() {
                    // Its time is up.
                    step(&|world| {
                        world.word &= !Flow::IS_ON;
                        world.reader = Reader::Looks;
                    });
                }
            }
            Reader::Idle | Reader::Ended => {}
        }
        next
    }

    fn check(&self) {
        // A caller that has not decided yet calls when it has to.
        let decides = |caller: &Caller| matches!(caller, Caller::In(_) | Caller::Calls);
        if self.gathered == 0 || self.is_called || self.callers.iter().any(decides) {
            return;
        }
        let writes = match self.reader {
            Reader::Idle => false,
            Reader::Waits { is_written, .. } => !is_written || Flow(self.word).is_on(),
            Reader::Looks | Reader::Looked(..) | Reader::Writes(_) | Reader::Ended => true,
        };
        assert!(writes, "nobody writes what is gathered: {self:?}");
    }
}

#[test]
fn no_gathered_call_is_left_in_every_order() {
    let mut states = 0;
    for (callers, asked) in [(1, 4), (2, 5), (3, 6)] {
        let (mut seen, mut open) = (HashSet::new(), vec![World::new(callers, asked)]);
        while let Some(world) = open.pop() {
            world.check();
            let next = world.next();
            if next.is_empty() {
                assert!(world.gathered == 0 || world.is_dead, "it is never written: {world:?}");
            }
            open.extend(next.into_iter().filter(|next| seen.insert(next.clone())));
        }
        states += seen.len();
    }
    assert!(states > 100_000, "only {states} states");
}
