"""Request ids are UUIDs as others make them."""

from __future__ import annotations

import uuid

from agent.sources.request_id import new_request_id


def test_a_request_id_is_a_random_uuid_in_its_usual_form() -> None:
    """Each is a UUID of version 4 and of RFC 9562's variant, in lower case, and none repeats."""
    made = [new_request_id() for _ in range(1000)]
    for text in made:
        known = uuid.UUID(text)
        assert (str(known), known.version, known.variant) == (text, 4, uuid.RFC_4122)
    assert len(set(made)) == len(made)


def test_every_random_bit_of_a_request_id_changes() -> None:
    """All 122 bits that are not the version's or the variant's are random."""
    numbers = [uuid.UUID(new_request_id()).int for _ in range(200)]
    changed = 0
    for number in numbers:
        changed |= number ^ numbers[0]
    assert bin(changed).count("1") == 122
