"""Instructions per request in user space, counted by callgrind: repeats to the digit, shows a change of a percent.

Two runs of different length with one worker and one connection; the difference holds requests only, no start and
no end. The kernel's part is not seen, so this compares a proxy with itself over time, not with its peers.
"""

import dataclasses
import re

from . import BenchError, load, proxies, tools

FEW, MANY = 500, 2_500


@dataclasses.dataclass
class Instructions:
    """Instructions per small GET."""

    name: str
    per_request: float


def measure(bench):
    """All proxies, one after the other."""
    bench.say("instructions per small GET under callgrind (user space only)")
    found = []
    for kind in bench.kinds:
        few, many = (one_run(bench, kind, requests) for requests in (FEW, MANY))
        found.append(Instructions(kind, (many - few) / (MANY - FEW)))
        bench.progress(f"  {kind} {found[-1].per_request:.0f}")
    return found


def one_run(bench, kind, requests):
    """Instructions of a whole life with `requests` requests."""
    out = bench.place.path / f"callgrind-{kind}-{requests}"
    out.mkdir()
    wrap = (tools.find("valgrind"), "--tool=callgrind", f"--callgrind-out-file={out}/%p", "-q")
    with bench.proxy(kind, workers=1, wrap=wrap) as proxy:
        proxy.drive(load.Target("/small", len(proxies.SMALL)), requests, clients=1)
    # One file per process; the main thread's totals hold all threads.
    totals = [re.search(r"^(?:totals|summary): (\d+)", file.read_text(), re.M) for file in out.iterdir()]
    counted = sum(int(found[1]) for found in totals if found)
    if not counted:
        raise BenchError(f"callgrind wrote no totals for {kind}; did it end by itself?")
    return counted
