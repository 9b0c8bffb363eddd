"""The instance identity of a host: its sources, their order, and damaged ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import identity, patterns
from agent.config.settings import Instance

AUTO = Instance()
MACHINE_ID = "0123456789abcdef0123456789abcdef"
# `systemd-id128 machine-id --app-specific=9c6a2b8f13e44752a7d3c1e05f4b4d0e` of systemd 252 prints
# this for MACHINE_ID. It overwrites two digits, those of the UUID's version and variant.
SYSTEMD_SAYS = "932871da32604458ae4f130b9e8f63f3"
FROM_MACHINE_ID = "i-932871da32603458a"


def repr_short(value: bytes) -> str:
    """A short test name for a long value."""
    return repr(value[:30])


class Host:
    """A root directory with the files that identify a host."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def file(self, name: str, content: Any) -> Host:
        """Write one file; values other than text and bytes are written as JSON."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, (str, bytes)):
            content = json.dumps(content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return self

    def cloud(self, **v1: Any) -> Host:
        """Write cloud-init's instance data."""
        return self.file("run/cloud-init/instance-data.json", {"ds": {}, "v1": v1})

    def ec2_firmware(self, tag: str) -> Host:
        """Write the vendor and asset tag of EC2's firmware."""
        self.file("sys/class/dmi/id/sys_vendor", "Amazon EC2\n")
        return self.file("sys/class/dmi/id/board_asset_tag", f"{tag}\n")

    def resolve(self, instance: Instance = AUTO) -> identity.Identity:
        """The identity of this host."""
        return identity.resolve(instance, root=str(self.root))


@pytest.fixture(name="host")
def _host(tmp_path: Path) -> Host:
    return Host(tmp_path).file("etc/machine-id", f"{MACHINE_ID}\n")


EC2 = {
    "platform": "ec2",
    "cloud_name": "aws",
    "instance_id": "i-0af01c0123456789a",
    "availability_zone": "us-east-2b",
    "region": "us-east-2",
}


def test_on_ec2_cloud_init_gives_the_identity(host: Host) -> None:
    """On EC2 cloud-init's id, zone and region are this host's, whatever the machine id is."""
    assert host.cloud(**EC2).resolve() == identity.Identity(
        "i-0af01c0123456789a", "us-east-2b", "us-east-2"
    )


def test_local_zone_keeps_its_region(host: Host) -> None:
    """A local zone, whose name is not of the API's form, keeps its region."""
    local = {**EC2, "availability_zone": "us-west-2-lax-1a", "region": "us-west-2"}
    found = host.cloud(**local).resolve()
    assert (found.availability_zone, found.region) == ("on-prem-1a", "us-west-2")


def test_cloud_init_comes_before_firmware(host: Host) -> None:
    """cloud-init's instance id wins over the firmware's."""
    assert (
        host.ec2_firmware("i-0bbbbbbbbbbbbbbbb").cloud(**EC2).resolve().instance_id
        == EC2["instance_id"]
    )


def test_on_ec2_the_firmware_gives_the_id(host: Host) -> None:
    """On EC2 without cloud-init the firmware's asset tag gives the id."""
    assert host.ec2_firmware("i-0bbbbbbbbbbbbbbbb").resolve().instance_id == "i-0bbbbbbbbbbbbbbbb"


@pytest.mark.parametrize("tag", ["", "Not Specified", "i-XYZ", "i-0bbbbbbbbbbbbbbbb\nroot", "i-0b"])
def test_firmware_without_an_id_is_ignored(host: Host, tag: str) -> None:
    """An asset tag that is not an instance id is ignored, as on Xen instances."""
    assert host.ec2_firmware(tag).resolve().instance_id == FROM_MACHINE_ID


def test_an_asset_tag_of_another_vendor_is_ignored(host: Host) -> None:
    """An asset tag is ignored on a host that is not EC2's."""
    host.ec2_firmware("i-0bbbbbbbbbbbbbbbb").file("sys/class/dmi/id/sys_vendor", "QEMU\n")
    assert host.resolve().instance_id == FROM_MACHINE_ID


def test_off_the_cloud_the_id_comes_from_the_machine_id(host: Host) -> None:
    """A host outside a cloud has an id from its machine id, and the default zone and region."""
    assert host.resolve() == identity.Identity(FROM_MACHINE_ID, "on-prem-1a", "on-prem-1")


def test_machine_id_is_hashed_as_systemd_does() -> None:
    """The id is derived as by sd_id128_get_machine_app_specific, see machine-id(5)."""
    pairs = list(zip(FROM_MACHINE_ID[2:], SYSTEMD_SAYS))
    assert [index for index, (ours, theirs) in enumerate(pairs) if ours != theirs] == [12]
    assert len(pairs) == 17


def test_machine_id_is_not_revealed(host: Host) -> None:
    """The derived id is stable and has no four consecutive digits of the machine id."""
    found = host.resolve().instance_id
    assert not any(MACHINE_ID[i : i + 4] in found for i in range(len(MACHINE_ID) - 3))
    assert host.resolve().instance_id == found


def test_machine_ids_differ(host: Host) -> None:
    """Two machine ids give two instance ids."""
    other = host.file("etc/machine-id", f"{MACHINE_ID[:-1]}0\n").resolve()
    assert other.instance_id != FROM_MACHINE_ID


UUID = "b0fa911b-69d4-4476-bbe2-1c92bff6535c"


@pytest.mark.parametrize("own_id", [UUID, "4520031799277581759", "ocid1.instance.oc1.phx.abc"])
def test_other_clouds_id_is_hashed(host: Host, own_id: str) -> None:
    """Another cloud's id is hashed to an id of the API's form, without the machine id."""
    found = host.cloud(platform="openstack", instance_id=own_id).resolve().instance_id
    patterns.instance_id(found)
    assert found != FROM_MACHINE_ID
    assert own_id not in found
    assert host.file("etc/machine-id", "f" * 32).resolve().instance_id == found


def test_hashed_ids_depend_on_the_platform(host: Host) -> None:
    """The same id on two clouds gives two instance ids."""
    one = host.cloud(platform="digitalocean", instance_id="12345678").resolve()
    assert host.cloud(platform="hetzner", instance_id="12345678").resolve() != one


@pytest.mark.parametrize("platform", ["nocloud", "none", ""])
def test_ids_that_many_hosts_share_are_ignored(host: Host, platform: str) -> None:
    """An id that many hosts share, such as iid-local01, is ignored for the machine id."""
    assert (
        host.cloud(platform=platform, instance_id="iid-local01").resolve().instance_id
        == FROM_MACHINE_ID
    )


@pytest.mark.parametrize(
    "zone", ["nova", "us-central1-a", "", "us-east-2b\n", "us-east-٢b", None, 7, []]
)
def test_a_malformed_zone_is_replaced_by_the_default(host: Host, zone: Any) -> None:
    """A zone that is not of the API's form is replaced with the default zone."""
    found = host.cloud(platform="openstack", availability_zone=zone).resolve()
    assert (found.availability_zone, found.region) == ("on-prem-1a", "on-prem-1")


@pytest.mark.parametrize("region", ["", "Region One", None, 3])
def test_a_malformed_region_is_replaced_by_the_zones(host: Host, region: Any) -> None:
    """A region that is not of the API's form is replaced with the zone's region."""
    assert host.cloud(**{**EC2, "region": region}).resolve().region == "us-east-2"


def test_configured_values_win(host: Host) -> None:
    """A configured id, zone or region wins over the detected one, each by itself."""
    host.cloud(**EC2)
    found = host.resolve(Instance("i-00000001", "eu-west-1c", "auto"))
    assert found == identity.Identity("i-00000001", "eu-west-1c", "eu-west-1")
    assert host.resolve(Instance(region="here-1")).region == "here-1"
    assert host.resolve(Instance(id="i-00000001")).availability_zone == "us-east-2b"


@pytest.mark.parametrize(
    ("instance", "word"),
    [
        (Instance(id="i-xyz12345"), "instance id"),
        (Instance(id="i-0123456\n"), "instance id"),
        (Instance(availability_zone="us-east-2b\n"), "Availability Zone"),
        (Instance(region="US"), "region"),
    ],
)
def test_a_malformed_configured_value_is_an_error(
    host: Host, instance: Instance, word: str
) -> None:
    """A configured value that is not of the API's form is an error that names it."""
    with pytest.raises(identity.IdentityError, match=word):
        host.resolve(instance)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'{"v1": []}',
        b'{"v1": {"instance_id": {}}}',
        b'{"v1": {"instance_id": "i-1"}}',
        b"[" * 100_000,
        b'{"v1":{}}' + b" " * 5_000_000,
    ],
    ids=repr_short,
)
def test_damaged_cloud_init_data_is_ignored(host: Host, content: bytes) -> None:
    """Instance data that is damaged, of another shape or too large is ignored."""
    host.file("run/cloud-init/instance-data.json", content)
    assert host.resolve().instance_id == FROM_MACHINE_ID


@given(
    content=st.recursive(
        st.none() | st.text() | st.integers(),
        lambda t: st.dictionaries(
            st.sampled_from(["v1", "instance_id", "availability_zone", "region", "platform"]), t
        ),
    )
)
def test_any_instance_data_gives_a_valid_identity(
    tmp_path_factory: pytest.TempPathFactory, content: Any
) -> None:
    """For any JSON of cloud-init, the identity is of the API's form."""
    host = Host(tmp_path_factory.mktemp("root")).file("etc/machine-id", MACHINE_ID)
    found = host.file("run/cloud-init/instance-data.json", content).resolve()
    patterns.instance_id(found.instance_id)
    patterns.availability_zone(found.availability_zone)
    patterns.region(found.region)


@pytest.mark.parametrize(
    "content", ["", "uninitialized\n", "0" * 32, "xyz", MACHINE_ID[:-1], b"\xff"]
)
def test_a_host_without_any_id_is_an_error_with_advice(host: Host, content: Any) -> None:
    """A host without any id is refused with a command and a setting that help."""
    host.file("etc/machine-id", content)
    with pytest.raises(identity.IdentityError, match=r"systemd-machine-id-setup.*instance\.id"):
        host.resolve()
    assert host.resolve(Instance(id="i-00000001")).instance_id == "i-00000001"


def test_a_host_without_any_file_has_no_identity(tmp_path: Path) -> None:
    """A root folder without files gives an error."""
    with pytest.raises(identity.IdentityError):
        Host(tmp_path).resolve()
