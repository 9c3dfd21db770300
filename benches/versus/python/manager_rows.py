"""The Python side of the area `manager`: the same work by `multiprocessing.managers`.

It owns what Python's own library takes for each row, written as its users would write it.
Servers and clients are forked, which is the fastest that Python has. `serve.py` has the
conversation; a row answers the nanoseconds of all its operations, and how many of them
went well.
"""

import multiprocessing
import os
import tempfile
import time
from multiprocessing.managers import SyncManager

from serve import serve

FORK = multiprocessing.get_context("fork")
KEYS = 50
KEY = b"abracadabra"

now_ns = time.monotonic_ns


class Echo:
    def more(self, number):
        return number + 1


class Manager(SyncManager):
    pass


Manager.register("Echo", Echo)


def new_manager(by_tcp):
    address = ("127.0.0.1", 0) if by_tcp else None
    manager = Manager(address, KEY, ctx=FORK)
    manager.start()
    return manager


def client(work, objects, begin, ready, results, number, operations):
    calls, lst, queue, value, own = objects
    keys = range(number * KEYS, (number + 1) * KEYS)
    for key in keys:
        calls[key] = key
    len(lst), queue.qsize(), value.set(0), own.more(0)
    ready.release()
    begin.wait()
    began = now_ns()
    good = 0
    if work == "dict_set":
        for n in range(operations):
            calls[keys[n % KEYS]] = n
        good = operations
    elif work == "dict_get":
        for n in range(operations):
            good += calls[keys[n % KEYS]] == keys[n % KEYS]
    elif work == "list_append":
        for n in range(operations):
            lst.append(n)
        good = operations
    elif work == "queue":
        for n in range(operations):
            queue.put(n)
            queue.get()
        good = operations
    elif work == "value_set":
        for n in range(operations):
            value.set(n)
        good = operations
    elif work == "own_call":
        for n in range(operations):
            good += own.more(n) == n + 1
    results.put((began, now_ns(), good))


def calls(work, by_tcp, clients):
    def row(operations):
        with new_manager(by_tcp) as manager:
            objects = (
                manager.dict(),
                manager.list(),
                manager.Queue(),
                manager.Value("L", 0),
                manager.Echo(),
            )
            begin, ready, results = FORK.Event(), FORK.Semaphore(0), FORK.SimpleQueue()
            processes = []
            for number in range(clients):
                share = operations // clients + (number < operations % clients)
                args = (work, objects, begin, ready, results, number, share)
                processes.append(FORK.Process(target=client, args=args))
                processes[-1].start()
            for _ in processes:
                ready.acquire()
            begin.set()
            answers = [results.get() for _ in processes]
            for process in processes:
                process.join()
            took = max(end for _, end, _ in answers) - min(began for began, _, _ in answers)
            return took, sum(good for _, _, good in answers)

    return row


def connect(by_tcp):
    def row(operations):
        with tempfile.TemporaryDirectory() as folder:
            address = ("127.0.0.1", 0) if by_tcp else os.path.join(folder, "socket")
            manager = Manager(address, KEY, ctx=FORK)
            manager.start()
            with manager:
                good = 0
                began = now_ns()
                for _ in range(operations):
                    other = Manager(manager.address, KEY, ctx=FORK)
                    other.connect()
                    good += other._number_of_objects() == 0
                return now_ns() - began, good

    return row


def start(operations):
    took, good = 0, 0
    for _ in range(operations):
        began = now_ns()
        manager = new_manager(False)
        took += now_ns() - began
        good += manager._number_of_objects() == 0
        manager.shutdown()
    return took, good


if __name__ == "__main__":
    rows = {
        "manager_connect": connect(False),
        "manager_tcp_connect": connect(True),
        "manager_start": start,
    }
    for work in ("dict_set", "dict_get", "list_append", "queue", "value_set", "own_call"):
        for name, by_tcp in (("manager_", False), ("manager_tcp_", True)):
            rows[f"{name}{work}"] = calls(work, by_tcp, 1)
            rows[f"{name}{work}_4"] = calls(work, by_tcp, 4)
    serve(rows)
