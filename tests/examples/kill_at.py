"""Runs a program and kills it by SIGKILL right before the Nth line that it executes in its own functions.

    python3 kill_at.py N PROGRAM ARGUMENT…

So N = 1, 2, 3 … kill it at every point that its own code has, whatever the machine's speed.
"""

import os
import runpy
import signal
import sys

left, program = int(sys.argv[1]), sys.argv[2]


def lines(frame, event, _):
    global left
    if event == "line":
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return lines


def calls(frame, *_):
    code = frame.f_code
    return lines if code.co_filename == program and code.co_name != "<module>" else None


sys.argv = sys.argv[2:]
sys.settrace(calls)
runpy.run_path(program, run_name="__main__")
