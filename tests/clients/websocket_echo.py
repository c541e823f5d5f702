"""A WebSocket service that echoes. Prints its port, then serves until its input ends."""

import asyncio
import sys

import websockets


async def echo(socket):
    try:
        async for message in socket:
            await socket.send(message)
    except websockets.ConnectionClosed:
        pass


def choose(_, offered):
    return "chat" if "chat" in offered else None


async def main():
    async with websockets.serve(echo, "127.0.0.1", 0, max_size=None, backlog=2048, select_subprotocol=choose) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
