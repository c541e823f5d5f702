"""Tollgate side by side with its peers.

Where is what:

    cli           options, what runs in which order, exit codes
    tools         packages, the gateway's build, versions, facts about the machine
    children      starting and stopping processes: nothing outlives the bench
    accounting    CPU time and memory of a group of processes, from /proc
    proxies       the backend, nginx, HAProxy and the gateway, from the templates in bench/peers
    load          h2load, single requests, and what counts as a good answer
    rounds        interleaved rounds, paired ratios, medians
    scenarios     the scenarios measured in CPU time per request, with their goals
    idle          memory per idle keep-alive connection
    latency       added p99 at a fixed rate
    instructions  instructions per request under callgrind
    big           2 GiB up and down, and what memory does meanwhile
    report        tables, JSON, the marked parts of docs/performance.md
"""


class BenchError(Exception):
    """The bench cannot go on; the text says what to do."""
