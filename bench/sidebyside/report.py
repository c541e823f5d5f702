"""What was found, three times: a table to read, JSON, and the marked parts of docs/performance.md.

Every part of the page is replaced on its own, so a run of one scenario leaves the other parts as they are.
"""

import dataclasses
import datetime
import json

from . import BenchError, big, idle, latency, tools
from .scenarios import REQUESTS

PAGE = tools.REPOSITORY / "docs" / "performance.md"


@dataclasses.dataclass
class Verdict:
    """One goal, judged."""

    what: str
    value: float
    limit: float
    aim: float
    unit: str
    binding: bool
    spread: tuple = ()

    @property
    def met(self):
        """Whether the limit holds."""
        return self.value <= self.limit

    def words(self):
        """Met, missed, or better than where we go."""
        if not self.met:
            return "MISSED" if self.binding else "missed"
        return "met, and the aim" if self.value <= self.aim else "met"

    def row(self):
        """Cells of a table."""
        digits = 3 if self.unit == " ×" else 2
        value = f"{self.value:.{digits}f}{self.unit}"
        if self.spread:
            value += f" ({self.spread[0]:.{digits}f}–{self.spread[1]:.{digits}f})"
        return [self.what, value, f"≤ {self.limit:g}{self.unit}", f"≤ {self.aim:g}{self.unit}", self.words()]


class Part:
    """One part of the report: a table of figures, a table of goals, remarks, and the raw data."""

    def __init__(self, key, title, header, rows, verdicts=(), remarks=(), data=None):
        self.key = key
        self.title = title
        self.header = header
        self.rows = rows
        self.verdicts = list(verdicts)
        self.remarks = list(remarks)
        self.data = data


GOAL_HEADER = ["goal (quartiles of the rounds)", "measured", "bound", "aim", ""]


def verdicts_of(outcome):
    """The ratios of one scenario, judged."""
    series = outcome.series
    for goal in outcome.goals:
        pair = (goal.name, goal.reference)
        what = f"{outcome.title}: {goal.name} / {goal.reference}"
        spread = series.spread(*pair)
        yield Verdict(what, series.ratio(*pair), goal.limit, goal.aim, " ×", goal.binding, spread)


def data_of(outcome):
    """All readings of one scenario."""
    series = outcome.series
    return {
        "requests": series.requests,
        "rounds_dropped": series.dropped,
        "others_share": round(series.others, 4),
        "facts": outcome.facts,
        "readings": {
            name: [{"us": round(one.cost, 3), "user": round(one.user, 3), "rps": round(one.rate)} for one in readings]
            for name, readings in series.readings.items()
        },
    }


def noise(outcomes):
    """Remarks about what disturbed the run."""
    remarks = []
    others = max(outcome.series.others for outcome in outcomes)
    if others > 0.10:
        remarks.append(f"Others used {others:.0%} of the CPU time spent during the run: do not judge by these figures.")
    dropped = sum(len(outcome.series.dropped) for outcome in outcomes)
    if dropped:
        remarks.append(f"{dropped} rounds were dropped because an answer was not as it must be.")
    return remarks


def request_part(outcomes):
    """Small GET, 64 KiB, POST: one column each, ratios below."""
    names = list(outcomes[0].series.readings)
    header = ["CPU µs per request [user part]", *(REQUESTS[outcome.key][0] for outcome in outcomes)]
    rows = [
        [name, *(f"{outcome.series.median(name):.1f} [{outcome.series.user(name):.1f}]" for outcome in outcomes)]
        for name in names
    ]
    verdicts = [verdict for outcome in outcomes for verdict in verdicts_of(outcome)]
    data = {outcome.key: data_of(outcome) for outcome in outcomes}
    return Part("requests", "Cost of a request", header, rows, verdicts, noise(outcomes), data)


def secure_part(outcomes):
    """Under TLS: one column each, ratios below."""
    names = list(outcomes[0].series.readings)
    header = ["CPU µs per request [user part]", *(outcome.title for outcome in outcomes)]
    rows = [
        [name, *(f"{outcome.series.median(name):.1f} [{outcome.series.user(name):.1f}]" for outcome in outcomes)]
        for name in names
    ]
    verdicts = [verdict for outcome in outcomes for verdict in verdicts_of(outcome)]
    data = {outcome.key: data_of(outcome) for outcome in outcomes}
    return Part("secure", "TLS and HTTP/2", header, rows, verdicts, noise(outcomes), data)


def pair_part(key, title, outcomes):
    """Scenarios that compare a proxy with itself."""
    rows, verdicts, remarks = [], [], noise(outcomes)
    for outcome in outcomes:
        base, changed = outcome.series.readings
        ratio = outcome.series.ratio(changed, base)
        row = [changed, f"{outcome.series.median(base):.1f}", f"{outcome.series.median(changed):.1f}", f"{ratio:.3f} ×"]
        facts = outcome.facts
        verdicts += verdicts_of(outcome)
        if "memory_mib" in facts:
            row.append(f"{facts['memory_mib']:+.1f} MiB")
            if outcome.goals:
                limit, aim = facts["memory_limit_mib"], facts["memory_aim_mib"]
                verdicts.append(Verdict("memory for 10,000 routes", facts["memory_mib"], limit, aim, " MiB", True))
        if "log_lines" in facts:
            lost = max(0, facts["requests"] - facts["log_lines"])
            remarks.append(f"{facts['log_lines']} log lines for {facts['requests']} requests; {lost} were not written.")
        rows.append(row)
    header = ["", "before, µs", "after, µs", "ratio", "memory (PSS)"][: len(rows[0])]
    return Part(key, title, header, rows, verdicts, remarks, {outcome.key: data_of(outcome) for outcome in outcomes})


def jwt_part(outcome):
    """What checking tokens costs: each proxy against its own plain route."""
    rows = []
    for name in outcome.series.readings:
        plain = name.partition(",")[0]
        cost, own = outcome.series.median(name), outcome.series.median(plain)
        ratio = outcome.series.ratio(name, plain)
        rows.append([name, f"{cost:.1f}", *(["", ""] if name == plain else [f"{ratio:.3f} ×", f"{cost - own:+.1f} µs"])])
    header = ["small GET", "CPU µs per request", "to its own plain route", "more"]
    return Part("jwt", outcome.title, header, rows, verdicts_of(outcome), noise([outcome]), data_of(outcome))


def idle_part(found):
    """Memory per idle connection."""
    rows = [[one.name, f"{one.median():.2f} KiB", f"{max(one.base) / 1024:.1f} MiB"] for one in found]
    goals = [
        Verdict("idle keep-alive connection", one.median(), idle.LIMIT_KIB, idle.AIM_KIB, " KiB", True)
        for one in found
        if one.name == "tollgate"
    ]
    header = ["", f"per idle connection, {idle.CONNECTIONS:,} of them", "all processes before"]
    return Part("idle", "Memory of idle connections", header, rows, goals, data=[vars(one) for one in found])


def idle_tls_part(found):
    """Memory per idle connection under TLS."""
    rows = [[one.name, f"{one.median():.2f} KiB", f"{max(one.base) / 1024:.1f} MiB"] for one in found]
    limits = (idle.TLS_LIMIT_KIB, idle.TLS_AIM_KIB)
    goals = [
        Verdict("idle TLS connection", one.median(), *limits, " KiB", True) for one in found if one.name == "tollgate"
    ]
    header = ["", f"per idle TLS connection, {idle.CONNECTIONS:,} of them", "all processes before"]
    return Part("idle-tls", "Memory of idle TLS connections", header, rows, goals, data=[vars(one) for one in found])


def sockets_part(found):
    """Memory per idle WebSocket."""
    rows = [[one.name, f"{one.median():.2f} KiB", f"{max(one.base) / 1024:.1f} MiB"] for one in found]
    header = ["", f"per idle WebSocket, {idle.SOCKETS:,} of them", "all processes before"]
    return Part("sockets", "Memory of idle WebSockets", header, rows, data=[vars(one) for one in found])


def latency_part(found, rate):
    """Added latency."""
    rows = [
        [one.name, f"{one.added(one.p50, one.bare50):.3f} ms", f"{one.added(one.p99, one.bare99):.3f} ms"]
        for one in found
    ]
    goals = [
        Verdict("added p99", one.added(one.p99, one.bare99), latency.LIMIT_MS, latency.AIM_MS, " ms", False)
        for one in found
        if one.name == "tollgate"
    ]
    header = [f"added at {rate:,} requests per second", "p50", "p99"]
    data = {"rate": rate, "values": [vars(one) for one in found]}
    return Part("latency", "Added latency", header, rows, goals, data=data)


def instructions_part(found):
    """Instructions per request."""
    rows = [[one.name, f"{one.per_request:,.0f}"] for one in found]
    header = ["", "instructions per small GET, user space"]
    return Part("instructions", "Instructions", header, rows, data=[vars(one) for one in found])


def big_part(found):
    """Big bodies."""
    rows = []
    for one in found:
        pace = f"{one.down_mib_s:.0f} / {one.up_mib_s:.0f}"
        rows.append([one.name, f"{one.down_growth:.1f} MiB", f"{one.up_growth:.1f} MiB", pace])
    goals = [
        Verdict(f"growth during 2 GiB {way}", growth, big.LIMIT_MIB, big.LIMIT_MIB, " MiB", True)
        for one in found
        if one.name == "tollgate"
        for way, growth in (("down", one.down_growth), ("up", one.up_growth))
    ]
    header = ["growth of resident memory", "2 GiB down", "2 GiB up", "MiB/s (one slow client and backend)"]
    return Part("big", "Big bodies", header, rows, goals, data=[vars(one) for one in found])


def markdown_table(header, rows):
    """A table for people who read the page and for those who read its source."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def text_table(header, rows):
    """The same for a terminal."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def facts_line(facts):
    """What was measured where, in one sentence or two."""
    machine = facts["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return (
        f"`{facts['command']}`, {facts['date']}, commit {facts['commit']}; {versions}; {machine['cores']} cores "
        f"({machine['processor']}), Linux {machine['kernel']}; {facts['workers']} workers each, "
        f"{facts['rounds']} rounds of {facts['requests']:,} requests; access log {facts['log']}."
    )


def show(parts):
    """The report as text."""
    blocks = []
    for part in parts:
        blocks.append(f"{part.title}\n{text_table(part.header, part.rows)}")
        if part.verdicts:
            blocks.append(text_table(GOAL_HEADER, [verdict.row() for verdict in part.verdicts]))
        blocks += part.remarks
    return "\n\n".join(blocks)


def to_markdown(part, facts):
    """One part of the page."""
    blocks = [markdown_table(part.header, part.rows)]
    if part.verdicts:
        blocks.append(markdown_table(GOAL_HEADER, [verdict.row() for verdict in part.verdicts]))
    blocks += part.remarks
    return "\n\n".join([*blocks, facts_line(facts)])


def replace_part(page, key, text):
    """`page` with what stands between the marks of `key` replaced."""
    start, end = f"<!-- bench:{key} -->", f"<!-- /bench:{key} -->"
    before, found, rest = page.partition(start)
    old, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise BenchError(f"docs/performance.md lacks {start} … {end}")
    return f"{before}{start}\n{text}\n{end}{after}"


def write_page(parts, facts, path=PAGE):
    """Puts the parts into the page."""
    page = path.read_text()
    for part in parts:
        page = replace_part(page, part.key, to_markdown(part, facts))
    path.write_text(page)


def write_json(parts, facts, path):
    """Everything that was read, for those who want to calculate for themselves."""
    found = {
        part.key: {
            "data": part.data,
            "goals": [{**dataclasses.asdict(verdict), "met": verdict.met} for verdict in part.verdicts],
            "remarks": part.remarks,
        }
        for part in parts
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**facts, "parts": found}, indent=1) + "\n")


def today():
    """The date, as ISO writes it."""
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()
