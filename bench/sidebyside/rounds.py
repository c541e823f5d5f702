"""Interleaved rounds: A B C A B C, ratios paired within a round, medians over the rounds."""

import dataclasses
import statistics

from . import BenchError, accounting
from .load import BadRun

WARM_UP = 0.05  # of the requests of a reading, before each reading


@dataclasses.dataclass
class Reading:
    """One proxy in one round: microseconds of CPU per request, and the share of them in user space."""

    cost: float
    user: float
    rate: float  # requests per second, for orientation only


@dataclasses.dataclass
class Series:
    """What the rounds gave: per proxy its readings, in the order of the rounds."""

    readings: dict
    requests: int
    dropped: list  # why rounds did not count
    others: float  # share of the machine that was used by nobody of ours

    def median(self, name):
        """Median cost of a proxy in µs per request."""
        return statistics.median(reading.cost for reading in self.readings[name])

    def user(self, name):
        """Median user part of a proxy in µs per request."""
        return statistics.median(reading.cost * reading.user for reading in self.readings[name])

    def ratios(self, name, reference):
        """Cost of `name` as a multiple of that of `reference`, round by round."""
        pairs = zip(self.readings[name], self.readings[reference])
        return [ours.cost / theirs.cost for ours, theirs in pairs]

    def ratio(self, name, reference):
        """The median of the paired ratios."""
        return statistics.median(self.ratios(name, reference))

    def spread(self, name, reference):
        """Lower and upper quartile of the paired ratios."""
        ratios = self.ratios(name, reference)
        if len(ratios) < 2:
            return ratios[0], ratios[0]
        quartiles = statistics.quantiles(ratios, n=4, method="inclusive")
        return quartiles[0], quartiles[2]


def measure(proxies, target, requests, rounds, backend, progress, clients=64):
    """Runs `rounds` rounds that count over all proxies.

    A round in which any answer of any proxy was not as it must be is dropped as a whole; too many of those are an
    error, as the figures would then be those of a broken proxy.
    """
    readings = {proxy.name: [] for proxy in proxies}
    dropped = []
    for proxy in proxies:
        proxy.drive(target, max(200, requests // 5), min(clients, max(200, requests // 5)))
    busy, ours = accounting.machine_busy(), 0.0
    while len(readings[proxies[0].name]) < rounds:
        try:
            this_round, used = one_round(proxies, target, requests, backend, clients)
        except BadRun as error:
            dropped.append(str(error))
            progress(f"  round dropped: {error}")
            if len(dropped) > max(1, rounds // 5):
                raise BenchError(f"{len(dropped)} rounds dropped, the last one because of {error}") from error
            continue
        ours += used
        for name, reading in this_round.items():
            readings[name].append(reading)
        progress("  " + "  ".join(f"{name} {reading.cost:.1f}" for name, reading in this_round.items()))
    busy = accounting.machine_busy() - busy
    others = max(0.0, busy - ours) / busy if busy and not dropped else 0.0
    return Series(readings, requests, dropped, others)


def one_round(proxies, target, requests, backend, clients):
    """One reading of each proxy, and the CPU seconds that this took of all of ours."""
    taken, used = {}, 0.0
    start = backend.cpu()
    for proxy in proxies:
        taken[proxy.name], seconds = one_reading(proxy, target, requests, clients)
        used += seconds
    return taken, used + backend.cpu().since(start).total


def one_reading(proxy, target, requests, clients):
    """CPU time of one proxy for a fixed number of requests; and of proxy and client with the warm-up."""
    first = proxy.cpu()
    warm = proxy.drive(target, max(64, int(requests * WARM_UP)))
    before = proxy.cpu()
    run = proxy.drive(target, requests, clients)
    after = proxy.cpu()
    if before.members != after.members:
        raise BadRun(f"{proxy.name}: a process died or was started during the reading")
    used = after.since(before)
    if used.doubt():
        raise BadRun(f"{proxy.name}: {used.doubt()}")
    split = used.user + used.system
    reading = Reading(
        cost=used.total / requests * 1e6,
        user=used.user / split if split else 0.0,
        rate=requests / run.seconds,
    )
    return reading, after.since(first).total + run.client_cpu + warm.client_cpu
