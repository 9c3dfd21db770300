//! What goes out on a road.
//!
//! Owns the words that wait for room. Who says something writes it, if there is room, and never
//! waits for the server to read: what finds no room is kept, in order, and the hidden thread
//! writes it. It writes also the calls of tasks that are many, all that have come together. A call is kept while its caller waits, who takes it back if nothing of it has
//! left. Messages to actors have [`LIMIT`] together, and who sends one waits for his part of
//! that. What else is said, nobody waits for: it has [`LIMIT`] too, and a server that lets so
//! much lie is given up. It must never hold a lock while it writes. Neighbours: `far_road` says
//! the words, `far` has the stream.

use super::far::Sole;
use crate::node::hidden;
use crate::sync::lock;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// In bytes.
const LIMIT: usize = 16 * 1024 * 1024;

/// So many bytes of words leave in one write of the hidden thread.
const TOGETHER: usize = 64 * 1024;

/// A thread writes so many words of others behind its own, and leaves the rest.
const OTHERS: usize = 64;

/// Nothing is written any more.
#[derive(Debug)]
pub(super) struct Ended;

/// What leaves on a stream.
pub(super) struct Outbox {
    stream: Arc<dyn Sole>,
    state: Mutex<State>,
    /// For messages.
    room: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    /// In the order in which they were said.
    waiting: BTreeMap<u64, Word>,
    last: u64,
    /// Where the calls among them are, by their numbers.
    calls: HashMap<u64, u64>,
    /// Bytes of those that nobody waits for.
    unawaited: usize,
    /// Somebody writes, who goes on with what waits.
    is_writing: bool,
    is_over: bool,
}

struct Word {
    bytes: Vec<u8>,
    of: Of,
}

enum Of {
    /// The call of this number.
    Call(u64),
    /// A message, with its part of the room, which goes with it.
    Message {
        _room: OwnedSemaphorePermit,
    },
    Nobody,
}

impl State {
    fn push(&mut self, word: Word) {
        self.last += 1;
        match word.of {
            Of::Call(number) => drop(self.calls.insert(number, self.last)),
            Of::Message { .. } => {}
            Of::Nobody => self.unawaited += word.bytes.len(),
        }
        self.waiting.insert(self.last, word);
    }

    /// The next that is to be written; `None` when nobody writes any more.
    fn next(&mut self) -> Option<Word> {
        let next = self.waiting.pop_first().map(|(_, word)| word);
        match &next {
            Some(Word { of: Of::Call(number), .. }) => drop(self.calls.remove(number)),
            Some(Word { of: Of::Message { .. }, .. }) => {}
            Some(Word { of: Of::Nobody, bytes }) => self.unawaited -= bytes.len(),
            None => self.is_writing = false,
        }
        next
    }

    /// The next ones that are to be written together; none when nobody writes any more.
    fn next_words(&mut self) -> Vec<Word> {
        let mut words: Vec<Word> = Vec::new();
        let mut bytes = 0;
        loop {
            let next = self.waiting.first_key_value().map_or(0, |(_, word)| word.bytes.len());
            // A large one can be taken back until it is its turn.
            if !words.is_empty() && (next == 0 || bytes + next > TOGETHER) {
                return words;
            }
            let Some(word) = self.next() else { return words };
            bytes += word.bytes.len();
            words.push(word);
        }
    }
}

impl Outbox {
    pub(super) fn new(stream: Arc<dyn Sole>) -> Arc<Self> {
        let room = Arc::new(Semaphore::new(LIMIT));
        Arc::new(Self { stream, state: Mutex::default(), room })
    }

    /// Says the call of this number.
    pub(super) fn call(self: &Arc<Self>, number: u64, bytes: Vec<u8>) -> Result<(), Ended> {
        self.post(Word { bytes, of: Of::Call(number) })
    }

    /// As [`call`](Self::call), of one of many: they leave together, soon.
    pub(super) fn call_soon(self: &Arc<Self>, number: u64, bytes: Vec<u8>) -> Result<(), Ended> {
        let Ok(handle) = hidden::handle() else { return self.call(number, bytes) };
        {
            let state = &mut *lock(&self.state);
            if state.is_over {
                return Err(Ended);
            }
            state.push(Word { bytes, of: Of::Call(number) });
            if std::mem::replace(&mut state.is_writing, true) {
                return Ok(());
            }
        }
        handle.spawn(self.clone().write_on(Vec::new()));
        Ok(())
    }

    /// Takes a call back. False when some of it has left.
    pub(super) fn take_back(&self, number: u64) -> bool {
        let taken = {
            let state = &mut *lock(&self.state);
            state.calls.remove(&number).and_then(|at| state.waiting.remove(&at))
        };
        taken.is_some()
    }

    /// Says a message to an actor, once there is room for it.
    ///
    /// # Cancel safety
    /// Dropped before it has completed, it says nothing.
    pub(super) async fn message(self: &Arc<Self>, bytes: Vec<u8>) -> Result<(), Ended> {
        let part = u32::try_from(bytes.len().min(LIMIT)).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(part).await.map_err(|_| Ended)?;
        self.post(Word { bytes, of: Of::Message { _room: room } })
    }

    /// Says what nobody waits for.
    pub(super) fn say(self: &Arc<Self>, bytes: Vec<u8>) -> Result<(), Ended> {
        self.post(Word { bytes, of: Of::Nobody })
    }

    fn post(self: &Arc<Self>, word: Word) -> Result<(), Ended> {
        let word = {
            let state = &mut *lock(&self.state);
            if state.is_over {
                return Err(Ended);
            }
            if state.is_writing {
                state.push(word);
                if state.unawaited <= LIMIT {
                    return Ok(());
                }
                None
            } else {
                state.is_writing = true;
                Some(word)
            }
        };
        if let Some(word) = word {
            return self.write(word);
        }
        tracing::warn!(target: "procession", "a manager does not read what it is told");
        self.end();
        self.stream.end();
        Err(Ended)
    }

    /// Writes a word, and others' that came meanwhile, as far as there is room.
    fn write(self: &Arc<Self>, word: Word) -> Result<(), Ended> {
        let mut next = Some(word);
        for _ in 0..OTHERS {
            let Some(word) = next else { return Ok(()) };
            match self.stream.try_send(&word.bytes) {
                Ok(true) => next = lock(&self.state).next(),
                Ok(false) => {
                    next = Some(word);
                    break;
                }
                Err(_) => {
                    self.end();
                    return Err(Ended);
                }
            }
        }
        let Some(word) = next else { return Ok(()) };
        match hidden::handle() {
            Ok(handle) => drop(handle.spawn(self.clone().write_on(vec![word]))),
            Err(_) => self.end(),
        }
        Ok(())
    }

    /// Writes these and what else there is, on the hidden thread.
    async fn write_on(self: Arc<Self>, first: Vec<Word>) {
        let mut words = first;
        loop {
            if words.is_empty() {
                words = lock(&self.state).next_words();
            }
            if words.is_empty() {
                return;
            }
            let messages: Vec<&[u8]> = words.iter().map(|word| &*word.bytes).collect();
            if self.stream.send_all_async(&messages).await.is_err() {
                return self.end();
            }
            words.clear();
            // Others get their turn, and more comes together.
            tokio::task::yield_now().await;
        }
    }

    /// Whoever reads sees the end as well.
    fn end(&self) {
        self.room.close();
        let waiting = {
            let state = &mut *lock(&self.state);
            state.is_over = true;
            state.calls.clear();
            std::mem::take(&mut state.waiting)
        };
        drop(waiting);
    }
}
