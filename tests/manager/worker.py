"""Python's own managers: worker.py master|worker|stock ADDRESS."""
import queue
import sys
import threading
from multiprocessing.managers import BaseManager, SyncManager

KEY = b"abracadabra"


class Queues(BaseManager):
    pass


def worker(address):
    for name in ("tasks", "results"):
        Queues.register(name)
    host, port = address.rsplit(":", 1)
    manager = Queues((host, int(port)), KEY)
    manager.connect()
    tasks, results = manager.tasks(), manager.results()
    n = tasks.get(timeout=30)
    while True:
        results.put("%d * %d = %d" % (n, n, n * n))
        try:
            n = tasks.get(timeout=0.3)
        except queue.Empty:
            return


def master(address):
    tasks, results = queue.Queue(), queue.Queue()
    Queues.register("tasks", lambda: tasks)
    Queues.register("results", lambda: results)
    Queues.register("Maths", Maths)
    host, port = address.rsplit(":", 1)
    server = Queues((host, int(port)), KEY).get_server()
    print("%s:%d" % server.address, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for n in range(10):
        tasks.put(n)
    lines = [results.get(timeout=30) for _ in range(10)]
    print(lines[-1], flush=True)
    sys.stdin.read()


def stock(address):
    """A server of Python's stock kinds, and of some under names of their own."""
    # The set that Python has since 3.14.
    methods = [name for name in dir(set) if not name.startswith("_")]
    SyncManager.register("set", set, exposed=methods + ["__contains__", "__len__"])
    SyncManager.register("squares", lambda count: (n * n for n in range(count)),
                         exposed=["__next__"])
    SyncManager.register("Maths", Maths)
    tasks = queue.Queue()
    SyncManager.register("get_tasks", lambda: tasks)
    for name in ("first", "second", "third"):
        SyncManager.register(name, lambda lock=threading.Lock(): lock)
    host, _, port = address.rpartition(":")
    server = SyncManager((host, int(port)) if host else address, KEY).get_server()
    print("%s:%d" % server.address if host else address, flush=True)
    server.serve_forever()


class Maths:
    def add(self, a, b):
        return a + b

    def minus(self, a, b=0, *, c=0):
        return a - b - c

    def fail(self):
        raise LookupError("nothing is there", 7)

    def code(self):
        return Maths()


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
