"""Compares the facts, the issuer and the removals of the gateways of a fleet."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Optional

from agent.fleet.bus import jwt
from agent.fleet.bus.jwt import BadToken
from agent.fleet.home.home import ACCOUNT, CA, Home, gateway_name
from agent.fleet.host import joining
from agent.fleet.host.joining import GatewayState, NoGateway

_AT_ONCE = 8


def compare_gateways(home: Home) -> list[dict[str, Any]]:
    """Each gateway of the facts, and how it differs from this one (None: it does not)."""
    ca, urls = home.file(CA), home.facts.gateways

    def examine(url: str) -> Optional[str]:
        try:
            return _difference(home, url, joining.fetch_state(url, ca))
        except NoGateway as error:
            return f"NOT REACHABLE: {error}"

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        problems = list(pool.map(examine, urls))
    return [{"URL": url, "Problem": problem} for url, problem in zip(urls, problems)]


def _difference(home: Home, url: str, state: GatewayState) -> Optional[str]:
    """How the gateway's state differs from this gateway's, and what to do."""
    copy = f"copy home/gateways/{gateway_name(url)}/ of the fleet's home there, and reload it"
    if state.facts != hashlib.sha256(home.facts.dump().encode()).hexdigest():
        return f"DIFFERS: it has another fleet.json: {copy}"
    if state.issuer != str(home.issuer().public):
        return f"DIFFERS: it signs with another issuer's key: {copy}"
    signer = home.facts.operator_signer
    try:
        theirs = jwt.decode(state.account, signer, "account").times.issued_at
    except BadToken as error:
        return f"DIFFERS: what it has as the fleet's account: {error}: {copy}"
    ours = jwt.decode(home.file(ACCOUNT).strip(), signer, "account").times.issued_at
    if theirs < ours:
        return "DIFFERS: it does not know the last removals; it asks the others twice a minute"
    return None
