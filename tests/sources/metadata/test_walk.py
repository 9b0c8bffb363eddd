"""A key in EC2's metadata walks through sixtykeyd-ec2 in one direction."""

from __future__ import annotations

from agent.sources.metadata.source import Source
from tests.parts.leases import ed25519_line
from tests.sources.metadata.serving import Service
from tests.sources.test_walk import visited
from tests.sources.walk import Step, climbs, walking

NOT_COUNTED = "sources/metadata/blocks.py"
"""A value, once it has been read: the block."""


def test_a_key_climbs_back_into_no_module_that_it_has_left(ec2: Service) -> None:
    """With a signer that is known, a key is fetched, read, verified, timed and offered."""
    ec2.data.set_keys("alice", ec2.block(ed25519_line(1)))

    async def course(source: Source) -> list[Step]:
        await source.probe()
        await source.prepare(0.0)
        with walking("sources/metadata/source.py") as walk:
            (offered,), refused = await source.answer("alice", None)
        assert (offered.key, refused) == (ed25519_line(1), [])
        return walk.steps

    steps = ec2.run(course)
    assert climbs([step for step in steps if step.module != NOT_COUNTED]) == []
    assert visited(steps) == [
        f"sources/metadata/{name}.py" for name in ("imds", "http", "blocks", "signer", "sightings")
    ]
