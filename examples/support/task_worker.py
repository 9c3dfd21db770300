"""The worker of task_master, by Python's own managers: task_worker.py HOST:PORT."""
import queue
import sys
from multiprocessing.managers import BaseManager


class Queues(BaseManager):
    pass


Queues.register("get_task_queue")
Queues.register("get_result_queue")
host, port = sys.argv[1].rsplit(":", 1)
manager = Queues((host, int(port)), b"abc")
manager.connect()
print("worker connected", flush=True)
tasks, results = manager.get_task_queue(), manager.get_result_queue()
while True:
    try:
        n = tasks.get(timeout=0.3)
    except queue.Empty:
        print("task queue is empty", flush=True)
        break
    results.put(f"{n} * {n} = {n * n}")
