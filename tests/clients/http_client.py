"""Python's http.client through the gateway: one kept connection for everything. Prints "ok"."""

import http.client
import sys

connection = http.client.HTTPConnection(sys.argv[1], timeout=30)


def call(method, path, **options):
    connection.request(method, path, **options)
    answer = connection.getresponse()
    body = answer.read()
    assert not answer.will_close, f"{method} {path}: the connection is not kept"
    return answer, body


for _ in range(3):
    answer, body = call("GET", "/a")
    assert (answer.status, body) == (200, b"ok")

answer, body = call("POST", "/echo", body=b"x" * 100_000)
assert body == b"x" * 100_000

parts = [b"a" * n for n in (1, 10, 10_000, 3)]
answer, body = call("POST", "/echo", body=iter(parts), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
assert body == b"".join(parts)

answer, body = call("GET", "/chunks")
assert body == b"hello, world!" and answer.getheader("Content-Length") is None

answer, body = call("HEAD", "/a")
assert (answer.status, body, answer.getheader("Content-Length")) == (200, b"", "2")

for path, status in [("/nothing", 204), ("/unchanged", 304), ("/a", 200)]:
    answer, _ = call("GET", path)
    assert answer.status == status

print("ok")
