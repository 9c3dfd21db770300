//! Trials of queues and pipes: producers and consumers are hit.
//!
//! Each keeps a book that outlives it: what was put, and what was got. Checked: nothing
//! comes twice; of what a producer has put nothing is missing but, for each dead consumer,
//! the one item that it had in hand; a single consumer gets each producer's items in order.
//! From a joinable queue nothing is missing at all, what comes twice was in the hand of a
//! dead consumer, and `join` ends.

use crate::board::Board;
use crate::crew::{Crew, FREE, PATIENCE, STOP};
use crate::random::Random;
use crate::world::{Check, Tally, Violation, ensure};
use procession::{Connection, Failure, GetError, JoinableQueue, Pipe, PipeError, Process, Queue};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

/// A producer puts at most so many items, so that a book can hold all.
const MOST_PUT: u64 = 500;
/// There are at most so many producers, one after the other, each with its own number.
const MOST_PRODUCERS: u64 = 20;

/// Who put it, its number in the order of the puts, and a filling that shows damage.
type Item = (u64, u64, Vec<u8>);

/// What carries the items.
#[derive(Clone, Serialize, Deserialize)]
enum Way {
    Queue(Queue<Item>),
    Joinable(JoinableQueue<Item>),
    Pipe(Connection),
}

impl Way {
    fn put(&self, item: Item) -> Result<(), Failure> {
        match self {
            Self::Queue(queue) => queue.put_timeout(item, PATIENCE)?,
            Self::Joinable(queue) => queue.put_timeout(item, PATIENCE)?,
            Self::Pipe(end) => end.send_timeout(&item, PATIENCE)?,
        }
        Ok(())
    }

    /// `None` when there will be no more.
    fn get(&self) -> Result<Option<Item>, Failure> {
        let got = match self {
            Self::Queue(queue) => queue.get_timeout(PATIENCE),
            Self::Joinable(queue) => queue.get_timeout(PATIENCE),
            Self::Pipe(end) => match end.recv_timeout(PATIENCE) {
                Err(PipeError::EndOfFile) => return Ok(None),
                other => return Ok(Some(other?)),
            },
        };
        match got {
            Err(GetError::Shutdown) => Ok(None),
            other => Ok(Some(other?)),
        }
    }
}

/// Of a size that goes through a pipe in one piece: who dies in the midst of a larger one
/// breaks the pipe, and it says so.
fn filling(producer: u64, number: u64) -> Vec<u8> {
    let byte = u8::try_from((producer * 31 + number) % 251).unwrap_or(0);
    let size = if number % 50 == 49 { 30_000 } else { number * 7 % 200 };
    vec![byte; usize::try_from(size).unwrap_or(0)]
}

/// The book's first number is how many were put.
fn produce(
    way: Way,
    board: Board,
    place: usize,
    producer: u64,
    book: Board,
) -> Result<(), Failure> {
    for number in 0..MOST_PUT {
        if board.get(STOP) != 0 {
            break;
        }
        way.put((producer, number, filling(producer, number)))?;
        book.set(0, number + 1);
        board.add(place, 1);
    }
    // Whoever ends before its time cannot be hit.
    while board.get(STOP) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// The book's first number is how many were got, and they follow.
fn consume(way: Way, board: Board, place: usize, book: Board) -> Result<(), Failure> {
    while let Some((producer, number, bytes)) = way.get()? {
        if bytes != filling(producer, number) {
            return Err(Failure::new(format!("item {number} of producer {producer} is damaged")));
        }
        let count = book.get(0) + 1;
        book.set(usize::try_from(count)?, (producer << 32) | number);
        book.set(0, count);
        if let Way::Joinable(queue) = &way {
            queue.task_done()?;
        }
        board.add(place, 1);
    }
    Ok(())
}

/// The two ends that the workers get.
fn ways(random: &mut Random) -> Check<(Way, Way)> {
    let bound = if random.once_in(2) { 0 } else { 1 + random.index(40) };
    Ok(match random.below(3) {
        0 => {
            let queue = Queue::bounded(bound)?;
            (Way::Queue(queue.clone()), Way::Queue(queue))
        }
        1 => {
            let queue = JoinableQueue::bounded(bound)?;
            (Way::Joinable(queue.clone()), Way::Joinable(queue))
        }
        _ => {
            let (receiver, sender) = Pipe::one_way()?;
            (Way::Pipe(sender), Way::Pipe(receiver))
        }
    })
}

pub(crate) fn trial(random: &mut Random) -> Check<Tally> {
    let mut tally = Tally::default();
    let (put, get) = ways(random)?;
    let (put_board, get_board) = (Board::new(FREE)?, Board::new(FREE)?);
    let (put_books, get_books) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
    let put = RefCell::new(Some(put));
    let start_producer = |place: usize| {
        let (book, number) = (Board::new(1)?, put_books.borrow().len() as u64);
        put_books.borrow_mut().push(book.clone());
        let way = put.borrow().clone().ok_or_else(|| Violation("closed too early".into()))?;
        Ok(Process::spawn(produce, (way, put_board.clone(), place, number, book))?)
    };
    let start_consumer = |place: usize| {
        let book = Board::new(1 + usize::try_from(MOST_PUT * MOST_PRODUCERS)?)?;
        get_books.borrow_mut().push(book.clone());
        Ok(Process::spawn(consume, (get.clone(), get_board.clone(), place, book))?)
    };
    let count = 1 + random.index(3);
    let mut consumers = Crew::new(count, &get_board, &start_consumer, &mut tally)?;
    let mut producers = Crew::new(1 + random.index(3), &put_board, &start_producer, &mut tally)?;
    let mut dead_consumers = 0;
    for _ in 0..=random.below(12) {
        random.pause(Duration::from_millis(3));
        let is_consumer = random.once_in(2);
        let crew = if is_consumer { &mut consumers } else { &mut producers };
        if let Some(place) = crew.hit(random, &mut tally)? {
            crew.replace(place, &mut tally)?;
            dead_consumers += u64::from(is_consumer);
        }
    }
    producers.end()?;
    match &get {
        Way::Queue(queue) => queue.shutdown(false)?,
        Way::Joinable(queue) => {
            queue.join_timeout(PATIENCE)?;
            queue.shutdown(false)?;
        }
        // Without a sender the pipe ends.
        Way::Pipe(_) => drop(put.take()),
    }
    consumers.end()?;
    let (put_books, get_books) = (put_books.into_inner(), get_books.into_inner());
    let account = Account::of(&put_books, &get_books)?;
    account.check(matches!(get, Way::Joinable(_)), count, dead_consumers)?;
    Ok(tally)
}

/// What the books say together.
#[derive(Default)]
struct Account {
    missing: u64,
    doubled: u64,
    out_of_order: u64,
}

impl Account {
    fn of(put_books: &[Board], get_books: &[Board]) -> Check<Self> {
        let mut account = Self::default();
        let mut came: HashMap<u64, u64> = HashMap::new();
        for book in get_books {
            let mut last: HashMap<u64, u64> = HashMap::new();
            for at in 1..=usize::try_from(book.get(0))? {
                let item = book.get(at);
                *came.entry(item).or_default() += 1;
                let before = last.insert(item >> 32, item);
                account.out_of_order += u64::from(before.is_some_and(|before| before >= item));
            }
        }
        for (producer, book) in put_books.iter().enumerate() {
            let put = book.get(0);
            let items = (0..put).map(|number| ((producer as u64) << 32) | number);
            account.missing += items.filter(|item| !came.contains_key(item)).count() as u64;
            // One more may have been put, by one who died before it had noted it.
            let most = ((producer as u64) << 32) | put;
            let invented = came.keys().find(|item| *item >> 32 == producer as u64 && **item > most);
            ensure(invented.is_none(), || format!("{invented:?} came, {most} is the last"))?;
        }
        account.doubled = came.values().map(|times| times - 1).sum();
        Ok(account)
    }

    fn check(&self, is_joinable: bool, consumers: usize, dead_consumers: u64) -> Check {
        let Self { missing, doubled, out_of_order } = self;
        let what = || {
            format!(
                "{missing} missing, {doubled} doubled, {out_of_order} out of order; \
                 {dead_consumers} consumers died; joinable: {is_joinable}"
            )
        };
        let (may_miss, may_double) =
            if is_joinable { (0, dead_consumers) } else { (dead_consumers, 0) };
        ensure(*missing <= may_miss && *doubled <= may_double, what)?;
        // One consumer gets all in order. What is lent to several comes to another one, when
        // it is recalled or its consumer is dead, after what that one had in hand.
        ensure(consumers > 1 || dead_consumers > 0 || *out_of_order == 0, what)
    }
}
