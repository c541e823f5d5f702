"""2 GiB down and 2 GiB up through a proxy: every byte arrives, and memory does not grow.

Backend and client are threads of the bench here, not nginx and h2load: they check the bytes.
"""

import dataclasses
import socket
import threading
import time
import zlib

from . import BenchError, load, proxies

SIZE = 2 * 1024**3
LIMIT_MIB = 20.0
BLOCK = bytes(range(256)) * 1024  # 256 KiB
STALL = 30.0  # seconds without a byte


@dataclasses.dataclass
class Big:
    """Growth of resident memory in MiB over the highest value seen, and the pace."""

    name: str
    down_growth: float
    up_growth: float
    down_mib_s: float
    up_mib_s: float


class Origin(threading.Thread):
    """A backend for one connection at a time each: GET gives SIZE bytes, POST counts what comes and says so."""

    def __init__(self, port, size):
        super().__init__(daemon=True)
        self.size = size
        self.listener = socket.create_server(("127.0.0.1", port), backlog=64)

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        """Answers until the proxy closes."""
        try:
            with connection, connection.makefile("rb") as reader:
                connection.settimeout(STALL)
                while self.answer(connection, reader):
                    pass
        except OSError:
            return

    def answer(self, connection, reader):
        """One exchange; False at the end."""
        start = reader.readline().split()
        if len(start) != 3:
            return False
        fields = {}
        while (line := reader.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            fields[name.lower()] = value.strip()
        if start[1] == b"/big" and start[0] == b"GET":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.size)
            for _ in range(self.size // len(BLOCK)):
                connection.sendall(BLOCK)
        elif start[0] == b"POST":
            told = b"%d" % (receive_chunked if b"transfer-encoding" in fields else receive)(reader, fields)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(told), told))
        else:
            small = proxies.SMALL.encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(small), small))
        return True

    def close(self):
        """Stops accepting; the threads are daemons."""
        self.listener.close()


def receive(reader, fields):
    """Reads a counted body; its checksum."""
    left, sum_ = int(fields[b"content-length"]), 0
    while left:
        data = reader.read(min(left, len(BLOCK)))
        if not data:
            raise OSError("short body")
        left, sum_ = left - len(data), zlib.crc32(data, sum_)
    return sum_


def receive_chunked(reader, _fields):
    """Reads a chunked body without trailers; its checksum."""
    sum_ = 0
    while size := int(reader.readline().split(b";")[0], 16):
        sum_ = zlib.crc32(reader.read(size), sum_)
        reader.readline()
    reader.readline()
    return sum_


class Watch(threading.Thread):
    """Looks at a proxy's resident memory twenty times a second."""

    def __init__(self, proxy):
        super().__init__(daemon=True)
        self.proxy = proxy
        self.base = self.peak = proxy.rss_kib()
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(0.05):
            self.peak = max(self.peak, self.proxy.rss_kib())

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()

    def growth_mib(self):
        """Highest minus first, in MiB."""
        return (self.peak - self.base) / 1024


def measure(bench, size=SIZE):
    """All proxies, one after the other."""
    bench.say(f"{size / 1024**3:.0f} GiB down and up; growth of resident memory in MiB")
    expected = 0
    for _ in range(size // len(BLOCK)):
        expected = zlib.crc32(BLOCK, expected)
    origin = Origin(bench.place.port(), size)
    origin.start()
    found = []
    try:
        for kind in bench.kinds:
            with bench.proxy(kind, backend=origin.listener.getsockname()[1], big=True) as proxy:
                found.append(one(proxy, size, expected))
            bench.progress(f"  {kind}: down {found[-1].down_growth:.1f}, up {found[-1].up_growth:.1f}")
    finally:
        origin.close()
    return found


def one(proxy, size, expected):
    """Down, then up, on fresh connections."""
    try:
        with load.connect(proxy.port, STALL) as client, Watch(proxy) as down:
            down_time = fetch(client, size, expected)
        with load.connect(proxy.port, STALL) as client, Watch(proxy) as up:
            up_time = send(client, size, expected)
    except (OSError, load.BadRun, ValueError) as error:
        raise BenchError(f"{proxy.name}, big body: {error}") from error
    mib = size / 1024**2
    return Big(proxy.name, down.growth_mib(), up.growth_mib(), mib / down_time, mib / up_time)


def fetch(client, size, expected):
    """Downloads and checks; seconds it took."""
    start = time.monotonic()
    client.sendall(b"GET /big HTTP/1.1\r\nHost: bench.test\r\n\r\n")
    with client.makefile("rb") as reader:
        if b" 200 " not in reader.readline():
            raise load.BadRun("the big GET was refused")
        while reader.readline().strip():
            pass
        if receive(reader, {b"content-length": size}) != expected:
            raise load.BadRun("the big answer was changed on its way")
    return time.monotonic() - start


def send(client, size, expected):
    """Uploads and checks what the backend says it got; seconds it took."""
    start = time.monotonic()
    head = b"POST /big HTTP/1.1\r\nHost: bench.test\r\nContent-Length: %d\r\n\r\n" % size
    client.sendall(head)
    for _ in range(size // len(BLOCK)):
        client.sendall(BLOCK)
    status, _, body = load.exchange(client, b"")
    if status != 200 or body != b"%d" % expected:
        raise load.BadRun(f"the big POST got {status}, checksum {body[:80]!r} instead of {expected}")
    return time.monotonic() - start
