"""websockets through the gateway: text, fragments, a MiB, pings, close codes, a thousand at once. Prints "ok"."""

import asyncio
import os
import sys

import websockets

URL = f"ws://{sys.argv[1]}/ws"


def connect(**options):
    return websockets.connect(URL, max_size=None, open_timeout=60, **options)


async def fragments():
    for part in ["in ", "three ", "parts"]:
        yield part


async def one_connection():
    async with connect(subprotocols=["chat"], additional_headers={"X-Correlation-ID": "ws-1"}) as socket:
        assert socket.subprotocol == "chat"
        assert socket.response.headers["X-Correlation-ID"] == "ws-1"
        await socket.send("hello")
        assert await socket.recv() == "hello"
        await socket.send(fragments())
        assert await socket.recv() == "in three parts"
        large = os.urandom(1 << 20)
        await socket.send(large)
        assert await socket.recv() == large
        await (await socket.ping())
        await socket.close(4001, "enough")
        assert (socket.close_code, socket.close_reason) == (4001, "enough")


async def a_thousand():
    sockets = await asyncio.gather(*(connect() for _ in range(1000)))

    async def talk(number, socket):
        for turn in range(3):
            await socket.send(f"{number} {turn}")
            assert await socket.recv() == f"{number} {turn}"

    await asyncio.gather(*(talk(number, socket) for number, socket in enumerate(sockets)))
    await asyncio.gather(*(socket.close() for socket in sockets))


asyncio.run(one_connection())
asyncio.run(a_thousand())
print("ok")
