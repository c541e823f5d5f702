"""The client: h2load for load, single requests for looking closely. Decides what a good run is."""

import functools
import os
import pathlib
import re
import resource
import signal
import socket
import ssl
import subprocess

from . import BenchError, tools
from .children import as_session_leader

RUN_LIMIT = 180.0  # seconds that one run of h2load may take


class BadRun(Exception):
    """A run in which not every answer was as it must be; the round does not count."""


class Run:
    """A good run of h2load: `requests` answered, in `seconds` of wall clock, with `client_cpu` seconds of CPU."""

    def __init__(self, requests, seconds, client_cpu):
        self.requests = requests
        self.seconds = seconds
        self.client_cpu = client_cpu


class Target:
    """What is asked for: a path (or a file of URIs), perhaps with a body, and the size of the right answer."""

    def __init__(self, path, size, body=None, uris=None, version="--h1", kind=None):
        self.path = path
        self.size = size
        self.body = body
        self.kind = kind  # what the body is, as a media type
        self.uris = uris
        self.version = version  # what h2load is told to speak; "": HTTP/2, by ALPN

    def arguments(self, port, tls=False):
        """The end of h2load's command line."""
        base = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        post = ["-d", str(self.body)] if self.body else []
        post += ["-H", f"content-type: {self.kind}"] if self.kind else []
        if self.uris:
            return [*post, f"--base-uri={base}", f"--input-file={self.uris}"]
        return [*post, base + self.path]


def drive(port, target, requests, clients=64, extra=(), tls=False):
    """Sends `requests` over `clients` kept-alive connections; raises BadRun unless all answers are right."""
    version = [target.version] if target.version else []
    command = [tools.find("h2load"), *version, "-t1", f"-c{clients}", f"-n{requests}", *extra]
    command += target.arguments(port, tls)
    before = children_cpu()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=as_session_leader
    ) as process:
        try:
            text, _ = process.communicate(timeout=RUN_LIMIT)
        except subprocess.TimeoutExpired:
            raise BadRun(f"h2load was not done after {RUN_LIMIT:.0f} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    seconds = judge(text, requests, requests * target.size)
    return Run(requests, seconds, children_cpu() - before)


def judge(text, requests, size):
    """Reads h2load's summary; returns the seconds it took. All requests done, all 2xx, all bytes there."""
    counts = re.search(
        r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored",
        text,
    )
    status = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    traffic = re.search(r"traffic: .*?\((\d+)\) data", text)
    wall = re.search(r"finished in ([\d.]+)(us|ms|s|m)", text)
    if not (counts and status and traffic and wall):
        raise BadRun("h2load printed no summary: " + " / ".join(text.strip().splitlines()[-3:]))
    done, failed, errored = int(counts[3]), int(counts[5]), int(counts[6])
    if (done, failed, errored) != (requests, 0, 0) or int(status[1]) != requests:
        raise BadRun(
            f"of {requests} requests {done} were done, {failed} failed, {errored} errored; "
            f"{status[1]} 2xx, {status[2]} 3xx, {status[3]} 4xx, {status[4]} 5xx"
        )
    if int(traffic[1]) != size:
        raise BadRun(f"the answers' bodies have {traffic[1]} bytes, {size} are right")
    return float(wall[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[wall[2]]


def children_cpu():
    """CPU seconds of all children waited for, that is of finished h2loads (the proxies still run)."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def connect(port, seconds=30.0, tls=False):
    """A connection over which requests are written by hand."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=seconds)
    return client_context().wrap_socket(connection) if tls else connection


@functools.cache
def client_context():
    """Believes everybody: who the proxy is was never in question."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def certificate(place):
    """A certificate on P-256 that all proxies of a run show, and its key."""
    cert, key = place.path / "bench.pem", place.path / "bench.key"
    if not cert.exists():
        command = [tools.find("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        command += ["-nodes", "-days", "2", "-subj", "/CN=bench.test", "-keyout", key, "-out", cert]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        if done.returncode != 0:
            raise BenchError(f"openssl makes no certificate: {done.stderr.strip()}")
    return cert, key


def exchange(connection, request):
    """Writes one request, reads one answer with a Content-Length: status, fields, body. Keeps the connection."""
    connection.sendall(request)
    data = b""
    while b"\r\n\r\n" not in data:
        data += more(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(fields.get("content-length", "0"))
    while len(body) < length:
        body += more(connection)
    return int(status_line.split()[1]), fields, body


def more(connection):
    """The next bytes, of which there must be some."""
    data = connection.recv(65536)
    if not data:
        raise BadRun("the connection was closed in the middle of an answer")
    return data


def get(port, path, fields=(), seconds=5.0, tls=False):
    """One GET on a connection of its own; None when nobody answers."""
    lines = [f"GET {path} HTTP/1.1", "Host: bench.test", *fields, "", ""]
    try:
        with connect(port, seconds, tls) as connection:
            return exchange(connection, "\r\n".join(lines).encode())
    except (OSError, BadRun, ValueError, IndexError):
        return None


def write_body(path: pathlib.Path, size):
    """A file of `size` bytes of text."""
    line = b"0123456789abcdef" * 4
    path.write_bytes((line * (size // len(line) + 1))[:size])
    return path


def write_json(path: pathlib.Path, size):
    """A file of about `size` bytes of JSON: a list of small objects."""
    item = '{"id": 4711, "name": "a thing of some sort", "price": 12.5, "tags": ["red", "small"], "in_stock": true}'
    path.write_text("[" + ", ".join([item] * max(1, size // len(item))) + "]")
    return path


def require_good(port, target, tls=False):
    """One look before the load: is the answer right at all?"""
    if target.body is None and not target.uris:
        answer = get(port, target.path, tls=tls)
        if answer is None or answer[0] != 200 or len(answer[2]) != target.size:
            seen = "no answer" if answer is None else f"{answer[0]} with {len(answer[2])} bytes"
            raise BenchError(f"GET {target.path} gives {seen}, 200 with {target.size} bytes is right")
