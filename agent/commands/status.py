"""sixtykey status: identity, listeners, leases, counters, memory; for people or for Prometheus."""

from __future__ import annotations

from agent.client.trouble import DONE, plain
from agent.commands.client import Daemon
from agent.commands.options import DAEMON, JSON, Usage, refuse_more
from agent.commands.terminal import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from agent.commands.options import Options

USAGE = "sixtykey status [--json|--metrics]"
HELP = """\
Shows which instance this host is, where the daemon listens, how many keys are live for each user,
the numbers of pushes and lookups since the daemon's start, and its memory.

--metrics prints the same for Prometheus, for node exporter's textfile collector. The push socket
also answers GET /metrics.

example:
  sixtykey status --metrics > /var/lib/prometheus/node-exporter/sixtykey.prom.new &&
    mv /var/lib/prometheus/node-exporter/sixtykey.prom.new \\
       /var/lib/prometheus/node-exporter/sixtykey.prom"""
OPTIONS = {"--metrics": ("", "print Prometheus' text format"), **JSON, **DAEMON}

# A smaller clock correction is not shown (s).
_STEP = 1.0


def run(options: Options, words: Sequence[str]) -> int:
    """Print the status."""
    refuse_more(words, 0)
    if options.on("--metrics") and options.on("--json"):
        raise Usage("give --metrics or --json, not both")
    status = Daemon(options).ask("Sixtykey.Status")
    if options.on("--metrics"):
        from agent.audit.metrics import prometheus

        print(prometheus(status), end="")
    elif options.on("--json"):
        import json

        print(json.dumps(status, indent=2))
    else:
        print("\n".join(f"{name:11}{plain(text)}" for name, text in _lines(status)))
    return DONE


def _lines(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    counters, journal = status["Counters"], status["Journal"]
    users = sorted(status["Leases"]["ByUser"].items())
    kept = f"{journal['Path']}, usable" if journal["Path"] else "none: leases end with the daemon"
    where = f"{status['InstanceId']} in {status['AvailabilityZone']}, region {status['Region']}"
    memory = f"{status['Memory'] / 2**20:.1f} MiB"
    lines = [
        ("instance", where),
        ("daemon", f"{status['Version']}, process {status['ProcessId']}, {memory}"),
        ("uptime", duration(status["Uptime"])),
        *((name, where) for name, where in status["Listeners"].items()),
        ("journal", f"NOT USABLE: {journal['Problem']}" if journal["Problem"] else kept),
        *((name, _source(name, how)) for name, how in status.get("Sources", {}).items()),
        ("live keys", _total_and_parts(status["Leases"]["Total"], users)),
        ("pushes", _counters(counters, "push")),
        ("lookups", _counters(counters, "lookup")),
    ]
    if "http" in counters:
        lines.append(("not HTTP", _counters(counters, "http")))
    if "summed" in counters:
        lines.append(("summed up", _counters(counters, "summed")))
    if "dropped" in counters:
        lines.append(("LOST", f"audit records: {_counters(counters, 'dropped')}"))
    if abs(status["ClockStepped"]) >= _STEP:
        lines.append(("clock", f"was set by {status['ClockStepped']:+.0f} s since the start"))
    return lines


def _source(name: str, how: Mapping[str, Any]) -> str:
    if name == "fleet":
        return f"NOT CONNECTED: {how['Problem']}" if how["Problem"] else "connected to the bus"
    return (
        f"NOT ASKED: {how['Problem']}"
        if how["Problem"]
        else "asked for keys that were not pushed here"
    )


def _counters(counters: Mapping[str, Any], event: str) -> str:
    by_outcome = counters.get(event, {})
    return _total_and_parts(sum(by_outcome.values()), sorted(by_outcome.items()))


def _total_and_parts(total: int, parts: Sequence[tuple[str, int]]) -> str:
    return f"{total}" + (f": {', '.join(f'{name} {n}' for name, n in parts)}" if parts else "")
