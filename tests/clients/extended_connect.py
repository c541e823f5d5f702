"""A client of extended CONNECT over HTTP/2 (RFC 8441), by hand."""

import socket
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings

host, port = sys.argv[1].split(":")


class Client:
    def __init__(self):
        self.socket = socket.create_connection((host, int(port)), timeout=30)
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.http.initiate_connection()
        self.seen = []
        self.flush()

    def flush(self):
        self.socket.sendall(self.http.data_to_send())

    def until(self, wanted):
        while True:
            for number, event in enumerate(self.seen):
                if wanted(event):
                    return self.seen.pop(number)
            data = self.socket.recv(65536)
            assert data, f"closed; seen: {self.seen}"
            self.seen += self.http.receive_data(data)
            self.flush()

    def ask(self, stream, fields):
        self.http.send_headers(stream, fields, end_stream=False)
        self.flush()
        return dict(self.until(lambda e: isinstance(e, h2.events.ResponseReceived) and e.stream_id == stream).headers)


def fields(path, protocol="websocket"):
    return [
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", "http"),
        (":path", path),
        (":authority", "gateway.test"),
        ("sec-websocket-version", "13"),
    ]


def masked(text):
    """A whole text frame as clients send it (RFC 6455 §5.2), masked with zeros."""
    return bytes([0x81, 0x80 | len(text)]) + bytes(4) + text
