"""The user's side with EC2 Instance Connect, simulated by moto; no endpoint is configured."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.parts.daemon import REGION
from tests.parts.host import login_user, work_directory
from tests.parts.moto import Moto
from tests.parts.sshd import RunningSshd
from tests.parts.user import User
from tests.parts.world import good


@dataclass
class Cloud:
    """moto with instances, and an sshd that accepts the keys in the file `delivered`."""

    moto: Moto
    sshd: RunningSshd
    login: str
    delivered: Path
    web: str
    twins: list[str]


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    """One instance named web-1, and two named twin."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(work_directory())
        login = stack.enter_context(login_user())
        moto = stack.enter_context(Moto(folder))
        delivered = folder / "delivered"
        settings = [f"AuthorizedKeysFile {delivered}", "StrictModes no"]
        sshd = stack.enter_context(RunningSshd(folder, None, settings=settings))
        web = moto.instance("web-1", "127.0.0.1", role="web")
        twins = [moto.instance("twin", f"127.0.0.{number}") for number in (2, 3)]
        yield Cloud(moto, sshd, login, delivered, web, twins)


@pytest.fixture
def user(cloud: Cloud) -> Iterator[User]:
    """A user with AWS credentials, whose client.yaml names a region and no endpoint."""
    with work_directory() as folder:
        environment = {"AWS_ENDPOINT_URL": cloud.moto.url}
        with User(folder, environment=environment) as made:
            made.settings({"region": REGION, "network": "private", "hosts": {"web-*": {}}})
            made.ssh_settings(cloud.sshd)
            yield made


def deliver(cloud: Cloud, user: User) -> None:
    """Deliver the pushed key to sshd, as EC2 does and moto does not."""
    good(user.sixtykey("login"))
    cloud.delivered.write_text((user.folder / "id.pub").read_text())


def requests(cloud: Cloud) -> int:
    """The number of requests that moto has received."""
    return cloud.moto.log().count('"POST / HTTP/1.1"')


def test_ssh_logs_in_to_an_instance_by_its_name_tag(cloud: Cloud, user: User) -> None:
    """ssh finds an instance by its Name tag, pushes with its zone, and logs in at its address."""
    deliver(cloud, user)
    assert good(user.ssh(f"{cloud.login}@web-1", "id -un")).out == f"{cloud.login}\n"


def test_a_live_lease_and_a_host_that_is_known_cost_no_request(cloud: Cloud, user: User) -> None:
    """While a lease lives, a second connection to a known instance sends AWS no request."""
    deliver(cloud, user)
    good(user.ssh(f"{cloud.login}@web-1", "true"))
    before = requests(cloud)
    user.environment["PYTHONPROFILEIMPORTTIME"] = "1"
    said = good(user.sixtykey("proxy", "--debug", cloud.login, "web-1", str(cloud.sshd.port)))
    assert requests(cloud) == before
    assert "an earlier lease is still live" in said.err
    assert "botocore" not in said.err
    assert "yaml.nodes" not in said.err


@pytest.mark.parametrize("by", ["id", "address", "tag"])
def test_an_instance_has_many_names(cloud: Cloud, user: User, by: str) -> None:
    """An instance is found by its id, an address or a tag."""
    name = {"id": cloud.web, "address": "127.0.0.1", "tag": "role=web"}[by]
    good(user.sixtykey("login"))
    said = user.sixtykey("proxy", "--debug", "--push-only", cloud.login, name, "22")
    assert f"{name} is {cloud.web} at 127.0.0.1" in good(said).err


def test_a_name_of_several_instances_is_refused(cloud: Cloud, user: User) -> None:
    """A name of several instances is refused, with the ids of all."""
    done = user.sixtykey("proxy", cloud.login, "twin", "22")
    assert (done.code, done.out) == (1, "")
    assert "twin means 2 hosts" in done.err
    assert all(instance in done.err for instance in cloud.twins)


def test_hosts_lists_instances(cloud: Cloud, user: User) -> None:
    """`hosts` lists the instances with their names, zones and addresses."""
    found = good(user.sixtykey("hosts", "--json")).json["Hosts"]
    assert {host["InstanceId"] for host in found} == {cloud.web, *cloud.twins}
    web = next(host for host in found if host["InstanceId"] == cloud.web)
    assert (web["Name"], web["Addresses"]) == ("web-1", ["127.0.0.1"])
    assert web["AvailabilityZone"].startswith(REGION)


def test_an_unknown_instance_is_reported(cloud: Cloud, user: User) -> None:
    """The error for an unknown instance gives its name and the region."""
    done = user.sixtykey("proxy", cloud.login, "web-99", "22")
    assert done.code == 1
    assert f"web-99: EC2 in {REGION} has no such host that you may push to" in done.err


def test_a_role_is_assumed_once_and_kept_in_memory(cloud: Cloud, user: User) -> None:
    """An assumed role's credentials are kept in the session's folder in memory, with mode 0600.

    They are never on the disk, and `logout` removes them.
    """
    (user.home / "aws-config").write_text(
        "[profile work]\nrole_arn = arn:aws:iam::123456789012:role/work\nsource_profile = base\n"
    )
    (user.home / "aws-credentials").write_text(
        "[base]\naws_access_key_id = AKIABASE\naws_secret_access_key = base-secret\n"
    )
    user.environment.update(AWS_PROFILE="work", PYTHONPROFILEIMPORTTIME="1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del user.environment[name]
    said = [
        good(user.sixtykey("proxy", "--debug", "--push-only", cloud.login, "web-1", "22")).err
        for _ in range(2)
    ]
    assert "botocore" in said[0]
    assert "assume-role, profile work)" in said[0]
    assert "profile work, kept in memory)" in said[1]
    assert "botocore.session" not in said[1]
    (kept,) = (user.run_folder / "sixtykey").glob("credential-*")
    assert kept.stat().st_mode & 0o777 == 0o600
    secret = kept.read_text().partition('"secret": "')[2].partition('"')[0]
    assert len(secret) > 20
    on_disk = [path for path in user.home.rglob("*") if path.is_file()]
    assert not [path for path in on_disk if secret in path.read_text(errors="replace")]
    good(user.sixtykey("logout"))
    assert list((user.run_folder / "sixtykey").glob("credential-*")) == []


def test_without_such_a_folder_nothing_is_kept(cloud: Cloud, user: User) -> None:
    """Without a private XDG_RUNTIME_DIR, the role's credentials are not kept."""
    (user.home / "aws-config").write_text(
        "[profile work]\nrole_arn = arn:aws:iam::123456789012:role/work\nsource_profile = base\n"
    )
    (user.home / "aws-credentials").write_text(
        "[base]\naws_access_key_id = AKIABASE\naws_secret_access_key = base-secret\n"
    )
    del user.environment["AWS_ACCESS_KEY_ID"]
    user.environment["AWS_PROFILE"] = "work"
    user.run_folder.chmod(0o755)
    for change in ({}, {"XDG_RUNTIME_DIR": ""}):
        user.environment.update(change)
        for _ in range(2):
            done = user.sixtykey("proxy", "--debug", "--push-only", cloud.login, "web-1", "22")
            assert "assume-role, profile work)" in good(done).err
    user.run_folder.chmod(0o700)
    everywhere = [*user.home.rglob("*"), *user.run_folder.rglob("*")]
    assert not [path for path in everywhere if path.name.startswith("credential-")]
