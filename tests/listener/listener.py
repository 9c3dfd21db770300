"""A listener by Python's own multiprocessing.connection: listener.py ADDRESS."""
import multiprocessing as mp
import os
import sys
from multiprocessing.connection import Listener

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from client import KEY, address, talk

with Listener(address(sys.argv[1]), authkey=KEY) as listener:
    at = listener.address
    print(at if isinstance(at, str) else "%s:%s" % at, flush=True)
    talk(listener.accept())
    try:
        listener.accept()
    except mp.AuthenticationError as error:
        print("refused:", error, flush=True)
