#!/usr/bin/env python3
"""Answers each connection with its version, how many sockets it was given, and the number of its process.

Without any it opens one of its own. What it has accepted it has answered when it ends.
"""

import os
import select
import signal
import socket
import sys
import time

if os.path.exists(os.environ.get("BROKEN", "/nowhere")):
    print("it is broken", file=sys.stderr)
    sys.exit(7)
ending = []
signal.signal(signal.SIGTERM, lambda *_: ending.append(1))
wake, waker = os.pipe()
os.set_blocking(waker, False)
signal.set_wakeup_fd(waker)
given = 0
if os.environ.get("LISTEN_PID") == str(os.getpid()):
    given = int(os.environ["LISTEN_FDS"])
sockets = [socket.socket(fileno=3 + n) for n in range(given)]
if not sockets:
    sockets = [socket.create_server(("127.0.0.1", int(os.environ["PORT"])))]
for one in sockets:
    one.setblocking(False)
with open("version") as file:
    version = file.read().strip()
# Until somebody lets it be ready.
while os.path.exists(os.environ.get("GATE", "/nowhere")) and not ending:
    time.sleep(0.01)
print("ready", flush=True)
while not ending:
    for ready in select.select(sockets + [wake], [], [])[0]:
        if ready == wake:
            continue
        try:
            connection, _ = ready.accept()
        except BlockingIOError:
            continue
        with connection:
            connection.setblocking(True)
            connection.sendall(f"{version} {given} {os.getpid()}".encode())
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
