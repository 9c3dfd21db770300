"""Python's answer_challenge and deliver_challenge on the socket that is its stdin."""
import os
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge

KEY = b"supadupasecretkey"

connection = Connection(os.dup(0))
answer_challenge(connection, KEY)
deliver_challenge(connection, KEY)
