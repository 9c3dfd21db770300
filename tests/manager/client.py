"""A Python program at a manager of ours: client.py WHAT ADDRESS."""
import os
import pickle
import queue
import sys
import threading
import time
from multiprocessing.connection import Client
from multiprocessing.managers import BaseManager, MakeProxyType, RemoteError, SyncManager

KEY = b"abracadabra"


def address(text):
    if "/" in text:
        return text
    host, port = text.rsplit(":", 1)
    return host, int(port)


AT = address(sys.argv[2])


class Offers(BaseManager):
    pass


for name in ("tasks", "results", "items", "lock", "typed", "nothing"):
    Offers.register(name)
for name in ("pairs", "typed_pairs"):
    Offers.register(name, proxytype=SyncManager._registry["dict"][3])
for name in ("ns", "typed_ns"):
    Offers.register(name, proxytype=SyncManager._registry["Namespace"][3])


def offers():
    manager = Offers(AT, KEY)
    manager.connect()
    return manager


def stock(kind=SyncManager):
    manager = kind(AT, KEY)
    manager.connect()
    # Proxies within values prove themselves with the key of the process.
    import multiprocessing
    multiprocessing.current_process().authkey = KEY
    return manager


def raises(error, call, *args):
    try:
        call(*args)
    except error as raised:
        return raised
    raise AssertionError("%s did not raise" % call)


def containers():
    m = stock()
    d = m.dict({"a": 1}, b=2)
    d[1] = "one"
    assert d[True] == "one" and d[1.0] == "one" and len(d) == 3
    assert d.copy() == {"a": 1, "b": 2, 1: "one"} and list(d) == ["a", "b", 1]
    assert d.get("x", 5) == 5 and d.pop("a") == 1 and "a" not in d
    assert raises(KeyError, lambda: d["gone"]).args == ("gone",)
    d.update([("c", (1, 2))], e=None)
    assert d["c"] == (1, 2) and sorted(map(str, d.keys())) == ["1", "b", "c", "e"]
    assert d.setdefault("f", []) == [] and ("b", 2) in d.items() and 2 in d.values()
    raises(TypeError, d.__getitem__, [])
    iterator = iter(d)
    next(iterator)
    d.clear()
    raises(RuntimeError, next, iterator)

    items = m.list(range(5))
    items.append(7)
    items[1:3] = [9]
    assert items[:] == [0, 9, 3, 4, 7] and items[-1] == 7 and items + [1] == [0, 9, 3, 4, 7, 1]
    items.sort(reverse=True)
    assert str(items) == "[9, 7, 4, 3, 0]" and items * 2 == items[:] * 2
    backwards = reversed(items)
    assert next(backwards) == 0 and list(backwards) == [3, 4, 7, 9]
    items *= 2
    assert len(items) == 10 and items.count(9) == 2 and items.index(7) == 1
    items.extend("ab")
    raises(TypeError, items.sort)
    raises(IndexError, lambda: items[99])
    raises(ValueError, items.remove, "x")
    del items[2:]
    items += [5]
    items.reverse()
    assert items[-(2**70) : 2**70] == items[::] and items[:: -(2**70)] == [9]
    raises(IndexError, lambda: items[2**70])
    assert items._getvalue() == [5, 7, 9] and 5 in items and items.pop(0) == 5
    del items[:]
    items *= 2**62
    assert items[:] == [] and items * 2**62 == [] and 2**62 * items == []

    inner = m.list([1])
    outer = m.list([inner, {"k": inner}])
    del inner
    outer[0].append(2)
    assert outer[1]["k"][:] == [1, 2] and outer[0][1] == 2
    outer[:] = [{m.list([3])}, {(m.list([4]),): 5}]
    ((three,), ((four,),)) = outer[:]
    assert three[:] == [3] and four[:] == [4]
    del three, four, outer[1:]

    n = m.Namespace(x=1)
    n.y = [1, "two"]
    assert n.x == 1 and n.y == [1, "two"] and str(n) == "Namespace(x=1, y=[1, 'two'])"
    del n.x
    raises(AttributeError, lambda: n.x)
    v = m.Value("i", 3)
    v.value += 4
    assert v.value == 7 and v.get() == 7
    a = m.Array("d", [1.5, 2.5])
    a[0] = 9.25
    assert a[:] == [9.25, 2.5] and len(a) == 2
    print(m._number_of_objects(), flush=True)


def in_place(name):
    def method(self, other):
        self._callmethod(name, (other,))
        return self
    return method


IN_PLACE = ("__iand__", "__ior__", "__isub__", "__ixor__")


class SetProxy(MakeProxyType("SetBase", (
    "__and__", "__contains__", "__ge__", "__gt__", *IN_PLACE, "__iter__", "__le__", "__len__",
    "__lt__", "__or__", "__rand__", "__ror__", "__rsub__", "__rxor__", "__sub__", "__xor__",
    "add", "clear", "copy", "difference", "difference_update", "discard", "intersection",
    "intersection_update", "isdisjoint", "issubset", "issuperset", "pop", "remove",
    "symmetric_difference", "symmetric_difference_update", "union", "update",
))):
    """Python's own has it from 3.14 on."""


class DictProxy(MakeProxyType("DictBase", (
    "__getitem__", "__ior__", "__iter__", "__len__", "__or__", "__reversed__", "__ror__", "copy",
))):
    """The same for `|` and `reversed`."""


for name in IN_PLACE:
    setattr(SetProxy, name, in_place(name))
DictProxy.__ior__ = in_place("__ior__")
DictProxy._method_to_typeid_ = {"__iter__": "Iterator", "__reversed__": "Iterator"}


class Modern(SyncManager):
    pass


Modern.register("set", proxytype=SetProxy)
Modern.register("dict", proxytype=DictProxy)


def sets():
    m = stock(Modern)
    s = m.set([1, 2, 2])
    # It is a set over there: each operator by the wire's own method.
    assert s.copy() == {1, 2} and type(s.copy()) is set and len(s) == 2 and 1 in s and 3 not in s
    assert s | {3} == {1, 2, 3} and {3} | s == {1, 2, 3} and s & {2, 3} == {2} == {2, 3} & s
    assert s - {2} == {1} and {2, 3} - s == {3} and s ^ {2, 3} == {1, 3} == {2, 3} ^ s
    assert s < {1, 2, 3} and not s < {1, 2} and s <= {1, 2} and not s <= {1}
    assert s > {1} and not s > {1, 2} and s >= {1, 2} and not s >= {3}
    assert s.isdisjoint([3]) and not s.isdisjoint([2]) and s.isdisjoint([])
    assert s.issuperset([2]) and not s.issuperset([2, 3]) and s.issubset(range(5))
    same = s
    s |= {3}
    assert s is same and set(s) == {1, 2, 3}
    # Over a copy, whatever becomes of the set.
    rest = iter(s)
    first = next(rest)
    assert s.remove(2) is None
    assert {first, *rest} == {1, 2, 3} and list(rest) == []
    s.add(2)
    s &= {2, 3, 4}
    assert s.copy() == {2, 3}
    s ^= {3, 5}
    assert s.copy() == {2, 5}
    s -= {5}
    assert s.copy() == {2}
    assert s.symmetric_difference_update([2, 7]) is None and s.copy() == {7}
    assert s.union([1], (2,)) == {1, 2, 7} and s.difference([7]) == set()
    assert s.add("x") is None and s.discard("gone") is None and s.remove("x") is None
    assert raises(KeyError, s.remove, "x").args == ("x",)
    assert s.pop() == 7
    raises(KeyError, s.pop)
    raises(TypeError, s.add, [])

    d = m.dict([(1, "a"), (2, "b")])
    assert d | {2: "B"} == {1: "a", 2: "B"} and {2: "B", 3: "C"} | d == {1: "a", 2: "b", 3: "C"}
    assert list(d) == [1, 2] and list(reversed(d)) == [2, 1]
    same = d
    d |= {3: "c"}
    assert d is same and d.copy() == {1: "a", 2: "b", 3: "c"}

    # Of anything with items, and of nothing else; the manager lives on.
    assert m.set({1}).copy() == m.set(d.copy().keys() - {2, 3}).copy() == {1} and not len(m.set())
    error = raises(RemoteError, m.set, 1234)
    assert "TypeError" in str(error), error
    raises(RemoteError, m.set, [[]])
    assert m.set("ab").copy() == {"a", "b"} and s.copy() == set()


def kinds():
    """All that the command line serves."""
    class Served(BaseManager):
        pass

    proxies = {name: SyncManager._registry[kind][3] for name, kind in (
        ("pairs", "dict"), ("ns", "Namespace"), ("barrier", "Barrier"), ("event", "Event"),
        ("condition", "Condition"), ("zero", "Value"), ("half", "Value"), ("cells", "Array"),
        ("lock", "Lock"), ("items", "list"))}
    names = ("queue", "joinable", "set", "rlock", "two", "bounded", *proxies)
    for name in names:
        Served.register(name, proxytype=proxies.get(name))
    m = Served(AT, KEY)
    m.connect()
    assert m.queue().get() == "one" and m.queue().empty()
    joinable = m.joinable()
    assert joinable.get() == "task"
    joinable.task_done()
    assert m.pairs().copy() == {} and m.items()[:] == [1] and m.ns().x == 5
    assert len(m.set()) == 1 and m.two().acquire(False) and not m.two().acquire(False)
    assert m.bounded().acquire(False) and m.rlock().acquire(False) and m.lock().acquire(False)
    assert m.zero().value == 0 and m.half().value == 0.5 and m.cells()[:] == [0, 7, 0]
    m.cells()[2] = 9
    barrier, condition, half = m.barrier(), m.condition(), m.half()
    assert barrier.parties == 2
    barrier.wait(30)
    with condition:
        m.event().set()
        condition.notify()
        assert condition.wait_for(lambda: half.value == 1.5, 30)


def waits():
    m = stock()
    q = m.Queue(2)
    q.put(1)
    q.put({"two": 2}, timeout=1)
    assert q.full() and q.qsize() == 2
    raises(queue.Full, q.put_nowait, 3)
    raises(queue.Full, q.put, 3, True, 0.01)
    assert q.get() == 1 and q.get_nowait() == {"two": 2} and q.empty()
    raises(queue.Empty, q.get, True, 0.01)
    late = threading.Timer(0.05, q.put, ("late",))
    late.start()
    assert q.get(timeout=30) == "late"

    raises(ValueError, q.get, True, -1)
    # Each of Python's queues counts what is not done.
    counted = m.Queue()
    counted.put("x")
    done = threading.Thread(target=lambda: (counted.get(), counted.task_done()))
    done.start()
    counted.join()
    done.join()
    raises(ValueError, counted.task_done)

    j = m.JoinableQueue()
    j.put("x")
    j.get()
    j.task_done()
    j.join()
    raises(ValueError, j.task_done)

    lock = m.Lock()
    with lock:
        assert not lock.acquire(False)
        other = []
        thread = threading.Thread(target=lambda: other.append(lock.acquire(True, 0.01)))
        thread.start()
        thread.join()
        assert other == [False]
    raises(RuntimeError, lock.release)
    raises(ValueError, lock.acquire, True, -2)
    raises(ValueError, lock.acquire, False, 1)
    rlock = m.RLock()
    with rlock, rlock:
        pass
    raises(RuntimeError, rlock.release)
    s = m.BoundedSemaphore(1)
    assert s.acquire() and not s.acquire(False) and not s.acquire(True, -1)
    s.release()
    raises(ValueError, s.release)

    c = m.Condition()
    done = []

    def waiter():
        with c:
            done.append(c.wait_for(lambda: bool(done) or done.append("waits"), 30))

    thread = threading.Thread(target=waiter)
    thread.start()
    while not done:
        time.sleep(0.001)
    with c:
        c.notify_all()
    thread.join()
    assert done == ["waits", True], done
    # Python's own proxies have it from 3.14 on.
    assert not c._callmethod("locked")
    with c:
        assert c._callmethod("locked")
    with m.Condition(lock) as held:
        assert held and not lock.acquire(False)

    e = m.Event()
    assert not e.wait(0.01)
    threading.Timer(0.05, e.set).start()
    assert e.wait(30) and e.is_set()
    b = m.Barrier(2)
    places = []
    thread = threading.Thread(target=lambda: places.append(b.wait(30)))
    thread.start()
    places.append(b.wait())
    thread.join()
    assert sorted(places) == [0, 1] and b.parties == 2 and not b.broken
    b.abort()
    raises(threading.BrokenBarrierError, b.wait)
    assert b.broken and b.n_waiting == 0
    b.reset()
    assert not b.broken
    broken = []
    thread = threading.Thread(target=lambda: broken.append(
        raises(threading.BrokenBarrierError, b.wait, 30)))
    thread.start()
    soon = time.monotonic() + 30
    while b.n_waiting == 0:
        assert time.monotonic() < soon
        time.sleep(0.001)
    assert b.n_waiting == 1
    # Who waits finds it broken, and it is new for others.
    b.reset()
    thread.join()
    assert len(broken) == 1 and not b.broken and b.n_waiting == 0


def offered():
    m = offers()
    tasks, results = m.tasks(), m.results()
    for _ in range(10):
        n = tasks.get(timeout=30)
        results.put("%d * %d = %d" % (n, n, n * n))
    d, n, items = m.pairs(), m.ns(), m.items()
    assert d["from rust"] == [1, "two"]
    d["from python"] = {"three": 3}
    assert n.x == 10
    n.y = 2.5
    items.append(("a", 1))
    assert items[:] == [("r", 0), ("a", 1)]
    error = raises(RemoteError, m.typed().get, True, 1)
    assert "only Rust programs read" in str(error), error
    # It is still there.
    assert m.typed().qsize() == 1
    # What cannot be read can be taken out all the same.
    d = m.typed_pairs()
    raises(RemoteError, lambda: d["k"])
    del d["k"]
    assert raises(KeyError, d.__delitem__, "k").args == ("k",) and len(d) == 0
    n = m.typed_ns()
    raises(RemoteError, lambda: n.x)
    del n.x
    raises(AttributeError, n.__delattr__, "x")
    error = raises(RemoteError, m.nothing)
    assert "offers nothing as 'nothing'" in str(error), error


def holds():
    m = offers()
    lock, tasks = m.lock(), m.tasks()
    lock.acquire()
    tasks.get()
    print("ready", flush=True)
    time.sleep(60)


def waits_for_ever():
    tasks = offers().tasks()
    print("ready", flush=True)
    tasks.get()


def crafted():
    class Evil:
        def __reduce__(self):
            return os.system, ("true",)

    def service():
        connection = Client(AT, authkey=KEY)
        connection.send((None, "accept_connection", ("x",), {}))
        assert connection.recv() == ("#RETURN", None)
        return connection

    nested = []
    for _ in range(90):
        nested = [nested]
    deep = b"\x80\x04" + b"]" * 100000 + b"a" * 99999 + b"."
    for message in [
        pickle.dumps((None, "dummy", (Evil(),), {})), b"", b"garbage", deep,
        pickle.dumps("dummy"), pickle.dumps((None, "system", (), {})),
        pickle.dumps((7, "get", (), {})), pickle.dumps((None, "incref", (7,), {})),
    ]:
        connection = Client(AT, authkey=KEY)
        connection.send_bytes(message)
        kind, text = connection.recv()
        assert kind == "#TRACEBACK" and isinstance(text, str), (kind, text)
        raises((EOFError, ConnectionResetError), connection.recv)
    connection = service()
    for ident in ("0", "7f00", ""):
        connection.send((ident, "get", (), {}))
        assert connection.recv()[0] == "#TRACEBACK"
    items = stock().list([nested])
    assert items[0] == nested
    connection.send((items._id, "__class__", (), {}))
    assert "AttributeError" in connection.recv()[1]
    connection.send((items._id, "append", (Evil(),), {}))
    kind, text = connection.recv()
    assert kind == "#TRACEBACK" and "only plain data" in text, text
    raises((EOFError, ConnectionResetError), connection.recv)
    assert len(items) == 1
    # It says more before it has its answer.
    tasks = offers().tasks()
    connection = service()
    connection.send((tasks._id, "get", (), {}))
    connection.send((tasks._id, "get", (), {}))
    raises((EOFError, ConnectionResetError), connection.recv)


def own():
    class Own(BaseManager):
        pass

    Own.register("Maths")
    Own.register("Half")
    m = Own(AT, KEY)
    m.connect()
    maths = m.Maths([0])
    assert maths.add(4, 3) == 7 and maths.mul(7, 8) == 56
    assert maths.note({"k": [1, 2]}) == 2 and maths.note("x") == 3
    assert maths.notes() == [0, {"k": [1, 2]}, "x"]
    assert maths.half(8) == 4
    error = raises(RuntimeError, maths.half, 7)
    assert "odd" in str(error), error
    raises(TypeError, maths.add, 1)
    raises(TypeError, maths.add, "a", 2)
    raises(TypeError, maths.add, 1, 2, 3)
    assert maths.add(b=3, a=4) == 7 and maths.add(4, b=3) == 7
    for by_name in ({"b": 3}, {"a": 4}, {"a": 1, "b": 2, "c": 3}):
        raises(TypeError, lambda: maths.add(**by_name))
    raises(TypeError, lambda: maths.add(1, 2, b=3))
    raises(TypeError, lambda: maths.add(1, a=3))
    raises(AttributeError, lambda: maths.gone)
    half = m.Half()
    assert half.add(1, 2) == 3
    raises(AttributeError, lambda: half.mul)
    error = raises(RemoteError, half._callmethod, "mul", (1, 2))
    assert "AttributeError" in str(error), error
    error = raises(RuntimeError, maths.fail)
    assert "panic" in str(error), error


class Meeting(BaseManager):
    pass


for name in ("get_queue", "Foo1", "Foo2", "operator"):
    Meeting.register(name)
Meeting.register("barrier", proxytype=SyncManager._registry["Barrier"][3])


def meeting():
    manager = Meeting(AT, KEY)
    manager.connect()
    return manager


def puts_hello():
    meeting().get_queue().put("hello")


def gets():
    print(meeting().get_queue().get(timeout=30))


def faces():
    m = meeting()
    f1 = m.Foo1()
    f1.f()
    f1.g()
    assert not hasattr(f1, "_h") and sorted(f1._exposed_) == ["f", "g"]
    f2 = m.Foo2()
    f2.g()
    f2._h()
    assert not hasattr(f2, "f") and sorted(f2._exposed_) == ["_h", "g"]
    # Whose action is code that is not Python's.
    raises(threading.BrokenBarrierError, m.barrier().wait)
    op = m.operator()
    print("op.add(23, 45) =", op.add(23, 45))
    print("op.pow(2, 94) =", op.pow(2, 94))
    print("op._exposed_ =", op._exposed_)


def modern():
    """As Python 3.12 and later prove the key, whatever this one does."""
    import hmac
    from multiprocessing import AuthenticationError, connection as module

    def answer(connection, authkey):
        message = connection.recv_bytes(256)
        assert message.startswith(b"#CHALLENGE#{sha256}"), message
        message = message[len(b"#CHALLENGE#"):]
        connection.send_bytes(b"{sha256}" + hmac.new(authkey, message, "sha256").digest())
        if connection.recv_bytes(256) != b"#WELCOME#":
            raise AuthenticationError("digest sent was rejected")

    def deliver(connection, authkey):
        message = b"{sha256}" + os.urandom(40)
        connection.send_bytes(b"#CHALLENGE#" + message)
        right = b"{sha256}" + hmac.new(authkey, message, "sha256").digest()
        if not hmac.compare_digest(connection.recv_bytes(256), right):
            connection.send_bytes(b"#FAILURE#")
            raise AuthenticationError("digest received was wrong")
        connection.send_bytes(b"#WELCOME#")

    module.answer_challenge, module.deliver_challenge = answer, deliver
    m = stock()
    d, q = m.dict(), m.Queue()
    d["k"] = [1, 2]
    q.put(d["k"])
    assert q.get() == [1, 2] and len(d) == 1


def chain():
    m = stock()
    last = m.list()
    for _ in range(300):
        last = m.list([last])
    print(m._number_of_objects())


def shutdown():
    connection = Client(AT, authkey=KEY)
    connection.send((None, "shutdown", (), {}))
    assert [connection.recv(), connection.recv()] == [("#RETURN", None)] * 2


if __name__ == "__main__":
    globals()[sys.argv[1]]()
