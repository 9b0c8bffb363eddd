"""Steps: the packages of a fleet are installed on a host and removed again."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import NamedTuple

from agent import __version__
from tests.e2e.hosts.host import Host
from tests.e2e.hosts.report import expect


class Extra(NamedTuple):
    """A package besides sixtykey's own, and its contents."""

    name: str
    program: str
    units: tuple[str, ...]
    users: tuple[str, ...]


EXTRAS = (
    Extra("sixtykey-fleet", "sixtykeyd-fleet",
          ("sixtykeyd-fleet.service", "sixtykeyd-fleet-renew.timer"), ("sixtykey-fleet",)),
    Extra("sixtykey-gateway", "sixtykey-gateway",
          ("sixtykey-gateway.service", "sixtykey-bus.service"),
          ("sixtykey-gateway", "sixtykey-bus")),
)  # fmt: skip
# The highest allowed exposure by `systemd-analyze security`; these services use the network.
EXPOSURE = 1.5
# How each kind of package is named, installed and removed.
FILES = {"deb": "{}_{}_all.deb", "rpm": "{}-{}-1.noarch.rpm"}
INSTALL = {"deb": "apt-get install -y {}", "rpm": "rpm -i {}"}
REMOVE = {"deb": "apt-get purge -y {}", "rpm": "rpm -e {}"}


def packages(host: Host, kind: str) -> None:
    """Both packages on one host, as where a gateway is also a host of its fleet."""
    files = [FILES[kind].format(extra.name, __version__) for extra in EXTRAS]
    for file in files:
        shutil.copy(Path("dist") / file, host.machine.root / "root")
    names = " ".join(extra.name for extra in EXTRAS)
    with host.report.step(f"{names}: installed, and nothing runs unasked") as seen:
        host.machine.shell(INSTALL[kind].format(" ".join(f"/root/{file}" for file in files)))
        for extra in EXTRAS:
            idle(host, extra)
            seen.append(exposure(host, extra.units))
    with host.report.step(f"{names}: programs find their libraries, and say what is missing"):
        for extra in EXTRAS:
            speaks(host, extra)
        host.wait_active()
    with host.report.step(f"{names}: gone again, and sixtykey still serves") as seen:
        host.machine.shell(REMOVE[kind].format(names))
        left = host.machine.shell(
            "find /etc /usr /lib/systemd /var/lib -xdev ! -path '/var/lib/dpkg/*' "
            "! -path '/var/lib/rpm/*' -name '*sixtykey*fleet*' -o -name '*sixtykey-gateway*' "
            "-o -name 'sixtykey-bus*'"
        )
        expect(left == "", left)
        host.wait_active()
        seen.append("no file is left, and the daemon is there")


def idle(host: Host, extra: Extra) -> None:
    """Its users exist, and its units are neither enabled nor started."""
    host.machine.run("getent", "passwd", *extra.users)
    for command, expected in (("is-enabled", "disabled"), ("is-active", "inactive")):
        said = host.machine.run("systemctl", command, *extra.units, check=False).stdout
        expect(said.split() == [expected] * len(extra.units), f"{extra.units}: {said}")


def exposure(host: Host, units: tuple[str, ...]) -> str:
    """The exposure of each service by systemd-analyze. Raises StepError: more than EXPOSURE."""
    said = ""
    for unit in (unit for unit in units if unit.endswith(".service")):
        line = host.machine.shell(f"systemd-analyze security {unit} --no-pager | tail -1")
        found = re.search(r"([0-9.]+) \w+", line)
        expect(found is not None and float(found[1]) <= EXPOSURE, line)
        said += f"{line}\n"
    return said


def speaks(host: Host, extra: Extra) -> None:
    """Without a configuration the exit code is 2, with a message and no import error."""
    done = host.machine.run(extra.program, "--config", "/nonexistent.yaml", check=False)
    expect(done.returncode == 2 and "/nonexistent.yaml" in done.stderr, f"{done}")
    expect("Traceback" not in done.stderr, done.stderr)
