"""Writes numbered lines, some at once and some in halves, and says at its end how many."""

import os
import signal
import sys
import time

number = 0
is_over = False


def end(*_):
    global is_over
    is_over = True


signal.signal(signal.SIGTERM, end)
out = sys.stdout.buffer.raw
own = os.getpid()
while not is_over:
    lines = [f"{own} {number + n}\n" for n in range(1, 41)]
    number += 41
    out.write("".join(lines).encode())
    out.write(f"{own} ".encode())
    out.write(f"{number}\n".encode())
    time.sleep(0.002)
out.write(f"{own} end {number}\n".encode())
