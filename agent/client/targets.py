"""Finds the instance that HOST names: where to push for it, and how to reach it."""

from __future__ import annotations

import os

from agent.client import folders, limits, quickjson
from agent.client.api import HOSTS, Api
from agent.client.hosts import Host, Reach, Terms
from agent.client.leases import boottime
from agent.client.trouble import AWAY, REFUSED, Trouble
from agent.client.vocabulary import AWS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

    from agent.client.folders import Environment
    from agent.client.settings import Settings


def find(settings: Settings, api: Api, region: str, name: str, *, fresh: bool = False) -> Host:
    """The one host that a name means. Raises Trouble: none, or several.

    Args:
        fresh: ask again, and ignore the cache.
    """
    configured = settings.get("instance")
    if configured:
        return Host(
            configured,
            settings.get("zone") or "",
            name,
            reach=Reach(tuple(settings.addresses() or [name])),
            terms=Terms(settings.get("uses") or "", int(settings.get("lifetime") or 0)),
        )
    known = None if fresh else _read_cache(settings, api, name)
    if known is not None:
        return _with_settings(known, settings, name)
    found = [host for host in list_hosts(settings, api, region, name) if host.is_called(name)]
    by_name = [host for host in found if name.lower() in (host.instance, host.name.lower())]
    found = by_name or found
    if len(found) == 1:
        _write_cache(settings, api, name, found[0])
        return _with_settings(found[0], settings, name)
    if not found:
        raise Trouble(
            REFUSED, "UnknownHost", f"{name}: {_where(settings, region)} has no such host "
            "that you may push to",
            "run sixtykey hosts; or set its instance, zone and address in client.yaml",
        )  # fmt: skip
    several = ", ".join(sorted(f"{host.instance} ({host.name})" for host in found)[:8])
    raise Trouble(REFUSED, "SeveralHosts", f"{name} means {len(found)} hosts: {several}",
                  "name one of them by its instance id")  # fmt: skip


def _with_settings(host: Host, settings: Settings, name: str) -> Host:
    terms = Terms(settings.get("uses") or host.uses, int(settings.get("lifetime") or host.lifetime))
    if settings.endpoint == AWS:
        terms = Terms("unlimited", limits.EC2_LEASE_SECONDS)
    # A host behind NAT knows no useful address of its own; its name may resolve.
    addresses = settings.addresses() or host.addresses or [name]
    return host.with_addresses(addresses, terms)


def _where(settings: Settings, region: str) -> str:
    return f"EC2 in {region}" if settings.endpoint == AWS else settings.endpoint


def list_hosts(settings: Settings, api: Api, region: str, name: str = "") -> list[Host]:
    """Ask for the hosts: all of them, or those that this name may mean. Raises Trouble."""
    if settings.endpoint == AWS:
        from agent.client import aws

        return aws.instances(settings, region, name)
    # A gateway finds names and instance ids. For tags and addresses, ask it for all hosts.
    by_name = _pages(api, {"Names": [name]}) if name and "=" not in name else []
    return by_name or _pages(api, {})


def _pages(api: Api, question: dict[str, Any]) -> list[Host]:
    """Ask a gateway for hosts, page by page."""
    found: list[Host] = []
    token = ""
    try:
        while True:
            page = api.ask(HOSTS, {**question, "NextToken": token} if token else question)
            single = page.get("Single") is True and len(page["Hosts"]) == 1
            some = [Host.of(each, single) for each in page["Hosts"]]
            found += some
            if len(found) > limits.HOSTS_MOST:
                raise ValueError(f"more than {limits.HOSTS_MOST} hosts")
            # Each token must be greater than the last, or a bad gateway could make this endless.
            if not some or not token < (page.get("NextToken") or ""):
                return found
            token = page["NextToken"]
    except (KeyError, TypeError, ValueError) as error:
        raise Trouble(AWAY, "NoAnswer", f"{api.url} lists no hosts: {error}") from None


def _cache_file(settings: Settings, api: Api, name: str) -> str:
    import hashlib

    which = (api.url, api.credential.access_key_id, settings.get("network") or "", name)
    digest = hashlib.sha256("\0".join(which).encode()).hexdigest()[:32]
    return os.path.join(folders.cache_folder(settings.environ), f"host-{digest}.json")


def _read_cache(settings: Settings, api: Api, name: str) -> Optional[Host]:
    """The cached host, if it is recent."""
    text = folders.read(_cache_file(settings, api, name), limits.FILE_BYTES)
    try:
        document = quickjson.loads(text or "")
        if not 0 <= boottime() - float(document["asked"]) < limits.HOSTS_SECONDS:
            return None
        return Host.of(document["host"])
    except (ValueError, KeyError, TypeError):
        return None


def _write_cache(settings: Settings, api: Api, name: str, host: Host) -> None:
    document = {"asked": boottime(), "host": host.document()}
    folders.write(_cache_file(settings, api, name), quickjson.dumps(document))


def forget_all(settings: Settings) -> None:
    """Remove the cached hosts and names."""
    folder = folders.cache_folder(settings.environ)
    for name in os.listdir(folder):
        if name.startswith(("host-", "names")):
            os.unlink(os.path.join(folder, name))


def cache_names(environ: Environment, names: list[str]) -> None:
    """Keep the names of hosts, for completion."""
    path = os.path.join(folders.cache_folder(environ), "names")
    folders.write(path, "".join(f"{name}\n" for name in names))


def read_cached_names(environ: Environment) -> list[str]:
    """The names that were kept last."""
    path = os.path.join(folders.cache_folder(environ), "names")
    return (folders.read(path, limits.ANSWER_BYTES) or "").splitlines()
