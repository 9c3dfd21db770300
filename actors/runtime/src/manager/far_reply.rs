//! How answers go to a client outside the tree.
//!
//! Owns the two ways: an answer that is there when its call has been read is written by the
//! thread that read it, with no other thread between; any other, somebody else's call brings
//! it about, goes to the session's own writer, since who gives it must not wait for this
//! client. Answers to calls that came together leave together, before anything is waited for.
//! It must never hold a lock while it writes. Neighbour: `far_session` reads.

use super::far::{End, Sole, encode};
use super::far_session::Session;
use super::object::Object;
use super::stored::Stored;
use procession_protocols::manager::{Fault, Reply};
use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak, mpsc};

/// An answer on its way to a client.
pub(super) struct Answer {
    /// The client's number of the call.
    pub(super) number: u64,
    pub(super) reply: Reply<Stored>,
    /// What the call took; a refusal has none.
    pub(super) place: Option<Place>,
    /// The object that gives it, if that may have to take it back.
    pub(super) of: Weak<Object>,
}

/// So many bytes of answers are written without waiting for more.
const TOGETHER: usize = 16 * 1024;

/// Answers that leave in one write.
#[derive(Default)]
pub(super) struct Together {
    encoded: Vec<Vec<u8>>,
    bytes: usize,
    /// The client takes no more. What it said before is heard all the same.
    is_over: bool,
}

impl Together {
    /// Whether it is time to write them.
    pub(super) fn are_many(&self) -> bool {
        self.bytes >= TOGETHER
    }

    fn add(&mut self, session: &Arc<Session>, answer: Answer) {
        let Answer { number, reply, place, of } = answer;
        // With the answer the client may send its next call.
        drop(place);
        let answer = (number, reply);
        let end = || End::Server(session.clone());
        let failed = |text| (number, Reply::<Stored>::Fault(Fault::Failed(text)));
        let encoded = encode(end(), &answer).or_else(|text| {
            if let Some(object) = of.upgrade() {
                session.take_back(&object, number);
            }
            encode(end(), &failed(text))
        });
        if let Ok(encoded) = encoded {
            self.bytes += encoded.len();
            self.encoded.push(encoded);
        }
    }

    /// Writes them, if there are any.
    pub(super) fn write(&mut self, stream: &dyn Sole) {
        if !self.encoded.is_empty() && !self.is_over {
            self.is_over = stream.send_all(&self.encoded).is_err();
        }
        self.encoded.clear();
        self.bytes = 0;
    }

    /// Whether nobody takes them.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }
}

/// One of the calls that a client may have under way. Dropped, whether the call was answered
/// or given up, it is another's.
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    /// `None` when so many are taken.
    pub(super) fn take(taken: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let place = Self(taken.clone());
        (taken.fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

thread_local! {
    /// The session whose call this thread carries out just now, and the answers that it has
    /// given to that session.
    static READS: RefCell<Option<(*const Session, Vec<Answer>)>> = const { RefCell::new(None) };
}

/// Gives an answer to the session's client.
pub(super) fn give(session: &Session, out: &mpsc::Sender<Answer>, answer: Answer) {
    let left = READS.with_borrow_mut(|reads| match reads {
        Some((reader, answers)) if std::ptr::eq(*reader, session) => {
            answers.push(answer);
            None
        }
        _ => Some(answer),
    });
    if let Some(answer) = left {
        // An error means that the session has ended.
        let _ = out.send(answer);
    }
}

/// Carries out a call of the session's, and adds the answers that it has at once. False when
/// the session ends.
pub(super) fn carry_out(
    session: &Arc<Session>,
    together: &mut Together,
    act: impl FnOnce() -> bool,
) -> bool {
    READS.set(Some((Arc::as_ptr(session), Vec::new())));
    let goes_on = act();
    let answers = READS.take().map(|(_, answers)| answers);
    answers.into_iter().flatten().for_each(|answer| together.add(session, answer));
    goes_on
}

/// Writes answers until the session has ended and nobody can give one any more.
pub(super) fn write(
    session: &Weak<Session>,
    stream: &Arc<dyn Sole>,
    answers: &mpsc::Receiver<Answer>,
) {
    let mut together = Together::default();
    while let Ok(first) = answers.recv() {
        let Some(session) = session.upgrade() else { return };
        together.add(&session, first);
        while !together.are_many()
            && let Ok(next) = answers.try_recv()
        {
            together.add(&session, next);
        }
        together.write(&**stream);
        if together.is_over() {
            return;
        }
    }
}
