"""The Python side of the area `process`: the same work by `multiprocessing`.

It owns what Python's own library takes for each row, written as its users would
write it and as fast as it allows. It must never time its own interpreter's
start, and never print anything but answers on stdout. VALUE is the sum over the operations:
nanoseconds; KiB for idle_private_mib. `serve.py` has the conversation.
"""

import multiprocessing
import os
import signal
import time
from multiprocessing.connection import wait

from serve import serve

GROUP = 200
ADDEND = 5
MIB = 1 << 20
WAIT_DEADLINE_S = 30
SETTLE_S = 0.001

SPAWN = multiprocessing.get_context("spawn")
FORKSERVER = multiprocessing.get_context("forkserver")

now_ns = time.monotonic_ns


# Bodies of the children. They are module functions because spawn names them.


def noop():
    pass


def give_back(connection, payload):
    connection.send_bytes(bytes([payload[0] ^ 0xFF]) + payload[1:])


def ready_then_pause(connection):
    connection.send_bytes(b"r")
    signal.pause()


def ready_then_leave_when_told(connection):
    connection.send_bytes(b"r")
    connection.recv_bytes()


def add_and_reply(connection):
    total = 0
    while True:
        addend = connection.recv()
        if addend is None:
            return
        total += addend
        connection.send(total)


def add_silently(connection, operations):
    total = 0
    for _ in range(operations):
        total += connection.recv()
    connection.send(total)
    connection.recv()


# Helpers of the rows.


def start(context, body, *arguments):
    """Starts a child that runs `body` on its end of a fresh pipe."""
    ours, theirs = context.Pipe()
    child = context.Process(target=body, args=(theirs, *arguments), daemon=True)
    child.start()
    theirs.close()
    return child, ours


def await_ready(connection):
    if not connection.poll(WAIT_DEADLINE_S) or connection.recv_bytes() != b"r":
        raise RuntimeError("a child did not get ready")


def join(child):
    child.join(WAIT_DEADLINE_S)
    if child.exitcode is None:
        raise RuntimeError("a child did not end")
    return child.exitcode


def end(child, connection):
    child.kill()
    join(child)
    child.close()
    connection.close()


def private_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
        return sum(
            int(line.split()[1])
            for line in rollup
            if line.startswith(("Private_Clean:", "Private_Dirty:"))
        )


# Rows.


def start_noop(context, operations):
    done = 0
    began = now_ns()
    for _ in range(operations):
        child = context.Process(target=noop)
        child.start()
        done += join(child) == 0
    return now_ns() - began, done


def spawn_noop(operations):
    return start_noop(SPAWN, operations)


def forkserver_noop(operations):
    return start_noop(FORKSERVER, operations)


def spawn_1mib(operations):
    payload = bytes((i * 31 + 7) & 0xFF for i in range(MIB))
    expected = bytes([payload[0] ^ 0xFF]) + payload[1:]
    took = done = 0
    for _ in range(operations):
        began = now_ns()
        child, connection = start(SPAWN, give_back, payload)
        result = connection.recv_bytes()
        code = join(child)
        took += now_ns() - began
        connection.close()
        done += code == 0 and result == expected
    return took, done


def start_200(context, operations):
    took = done = 0
    for _ in range(operations):
        began = now_ns()
        group = [start(context, ready_then_leave_when_told) for _ in range(GROUP)]
        for _, connection in group:
            await_ready(connection)
        for _, connection in group:
            connection.send_bytes(b"q")
        for child, connection in group:
            done += join(child) == 0
            connection.close()
        took += now_ns() - began
    return took, done


def start_200_spawn(operations):
    return start_200(SPAWN, operations)


def start_200_forkserver(operations):
    return start_200(FORKSERVER, operations)


def idle_private_mib(operations):
    kib = check = 0
    for _ in range(operations):
        pairs = [start(FORKSERVER, add_and_reply) for _ in range(2)]
        for _, connection in pairs:
            connection.send(ADDEND)
            last = connection.recv()
        check += last
        kib += private_kib(pairs[1][0].pid)
        for child, connection in pairs:
            end(child, connection)
    return kib, check


def death_to_join(operations):
    took = done = 0
    for _ in range(operations):
        child, connection = start(FORKSERVER, ready_then_pause)
        await_ready(connection)
        time.sleep(SETTLE_S)
        began = now_ns()
        child.kill()
        code = join(child)
        took += now_ns() - began
        connection.close()
        done += code == -signal.SIGKILL
    return took, done


def call_blocking(operations):
    child, connection = start(FORKSERVER, add_and_reply)
    total = 0
    send, recv = connection.send, connection.recv
    began = now_ns()
    for _ in range(operations):
        send(ADDEND)
        total = recv()
    took = now_ns() - began
    end(child, connection)
    return took, total


def cast(operations):
    child, connection = start(FORKSERVER, add_silently, operations)
    send = connection.send
    began = now_ns()
    for _ in range(operations):
        send(ADDEND)
    total = connection.recv()
    took = now_ns() - began
    end(child, connection)
    return took, total


def supervisor_restart(operations):
    """Python has no supervisors: this is the loop that its users write."""
    took = done = 0
    child, connection = start(FORKSERVER, ready_then_pause)
    await_ready(connection)
    for _ in range(operations):
        before = child.pid
        began = now_ns()
        os.kill(before, signal.SIGKILL)
        if not wait([child.sentinel], WAIT_DEADLINE_S):
            raise RuntimeError("a death was not noticed")
        join(child)
        child.close()
        connection.close()
        child, connection = start(FORKSERVER, ready_then_pause)
        await_ready(connection)
        took += now_ns() - began
        done += child.pid != before
    end(child, connection)
    return took, done


ROWS = {
    row.__name__: row
    for row in (
        spawn_noop,
        forkserver_noop,
        spawn_1mib,
        start_200_spawn,
        start_200_forkserver,
        idle_private_mib,
        death_to_join,
        call_blocking,
        cast,
        supervisor_restart,
    )
}


if __name__ == "__main__":
    serve(ROWS)
