"""The Python side of the area `pool`: the same work by `multiprocessing.Pool` and by
`concurrent.futures`.

It owns what Python's own library takes for each row, written as its users would write it.
The workers are forked, which is the fastest that Python has. It must never time its own
interpreter's start. `serve.py` has the conversation; a row answers the nanoseconds of all
its operations, and how many of them went well.
"""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor

from serve import serve

FORK = multiprocessing.get_context("fork")
ITEMS = 1_000_000
MIB = 1 << 20
WORK = 400_000

now_ns = time.monotonic_ns


def square(number):
    return number * number


def echo(data):
    return data


def spin(number):
    value = number
    for _ in range(WORK // 4):
        value = (value * 1_103_515_245 + 12_345) % 2_147_483_648
    return value >= 0


def pool_map_1m(operations):
    took, good = 0, 0
    with FORK.Pool(2) as pool:
        pool.map(square, range(100))
        for _ in range(operations):
            began = now_ns()
            results = pool.map(square, range(ITEMS))
            took += now_ns() - began
            good += results[-1] == (ITEMS - 1) ** 2
    return took, good


def stream(workers):
    def row(operations):
        with FORK.Pool(workers) as pool:
            began = now_ns()
            total = sum(pool.imap_unordered(square, range(operations)))
            took = now_ns() - began
        return took, operations if total == sum(i * i for i in range(operations)) else 0

    return row


def pool_apply(operations):
    with FORK.Pool(2) as pool:
        pool.apply(square, (1,))
        began = now_ns()
        good = sum(pool.apply(square, (i,)) == i * i for i in range(operations))
        return now_ns() - began, good


def pool_apply_1mib(operations):
    data = bytes([7]) * MIB
    with FORK.Pool(2) as pool:
        pool.apply(echo, (data,))
        began = now_ns()
        good = sum(pool.apply(echo, (data,)) == data for _ in range(operations))
        return now_ns() - began, good


def pool_first_result(operations):
    took, good = 0, 0
    for _ in range(operations):
        began = now_ns()
        with FORK.Pool(2) as pool:
            good += pool.apply(square, (5,)) == 25
            took += now_ns() - began
    return took, good


def pool_cpu(operations):
    with FORK.Pool(2) as pool:
        pool.apply(square, (1,))
        began = now_ns()
        good = sum(pool.map(spin, range(operations), 1))
        return now_ns() - began, good


def executor_round_trip(operations):
    with ProcessPoolExecutor(2, mp_context=FORK) as pool:
        pool.submit(square, 1).result()
        began = now_ns()
        good = sum(pool.submit(square, i).result() == i * i for i in range(operations))
        return now_ns() - began, good


def executor_throughput(operations):
    with ProcessPoolExecutor(2, mp_context=FORK) as pool:
        pool.submit(square, 1).result()
        began = now_ns()
        futures = [pool.submit(square, i) for i in range(operations)]
        good = sum(future.result() == i * i for i, future in enumerate(futures))
        return now_ns() - began, good


if __name__ == "__main__":
    serve(
        {
            "pool_map_1m": pool_map_1m,
            "pool_imap_2": stream(2),
            "pool_imap_4": stream(4),
            "pool_apply": pool_apply,
            "pool_apply_1mib": pool_apply_1mib,
            "pool_first_result": pool_first_result,
            "pool_cpu": pool_cpu,
            "executor_round_trip": executor_round_trip,
            "executor_throughput": executor_throughput,
        }
    )
