"""The conversation of a Python side with the bench, the same for every area.

It owns how a script is asked for a row and answers: lines `row operations` come in
on stdin; `ok VALUE CHECK` goes out, where VALUE is in the row's unit and CHECK
proves that the work was done; or `err TEXT`. It ends with stdin. It must never time
anything, nor let anything else write to stdout.
"""

import multiprocessing
import signal
import sys

ROW_DEADLINE_S = 120


def too_late(_signal, _frame):
    raise TimeoutError(f"a row took more than {ROW_DEADLINE_S} s")


def serve(rows):
    signal.signal(signal.SIGALRM, too_late)
    for line in sys.stdin:
        name, operations = line.split()
        try:
            signal.alarm(ROW_DEADLINE_S)
            value, check = rows[name](int(operations))
            print(f"ok {value} {check}", flush=True)
        except Exception as error:  # The harness reports it and goes on.
            print(f"err {type(error).__name__}: {error}", flush=True)
        finally:
            signal.alarm(0)
            for child in multiprocessing.active_children():
                child.kill()
