"""The Python side of the area `ipc`: the same work by `multiprocessing`.

It owns what Python's own library takes for each row, written as its users would
write it and as fast as it allows. The workers are forked, so that each round starts
in milliseconds; what they do is the same by every start method. It must never time
its own interpreter's start or a worker's. `serve.py` has the conversation.

As on the other sides: a row takes from the first worker's begin to the last one's
end, behind a common gate; a row that is named after a number of workers is a window
of `operations` milliseconds and answers how many turns were taken.
"""

import multiprocessing
import time

from serve import serve

FORK = multiprocessing.get_context("fork")

RECORD = bytes(range(64))
KIB64 = 1 << 16
MIB = 1 << 20
DOUBLES = 1_000_000
DOUBLES_SUM = sum(at % 7 for at in range(DOUBLES))
SECTION_NS = 2_000
SETTLE_S = 0.000_2
GATE_NS = 5_000_000
POLL_S = 0.000_05
BATCH = 64
RATIO_PARTS = 1_000_000
WAIT_DEADLINE_S = 60

now_ns = time.monotonic_ns


# Workers: started together, each says when it began and ended, and what it did.


def work(body, arguments, gate, start, report):
    gate.release()
    while start.value == 0:
        time.sleep(POLL_S)
    time.sleep(max(0, start.value - now_ns()) / 1e9)
    began = now_ns()
    report.send((began, *(body(*arguments) or (0, 0)), now_ns()))


class Workers:
    """Those of one round."""

    def __init__(self, *jobs):
        """A job is a body and its arguments; a body gives a count and a check."""
        gate = FORK.Semaphore(0)
        self.start = FORK.RawValue("q", 0)
        self.children = []
        for body, *arguments in jobs:
            ours, theirs = FORK.Pipe()
            child = FORK.Process(target=work, args=(body, arguments, gate, self.start, theirs))
            child.daemon = True
            child.start()
            theirs.close()
            self.children.append((child, ours))
        for _ in jobs:
            if not gate.acquire(timeout=WAIT_DEADLINE_S):
                raise RuntimeError("a worker did not get ready")

    def run(self):
        """Nanoseconds, counts and checks."""
        self.start.value = now_ns() + GATE_NS
        reports = []
        for child, connection in self.children:
            if not connection.poll(WAIT_DEADLINE_S):
                raise RuntimeError("a worker did not report")
            reports.append(connection.recv())
            child.join(WAIT_DEADLINE_S)
            connection.close()
        began, counts, checks, ended = zip(*reports)
        return max(ended) - min(began), counts, checks


def timed(*jobs):
    took, _, checks = Workers(*jobs).run()
    return took, sum(checks)


def portions(operations, workers):
    return [operations // workers + (w < operations % workers) for w in range(workers)]


def busy():
    end = now_ns() + SECTION_NS
    while now_ns() < end:
        pass


# Pipes.


def send_frames(connection, payload, operations):
    for _ in range(operations):
        connection.send_bytes(payload)


def receive_frames(connection, payload, operations):
    whole = 0
    receive = connection.recv_bytes
    for _ in range(operations):
        frame = receive()
        whole += len(frame) == len(payload) and frame[0] == payload[0]
    return 0, whole


def one_way(operations, size, duplex):
    payload = bytes((i * 31 + 7) & 0xFF for i in range(256)) * (size // 256 or 1)
    payload = payload[:size]
    reader, writer = FORK.Pipe(duplex)
    return timed(
        (send_frames, writer, payload, operations), (receive_frames, reader, payload, operations)
    )


def ask(connection, operations):
    whole = 0
    for _ in range(operations):
        connection.send_bytes(RECORD)
        whole += connection.recv_bytes() == RECORD
    return 0, whole


def echo(connection, operations):
    for _ in range(operations):
        connection.send_bytes(connection.recv_bytes())


def pipe_round_trip(operations):
    left, right = FORK.Pipe()
    return timed((ask, left, operations), (echo, right, operations))


# Queues.


def produce(queue, item, operations):
    put = queue.put
    for _ in range(operations):
        put(item)


def consume(queue, item, operations):
    get = queue.get
    whole = 0
    for _ in range(operations):
        got = get()
        whole += len(got) == len(item) and got[0] == item[0]
    return 0, whole


def queue(operations, pairs, item=RECORD):
    shared = FORK.Queue()
    parts = portions(operations, pairs)
    return timed(
        *((produce, shared, item, part) for part in parts),
        *((consume, shared, item, part) for part in parts),
    )


def answer_by_queues(there, back, operations):
    for _ in range(operations):
        back.put(there.get())


def queue_round_trip(operations):
    """The parent is one of the two, as a user's program has it."""
    there, back = FORK.Queue(), FORK.Queue()
    workers = Workers((answer_by_queues, there, back, operations))
    workers.start.value = now_ns()
    whole = 0
    began = now_ns()
    for _ in range(operations):
        there.put(RECORD)
        whole += back.get() == RECORD
    took = now_ns() - began
    workers.run()
    return took, whole


# Locks and their kin.


def window(body, operations, workers, *arguments):
    """`body(until, ...)` takes turns until then and gives their number."""
    jobs = ((in_window, body, operations, *arguments) for _ in range(workers))
    return Workers(*jobs).run()[1]


def in_window(body, operations, *arguments):
    return body(now_ns() + operations * 1_000_000, *arguments), 0


def sections(until, lock, guarded, section, thought):
    turns = 0
    while now_ns() < until:
        for _ in range(BATCH):
            with lock:
                guarded.value += 1
                if section:
                    busy()
            if thought:
                busy()
        turns += BATCH
    return turns


def contend(operations, workers, section=False, thought=False):
    guarded = FORK.RawValue("q", 0)
    counts = window(sections, operations, workers, FORK.Lock(), guarded, section, thought)
    return sum(counts), int(sum(counts) == guarded.value), counts


def rate(*arguments):
    return contend(*arguments)[:2]


def fairness(*arguments):
    _, check, counts = contend(*arguments)
    return min(counts) * RATIO_PARTS // max(counts), check


def uncontended(lock, operations):
    acquire, release = lock.acquire, lock.release
    turns = 0
    for _ in range(operations):
        acquire()
        turns += 1
        release()
    return 0, turns


def lock_uncontended(operations):
    return timed((uncontended, FORK.Lock(), operations))


def ping_pong(first, own, other, operations):
    if first:
        other.release()
    for turn in range(operations):
        own.acquire()
        if not first or turn + 1 < operations:
            other.release()
    return 0, operations * first


def semaphores(operations, pairs):
    jobs = []
    for _ in range(pairs):
        ping, pong = FORK.Semaphore(0), FORK.Semaphore(0)
        jobs += [(ping_pong, 1, ping, pong, operations), (ping_pong, 0, pong, ping, operations)]
    took, check = timed(*jobs)
    return took, check // pairs


def sleep_and_stamp(wait, waiting, woken, operations):
    took = 0
    for turn in range(operations):
        took += wait(waiting, turn + 1)
        woken.value = turn + 1
    return took, operations


def wake_row(operations, wait, wake):
    """`wait` announces its turn, and gives when it came back, less the stamp of `wake`."""
    waiting, woken, stamp = (FORK.RawValue("q", 0) for _ in range(3))
    jobs = (
        (sleep_and_stamp, lambda *turn: wait(stamp, *turn), waiting, woken, operations),
        (stamp_and_wake, lambda turn: wake(stamp, turn), waiting, woken, operations),
    )
    _, counts, checks = Workers(*jobs).run()
    return counts[0], checks[0]


def stamp_and_wake(wake, waiting, woken, operations):
    for turn in range(1, operations + 1):
        while waiting.value < turn:
            time.sleep(POLL_S)
        time.sleep(SETTLE_S)
        wake(turn)
        while woken.value < turn:
            time.sleep(POLL_S)


def event_wake(operations):
    event = FORK.Event()

    def wait(stamp, waiting, turn):
        waiting.value = turn
        event.wait()
        took = now_ns() - stamp.value
        event.clear()
        return took

    def wake(stamp, _turn):
        stamp.value = now_ns()
        event.set()

    return wake_row(operations, wait, wake)


def condition_wake(operations):
    condition = FORK.Condition(FORK.Lock())

    def wait(stamp, waiting, turn):
        with condition:
            # With the lock held, so that the notice cannot come before the wait.
            waiting.value = turn
            condition.wait()
            return now_ns() - stamp.value

    def wake(stamp, _turn):
        with condition:
            stamp.value = now_ns()
            condition.notify()

    return wake_row(operations, wait, wake)


def meetings(barrier, operations):
    leader = 0
    for _ in range(operations):
        leader += barrier.wait() == 0
    return 0, leader


def barrier(operations, parties):
    shared = FORK.Barrier(parties)
    return timed(*((meetings, shared, operations) for _ in range(parties)))


# Shared memory.


def additions(until, value):
    turns = 0
    while now_ns() < until:
        for _ in range(BATCH):
            with value.get_lock():
                value.value += 1
        turns += BATCH
    return turns


def value_add(operations, workers):
    value = FORK.Value("q", 0)
    counts = window(additions, operations, workers, value)
    return sum(counts), int(sum(counts) == value.value)


def sums(array, operations):
    return 0, sum(sum(array) == DOUBLES_SUM for _ in range(operations))


def array_sum(operations):
    array = FORK.Array("d", [at % 7 for at in range(DOUBLES)])
    return timed((sums, array, operations))


ROWS = {
    "pipe_round_trip": pipe_round_trip,
    "pipe_64b_one_way": lambda operations: one_way(operations, 64, False),
    "pipe_64b_duplex": lambda operations: one_way(operations, 64, True),
    "pipe_64kib": lambda operations: one_way(operations, KIB64, True),
    "pipe_1mib": lambda operations: one_way(operations, MIB, True),
    "queue_1_1": lambda operations: queue(operations, 1),
    "queue_4_4": lambda operations: queue(operations, 4),
    "queue_round_trip": queue_round_trip,
    "queue_1mib": lambda operations: queue(operations, 1, bytes(MIB)),
    "lock_uncontended": lock_uncontended,
    "lock_2_empty": lambda operations: rate(operations, 2),
    "lock_2_empty_fair": lambda operations: fairness(operations, 2),
    "lock_4_empty": lambda operations: rate(operations, 4),
    "lock_4_empty_fair": lambda operations: fairness(operations, 4),
    "lock_2_2us": lambda operations: rate(operations, 2, True),
    "lock_2_2us_fair": lambda operations: fairness(operations, 2, True),
    "lock_4_2us": lambda operations: rate(operations, 4, True),
    "lock_4_2us_fair": lambda operations: fairness(operations, 4, True),
    "lock_2_think": lambda operations: rate(operations, 2, True, True),
    "semaphore_1_pair": lambda operations: semaphores(operations, 1),
    "semaphore_2_pairs": lambda operations: semaphores(operations, 2),
    "event_wake": event_wake,
    "condition_wake": condition_wake,
    "barrier_2": lambda operations: barrier(operations, 2),
    "barrier_4": lambda operations: barrier(operations, 4),
    "value_add_1": lambda operations: value_add(operations, 1),
    "value_add_2": lambda operations: value_add(operations, 2),
    "array_sum": array_sum,
}


if __name__ == "__main__":
    serve(ROWS)
