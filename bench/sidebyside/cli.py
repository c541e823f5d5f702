"""The command line: what runs in which order, and how it ends.

Exit codes: 0 measured (and, in a run that judges, every binding goal met); 1 a binding goal missed in a run that
judges; 2 no figures, because something is missing or a proxy did not answer as it must; 130 interrupted.
"""

import argparse
import pathlib
import shlex
import signal
import sys

from . import BenchError, big, children, idle, instructions, latency, proxies, report, rounds, scenarios, tools
from .load import BadRun

JUDGING = 15  # rounds from which on a bound may be judged
LOOKING = 5
USUAL = ("small", "large", "post", "h2-small", "tls-large", "handshake", "log", "jwt", "limit", "guard", "routes", "idle", "idle-tls", "sockets")
ON_DEMAND = ("latency", "instructions", "big")
OURS = "tollgate"


class Bench:
    """What every scenario needs: the place, the backend, the options, and a way to say what goes on."""

    def __init__(self, place, options, kinds, file_limit):
        self.place = place
        self.options = options
        self.kinds = kinds
        self.file_limit = file_limit
        self.requests = options.requests
        self.latency_rounds = min(options.rounds, LOOKING)
        self.backend = proxies.Backend(place, proxies.Setup(1, 0, file_limit)).start()

    def proxy(self, kind, name=None, **changes):
        """A proxy of that kind, not started; `changes` replace fields of the common setup."""
        common = {"workers": self.options.workers, "backend": self.backend.port, "file_limit": self.file_limit}
        setup = proxies.Setup(**{**common, "log": self.options.log, **changes})
        return proxies.KINDS[kind](self.place, setup, name)

    def measure(self, running, target, share):
        """Rounds over started proxies, with `share` of the usual number of requests."""
        requests = int(self.requests * share)
        return rounds.measure(running, target, requests, self.options.rounds, self.backend, self.progress)

    def measure_exactly(self, running, target, requests, clients):
        """Rounds with so many requests over so many connections."""
        backend, progress = self.backend, self.progress
        return rounds.measure(running, target, requests, self.options.rounds, backend, progress, clients)

    def require_alike(self, running):
        """Stops unless every proxy does the work that all have to do."""
        for proxy in running:
            wrong = proxies.unlike(proxy)
            if wrong:
                raise BenchError(f"{proxy.name} does not do what the others do: it " + "; it ".join(wrong))

    def say(self, text):
        """A heading."""
        print(text, flush=True)

    def progress(self, text):
        """A detail of the run."""
        if not self.options.quiet:
            print(text, flush=True)


def parts(bench, wanted):
    """Runs what is wanted, one part of the report after the other."""
    keys = [key for key in scenarios.REQUESTS if key in wanted]
    if keys:
        yield report.request_part(list(scenarios.request_scenarios(bench, keys)))
    keys = [key for key in (*scenarios.SECURE, "handshake") if key in wanted]
    if keys:
        yield report.secure_part(list(scenarios.secure_scenarios(bench, keys)))
    ours = OURS in bench.kinds
    if "log" in wanted and ours:
        yield report.pair_part("log", "JSON access log", [scenarios.log_scenario(bench)])
    if "jwt" in wanted:
        yield report.jwt_part(scenarios.jwt_scenario(bench))
    if "limit" in wanted and ours:
        yield report.pair_part("limit", "Rate limits", list(scenarios.limit_scenarios(bench)))
    if "guard" in wanted and ours:
        yield report.pair_part("guard", "Protections", list(scenarios.guard_scenarios(bench)))
    routed = bench.kinds if bench.options.routes_of_peers else [OURS] if ours else []
    if "routes" in wanted and routed:
        outcomes = [scenarios.routes_scenario(bench, kind) for kind in routed]
        yield report.pair_part("routes", "10,000 routes", outcomes)
    if "idle" in wanted:
        yield report.idle_part(idle.measure(bench))
    if "idle-tls" in wanted:
        yield report.idle_tls_part(idle.measure(bench, tls=True))
    if "sockets" in wanted:
        yield report.sockets_part(idle.measure_sockets(bench))
    if "latency" in wanted:
        yield report.latency_part(*latency.measure(bench, bench.options.rate))
    if "instructions" in wanted:
        yield report.instructions_part(instructions.measure(bench))
    if "big" in wanted:
        yield report.big_part(big.measure(bench))


def parser():
    """All options."""
    listing = ", ".join(USUAL + ON_DEMAND)
    make = argparse.ArgumentParser(
        prog="bench/run",
        description="Measures Tollgate side by side with nginx and HAProxy: CPU time per request, memory. "
        "Method: docs/performance.md.",
        epilog="Example: bench/run --look --only small,idle",
    )
    add = make.add_argument
    add("--binary", type=pathlib.Path, metavar="PATH", help="measure this gateway instead of building one")
    add("--peers-only", action="store_true", help="without the gateway")
    add("--peers", default="nginx,haproxy", metavar="LIST", help="of nginx, haproxy, nginx-tuned (%(default)s)")
    add("--rounds", type=int, metavar="N", help=f"rounds that count (default: {JUDGING}; fewer judge no bound)")
    add("--look", action="store_true", help=f"{LOOKING} rounds: a look, judges nothing and leaves the docs alone")
    add("--requests", type=int, default=40_000, metavar="N", help="per reading; half for 64 KiB (default: %(default)s)")
    add("--workers", type=int, default=2, metavar="N", help="of every proxy (default: %(default)s)")
    add("--only", metavar="LIST", help=f"of {listing} (default: {', '.join(USUAL)})")
    add("--latency", action="store_true", help="also the latency added at a fixed rate")
    add("--rate", type=int, metavar="N", help="that rate, requests per second (default: 70 %% of the slowest's most)")
    add("--instructions", action="store_true", help="also instructions per request, under valgrind")
    add("--big", action="store_true", help="also 2 GiB up and down with the growth of memory")
    add("--log", action="store_true", help="access log on, as JSON, for all")
    add("--routes-of-peers", action="store_true", help="10,000 routes for the peers too, as references")
    add("--json", type=pathlib.Path, metavar="FILE", help="(default: target/bench/last.json)")
    add("--docs", action=argparse.BooleanOptionalAction, help="write docs/performance.md (default: if the run judges)")
    add("--quiet", action="store_true", help="no line per round")
    return make


def read_options(argv):
    """Parsed and checked options, with what is wanted as `wanted` and the kinds of proxies as `kinds`."""
    make = parser()
    options = make.parse_args(argv)
    options.rounds = options.rounds or (LOOKING if options.look else JUDGING)
    if options.rounds < 1 or options.requests < 1_000 or options.workers < 1:
        make.error("needs at least 1 round, 1,000 requests, 1 worker")
    chosen = options.only.split(",") if options.only else list(USUAL)
    chosen += [key for key in ON_DEMAND if getattr(options, key)]
    unknown = set(chosen) - set(USUAL + ON_DEMAND)
    if unknown:
        make.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(USUAL + ON_DEMAND)}")
    options.wanted = chosen
    peers = [peer for peer in options.peers.split(",") if peer]
    if set(peers) - set(proxies.PEERS):
        make.error(f"no peer {options.peers}; there are {', '.join(proxies.PEERS)}")
    options.kinds = ([] if options.peers_only else [OURS]) + peers
    if not options.kinds:
        make.error("nothing to measure")
    options.judges = not options.peers_only and not options.look and options.rounds >= JUDGING
    if options.docs is None:
        options.docs = options.judges
    options.json = options.json or tools.REPOSITORY / "target" / "bench" / "last.json"
    return options


def shown_command(argv):
    """The command as it goes into the docs: without paths of this machine."""
    shown, previous = [], ""
    for part in argv:
        name, equals, _ = part.partition("=")
        if previous in ("--binary", "--json"):
            part = pathlib.Path(part).name
        elif equals and name in ("--binary", "--json"):
            part = f"{name}={pathlib.Path(part).name}"
        shown.append(part)
        previous = part
    return shlex.join(["bench/run", *shown])


def prepare(options):
    """Programs and binary."""
    needed = ["nginx", "h2load", "openssl"]  # nginx is also the backend
    needed += ["haproxy"] if "haproxy" in options.kinds else []
    needed += ["valgrind"] if "instructions" in options.wanted else []
    tools.ensure(needed)
    if "jwt" in options.wanted:
        tools.envoy()
    if OURS in options.kinds:
        binary = options.binary or tools.build_gateway()
        if not binary.is_file():
            raise BenchError(f"no such binary: {binary}")
        proxies.Tollgate.binary = binary.resolve()


def facts_of(options, argv):
    """What was measured where."""
    programs = {OURS: proxies.Tollgate.binary, "nginx": "nginx", "haproxy": "haproxy", "h2load": "h2load"}
    names = [name for name in (OURS, "haproxy") if name in options.kinds] + ["nginx", "h2load"]
    versions = {}
    for name in names:
        program = programs[name] if name == OURS else tools.find(programs[name])
        versions[name] = tools.version(name, program)
    if "jwt" in options.wanted:
        versions["envoy"] = tools.ENVOY
    return {
        "command": shown_command(argv),
        "date": report.today(),
        "commit": tools.commit(),
        "versions": versions,
        "machine": tools.machine(),
        "workers": options.workers,
        "rounds": options.rounds,
        "requests": options.requests,
        "log": "on" if options.log else "off",
    }


def run(options, argv):
    """Everything; the exit code."""
    prepare(options)
    facts = facts_of(options, argv)
    file_limit = children.raise_file_limit()
    with children.Workplace() as place:
        bench = Bench(place, options, options.kinds, file_limit)
        found = list(parts(bench, options.wanted))
    print("\n" + report.show(found) + "\n\n" + report.facts_line(facts))
    report.write_json(found, facts, options.json)
    if options.docs:
        report.write_page(found, facts)
    missed = [verdict for part in found for verdict in part.verdicts if verdict.binding and not verdict.met]
    return 1 if options.judges and missed else 0


def interrupt(*_):
    """SIGTERM ends like Ctrl-C: everything is stopped first."""
    raise KeyboardInterrupt


def main(argv=None):
    """The program."""
    argv = sys.argv[1:] if argv is None else argv
    options = read_options(argv)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        return run(options, argv)
    except (BenchError, BadRun) as error:
        print(f"bench/run: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench/run: interrupted, everything stopped", file=sys.stderr)
        return 130
