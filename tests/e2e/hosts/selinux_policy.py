"""A SELinux policy, not loaded by any kernel: built and queried with the distribution's tools."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from tests.e2e.hosts.report import expect

# Target and class, and what is allowed.
Rules = dict[tuple[str, str], set[str]]

# Run by the distribution's Python, which has SETools: about two seconds.
_RULES = """
import json, setools, sys
found = {}
for rule in setools.TERuleQuery(
    setools.SELinuxPolicy(sys.argv[1]), ruletype=["allow"], source=sys.argv[2]
).results():
    try:
        rule.conditional
    except setools.exception.RuleNotConditional:
        for target in rule.target.expand():
            found.setdefault((str(target), str(rule.tclass)), set()).update(rule.perms)
json.dump([(*key, sorted(value)) for key, value in found.items()], sys.stdout)
"""


class Store:
    """Debian's policy in a folder, with the installed modules. Building takes about a minute."""

    def __init__(self, work: Path) -> None:
        self.work = work
        run(work, "apt-get", "download", "-qq", "selinux-policy-default")
        run(work, "dpkg-deb", "-x", next(work.glob("selinux-policy-default*.deb")).name, "root")
        (work / "root/var/lib/selinux").mkdir(parents=True, exist_ok=True)
        self._made = work / "root/etc/selinux/default"

    def distribution(self) -> list[Path]:
        """Every module of the distribution."""
        return sorted((self.work / "root/usr/share/selinux/default").glob("*.pp.bz2"))

    def install(self, *modules: Path) -> None:
        """Link modules into the policy, as semodule does, without loading it."""
        store = ("-p", str(self.work / "root"), "-s", "default", "-X", "200", "-n")
        run(self.work, "semodule", *store, "-i", *map(str, modules))

    def policy(self, name: str) -> Policy:
        """The current policy."""
        built = next((self._made / "policy").glob("policy.*"))
        return Policy(Path(shutil.copy(built, self.work / f"{name}.policy")))

    def label(self, path: str, alias: str = "") -> str:
        """The type of a path by the policy's file contexts; `alias`: lines of their subs_dist."""
        contexts = self._made / "contexts/files/file_contexts"
        if alias:
            contexts = Path(shutil.copy(contexts, self.work / "aliased"))
            (self.work / "aliased.subs_dist").write_text(alias)
        socket = ("-m", "socket") if path.endswith(".sock") else ()
        said = run(self.work, "matchpathcon", "-n", *socket, "-f", str(contexts), path).strip()
        return said.split(":")[2] if ":" in said else said


class Policy:
    """A compiled policy."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Rules] = {}

    def search(self, *query: str) -> str:
        """The output of sesearch(1) for a query."""
        return run(self._path.parent, "sesearch", *query, self._path.name).strip()

    def rules(self, source: str) -> Rules:
        """The rights of a domain under any setting of the booleans, with attributes expanded."""
        if source not in self._known:
            said = run(self._path.parent, "/usr/bin/python3", "-c", _RULES, self._path.name, source)
            rules = json.loads(said)
            self._known[source] = {(target, kind): set(p) for target, kind, p in rules}
        return self._known[source]


def run(work: Path, *command: str) -> str:
    """Run a tool of this machine in a directory; return its output."""
    path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(command, cwd=work, env=path, capture_output=True, text=True, check=False)
    expect(done.returncode == 0, f"{command[:6]}: {done.stdout}{done.stderr}"[-2000:])
    return done.stdout
