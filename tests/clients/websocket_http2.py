"""WebSocket by extended CONNECT over HTTP/2 (RFC 8441), by hand. Prints "ok"."""

import h2.events
from extended_connect import Client, fields, masked

client = Client()
client.until(lambda e: isinstance(e, h2.events.RemoteSettingsChanged))
assert client.http.remote_settings.enable_connect_protocol == 1

answer = client.ask(1, fields("/ws"))
assert answer[":status"] == "200", answer
assert "upgrade" not in answer and "sec-websocket-accept" not in answer, answer
client.http.send_data(1, masked(b"hello"))
client.flush()
data = client.until(lambda e: isinstance(e, h2.events.DataReceived) and e.stream_id == 1).data
assert data == b"\x81\x05hello", data

# Other streams are served meanwhile, and a protocol that the route does not name is refused.
assert client.ask(3, fields("/ws", "something-else"))[":status"] == "501"
assert client.ask(5, fields("/no"))[":status"] == "501"
assert client.ask(7, fields("/hello"))[":status"] == "501"

client.http.send_data(1, bytes([0x88, 0x82]) + bytes(4) + bytes([0x03, 0xE8]), end_stream=True)
client.flush()
client.until(lambda e: isinstance(e, h2.events.StreamEnded) and e.stream_id == 1)
print("ok")
