"""A service that speaks HTTP/2, by the library h2. Prints its port; ends with its standard input.

What it does depends on the path:
  /echo       the body comes back, with how many bytes it had in a trailer
  /head       the request's fields as JSON, in the order in which they came
  /hints      103, then 200
  /early      200 and its end before the body was read, then RST_STREAM with NO_ERROR
  /once       REFUSED_STREAM for the first request on each connection, then 200
  /away       GOAWAY that leaves this request out, for the first one; then 200
  /reset      RST_STREAM with INTERNAL_ERROR instead of an answer
  /cut        half an answer, then RST_STREAM
  /lie        more content than its content-length
  /hang       nothing
  /load       200, with a report of load (ORCA) and a field of its own in the trailers
  /hedged     with the argument `hangs` 103 and nothing more, else 200
  /resets     how many requests were taken back so far
CONNECT with :protocol (RFC 8441) echoes what comes. With the argument `tls CERT KEY` it speaks TLS and ALPN, with
`plain` HTTP/2 by prior knowledge; `no-connect` leaves RFC 8441 out.
"""

import asyncio
import json
import ssl
import sys

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings

CONNECTIONS = 0
RESETS = 0
LEFT_OUT = False


class Service(asyncio.Protocol):
    def __init__(self):
        config = h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
        self.conn = h2.connection.H2Connection(config=config)
        self.heads, self.bodies, self.tunnels, self.waiting = {}, {}, set(), {}
        self.served, self.left = 0, False

    def connection_made(self, transport):
        global CONNECTIONS
        CONNECTIONS += 1
        self.transport = transport
        if "no-connect" not in sys.argv:
            allowed = {h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}
            self.conn.local_settings = h2.settings.Settings(client=False, initial_values=allowed)
        self.conn.initiate_connection()
        self.flush()

    def flush(self):
        self.transport.write(self.conn.data_to_send())

    def data_received(self, data):
        if not self.left:
            self.handle(self.conn.receive_data(data))

    def handle(self, events):
        for event in events:
            if self.left:
                break
            if isinstance(event, h2.events.RequestReceived):
                self.request(event.stream_id, event.headers)
            elif isinstance(event, h2.events.DataReceived):
                self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if event.stream_id in self.tunnels:
                    self.send(event.stream_id, event.data)
                else:
                    self.bodies[event.stream_id] = self.bodies.get(event.stream_id, b"") + event.data
            elif isinstance(event, h2.events.StreamEnded):
                self.ended(event.stream_id)
            elif isinstance(event, h2.events.WindowUpdated):
                for stream in list(self.waiting):
                    self.send(stream, b"")
            elif isinstance(event, h2.events.StreamReset):
                global RESETS
                RESETS += 1
                self.waiting.pop(event.stream_id, None)
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.transport.close()
        self.flush()

    def request(self, stream, headers):
        global LEFT_OUT
        head = dict(headers)
        self.heads[stream] = headers
        path = head.get(":path", "").split("?")[0]
        self.served += 1
        if head.get(":method") == "CONNECT":
            self.tunnels.add(stream)
            self.conn.send_headers(stream, [(":status", "200"), ("x-protocol", head[":protocol"])])
        elif path == "/early":
            self.answer(stream, b"enough", [])
            self.flush()
            self.conn.reset_stream(stream, h2.errors.ErrorCodes.NO_ERROR)
        elif path == "/once" and self.served == 1:
            self.conn.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
        elif path == "/away" and not LEFT_OUT:
            LEFT_OUT = True
            self.conn.close_connection(last_stream_id=max(0, stream - 2))
            self.left = True
        elif path == "/reset":
            self.conn.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
        elif path == "/cut":
            self.conn.send_headers(stream, [(":status", "200"), ("content-length", "10")])
            self.conn.send_data(stream, b"first")
            self.flush()
            self.conn.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)

    def ended(self, stream):
        head = self.heads.get(stream)
        if stream in self.tunnels:
            self.send(stream, b"", end=True)
            return
        path = dict(head).get(":path", "").split("?")[0]
        if path == "/echo":
            body = self.bodies.get(stream, b"")
            self.answer(stream, body, [("x-bytes", str(len(body)))])
        elif path == "/head":
            self.answer(stream, json.dumps(head).encode(), [])
        elif path == "/hints":
            self.conn.send_headers(stream, [(":status", "103"), ("link", "</a.css>")])
            self.answer(stream, b"ok", [])
        elif path == "/load":
            # `cpu_utilization` of 0.5, as protobuf has it.
            self.answer(stream, b"loaded", [("endpoint-load-metrics-bin", "CQAAAAAAAOA/"), ("x-other", "1")])
        elif path == "/hedged" and "hangs" in sys.argv:
            self.conn.send_headers(stream, [(":status", "103"), ("link", "</never.css>")])
        elif path == "/hedged":
            self.conn.send_headers(stream, [(":status", "103"), ("link", "</a.css>")])
            self.answer(stream, b"quick", [])
        elif path == "/resets":
            self.answer(stream, str(RESETS).encode(), [])
        elif path == "/lie":
            self.conn.send_headers(stream, [(":status", "200"), ("content-length", "2")])
            self.conn.send_data(stream, b"more than two", end_stream=True)
        elif path in ("/early", "/reset", "/cut", "/hang") or path == "/once" and self.served == 1:
            pass
        else:
            self.answer(stream, f"connection {CONNECTIONS}".encode(), [])

    def answer(self, stream, body, trailers):
        method = dict(self.heads[stream])[":method"]
        headers = [(":status", "200"), ("content-type", "text/plain"), ("set-cookie", "a=1"), ("set-cookie", "b=2")]
        if not trailers:
            headers.append(("content-length", str(len(body))))
        if method == "HEAD":
            self.conn.send_headers(stream, headers, end_stream=True)
            return
        self.conn.send_headers(stream, headers)
        self.send(stream, body, end=True, trailers=trailers)

    def send(self, stream, data, end=False, trailers=()):
        """Sends what the windows let through; the rest waits for them."""
        before = self.waiting.pop(stream, (b"", False, ()))
        data, end, trailers = before[0] + data, before[1] or end, before[2] or trailers
        while data:
            room = min(self.conn.local_flow_control_window(stream), self.conn.max_outbound_frame_size)
            if room <= 0:
                self.waiting[stream] = (data, end, trailers)
                return
            piece, data = data[:room], data[room:]
            self.conn.send_data(stream, piece)
        if end and trailers:
            self.conn.send_headers(stream, list(trailers), end_stream=True)
        elif end:
            self.conn.end_stream(stream)


async def main():
    context = None
    if "tls" in sys.argv:
        at = sys.argv.index("tls")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(sys.argv[at + 1], sys.argv[at + 2])
        context.set_alpn_protocols(["h2"])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Service, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
