"""Runs a real MLflow server on loopback: SQLite behind it, its own artifact store, a free port.

    mlflow_server.py --dir DIR [--with-stdin]

Prints {"url", "pid", "version"} when /health has answered. DIR keeps the database, the artifacts and the log: the same DIR
again is the same server again. The server's processes are a group of their own, and all of it is killed when this ends; see
parts.py for when that is.
"""

import argparse
import http.client
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import time

import parts

UP_WITHIN_S = 180
# Another process may take the port between our look and MLflow's bind.
TRIES = 3


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class Server:
    """The process group, and whether it is up."""

    def __init__(self, directory):
        self.directory = directory
        self.process = None
        self.port = None

    def start(self):
        self.port = free_port()
        environment = {
            **os.environ,
            # Neither background jobs nor a report of its use to anyone.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "GIT_PYTHON_REFRESH": "quiet",
        }
        command = [sys.executable, "-m", "mlflow", "server"]
        command += ["--backend-store-uri", f"sqlite:///{self.directory}/mlflow.db"]
        command += ["--artifacts-destination", f"{self.directory}/artifacts"]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        with open(self.directory / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def wait_until_up(self):
        """True when it answers, False when it has ended."""
        # The descriptor is readable when the process has ended: that is waited for between two looks.
        ended = os.pidfd_open(self.process.pid)
        try:
            deadline = time.monotonic() + UP_WITHIN_S
            while time.monotonic() < deadline:
                if select.select([ended], [], [], 0.1)[0]:
                    return False
                try:
                    if get(self.port, "/health") == (200, "OK"):
                        return True
                except OSError:
                    continue
        finally:
            os.close(ended)
        sys.exit(f"mlflow did not answer within {UP_WITHIN_S} s, see {self.directory}/server.log")

    def end(self):
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", required=True, type=pathlib.Path, help="database, artifacts and log")
    parser.add_argument("--with-stdin", action="store_true", help="end when standard input ends")
    args = parser.parse_args()
    directory = args.dir.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    server = Server(directory)

    def end():
        # Killed rather than asked: nobody reads the rest, and SQLite is used to it.
        raise SystemExit(0)

    try:
        parts.end_with(end, args.with_stdin)
        for _ in range(TRIES):
            server.start()
            if server.wait_until_up():
                break
        else:
            sys.exit(f"mlflow ended {TRIES} times before it was up, see {directory}/server.log")
        parts.say_up(url=f"http://127.0.0.1:{server.port}", version=get(server.port, "/version")[1])
        code = server.process.wait()
        sys.exit(f"mlflow ended by itself with {code}, see {directory}/server.log")
    finally:
        server.end()


if __name__ == "__main__":
    main()
