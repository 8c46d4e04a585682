# SPDX-License-Identifier: Apache-2.0
"""Programs a test starts: each has a log in the test's folder, and is ended by its own id."""

import pathlib
import random
import signal
import socket
import subprocess
import time


def free_port() -> int:
    """A free port of 127.0.0.1, below those that outgoing connections take."""
    first = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10000, max(first, 10001))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def eventually(what: str, condition, seconds: float = 60, every: float = 0.05):
    """The first true answer of `condition`; TimeoutError with `what` if there is none in time."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(every)
    return answer


def tail(path: pathlib.Path, lines: int = 60, before: str = "") -> str:
    """The end of a log; with `before`, of what precedes that line."""
    if not path.exists():
        return f"--- {path}: not there\n"
    text = path.read_text(errors="replace").splitlines()
    if before in text:
        text = text[: text.index(before)]
    return "\n".join([f"--- the end of {path}:", *text[-lines:], ""])


class Process:
    """A program with its output in `log`. A context manager: leaving it stops the program.

    It does not outlive the test, even a killed one.
    """

    def __init__(self, command, log: pathlib.Path, stop_seconds: float = 20, **options):
        self.log = log
        self.stop_seconds = stop_seconds
        command = [str(word) for word in ("setpriv", "--pdeathsig", "KILL", "--", *command)]
        self.name = pathlib.Path(command[4]).name
        with log.open("ab") as file:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file,
                                            stderr=subprocess.STDOUT, **options)

    @property
    def pid(self) -> int:
        return self.process.pid

    def running(self) -> bool:
        return self.process.poll() is None

    def require_running(self):
        if not self.running():
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}\n{tail(self.log)}")

    def wait_for(self, what: str, condition, seconds: float = 120):
        """`eventually`, given up as soon as the program ends; an error has the end of its log."""
        try:
            return eventually(what, lambda: self.require_running() or condition(), seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{tail(self.log)}") from None

    def signal(self, number: int):
        self.process.send_signal(number)

    def stop(self):
        """Asks it to end, also where it is halted; kills it where it does not."""
        if not self.running():
            return
        self.process.terminate()
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Part:
    """A part of a test's mesh around one `process` with its `log`; leaving it stops the process."""

    process: Process
    log: pathlib.Path

    def stop(self):
        self.process.stop()

    def logs(self) -> str:
        return tail(self.log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
