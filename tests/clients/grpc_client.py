"""Calls a service of gRPC through the gateway in every way there is. Arguments: the address, and what to try; or `all`."""

import sys
import threading

import grpc

ADDRESS = sys.argv[1]
OPTIONS = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
channel = grpc.insecure_channel(ADDRESS, options=OPTIONS)
LATE = 20


def call(kind, method, service="t.Echo"):
    return getattr(channel, kind)(f"/{service}/{method}")


def refused(work):
    try:
        work()
    except grpc.RpcError as error:
        return error
    raise AssertionError("an error was expected")


def unary():
    answer, rpc = call("unary_unary", "Unary").with_call(b"hello", metadata=(("x-sent", "here"),), timeout=LATE)
    assert answer == b"hello"
    assert dict(rpc.initial_metadata())["x-first"] == "1"
    last = dict(rpc.trailing_metadata())
    assert (last["x-last"], last["x-seen"], last["x-bin-bin"]) == ("2", "here", b"\x00\xff"), last
    # One of a megabyte, which no window holds at once.
    large = bytes(range(256)) * 4096
    assert call("unary_unary", "Unary")(large, timeout=LATE) == large
    assert call("unary_unary", "Unary")(b"", timeout=LATE) == b""


def down():
    got = list(call("unary_stream", "Down")((1000).to_bytes(2, "big"), timeout=LATE))
    assert got == [b"%d" % i for i in range(1000)]
    assert list(call("unary_stream", "Down")((0).to_bytes(2, "big"), timeout=LATE)) == []


def up():
    assert call("stream_unary", "Up")((b"x" * i for i in range(1000)), timeout=LATE) == b"1000 499500"
    assert call("stream_unary", "Up")(iter(()), timeout=LATE) == b"0 0"


def both():
    """Each answer must come before the next message is sent: nothing may be held back."""
    heard = threading.Semaphore(1)

    def messages():
        for i in range(1000):
            heard.acquire(timeout=LATE)
            yield b"%d" % i

    for i, answer in enumerate(call("stream_stream", "Both")(messages(), timeout=LATE)):
        assert answer == b"%d" % i
        heard.release()
    assert i == 999


def fail():
    error = refused(lambda: call("unary_unary", "Fail")(b"", timeout=LATE))
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "nicht gefunden: ü %"), error
    error = refused(lambda: call("unary_unary", "Nobody")(b"", timeout=LATE))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error


def deadline():
    error = refused(lambda: call("unary_unary", "Slow")(b"", timeout=0.5))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    left = float(call("unary_unary", "Ended")(b"", timeout=LATE))
    assert 0 < left <= 0.5, f"the service was told {left} s"


def cancel():
    before = call("unary_unary", "Slow").future(b"", timeout=LATE)
    before.cancel()
    assert before.cancelled()
    # A stream that is left in its middle.
    stream = call("stream_stream", "Both")(iter([b"a"]), timeout=LATE)
    assert next(stream) == b"a"
    stream.cancel()
    assert call("unary_unary", "Unary")(b"after", timeout=LATE) == b"after"


def gateway():
    """The gateway's own answers have a status of gRPC."""
    error = refused(lambda: call("unary_unary", "Unary", "t.Unknown")(b"", timeout=LATE))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED and "route" in error.details().lower(), error
    error = refused(lambda: call("unary_unary", "Unary", "t.Down")(b"", timeout=LATE))
    assert error.code() == grpc.StatusCode.UNAVAILABLE, error
    error = refused(lambda: call("unary_unary", "Unary", "t.Closed")(b"", timeout=LATE))
    assert error.code() == grpc.StatusCode.PERMISSION_DENIED, error
    error = refused(lambda: call("unary_unary", "Slow", "t.Short")(b"", timeout=LATE))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error


def many():
    """A hundred calls at once on one connection."""
    calls = [call("unary_unary", "Unary").future(b"%d" % i, timeout=LATE) for i in range(100)]
    assert [c.result() for c in calls] == [b"%d" % i for i in range(100)]


def made(work):
    """How many calls the service saw."""
    before = int(call("unary_unary", "Calls")(b"", timeout=LATE))
    work()
    return int(call("unary_unary", "Calls")(b"", timeout=LATE)) - before


def unavailable():
    """What ends with UNAVAILABLE and no message is tried once more, whole; nothing else is."""
    for message in (b"", b"small", b"large " + bytes(range(256)) * 200):
        flaky = lambda message=message: call("unary_unary", "Flaky")(message, timeout=LATE)
        assert made(lambda flaky=flaky, message=message: check(flaky() == message)) == 2, message[:9]
    streamed = (b"first", b"second", b"third")
    up = lambda: call("stream_unary", "FlakyUp")(iter(streamed), timeout=LATE)
    assert made(lambda: check(up() == b",".join(streamed))) == 2
    # More than is kept for another try.
    huge = b"huge " + bytes(range(256)) * 4096
    error = []
    assert made(lambda: error.append(refused(lambda: call("unary_unary", "Flaky")(huge, timeout=LATE)))) == 1
    assert error[0].code() == grpc.StatusCode.UNAVAILABLE, error
    partly = lambda: list(call("unary_stream", "Partly")(b"p", timeout=LATE))
    assert made(lambda: refused(partly)) == 1
    pushed = lambda: call("unary_unary", "Pushed")(b"p", timeout=LATE)
    assert made(lambda: refused(pushed)) == 1


def as_it_is():
    """Where nobody said so, UNAVAILABLE is the answer."""
    flaky = lambda: call("unary_unary", "Flaky")(b"once", timeout=LATE)
    assert made(lambda: check(refused(flaky).code() == grpc.StatusCode.UNAVAILABLE)) == 1


def check(holds):
    assert holds


ALL = {f.__name__: f for f in (unary, down, up, both, fail, deadline, cancel, gateway, many)}
RETRIES = {f.__name__: f for f in (unavailable, as_it_is)}
for name in ALL if sys.argv[2] == "all" else sys.argv[2:]:
    try:
        (ALL | RETRIES)[name]()
    except Exception as error:
        print(f"{name}: {error!r}")
        raise
channel.close()
print("ok")
