"""One signer for all tests of a worker: making its keys takes a second."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parts.ec2_signer import Ec2Signer
from tests.parts.host import work_directory
from tests.sources.metadata.serving import Service, service


@pytest.fixture(scope="session")
def signer() -> Iterator[Ec2Signer]:
    """A signer whose own certificates no test changes; further ones have names of their own."""
    with work_directory() as folder:
        yield Ec2Signer(folder)


@pytest.fixture
def ec2(signer: Ec2Signer) -> Iterator[Service]:
    """A metadata service that shows this signer."""
    with service(signer) as made:
        yield made
