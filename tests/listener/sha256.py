"""The handshake of Python 3.12 and later, by hmac and a socket: sha256.py client ADDRESS,
or sha256.py listener."""
import hmac
import os
import socket
import struct
import sys

KEY = b"supadupasecretkey"


def send(stream, body):
    stream.sendall(struct.pack("!i", len(body)) + body)


def exactly(stream, count):
    body = b""
    while len(body) < count:
        piece = stream.recv(count - len(body))
        if not piece:
            raise EOFError
        body += piece
    return body


def receive(stream):
    return exactly(stream, struct.unpack("!i", exactly(stream, 4))[0])


def refused(why):
    print("refused:", why, flush=True)
    sys.exit()


def deliver(stream):
    message = b"{sha256}" + os.urandom(40)
    send(stream, b"#CHALLENGE#" + message)
    response = receive(stream)
    right = b"{sha256}" + hmac.new(KEY, message, "sha256").digest()
    if not hmac.compare_digest(response, right):
        send(stream, b"#FAILURE#")
        refused("digest received was wrong")
    send(stream, b"#WELCOME#")


def answer(stream):
    message = receive(stream)
    assert message.startswith(b"#CHALLENGE#{sha256}"), message
    message = message[len(b"#CHALLENGE#"):]
    assert len(message) >= 20
    send(stream, b"{sha256}" + hmac.new(KEY, message, "sha256").digest())
    if receive(stream) != b"#WELCOME#":
        refused("digest sent was rejected")


if sys.argv[1] == "client":
    host, port = sys.argv[2].rsplit(":", 1)
    stream = socket.create_connection((host, int(port)))
    answer(stream)
    deliver(stream)
else:
    server = socket.create_server(("127.0.0.1", 0))
    print("%s:%d" % server.getsockname(), flush=True)
    stream = server.accept()[0]
    deliver(stream)
    answer(stream)
send(stream, b"hello")
assert receive(stream) == b"welcome"
