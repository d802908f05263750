#!/usr/bin/env python3
"""A service that loses no request when another release takes over, with Python's own server.

It takes the socket that is there already, says when it is ready, and when it is asked to end it accepts nobody any
more, finishes what it has begun, and says good-bye on each connection with its last answer.
"""

import os
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# So long a connection may lie idle that a client uses again: longer than clients keep them.
IDLE = 2.5

with open("VERSION") as file:
    VERSION = file.read().strip()

draining = threading.Event()
answering = 0  # How many requests are being answered.
lock = threading.Lock()


def count(one):
    global answering
    with lock:
        answering += one


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # An answer is sent as a whole.

    def do_GET(self):
        count(1)
        try:
            self.answer()
        finally:
            count(-1)

    def answer(self):
        if self.path == "/slow":
            time.sleep(0.8)
        body = f"{VERSION} is here\n".encode()
        self.send_response(200)
        self.send_header("X-Version", VERSION)
        self.send_header("Content-Length", str(len(body)))
        if draining.is_set():
            # The last answer of a connection says so, and the client opens another one.
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    # The threads are waited for below.
    daemon_threads = True
    block_on_close = False


def ready():
    """sd_notify(3): READY=1 to the socket that is named in the environment."""
    name = os.environ.get("NOTIFY_SOCKET")
    if name:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.sendto(b"READY=1", "\0" + name[1:] if name.startswith("@") else name)


def main():
    # The socket is descriptor 3: `LISTEN_FDS` says how many there are. Several processes accept from it: one that
    # was woken may find that another one was faster, and must not wait then.
    server = Server(("", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=3)
    server.socket.setblocking(False)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    ready()
    server.serve_forever(poll_interval=0.05)
    # From here on the next release accepts.
    draining.set()
    server.server_close()
    # Whoever uses an idle connection is still answered, for the last time.
    time.sleep(IDLE)
    # What is still being answered is finished.
    while answering:
        time.sleep(0.02)


main()
