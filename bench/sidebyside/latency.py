"""Latency that a proxy adds, at one fixed rate for all.

h2load sends at a steady pace per connection (`--rps`) but waits for the answer of that connection first: a stall
delays what follows it. That hides a part of long stalls (coordinated omission); for all alike.
"""

import dataclasses
import statistics

from . import load, proxies

LOAD = 0.7  # of what the slowest of them can carry here
SECONDS = 5.0
CLIENTS = 64
LIMIT_MS, AIM_MS = 1.0, 0.3


@dataclasses.dataclass
class Latency:
    """p50 and p99 in milliseconds, one value per round, and the same of the backend alone in the same rounds."""

    name: str
    p50: list
    p99: list
    bare50: list
    bare99: list

    def added(self, own, bare):
        """Median of what a proxy adds, in milliseconds."""
        return statistics.median(mine - its for mine, its in zip(own, bare))


def measure(bench, rate=None):
    """Latencies of all proxies; returns them and the rate in requests per second."""
    target = load.Target("/small", len(proxies.SMALL))
    running = [bench.proxy(kind).start() for kind in bench.kinds]
    found = {proxy.name: Latency(proxy.name, [], [], [], []) for proxy in running}
    try:
        if rate is None:
            runs = [proxy.drive(target, bench.requests) for proxy in running]
            rate = int(LOAD * min(run.requests / run.seconds for run in runs))
        bench.say(f"latency at {rate} requests per second; p99 in ms")
        for _ in range(bench.latency_rounds):
            bare = percentiles(bench, bench.backend, target, rate)
            for proxy in running:
                p50, p99 = percentiles(bench, proxy, target, rate)
                one = found[proxy.name]
                for values, value in zip((one.p50, one.p99, one.bare50, one.bare99), (p50, p99, *bare)):
                    values.append(value)
            line = "  ".join(f"{name} {one.p99[-1]:.3f}" for name, one in found.items())
            bench.progress(f"  backend alone {bare[1]:.3f}  {line}")
    finally:
        for proxy in running:
            proxy.stop()
    return list(found.values()), rate


def percentiles(bench, server, target, rate):
    """p50 and p99 in milliseconds of one run, its first fifth left out."""
    log = bench.place.path / "latency.log"
    log.unlink(missing_ok=True)
    requests = int(rate * SECONDS)
    server.drive(target, requests, CLIENTS, (f"--rps={rate / CLIENTS:.3f}", f"--log-file={log}"))
    times = [int(line.split("\t")[2]) for line in log.read_text().splitlines()]
    times = sorted(times[len(times) // 5 :])
    return times[len(times) // 2] / 1000, times[int(len(times) * 0.99)] / 1000
