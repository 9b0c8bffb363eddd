"""One signer for all tests of a pytest worker, because making its keys takes a second."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parts.ec2_signer import Ec2Signer
from tests.parts.host import work_directory
from tests.sources.metadata.serving import Service, service


@pytest.fixture(scope="session")
def signer() -> Iterator[Ec2Signer]:
    """A signer whose certificates no test changes; tests issue further ones by other names."""
    with work_directory() as folder:
        yield Ec2Signer(folder)


@pytest.fixture
def ec2(signer: Ec2Signer) -> Iterator[Service]:
    """A metadata service that shows this signer."""
    with service(signer) as made:
        yield made
