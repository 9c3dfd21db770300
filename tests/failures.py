#!/usr/bin/env python3
"""What Python's multiprocessing does in the cases of docs/failures.md, as a table.

By hand: `python3 tests/failures.py [CASE...]`. Each case is a program of its own in a
session of its own, has a deadline, and is ended with all that it started. It asserts
nothing: what procession does in the same cases is shown by the tests that the page names.
"""

import os
import signal
import subprocess
import sys
import tempfile

DEADLINE_S = 15

COMMON = """
import multiprocessing as mp, os, signal, sys, time
from concurrent.futures import ProcessPoolExecutor
def kill_self(_=None): os.kill(os.getpid(), signal.SIGKILL)
def idle(s): time.sleep(s); return os.getpid()
def lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as f: return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError: return False
def outcome(result, s=3):
    try: return f"returned {result.get(s)!r}"
    except mp.TimeoutError: return f"no result within {s} s"
    except BaseException as e: return f"{type(e).__name__}"
def leave(said):
    print(said, flush=True)
    for child in mp.active_children(): child.kill()
    os._exit(0)
"""

CASES = {
    "F1": ("a pool's worker is killed in a task", """
pool = mp.Pool(2)
leave(outcome(pool.apply_async(kill_self)))
"""),
    "F2": ("an executor's worker is killed in one of 8 calls", """
executor = ProcessPoolExecutor(2)
calls = [executor.submit(idle, 0.2) for _ in range(4)] + [executor.submit(kill_self)]
calls += [executor.submit(idle, 0.2) for _ in range(3)]
ends = []
for call in calls:
    try: call.result(5); ends.append("returned")
    except BaseException as e: ends.append(type(e).__name__)
leave(", ".join(f"{ends.count(end)} {end}" for end in sorted(set(ends))))
"""),
    "F5": ("a writer is killed in the middle of a message", """
reader, writer = mp.Pipe(duplex=False)
def half():
    os.write(writer.fileno(), (1 << 20).to_bytes(4, "big") + b"half")
    kill_self()
p = mp.get_context("fork").Process(target=half); p.start(); p.join()
def late(*_): leave("recv still waits after 3 s, though the writer is dead")
signal.signal(signal.SIGALRM, late); signal.alarm(3)
try: reader.recv(); leave("recv returned")
except EOFError: leave("EOFError")
"""),
    "F6": ("the only writer of a pipe is killed, a sibling of it lives for 3 s", """
reader, writer = mp.Pipe(duplex=False)
fork = mp.get_context("fork")
sibling = fork.Process(target=idle, args=(3,)); sibling.start()
p = fork.Process(target=kill_self); p.start(); writer.close(); p.join()
died = time.monotonic()
try: reader.recv()
except EOFError: leave(f"EOFError {time.monotonic() - died:.1f} s after the death")
"""),
    "F7": ("the parent of three children is killed", """
reader, writer = os.pipe()
if os.fork() == 0:
    ps = [mp.get_context("fork").Process(target=idle, args=(60,)) for _ in range(3)]
    for p in ps: p.start()
    os.write(writer, " ".join(str(p.pid) for p in ps).encode())
    kill_self()
os.wait()
pids = [int(pid) for pid in os.read(reader, 99).split()]
time.sleep(1)
leave(f"{sum(map(lives, pids))} of {len(pids)} children live 1 s later")
"""),
    "F10": ("a result cannot be decoded", """
def fail(): raise ValueError("not here")
class Bad:
    def __reduce__(self): return fail, ()
def bad(): return Bad()
pool = mp.Pool(2)
first = outcome(pool.apply_async(bad))
leave(f"{first}; then a good task: {outcome(pool.apply_async(os.getppid))[:9]}")
"""),
    "F11": ("a task leaves its worker by sys.exit", """
pool = mp.Pool(2)
leave(outcome(pool.apply_async(sys.exit, (3,))))
"""),
    "F12": ("every worker fails in its initializer", """
started = mp.Value("i", 0)
def broken():
    with started: started.value += 1
    os._exit(1)
pool = mp.get_context("fork").Pool(2, broken)
said = outcome(pool.apply_async(os.getpid))
leave(f"{said}; {started.value} workers were started meanwhile")
"""),
}


def run(program):
    """What a program says, or that it had to be ended."""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file, tempfile.TemporaryFile() as out:
        file.write(COMMON + program)
        file.flush()
        child = subprocess.Popen(
            [sys.executable, file.name],
            stdin=subprocess.DEVNULL,
            stdout=out,  # no pipe, which what it started would hold open
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            child.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            return f"ended from outside after {DEADLINE_S} s"
        finally:
            # Its group has all that it started: none of the programs makes another.
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()
        out.seek(0)
        said = out.read().decode()
    return said.strip().splitlines()[-1] if said.strip() else f"ended with {child.returncode}"


def main():
    wanted = sys.argv[1:] or list(CASES)
    if unknown := [name for name in wanted if name not in CASES]:
        sys.exit(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}")
    version = ".".join(map(str, sys.version_info[:3]))
    print(f"| case | what happens | Python {version} |\n|---|---|---|", flush=True)
    for name in wanted:
        what, program = CASES[name]
        print(f"| {name} | {what} | {run(program)} |", flush=True)


if __name__ == "__main__":
    main()
