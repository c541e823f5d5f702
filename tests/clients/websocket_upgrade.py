"""Changes to WebSocket through the gateway, whose service speaks HTTP/2 and echoes bytes. Arguments: the address, and `http1`
or `http2`. Prints "ok"."""

import base64
import hashlib
import os
import socket
import sys

import h2.config
import h2.connection
import h2.events

host, port = sys.argv[1].split(":")
sock = socket.create_connection((host, int(port)), timeout=30)
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def exactly(n):
    data = b""
    while len(data) < n:
        more = sock.recv(n - len(data))
        assert more, f"closed after {data!r}"
        data += more
    return data


def http1():
    key = base64.b64encode(os.urandom(16))
    sock.sendall(
        b"GET /ws HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: " + key + b"\r\n\r\n"
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += exactly(1)
    lines = head.decode().lower().split("\r\n")
    assert lines[0].startswith("http/1.1 101 "), head
    proof = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode().lower()
    assert f"sec-websocket-accept: {proof}" in lines and "upgrade: websocket" in lines, head
    assert "x-protocol: websocket" in lines, head
    for piece in (b"hello", b"x" * 300_000, b"bye"):
        sock.sendall(piece)
        assert exactly(len(piece)) == piece
    sock.shutdown(socket.SHUT_WR)
    assert sock.recv(1) == b"", "the service closed its half too"


def http2():
    conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    conn.initiate_connection()
    sock.sendall(conn.data_to_send())
    events = []

    def until(wanted):
        while True:
            for number, event in enumerate(events):
                if isinstance(event, wanted):
                    return events.pop(number)
            data = sock.recv(65536)
            assert data, events
            events.extend(conn.receive_data(data))
            sock.sendall(conn.data_to_send())

    until(h2.events.RemoteSettingsChanged)
    conn.send_headers(
        1,
        [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/ws"),
            (":authority", "g"),
            ("sec-websocket-version", "13"),
        ],
    )
    sock.sendall(conn.data_to_send())
    head = dict(until(h2.events.ResponseReceived).headers)
    assert head[":status"] == "200" and head["x-protocol"] == "websocket", head
    assert "sec-websocket-accept" not in head, head
    conn.send_data(1, b"hello", end_stream=True)
    sock.sendall(conn.data_to_send())
    assert until(h2.events.DataReceived).data == b"hello"
    until(h2.events.StreamEnded)


{"http1": http1, "http2": http2}[sys.argv[2]]()
print("ok")
