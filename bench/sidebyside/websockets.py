"""A service that agrees to WebSocket and then says nothing, and the client's part of that."""

import base64
import hashlib
import socket
import threading

from . import load

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = base64.b64encode(b"sixteen of bytes")
ASK = (
    b"GET /ws HTTP/1.1\r\nHost: bench.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)


def proof(key):
    """RFC 6455 section 4.2.2."""
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


class Service:
    """Listens while it is entered. One thread is enough: each connection says one thing."""

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.held = []
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()
        return self

    def serve(self):
        """Until the listener is closed."""
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.held.append(connection)
            head = b""
            while b"\r\n\r\n" not in head:
                more = connection.recv(4096)
                if not more:
                    break
                head += more
            lines = dict(line.lower().partition(b": ")[::2] for line in head.split(b"\r\n"))
            raw = dict(line.partition(b": ")[::2] for line in head.split(b"\r\n"))
            key = next((value for name, value in raw.items() if name.lower() == b"sec-websocket-key"), b"")
            if lines.get(b"upgrade") == b"websocket":
                connection.sendall(
                    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                    b"Sec-WebSocket-Accept: " + proof(key) + b"\r\n\r\n"
                )

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.held:
            connection.close()


def change(connection):
    """Changes a connection to WebSocket; raises BadRun if the other side does not agree."""
    connection.sendall(ASK)
    head = b""
    while b"\r\n\r\n" not in head:
        head += load.more(connection)
    if not head.startswith(b"HTTP/1.1 101 ") or proof(KEY) not in head:
        raise load.BadRun(f"no WebSocket: {head!r}")
