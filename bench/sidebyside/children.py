"""Starts processes and makes sure that none of them outlives the bench.

Every child is the leader of its own session. So a Ctrl-C in the terminal reaches only the bench, which then stops
its children in order; a session's id names all the processes of one proxy; and should the bench itself be killed,
the kernel sends each leader a SIGTERM.
"""

import ctypes
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from . import BenchError

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)
# Below Linux' usual range of ephemeral ports, so that no client connection can sit on a port that we chose.
FIRST_PORT, LAST_PORT = 20_000, 29_999


class Child:
    """One started process, leader of its session."""

    def __init__(self, name, process, log):
        self.name = name
        self.process = process
        self.pid = process.pid
        self.log = log

    def running(self):
        """Whether the leader still lives."""
        return self.process.poll() is None

    def last_words(self):
        """The end of what it printed, for error messages."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-12:])

    def stop(self, patience=10.0):
        """Ends the whole session: politely, then for good."""
        if self.running():
            signal_group(self.pid, signal.SIGTERM)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                pass
        # Also when the leader went by itself: a worker may have stayed behind.
        signal_group(self.pid, signal.SIGKILL)
        self.process.wait()


def signal_group(group, number):
    """Signals a group that we made; gone is fine."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass


class Workplace:
    """A scratch directory in memory, and the children. Leaving it stops and removes everything."""

    def __init__(self):
        memory = pathlib.Path("/dev/shm")
        parent = memory if os.access(memory, os.W_OK) else None
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="tollgate-bench.", dir=parent))
        self.path.chmod(0o755)  # nginx' workers may run as another user
        self.children = []
        self.ports = iter(range(FIRST_PORT + os.getpid() % 5000, LAST_PORT))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # A second Ctrl-C must not stop the stopping.
        previous = [(number, signal.signal(number, signal.SIG_IGN)) for number in (signal.SIGINT, signal.SIGTERM)]
        try:
            for child in reversed(self.children):
                child.stop(patience=3.0)
            shutil.rmtree(self.path, ignore_errors=True)
        finally:
            for number, handler in previous:
                signal.signal(number, handler)

    def port(self):
        """A free loopback port that was not handed out before."""
        for port in self.ports:
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                    return port
                except OSError:
                    continue
        raise BenchError(f"no free port between {FIRST_PORT} and {LAST_PORT}")

    def start(self, name, command):
        """Starts `command`; its output goes to a file here."""
        log = self.path / f"{name}.out"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.path,
                preexec_fn=as_session_leader,
            )
        child = Child(name, process, log)
        self.children.append(child)
        return child

    def stop(self, child):
        """Stops one child before the end."""
        child.stop()
        if child in self.children:
            self.children.remove(child)


def as_session_leader():
    """Runs in a child before exec."""
    os.setsid()
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def raise_file_limit():
    """Lifts the soft limit of open files to the hard one, for us and all children; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return 1_000_000 if hard == resource.RLIM_INFINITY else hard


def wait_until(what, check, child=None, seconds=20.0):
    """Waits for `check()`, gives up early when `child` dies."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if check():
            return
        if child is not None and not child.running():
            raise BenchError(f"{child.name} ended before {what}:\n{child.last_words()}")
        time.sleep(0.05)
    words = f":\n{child.last_words()}" if child is not None else ""
    raise BenchError(f"{what}: not within {seconds:.0f} s{words}")
