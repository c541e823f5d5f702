"""aiohttp through the gateway: many requests at once, bodies streamed both ways, events. Prints "ok"."""

import asyncio
import sys

import aiohttp

BASE = f"http://{sys.argv[1]}"


async def parts():
    for number in range(50):
        yield bytes([65 + number % 26]) * (number * 97)
        await asyncio.sleep(0)


async def one(session, number):
    async with session.post(f"{BASE}/echo?{number}", data=f"body {number}") as answer:
        assert answer.status == 200 and await answer.text() == f"body {number}"


async def main():
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=20)) as session:
        await asyncio.gather(*(one(session, number) for number in range(400)))

        whole = b"".join([part async for part in parts()])
        async with session.put(f"{BASE}/echo", data=parts()) as answer:
            assert await answer.read() == whole

        async with session.post(f"{BASE}/continue", data=b"hello", expect100=True) as answer:
            assert await answer.read() == b"hello"

        async with session.get(f"{BASE}/chunks") as answer:
            assert b"".join([chunk async for chunk in answer.content.iter_any()]) == b"hello, world!"

        async with session.get(f"{BASE}/events") as answer:
            assert answer.content_type == "text/event-stream"
            assert [line.strip() async for line in answer.content] == [b"data: 1", b"", b"data: 2", b""]

        async with session.head(f"{BASE}/a") as answer:
            assert answer.headers["Content-Length"] == "2" and await answer.read() == b""

        async with session.get(f"{BASE}/a") as answer:
            assert len(answer.headers.getall("Date")) == 1


asyncio.run(main())
print("ok")
