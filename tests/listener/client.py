"""A client by Python's own multiprocessing.connection: client.py ADDRESS."""
import multiprocessing as mp
import os
import sys
from multiprocessing.connection import Client

KEY = b"supadupasecretkey"


def address(text):
    if text.startswith("@"):
        return "\0" + text[1:]
    if "/" in text:
        return text
    host, port = text.rsplit(":", 1)
    return host, int(port)


VALUE = [1, -2.5, None, True, "ä", b"\x00\xff", (1, 2), {"k": [3]}, {1}, 2**70]


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


def talk(connection):
    connection.send(VALUE)
    back = connection.recv()
    assert back == VALUE and [type(x) for x in back] == [type(x) for x in VALUE], back
    connection.send(("words", [1, 2, 3]))
    assert connection.recv_bytes() == b"raw \x00"
    connection.send_bytes(b"raw back")
    connection.send(Evil())
    connection.close()


if __name__ == "__main__":
    try:
        connection = Client(address(sys.argv[1]), authkey=KEY)
    except mp.AuthenticationError as error:
        print("refused:", error)
        sys.exit()
    talk(connection)
