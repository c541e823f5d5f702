"""The scenarios measured in CPU time per request, and what they are to reach."""

import contextlib
import dataclasses

from . import BenchError, load, proxies, rounds, tokens

MANY_ROUTES = 10_000


@dataclasses.dataclass(frozen=True)
class Goal:
    """Cost of `name` as a multiple of `reference`'s, at most `limit` (and `aim`, where we go)."""

    name: str
    reference: str
    limit: float
    aim: float
    binding: bool = True


@dataclasses.dataclass
class Outcome:
    """A scenario measured."""

    key: str
    title: str
    series: rounds.Series
    goals: list
    facts: dict = dataclasses.field(default_factory=dict)


# key: title, path, whether a body is posted, share of the requests, goals against nginx and HAProxy
REQUESTS = {
    "small": ("small GET", "/small", False, 1.0, (("nginx", 1.00, 0.92), ("haproxy", 0.90, 0.82))),
    "large": ("64 KiB answer", "/large", False, 0.5, (("nginx", 0.60, 0.50), ("haproxy", 0.90, 0.75))),
    "post": ("4 KiB POST", "/post", True, 1.0, (("nginx", 1.00, 0.92), ("haproxy", 1.00, 0.92))),
}


def request_scenarios(bench, keys):
    """Small GET, 64 KiB answer, 4 KiB POST: every proxy, started once for all of them."""
    running = [bench.proxy(kind).start() for kind in bench.kinds]
    try:
        bench.require_alike(running)
        for key in keys:
            title, path, posts, share, limits = REQUESTS[key]
            body = load.write_body(bench.place.path / "post.body", 4096) if posts else None
            size = proxies.LARGE_SIZE if key == "large" else len(proxies.SMALL)
            bench.say(f"{title}: {', '.join(proxy.name for proxy in running)}; µs of CPU per request")
            series = bench.measure(running, load.Target(path, size, body), share)
            names = series.readings
            goals = [Goal("tollgate", peer, *limit) for peer, *limit in limits if {"tollgate", peer} <= names.keys()]
            yield Outcome(key, title, series, goals)
    finally:
        for proxy in running:
            proxy.stop()


# key: title, path, how it is asked, share of the requests, goals
SECURE = {
    "h2-small": ("HTTP/2 over TLS, small", "/small", "", 1.0, (("nginx", 0.95, 0.95), ("haproxy", 0.95, 0.95, False))),
    "tls-large": ("HTTP/1.1 over TLS, 64 KiB", "/large", "--h1", 0.5, (("nginx", 0.80, 0.70),)),
}
HANDSHAKES = 2_000


def secure_scenarios(bench, keys):
    """The same under TLS: small answers over HTTP/2, 64 KiB over HTTP/1.1, and full handshakes."""
    running = [bench.proxy(kind, tls=True).start() for kind in bench.kinds]
    try:
        bench.require_alike(running)
        for key in keys:
            bench.say(f"{secure_title(key)}: {', '.join(proxy.name for proxy in running)}; µs of CPU per request")
            if key == "handshake":
                goals = (("nginx", 0.75, 0.60),)
                # Each connection is new and does one request: h2load takes no session up again.
                target = load.Target("/small", len(proxies.SMALL))
                series = bench.measure_exactly(running, target, HANDSHAKES, clients=HANDSHAKES)
            else:
                _, path, version, share, goals = SECURE[key]
                size = proxies.LARGE_SIZE if path == "/large" else len(proxies.SMALL)
                series = bench.measure(running, load.Target(path, size, version=version), share)
            names = series.readings
            kept = [Goal("tollgate", peer, *limits) for peer, *limits in goals if {"tollgate", peer} <= names.keys()]
            yield Outcome(key, secure_title(key), series, kept)
    finally:
        for proxy in running:
            proxy.stop()


def secure_title(key):
    """What a scenario under TLS is called."""
    return "full TLS 1.3 handshake, P-256, and one request" if key == "handshake" else SECURE[key][0]


def log_scenario(bench):
    """JSON access log of the gateway against its own plain route. The lines go to a file in memory."""
    plain = bench.proxy("tollgate", "tollgate plain", log=False)
    logged = bench.proxy("tollgate", "tollgate with log", log=True)
    with plain, logged:
        bench.say("JSON access log: the gateway against itself; µs of CPU per request")
        target = load.Target("/small", len(proxies.SMALL))
        series = bench.measure([plain, logged], target, 1.0)
        path = logged.child.log
    # Counted after the stop, when what was still buffered has been written.
    lines = path.read_bytes().count(b"\n")
    sent = sent_requests(series)
    if lines < 0.9 * sent:
        raise BenchError(f"{logged.name} wrote {lines} lines for {sent} requests: its figure would be no log's figure")
    goals = [Goal(logged.name, plain.name, 1.05, 1.03, binding=False)]
    facts = {"log_lines": lines, "requests": sent}
    return Outcome("log", "JSON access log, to the plain route", series, goals, facts)


def jwt_scenario(bench):
    """Tokens checked each time, and remembered: each proxy against its own plain route. One token for all requests."""
    kinds = [kind for kind in ("tollgate", "envoy") if kind in bench.kinds or kind == "envoy"]
    running = []
    for kind in kinds:
        running.append(bench.proxy(kind))
        for algorithm in tokens.KEYS:
            running.append(bench.proxy(kind, f"{kind}, {algorithm} remembered", jwt=algorithm))
            running.append(bench.proxy(kind, f"{kind}, {algorithm} each time", jwt=algorithm, remembers=False))
    try:
        for proxy in running:
            proxy.start()
        bench.require_alike([proxy for proxy in running if not proxy.setup.jwt])
        bench.say(f"JWT: {', '.join(kinds)}; µs of CPU per request")
        series = bench.measure(running, load.Target("/small", len(proxies.SMALL)), JWT_SHARE)
    finally:
        for proxy in running:
            proxy.stop()
    goals = []
    if "tollgate" in kinds:
        goals.append(Goal("tollgate, ES256 remembered", "tollgate", 1.08, 1.04))
        # What P-256 costs in the libraries there are is more than that allows (docs/decisions/0005-identity.md).
        goals.append(Goal("tollgate, ES256 each time", "tollgate", 3.5, 3.5, binding=False))
    return Outcome("jwt", "JWT", series, goals)


def limit_scenarios(bench):
    """One limit that nobody reaches, against the same route without it: by address, by user behind a token that is remembered, and by user
    where gateways count together. What Redis itself takes is not the gateway's."""
    kinds = (("per ip", "", "per ip", 1.04, 1.02), ("per user", "ES256", "per user", 1.04, 1.02), ("per user, Redis", "ES256", "per user", 1.08, 1.04))
    for title, jwt, per, most, aim in kinds:
        redis = proxies.Redis(bench.place) if "Redis" in title else None
        plain = bench.proxy("tollgate", f"tollgate without {title}", jwt=jwt)
        state = redis.port if redis else 0
        counted = bench.proxy("tollgate", f"tollgate, {title}", jwt=jwt, limit=f"1000000/s {per}", state=state)
        with contextlib.ExitStack() as running:
            for child in (redis, plain, counted):
                if child is not None:
                    running.enter_context(child)
            bench.say(f"limit {title}: the gateway against itself; µs of CPU per request")
            series = bench.measure([plain, counted], load.Target("/small", len(proxies.SMALL)), 1.0)
        goals = [Goal(counted.name, plain.name, most, aim, binding=False)]
        yield Outcome(f"limit-{title.replace(',', '').replace(' ', '-').lower()}", f"limit {title}", series, goals)


LISTED = 500_000  # networks


def guard_scenarios(bench):
    """One protection that lets all pass, against the same route without it."""
    listed = bench.place.path / "listed.txt"
    listed.write_text("".join(f"{20 + (n >> 16)}.{n >> 8 & 255}.{n & 255}.0/24\n" for n in range(LISTED)))
    posted = load.write_json(bench.place.path / "post.json", 4096)
    small = load.Target("/small", len(proxies.SMALL))
    guards = (
        (f"{LISTED:,} networks denied", "ip: { deny: listed }", f"{{ listed: {listed} }}", small),
        ("known probes denied", "deny: probes", "", small),
        ("1,000 in flight per ip", "in_flight: 1000 per ip", "", small),
        ("4 KiB of JSON looked at", "payload: json", "", load.Target("/post", len(proxies.SMALL), posted, kind="application/json")),
    )
    for title, guard, lists, target in guards:
        plain = bench.proxy("tollgate", f"tollgate without {title}")
        guarded = bench.proxy("tollgate", f"tollgate, {title}", guard=guard, lists=lists)
        with plain, guarded:
            bench.say(f"{title}: the gateway against itself; µs of CPU per request")
            series = bench.measure([plain, guarded], target, 1.0)
        key = "".join(letter if letter.isalnum() else "-" for letter in title.lower())
        yield Outcome(f"guard-{key}", title, series, [])


JWT_SHARE = 0.5  # of the requests: there are ten proxies, some of them slow


def sent_requests(series):
    """About how many requests a proxy got in a series without dropped rounds, warm-ups included."""
    rounds_counted = len(next(iter(series.readings.values())))
    warm = max(64, int(series.requests * rounds.WARM_UP))
    return rounds_counted * (series.requests + warm) + max(200, series.requests // 5)


def routes_scenario(bench, kind):
    """10,000 routes against one, for one kind of proxy; requests go round over a thousand of the routes."""
    one = bench.proxy(kind, f"{kind}, 1 route", routes=1)
    many = bench.proxy(kind, f"{kind}, {MANY_ROUTES:,} routes", routes=MANY_ROUTES)
    uris = bench.place.path / "routes.uris"
    steps = range(3, MANY_ROUTES, 10)
    uris.write_text("".join(f"http://127.0.0.1{proxies.route_path(number)}{number}\n" for number in steps))
    with one, many:
        bench.say(f"10,000 routes instead of one: {kind}; µs of CPU per request")
        series = bench.measure([one, many], load.Target("", len(proxies.SMALL), uris=uris), 1.0)
        memory = (many.pss_kib() - one.pss_kib()) / 1024
    goals = [Goal(many.name, one.name, 1.03, 1.01)] if kind == "tollgate" else []
    facts = {"memory_mib": memory, "memory_limit_mib": 20, "memory_aim_mib": 10}
    return Outcome(f"routes-{kind}", f"10,000 routes instead of 1, {kind}", series, goals, facts)
