"""The test vectors in docs/fleet.md are what this code makes and accepts."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from agent.fleet.messages import documents, lease_exchange
from agent.fleet.messages.documents import Rejected
from agent.fleet.messages.lease_exchange import LeaseMessage
from agent.fleet.messages.signing import PrivateKey
from tests.fleet.sample_messages import HOST, ISSUER, LEASE, NOW, acknowledgement, refusal
from tests.parts.daemon import INSTANCE_ID
from tests.parts.host import ROOT

TEXT = (ROOT / "docs" / "fleet.md").read_text("utf-8")
VECTORS: dict[str, Any] = json.loads(
    re.findall(r"<!-- vectors -->\n+```json\n(.*?)```", TEXT, re.DOTALL)[0]
)


def make_vectors() -> dict[str, Any]:
    """The vectors as this code makes them; run this module to print them for the document."""
    sealed = LEASE.seal(ISSUER)
    digest = lease_exchange.digest(sealed)
    return {
        "issuer_seed": ISSUER.seed.hex(),
        "issuer": str(ISSUER.public),
        "host_seed": HOST.seed.hex(),
        "host": str(HOST.public),
        "now": int(NOW * 1000),
        "lease": sealed.decode("ascii"),
        "lease_sha256": digest.hex(),
        "acknowledgement": acknowledgement(digest).seal(HOST).decode("ascii"),
        "refusal": refusal(digest).seal(HOST).decode("ascii"),
    }


def test_the_documents_vectors_are_what_is_made() -> None:
    """The vectors of the document equal those made by this code, byte for byte."""
    assert make_vectors() == VECTORS


def test_the_documents_vectors_are_taken() -> None:
    """The vectors are accepted with the keys and at the time that the document names."""
    issuer = PrivateKey(bytes.fromhex(VECTORS["issuer_seed"])).public
    host = PrivateKey(bytes.fromhex(VECTORS["host_seed"])).public
    lease = LeaseMessage.open(VECTORS["lease"].encode(), {issuer})
    lease.check(INSTANCE_ID, VECTORS["now"] / 1000)
    digest = bytes.fromhex(VECTORS["lease_sha256"])
    for name in ("acknowledgement", "refusal"):
        answer = lease_exchange.open_answer(VECTORS[name].encode(), INSTANCE_ID, host, digest)
        assert type(answer).__name__.lower() == name


@pytest.mark.parametrize("kind", ["lease", "acknowledgement", "refusal"])
def test_the_document_names_every_member(kind: str) -> None:
    """The document's tables list exactly the members of each kind of message."""
    content = documents.read(json.loads(VECTORS[kind])["body"].encode())
    section = TEXT.split(f"### {kind.capitalize()}\n")[1].split("\n#")[0]
    assert re.findall(r"^\| `([a-z_]+)`", section, re.MULTILINE) == sorted(content)


def test_a_byte_less_of_a_vector_is_not_taken() -> None:
    """A vector without its last byte is refused."""
    with pytest.raises(Rejected):
        LeaseMessage.open(VECTORS["lease"].encode()[:-1], {ISSUER.public})


if __name__ == "__main__":
    print(json.dumps(make_vectors(), indent=2))
