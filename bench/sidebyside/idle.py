"""Memory per idle keep-alive connection: 4,000 connections, each of which has done one request."""

import dataclasses
import socket
import statistics
import struct
import time

from . import BenchError, load, proxies

CONNECTIONS = 4_000
REPEATS = 3  # fresh starts of each proxy
LIMIT_KIB, AIM_KIB = 4.0, 1.5
SETTLE = 2.0  # seconds to let go of what a busy connection holds
# Closed with a reset, so that no thousands of ports stay in TIME_WAIT.
RESET = struct.pack("ii", 1, 0)


@dataclasses.dataclass
class Idle:
    """KiB per idle connection of one proxy, one value per fresh start, and what it needs with none (KiB)."""

    name: str
    per_connection: list
    base: list

    def median(self):
        """The median over the fresh starts."""
        return statistics.median(self.per_connection)


def measure(bench, connections=CONNECTIONS):
    """All proxies alike, in turns."""
    if bench.file_limit < 2 * connections + 500:
        raise BenchError(f"{connections} idle connections need an open file limit of {2 * connections + 500}")
    found = {kind: Idle(kind, [], []) for kind in bench.kinds}
    bench.say(f"memory per idle connection: {connections} of them; KiB")
    for _ in range(REPEATS):
        for kind in bench.kinds:
            with bench.proxy(kind) as proxy:
                base, grown = one_start(proxy, connections)
            found[kind].base.append(base)
            found[kind].per_connection.append((grown - base) / connections)
            bench.progress(f"  {kind} {found[kind].per_connection[-1]:.2f} (before: {base / 1024:.1f} MiB)")
    return list(found.values())


def one_start(proxy, connections):
    """PSS in KiB before and with the idle connections."""
    # First use allocates what is there once for all: buffers, pools, code that is paged in.
    proxy.drive(load.Target(proxies.IDLE_PATH, len(proxies.SMALL)), 2_000, clients=8)
    time.sleep(SETTLE)
    base = proxy.pss_kib()
    request = f"GET {proxies.IDLE_PATH} HTTP/1.1\r\nHost: bench.test\r\n\r\n".encode()
    held = []
    try:
        for _ in range(connections):
            connection = load.connect(proxy.port)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            held.append(connection)
            status, _, body = load.exchange(connection, request)
            if status != 200 or len(body) != len(proxies.SMALL):
                raise BenchError(f"{proxy.name}: connection {len(held)} got {status} with {len(body)} bytes")
        time.sleep(SETTLE)
        grown = proxy.pss_kib()
        closed = sum(1 for connection in held if is_closed(connection))
        if closed:
            raise BenchError(f"{proxy.name} closed {closed} of {connections} idle connections")
        return base, grown
    except (OSError, load.BadRun) as error:
        raise BenchError(f"{proxy.name}: idle connection {len(held)}: {error}") from error
    finally:
        for connection in held:
            connection.close()


def is_closed(connection):
    """Whether the other side has closed: then, and only then, an idle connection is readable."""
    connection.setblocking(False)
    try:
        connection.recv(1)
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True
