"""Opens WebSockets through the gateway, says "open", and waits for the gateway to say that it goes away. Arguments: the
address, and `http1` or `http2`. Prints "ok" in the end."""

import asyncio
import sys


async def one(opened):
    import websockets

    async with websockets.connect(f"ws://{sys.argv[1]}/ws", max_size=None) as socket:
        await socket.send("hello")
        assert await socket.recv() == "hello"
        opened.release()
        await socket.wait_closed()
        assert (socket.close_code, socket.close_reason) == (1001, ""), (socket.close_code, socket.close_reason)


async def http1():
    opened = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(one(opened)) for _ in range(20)]
    for _ in tasks:
        await opened.acquire()
    print("open", flush=True)
    await asyncio.gather(*tasks)


def http2():
    import h2.connection
    import h2.events
    from extended_connect import Client, fields, masked

    # The library takes the first GOAWAY for the end of all streams, which RFC 9113 §6.8 does not.
    machine, states, inputs = (h2.connection.H2ConnectionStateMachine, h2.connection.ConnectionState, h2.connection.ConnectionInputs)
    machine._transitions[(states.CLIENT_OPEN, inputs.RECV_GOAWAY)] = (None, states.CLIENT_OPEN)
    client = Client()
    client.until(lambda e: isinstance(e, h2.events.RemoteSettingsChanged))
    assert client.ask(1, fields("/ws"))[":status"] == "200"
    client.http.send_data(1, masked(b"hello"))
    client.flush()
    client.until(lambda e: isinstance(e, h2.events.DataReceived))
    print("open", flush=True)
    data = client.until(lambda e: isinstance(e, h2.events.DataReceived)).data
    assert data == bytes([0x88, 0x02, 0x03, 0xE9]), data
    client.until(lambda e: isinstance(e, h2.events.StreamEnded))
    client.http.send_data(1, bytes([0x88, 0x82]) + bytes(4) + bytes([0x03, 0xE9]), end_stream=True)
    client.flush()


if sys.argv[2] == "http1":
    asyncio.run(http1())
else:
    http2()
print("ok")
