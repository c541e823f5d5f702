"""A service of gRPC (grpcio), messages as bytes. Prints its port; ends with its standard input.

  /t.Echo/Unary    the message, with metadata in both places
  /t.Echo/Down     as many messages as the first byte says
  /t.Echo/Up       one message: how many came, and how long they were
  /t.Echo/Both     each message comes back at once
  /t.Echo/Fail     status NOT_FOUND with a message that needs encoding
  /t.Echo/Flaky    the message; a name before the first space is UNAVAILABLE the first time that it comes
  /t.Echo/FlakyUp  the same of a stream of messages, refused after the first
  /t.Echo/Partly   a message, then UNAVAILABLE
  /t.Echo/Pushed   UNAVAILABLE, and not to be tried again
  /t.Echo/Calls    how many calls of the four above there were
  /t.Echo/Slow     waits until the call ends; says by which time the caller wanted the answer
"""

import sys
import threading
from concurrent import futures

import grpc

ENDED = []
CALLS = []
SEEN = set()


def unary(request, context):
    metadata = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-first", "1"),))
    context.set_trailing_metadata((("x-last", "2"), ("x-seen", metadata.get("x-sent", "")), ("x-bin-bin", b"\x00\xff")))
    return request


def down(request, context):
    for i in range(int.from_bytes(request[:2], "big")):
        yield b"%d" % i


def up(requests, context):
    number, size = 0, 0
    for request in requests:
        number, size = number + 1, size + len(request)
    return b"%d %d" % (number, size)


def both(requests, context):
    for request in requests:
        yield request


def fail(request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "nicht gefunden: ü %")


def once(name, context):
    CALLS.append(name)
    if name not in SEEN:
        SEEN.add(name)
        context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")


def flaky(request, context):
    once(request.split(b" ")[0], context)
    return request


def flaky_up(requests, context):
    messages = []
    for request in requests:
        messages.append(request)
        if len(messages) == 1:
            once(request, context)
    return b",".join(messages)


def partly(request, context):
    CALLS.append(request)
    yield b"one"
    context.abort(grpc.StatusCode.UNAVAILABLE, "in the middle")


def pushed(request, context):
    CALLS.append(request)
    context.set_trailing_metadata((("grpc-retry-pushback-ms", "-1"),))
    context.abort(grpc.StatusCode.UNAVAILABLE, "do not come again")


def slow(request, context):
    over = threading.Event()
    context.add_callback(over.set)
    ENDED.append(context.time_remaining())
    over.wait(30)
    return b""


def ended(request, context):
    return b"%d" % len(ENDED) if not ENDED else b"%.3f" % (ENDED[-1] or -1)


HANDLERS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Down": grpc.unary_stream_rpc_method_handler(down),
    "Up": grpc.stream_unary_rpc_method_handler(up),
    "Both": grpc.stream_stream_rpc_method_handler(both),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Flaky": grpc.unary_unary_rpc_method_handler(flaky),
    "FlakyUp": grpc.stream_unary_rpc_method_handler(flaky_up),
    "Partly": grpc.unary_stream_rpc_method_handler(partly),
    "Pushed": grpc.unary_unary_rpc_method_handler(pushed),
    "Calls": grpc.unary_unary_rpc_method_handler(lambda request, context: b"%d" % len(CALLS)),
    "Slow": grpc.unary_unary_rpc_method_handler(slow),
    "Ended": grpc.unary_unary_rpc_method_handler(ended),
}

server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=[("grpc.so_reuseport", 0)])
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.Echo", HANDLERS),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
sys.stdin.read()
server.stop(0)
