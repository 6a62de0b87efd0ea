"""What the programs of this folder share: how they say that they are up, and how they end.

A part prints one line of JSON on its standard output when it is up ({"url": …, "pid": …}), and nothing else there.
It ends on SIGTERM and SIGINT, and, with --with-stdin, when its standard input ends: a test that holds the other end of that
pipe takes its parts along even when it is killed.
"""

import contextlib
import json
import os
import signal
import sys
import threading


def say_up(**facts):
    """The one line on standard output. Whatever else writes there later goes to standard error."""
    line = json.dumps({**facts, "pid": os.getpid()})
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
    os.dup2(2, 1)


def end_with(end, with_stdin):
    """Calls `end` on the main thread, as a signal handler does, when it is time to go."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end())
    if with_stdin:

        def watch():
            while os.read(0, 4096):
                pass
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=watch, name="stdin", daemon=True).start()


@contextlib.contextmanager
def no_signals():
    """In the place of a server's own handling of signals, which `end_with` does."""
    yield
