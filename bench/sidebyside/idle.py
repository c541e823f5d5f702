"""Memory per idle keep-alive connection: 4,000 connections, each of which has done one request."""

import dataclasses
import socket
import ssl
import statistics
import struct
import time

from . import BenchError, load, proxies, websockets

CONNECTIONS = 4_000
REPEATS = 3  # fresh starts of each proxy
LIMIT_KIB, AIM_KIB = 4.0, 1.5
TLS_LIMIT_KIB, TLS_AIM_KIB = 24.0, 12.0
SOCKETS = 1_000
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


def measure(bench, connections=CONNECTIONS, tls=False):
    """All proxies alike, in turns."""
    if bench.file_limit < 2 * connections + 500:
        raise BenchError(f"{connections} idle connections need an open file limit of {2 * connections + 500}")
    found = {kind: Idle(kind, [], []) for kind in bench.kinds}
    bench.say(f"memory per idle {'TLS ' if tls else ''}connection: {connections} of them; KiB")
    for _ in range(REPEATS):
        for kind in bench.kinds:
            with bench.proxy(kind, tls=tls) as proxy:
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
            connection = load.connect(proxy.port, tls=proxy.setup.tls)
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


def measure_sockets(bench):
    """Memory per WebSocket that says nothing, with one service for all of them."""
    found = {kind: Idle(kind, [], []) for kind in bench.kinds}
    bench.say(f"memory per idle WebSocket: {SOCKETS} of them; KiB")
    with websockets.Service() as service:
        for _ in range(REPEATS):
            for kind in bench.kinds:
                with bench.proxy(kind, sockets=service.port) as proxy:
                    base, grown = one_start_of_sockets(proxy)
                found[kind].base.append(base)
                found[kind].per_connection.append((grown - base) / SOCKETS)
                bench.progress(f"  {kind} {found[kind].per_connection[-1]:.2f} (before: {base / 1024:.1f} MiB)")
    return list(found.values())


def one_start_of_sockets(proxy):
    """PSS in KiB before and with the idle WebSockets."""
    proxy.drive(load.Target(proxies.IDLE_PATH, len(proxies.SMALL)), 2_000, clients=8)
    time.sleep(SETTLE)
    base = proxy.pss_kib()
    held = []
    try:
        for _ in range(SOCKETS):
            connection = load.connect(proxy.port)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            held.append(connection)
            websockets.change(connection)
        time.sleep(SETTLE)
        grown = proxy.pss_kib()
        closed = sum(1 for connection in held if is_closed(connection))
        if closed:
            raise BenchError(f"{proxy.name} closed {closed} of {SOCKETS} idle WebSockets")
        return base, grown
    except (OSError, load.BadRun) as error:
        raise BenchError(f"{proxy.name}: WebSocket {len(held)}: {error}") from error
    finally:
        for connection in held:
            connection.close()


def is_closed(connection):
    """Whether the other side has closed: then, and only then, an idle connection is readable."""
    connection.setblocking(False)
    try:
        connection.recv(1)
        return True
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
