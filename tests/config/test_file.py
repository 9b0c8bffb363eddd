"""The configuration file: its defaults, and every problem reported at once with its path."""

from __future__ import annotations

import base64
import dataclasses
import re
from pathlib import Path

import pytest

from agent.config import file as config_file
from agent.config import settings as config
from agent.config.document import Problems
from tests.parts.host import ROOT

# Every default, written out.
WRITTEN = """
instance: {id: auto, availability_zone: auto, region: auto}
keys:
  lifetime: 60
  types: [ssh-ed25519, ssh-rsa]
  rsa_min_bits: 2048
  per_user: 128
  total: 10000
  deny_users: []
  uses: unlimited
lookup: {socket: /run/sixtykey/lookup.sock, group: sixtykey-lookup}
push:
  socket: /run/sixtykey/push.sock
  group: sixtykey-push
  credentials: /etc/sixtykey/credentials.yaml
  reference: 2021-03-05
  rate: {per_credential: 20, total: 200}
journal: /run/sixtykey/journal/leases.db
source: {socket: /run/sixtykey/source.sock, group: sixtykey-source}
"""

pytestmark = pytest.mark.usefixtures("loader")
ISSUER = "ed25519:" + base64.b64encode(bytes(range(32))).decode()


def problems_of(text: str) -> list[str]:
    """The problems of this text, without the file's name."""
    with pytest.raises(Problems) as caught:
        config_file.parse(text, "c")
    assert all(problem.startswith("c: ") for problem in caught.value.problems)
    return [problem[3:] for problem in caught.value.problems]


def test_the_defaults_are_those_of_the_design() -> None:
    """An empty file and a file with every default written out are the same configuration."""
    assert config_file.parse("", "c") == config_file.parse(WRITTEN, "c") == config.Config()
    assert config_file.parse("push: {http: {port: 8060}}", "c").push.http == config.Http()
    assert config.Http() == config.Http("127.0.0.1", 8060, None, plaintext=False)
    assert config_file.parse("# nothing but a comment\n", "c") == config.Config()


def test_the_journals_former_default_is_todays() -> None:
    """The journal's former default path, written out, means today's default."""
    assert config_file.parse("journal: /run/sixtykey/leases.db", "c") == config.Config()


def test_every_problem_is_reported_at_once() -> None:
    """All mistakes in one file are reported at once, each with its path."""
    text = """
instance: {id: web-1, availability_zone: moon, extra: 1}
keys: {lifetime: 61, types: [ssh-dss], rsa_min_bits: 1024, per_user: 0, per_user: 0}
lookup: {socket: relative.sock}
push: {http: {address: 0.0.0.0, port: 99999, tls: {certificate: /c.pem}}, rate: {total: -1}}
journal: false
"""
    paths = {problem.partition(": ")[0] for problem in problems_of(text)}
    assert paths == {
        "instance.id", "instance.availability_zone", "instance.extra", "keys.lifetime",
        "keys.types[0]", "keys.rsa_min_bits", "keys.per_user", "lookup.socket", "push.http.port",
        "push.http.tls.private_key", "push.rate.total", "journal",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("keys: {lifetime: 0}", "keys.lifetime"),
        ("keys: {lifetime: 60.0}", "keys.lifetime"),
        ("keys: {lifetime: '60'}", "keys.lifetime"),
        ("keys: {types: []}", "keys.types"),
        ("keys: {types: ssh-rsa}", "keys.types"),
        ("keys: []", "keys"),
        ("push: {reference: 2021-03-06}", "push.reference"),
        ("push: {http: {address: localhost}}", "push.http.address"),
        ("push: {http: {address: 192.0.2.1}}", "push.http.address"),
        ("push: {http: {plaintext: true}}", "push.http.plaintext"),
        ("push: {credentials: 'a\\0b'}", "push.credentials"),
        (f"lookup: {{socket: /{'x' * 107}}}", "lookup.socket"),
        ("journal: leases.db", "journal"),
        ("keys: {uses: twice}", "keys.uses"),
        ("keys: {deny_users: adm*}", "keys.deny_users"),
        ("keys: {deny_users: ['[z-a]']}", "keys.deny_users[0]"),
        ("source: {socket: source.sock}", "source.socket"),
        ("source: {users: [a]}", "source.users"),
        ("ec2: {roots: certs}", "ec2.roots"),
        ("ec2: {region: us-east-2}", "ec2.region"),
        ("unknown: 1", "unknown"),
        ("- a list", "the file"),
    ],
)
def test_a_value_that_will_not_do_is_named_by_its_path(text: str, path: str) -> None:
    """A value with a wrong range, type, path or address is reported with its key's path."""
    (problem,) = problems_of(text)
    assert problem.startswith(f"{path}: ")


def test_plain_http_off_loopback_has_to_be_accepted_in_words() -> None:
    """Plain HTTP outside loopback is refused unless `plaintext: accepted` is set."""
    (problem,) = problems_of("push: {http: {address: '::'}}")
    assert "plaintext: accepted" in problem
    text = "push: {http: {address: 0.0.0.0, plaintext: accepted}}"
    http = config_file.parse(text, "c").push.http
    assert http is not None
    assert http.plaintext
    for address in ("127.0.0.1", "127.1.2.3", "'::1'"):
        assert config_file.parse(f"push: {{http: {{address: {address}}}}}", "c").push.http


def test_journal_none_is_no_journal() -> None:
    """`journal: none` means that there is no journal."""
    assert config_file.parse("journal: none", "c").journal is None


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    """A file that is missing, a folder or binary is reported by name."""
    with pytest.raises(Problems, match=r"absent\.yaml"):
        config_file.load(str(tmp_path / "absent.yaml"))
    with pytest.raises(Problems, match="Is a directory"):
        config_file.load(str(tmp_path))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Problems, match="binary"):
        config_file.load(str(tmp_path / "binary"))


def test_ec2_and_fleet_are_absent_unless_they_are_written() -> None:
    """`ec2` and `fleet` are absent by default, and `ec2: {}` has the default addresses."""
    assert (config.Config().ec2, config.Config().fleet) == (None, None)
    assert config_file.parse("ec2: {}", "c").ec2 == config.Ec2(
        "http://169.254.169.254", "/etc/ssl/certs"
    )


def test_a_fleet_is_read() -> None:
    """A fleet's servers and issuers are read in order, and ca and identity have defaults."""
    text = (
        f"fleet: {{servers: ['tls://a.example:4222', 'tls://b.example:4222'], issuers: ['{ISSUER}']"
    )
    least = config_file.parse(text + "}", "c").fleet
    assert least == config.Fleet(
        ("tls://a.example:4222", "tls://b.example:4222"), (ISSUER,),
        "/etc/sixtykey/fleet/ca.pem", "/etc/sixtykey/fleet/host.creds",
    )  # fmt: skip
    most = config_file.parse(text + ", ca: /ca, identity: /me}", "c").fleet
    assert most is not None
    assert (most.ca, most.identity) == ("/ca", "/me")


@pytest.mark.parametrize("key", ["servers", "issuers"])
def test_a_server_or_issuer_twice_is_a_mistake(key: str) -> None:
    """A server or issuer that is given twice is a problem."""
    fleet = {"servers": ["tls://a.example:1"], "issuers": [ISSUER]}
    fleet[key] *= 2
    assert problems_of(f"fleet: {fleet}") == [f"fleet.{key}[1]: given twice"]


def test_every_bad_url_is_reported_at_once() -> None:
    """Every invalid URL is reported with its place in the list, beside other problems."""
    text = """
ec2: {metadata: https://169.254.169.254}
fleet:
  servers: [tls://a.example:1, http://b.example:1, nats://c.example:1]
  issuers: [rsa:AAAA]
  ca: ca.pem
"""
    paths = [problem.partition(": ")[0] for problem in problems_of(text)]
    assert paths == [
        "ec2.metadata", "fleet.servers[1]", "fleet.servers[2]", "fleet.issuers[0]", "fleet.ca",
    ]  # fmt: skip


SHIPPED = ROOT / "packaging" / "config" / "config.yaml"


def test_all_that_the_package_installs_is_valid() -> None:
    """The configuration file of the packages is valid and equals the defaults."""
    assert config_file.load(str(SHIPPED)) == config.Config()


def test_the_packages_configuration_shows_the_defaults() -> None:
    """Uncommented, the packages' configuration file is valid and shows the true defaults."""
    shown = re.sub(r"(?m)^#(?=[a-z]|  )", "", SHIPPED.read_text("utf-8"))
    found = config_file.parse(shown, "c")
    assert found.push.http is not None
    assert found.push.http.tls is not None
    assert found.fleet is not None
    assert found.ec2 == config.Ec2()
    push = dataclasses.replace(found.push, http=None)
    assert dataclasses.replace(found, push=push, ec2=None, fleet=None) == config.Config()
