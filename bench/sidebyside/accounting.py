"""CPU time and memory of a proxy with all its processes and threads, as the kernel accounts for them."""

import os
import pathlib

PROC = pathlib.Path("/proc")
TICK = 1.0 / os.sysconf("SC_CLK_TCK")


class Cpu:
    """What a group of processes has used so far.

    `tasks` maps thread ids to nanoseconds on a CPU (first column of schedstat), `user` and `system` are seconds
    from /proc/PID/stat: exact in sum, but counted in ticks of 10 ms, so good for the split only.
    """

    def __init__(self, session):
        self.members = members(session)
        self.tasks = {}
        self.user = self.system = 0.0
        for pid in self.members:
            self.tasks.update(thread_times(pid))
            fields = stat_fields(pid)
            if fields:
                self.user += int(fields[11]) * TICK
                self.system += int(fields[12]) * TICK

    def since(self, before):
        """The difference as `Used`."""
        # A thread that ended meanwhile adds nothing; a new one counts from its birth.
        nanoseconds = sum(time - before.tasks.get(task, 0) for task, time in self.tasks.items())
        return Used(nanoseconds / 1e9, self.user - before.user, self.system - before.system)


class Used:
    """CPU time used between two readings, in seconds."""

    def __init__(self, total, user, system):
        self.total = total
        self.user = user
        self.system = system

    def doubt(self):
        """Why the two ways of accounting do not agree, or None."""
        gap = abs(self.user + self.system - self.total)
        # Ticks of several processes, and short-lived threads, may be off by a little.
        if gap > max(0.05 * self.total, 8 * TICK):
            return f"schedstat says {self.total:.3f} s, stat says {self.user + self.system:.3f} s: threads came and went"
        return None


def stat_fields(pid):
    """The fields of /proc/PID/stat from the third on (the second may hold blanks); None when there is no PID."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def members(session):
    """Process ids of a session, sorted."""
    found = []
    for entry in os.listdir(PROC):
        if entry.isdigit():
            fields = stat_fields(entry)
            if fields and int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry))
    return sorted(found)


def thread_times(pid):
    """Thread id to nanoseconds for one process."""
    times = {}
    try:
        threads = os.listdir(PROC / str(pid) / "task")
    except OSError:
        return times
    for thread in threads:
        try:
            times[int(thread)] = int((PROC / str(pid) / "task" / thread / "schedstat").read_text().split()[0])
        except OSError:
            continue
    return times


def pss_kib(session):
    """Proportional resident memory of all processes of a session, in KiB."""
    return sum(memory_field(pid, "smaps_rollup", "Pss:") for pid in members(session))


def rss_kib(session):
    """Resident memory of all processes of a session, in KiB; cheap enough to sample often."""
    return sum(memory_field(pid, "status", "VmRSS:") for pid in members(session))


def memory_field(pid, file, name):
    """One `Name: 123 kB` line."""
    try:
        for line in (PROC / str(pid) / file).read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def machine_busy():
    """Seconds of CPU time that the whole machine has spent not idle."""
    fields = [int(field) for field in (PROC / "stat").read_text().splitlines()[0].split()[1:9]]
    idle, waiting, stolen = fields[3], fields[4], fields[7]
    return (sum(fields) - idle - waiting - stolen) * TICK
