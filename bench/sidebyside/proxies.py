"""The backend, and the proxies in front of it, each started from its template in bench/peers."""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import socket

from . import BenchError, accounting, load, tokens, tools
from .children import wait_until

TEMPLATES = pathlib.Path(__file__).resolve().parents[1] / "peers"
SMALL = '{"status":"ok","note":"a small answer, about as long as the JSON of one resource, a hundred bytes!"}'
LARGE_SIZE = 64 * 1024
IDLE_PATH = "/small"


@dataclasses.dataclass(frozen=True)
class Setup:
    """How a proxy is to be started; alike for all."""

    workers: int
    backend: int
    file_limit: int
    log: bool = False
    routes: int = 0  # 0: one route for everything; 1: one route for all of /api; else as many routes under /api
    big: bool = False  # bodies without a limit, passed on as they come
    tls: bool = False  # TLS with clients, HTTP/2 if they choose it
    sockets: int = 1  # where WebSockets go; 1: nobody listens
    jwt: str = ""  # checks tokens of this algorithm
    state: int = 0  # the port of the Redis in which it counts
    limit: str = ""  # counts requests so; never so many that one is refused
    guard: str = ""  # another protection of the route, which lets all of our requests pass
    lists: str = ""  # lists of networks that it names
    remembers: bool = True  # what was checked of a token once holds for it
    wrap: tuple = ()  # what runs the proxy, such as valgrind


def render(template, out, values):
    """Fills in @NAME@s; one that is left over, or not used, is a mistake of ours."""
    text = (TEMPLATES / template).read_text()
    for name, value in values.items():
        if f"@{name}@" not in text:
            raise BenchError(f"{template} does not use @{name}@")
        text = text.replace(f"@{name}@", str(value))
    left = re.search(r"@[A-Z_]+@", text)
    if left:
        raise BenchError(f"{template}: nothing given for {left[0]}")
    out.write_text(text)
    return out


def route_path(number):
    """The fixed part of route `number` of the many."""
    return f"/api/service{number:05}/items/"


def nginx_user():
    """nginx gives up root unless told not to; then it could not read a private scratch directory."""
    return "user root;" if os.geteuid() == 0 else ""


class Proxy:
    """A proxy under measurement: start it, ask its CPU time and memory, stop it."""

    kind = ""
    names_machine = False  # a client by loopback is told by the machine's own address

    def __init__(self, place, setup, name=None):
        self.place = place
        self.setup = setup
        self.name = name or self.kind
        self.port = place.port()
        self.child = None

    def start(self):
        """Starts it and waits until it answers through to the backend."""
        label = re.sub(r"[^a-z0-9]+", "-", self.name)
        directory = self.place.path / f"{label}-{self.port}"
        directory.mkdir()
        command = [*self.setup.wrap, *self.command(directory)]
        self.child = self.place.start(f"{label}-{self.port}", command)
        path = route_path(0) + "1" if self.setup.routes else IDLE_PATH
        patience = 120.0 if self.setup.wrap else 30.0
        ready = lambda: answers(self.port, path, self.setup.tls, self.fields())  # noqa: E731
        wait_until(f"{self.name} answers", ready, self.child, patience)
        if self.setup.jwt:
            self.require_refusal(path)
        return self

    def fields(self):
        """What every request has to say."""
        return (f"Authorization: Bearer {self.tokens.token}",) if self.setup.jwt else ()

    @property
    def tokens(self):
        """The token that it has to take, and the keys for that."""
        return tokens.make(self.place, self.setup.jwt)

    def require_refusal(self, path):
        """Stops unless it looks at tokens: a changed one is not taken."""
        head, claims, signature = self.tokens.token.split(".")
        changed = f"{head}.{claims}.{signature[:20]}{'A' if signature[20] != 'A' else 'B'}{signature[21:]}"
        for fields in ((), (f"Authorization: Bearer {changed}",)):
            answer = load.get(self.port, path, fields)
            if answer is None or answer[0] != 401:
                raise BenchError(f"{self.name} lets in who has no right token")

    def stop(self):
        """Stops it."""
        if self.child is not None:
            self.place.stop(self.child)
            self.child = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def drive(self, target, requests, clients=64, extra=()):
        """Load on it; a bad run says whose it was."""
        try:
            extra = (*extra, *(f"-H{field}" for field in self.fields()))
            return load.drive(self.port, target, requests, clients, extra, self.setup.tls)
        except load.BadRun as error:
            raise load.BadRun(f"{self.name}: {error}") from error

    def cpu(self):
        """CPU time used so far, by all its processes."""
        return accounting.Cpu(self.child.pid)

    def pss_kib(self):
        """Proportional memory of all its processes."""
        return accounting.pss_kib(self.child.pid)

    def rss_kib(self):
        """Resident memory of all its processes."""
        return accounting.rss_kib(self.child.pid)

    def command(self, directory):
        """Writes the config into `directory`; the command line."""
        raise NotImplementedError

    @property
    def connections(self):
        """How many connections it may hold, both sides, with room for files."""
        return min(16_384, self.setup.file_limit - 200)


def answers(port, path, tls=False, fields=()):
    """Whether a GET gives the small answer."""
    answer = load.get(port, path, fields, seconds=2.0, tls=tls)
    return answer is not None and answer[0] == 200 and answer[2] == SMALL.encode()


class Nginx(Proxy):
    """nginx: one master, `workers` processes."""

    kind = "nginx"
    extra = ""

    def command(self, directory):
        setup = self.setup
        # The variable parts of a big transfer: nginx would spool it to disk by default, nobody else does.
        big = "proxy_request_buffering off; proxy_max_temp_file_size 0;" if setup.big else ""
        log = f"{directory}/access.log json buffer=64k flush=1s" if setup.log else "off"
        config = render("nginx.conf.in", directory / "nginx.conf", {
            "DIR": directory, "PORT": self.port, "BACKEND": setup.backend, "WORKERS": setup.workers,
            "CONNECTIONS": self.connections, "USER": nginx_user(), "ACCESS_LOG": log,
            "BODY_LIMIT": "0" if setup.big else "100m", "EXTRA": f"    {big}{self.extra}",
            "LISTEN": "reuseport" if setup.workers > 1 else "", "ROUTES": self.routes(), "SOCKETS": setup.sockets,
            "TLS": self.tls(),
        })
        return [tools.find("nginx"), "-e", directory / "nginx.error.log", "-c", config, "-p", directory]

    def tls(self):
        """The rest of the `listen` line. A shared cache of sessions is left out: no client here takes one up again."""
        if not self.setup.tls:
            return ""
        cert, key = load.certificate(self.place)
        return f"ssl http2; ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3"

    def routes(self):
        """Prefix locations: nginx keeps them in a tree."""
        if self.setup.routes < 2:
            return "        location / { proxy_pass http://backend; }"
        line = "        location {} {{ proxy_pass http://backend; }}"
        return "\n".join(line.format(route_path(number)) for number in range(self.setup.routes))


class NginxTuned(Nginx):
    """nginx with buffers that hold a 64 KiB answer at once: what a careful administrator may set. A reference."""

    kind = "nginx-tuned"
    extra = "proxy_buffer_size 16k; proxy_buffers 8 32k; proxy_busy_buffers_size 64k;"


class Haproxy(Proxy):
    """HAProxy: one process, `workers` threads."""

    kind = "haproxy"

    def command(self, directory):
        setup = self.setup
        config = render("haproxy.cfg.in", directory / "haproxy.cfg", {
            "PORT": self.port, "BACKEND": setup.backend, "WORKERS": setup.workers,
            "CONNECTIONS": self.connections // 2 - 50, "LOG": "log global" if setup.log else "no log",
            "BODY_LIMIT": 1 << 40 if setup.big else 100_000_000,
            "LISTEN": "shards by-thread" if setup.workers > 1 else "", "ROUTES": self.routes(directory),
            "SOCKETS": setup.sockets, "TLS": self.tls(directory), "SCHEME": "https" if setup.tls else "http",
        })
        return [tools.find("haproxy"), "-db", "-f", config]

    def tls(self, directory):
        """The rest of the `bind` line; HAProxy wants certificate and key in one file."""
        if not self.setup.tls:
            return ""
        both = directory / "both.pem"
        both.write_text("".join(path.read_text() for path in load.certificate(self.place)))
        return f"ssl crt {both} alpn h2,http/1.1"

    def routes(self, directory):
        """A map: what HAProxy's manual advises for many routes."""
        if self.setup.routes < 2:
            return "    default_backend backend"
        table = directory / "routes.map"
        table.write_text("".join(f"{route_path(number)} backend\n" for number in range(self.setup.routes)))
        return f"    use_backend %[path,map_beg({table})]"


class Tollgate(Proxy):
    """Our gateway: one process, `workers` threads that serve."""

    kind = "tollgate"
    binary = None  # set once by the command line

    def command(self, directory):
        setup = self.setup
        config = render("tollgate.yaml.in", directory / "tollgate.yaml", {
            "PORT": self.port, "HEALTH": self.place.port(), "BACKEND": setup.backend, "WORKERS": setup.workers,
            "LOG": "{ to: stdout, format: json }" if setup.log else "off", "ROUTES": self.routes(),
            "STATE": f"state: {{ redis: {{ url: redis://127.0.0.1:{setup.state}, timeout: 100ms }} }}" if setup.state else "",
            "SOCKETS": setup.sockets, "LISTENER": self.listener(), "AUTH": self.auth(), "LISTS": f"lists: {setup.lists}" if setup.lists else "",
        })
        return [self.binary, "run", "-c", config]

    def listener(self):
        """What is spoken with clients."""
        if not self.setup.tls:
            return "http"
        cert, key = load.certificate(self.place)
        return f"{{ tls: {{ certificates: {{ cert: {cert}, key: {key} }} }} }}"

    def auth(self):
        """Whose tokens are taken."""
        if not self.setup.jwt:
            return ""
        remember = "" if self.setup.remembers else ", remember: 0"
        who = f"issuer: {tokens.ISSUER}, audience: {tokens.AUDIENCE}"
        return f"auth: {{ idp: {{ {who}, jwks: {self.tokens.jwks}{remember} }} }}"

    def routes(self):
        """One route for everything, or routes with a parameter at the end."""
        limit = "5000MB" if self.setup.big else "100MB"
        if not self.setup.routes:
            auth = ", auth: idp" if self.setup.jwt else ""
            counted = f', limit: "{self.setup.limit}"' if self.setup.limit else ""
            guard = f", {self.setup.guard}" if self.setup.guard else ""
            return f'  "/**": {{ to: b, body: {limit}{auth}{counted}{guard} }}'
        if self.setup.routes == 1:
            return f'  "/api/{{service}}/items/{{id}}": {{ to: b, body: {limit} }}'
        line = '  "{}{{id}}": {{ to: b, body: {} }}'
        return "\n".join(line.format(route_path(number), limit) for number in range(self.setup.routes))


class Redis:
    """Where gateways count together: one server, which keeps nothing."""

    def __init__(self, place):
        self.place = place
        self.port = place.port()
        self.child = None

    def __enter__(self):
        command = [tools.find("redis-server"), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.child = self.place.start(f"redis-{self.port}", command)

        def listens():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0):
                return True
            return False

        wait_until("Redis listens", listens, self.child, 30.0)
        return self

    def __exit__(self, *_):
        self.place.stop(self.child)


class Envoy(Proxy):
    """Envoy: one process, `workers` threads that serve. Only where it is named: for tokens."""

    kind = "envoy"
    names_machine = True

    def command(self, directory):
        config = render("envoy.yaml.in", directory / "envoy.yaml", {
            "PORT": self.port, "BACKEND": self.setup.backend, "FILTER": self.filter(),
        })
        quiet = ["--log-level", "error", "--disable-hot-restart"]
        return [tools.envoy(), "-c", config, "--concurrency", str(self.setup.workers), *quiet]

    def filter(self):
        """What checks tokens, as JSON, which is YAML."""
        if not self.setup.jwt:
            return ""
        provider = {
            "issuer": tokens.ISSUER, "audiences": [tokens.AUDIENCE], "forward": True,
            "local_jwks": {"filename": str(self.tokens.jwks)},
        }
        if self.setup.remembers:
            provider["jwt_cache_config"] = {"jwt_cache_size": 100}
        config = {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"idp": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "idp"}}],
        }
        return "          - " + json.dumps({"name": "envoy.filters.http.jwt_authn", "typed_config": config})


KINDS = {kind.kind: kind for kind in (Tollgate, Nginx, Haproxy, NginxTuned, Envoy)}
PEERS = ("nginx", "haproxy", "nginx-tuned")


class Backend(Proxy):
    """The one backend behind all of them: nginx, one process."""

    kind = "backend"

    def command(self, directory):
        files = directory / "files"
        files.mkdir()
        load.write_body(files / "large", LARGE_SIZE)
        config = render("backend.conf.in", directory / "backend.conf", {
            "DIR": directory, "PORT": self.port, "SMALL": SMALL, "USER": nginx_user(),
            "CONNECTIONS": self.connections,
        })
        return [tools.find("nginx"), "-e", directory / "backend.error.log", "-c", config, "-p", directory]


SPOOF = (
    "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-Host: evil.test",
    "X-Forwarded-Proto: https",
    "Forwarded: for=6.6.6.6",
    "Connection: keep-alive, X-Hop",
    "X-Hop: 1",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "TE: gzip",
)


def unlike(proxy):
    """What a proxy does not do of the work that all must do, as a list of complaints."""
    tls = proxy.setup.tls
    answer = load.get(proxy.port, "/echo", SPOOF, tls=tls)
    if answer is None or answer[0] != 200:
        return ["does not forward a plain GET"]
    seen = dict(line.partition(": ")[::2] for line in answer[2].decode().splitlines())
    wrong = []
    expected = {"x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "https" if tls else "http"}
    expected["x-forwarded-host"] = "bench.test"
    if proxy.names_machine:
        # Whoever comes by loopback, it calls by the machine's own address.
        expected["x-forwarded-for"] = seen.get("x-forwarded-for", "")
        wrong += ["believes the client's X-Forwarded-For"] if "6.6.6.6" in expected["x-forwarded-for"] else []
    for name, value in {**expected, "host": "bench.test"}.items():
        if seen.get(name) != value:
            wrong.append(f"sends {name}: {seen.get(name)!r} where {value!r} is right")
    wrong += [f"sends no {name}" for name in ("via", "id") if not seen.get(name)]
    wrong += [f"passes on {name}" for name in ("te", "keep-alive", "proxy-connection") if seen.get(name)]
    if "6.6.6.6" in seen.get("forwarded", ""):
        wrong.append("believes the client's Forwarded")
    return wrong
