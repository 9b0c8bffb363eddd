"""A credential's own rules: key settings tighter than the host's, and tags of fleet hosts."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from agent.config.document import Problems
from agent.config.key_policy import KEY_OPTIONS, KeyPolicy
from agent.config.settings import Keys
from agent.sources.api import credentials
from agent.sources.api.credentials import Credential
from agent.sources.api.errors import AccessDeniedException, AuthException

HOST = Keys()


def parse(host: Keys = HOST, **changes: Any) -> Credential:
    """The credential from an entry that is valid except for `changes`."""
    entry = {"access_key_id": "AKIA", "secret_access_key": "x" * 32, "allow": {"os_users": ["*"]}}
    (found,) = credentials.parse(json.dumps([{**entry, **changes}]), "f", host)
    return found


def problems(keys: Any, host: Keys = HOST) -> list[str]:
    """The problems reported for an entry with these `keys`."""
    with pytest.raises(Problems) as caught:
        parse(host, keys=keys)
    return [problem.removeprefix("f: [0].keys") for problem in caught.value.problems]


def test_without_rules_a_credential_has_the_hosts() -> None:
    """A credential without `keys`, or with an empty one, sets no rule and uses the host's."""
    assert parse().keys == parse(keys={}).keys == KeyPolicy(None, None, False, ())


def test_all_rules_are_read() -> None:
    """All rules are read, and each may be as tight as the host's or tighter."""
    keys = {"lifetime": 30, "uses": "once", "pin_source": True, "options": ["pty", "restrict"]}
    assert parse(keys=keys).keys == KeyPolicy(30, "once", True, ("restrict", "pty"))
    assert parse(Keys(lifetime=30, uses="once"), keys=keys).keys.lifetime == 30
    assert parse(keys={"lifetime": 60, "uses": "unlimited"}).keys == KeyPolicy(60, "unlimited")


@pytest.mark.parametrize(
    ("keys", "host", "path"),
    [
        ({"lifetime": 31}, Keys(lifetime=30), ".lifetime"),
        ({"lifetime": 61}, Keys(), ".lifetime"),
        ({"lifetime": 0}, Keys(), ".lifetime"),
        ({"uses": "unlimited"}, Keys(uses="once"), ".uses"),
        ({"uses": "twice"}, Keys(), ".uses"),
        ({"pin_source": "true"}, Keys(), ".pin_source"),
        ({"options": ["restrict", "restrict"]}, Keys(), ".options[1]"),
        ({"options": ["pty", "no-pty"]}, Keys(), ".options"),
        ({"types": ["ssh-rsa"]}, Keys(), ".(line 1)"),
        ({"deny_users": []}, Keys(), ".(line 1)"),
    ],
)
def test_no_rule_is_wider_than_the_hosts(keys: dict[str, Any], host: Keys, path: str) -> None:
    """A rule that is wider than the host's is reported as a mistake, not narrowed silently."""
    (problem,) = problems(keys, host)
    assert problem.startswith(f"{path}: ")


@pytest.mark.parametrize(
    "option",
    [
        'command="/bin/sh"', 'from="*"', "cert-authority", 'environment="A=b"', 'tunnel="0"',
        "Restrict", "restrict ", "restrict,pty", "no-restrict", "verify-required", "x11-forwarding",
        "restrict\nssh-rsa AAAA", "touch-required", 'principals="a"', 'expiry-time="20990101"', "",
    ],
)  # fmt: skip
def test_only_options_of_the_list_are_taken(option: str) -> None:
    """Only the listed key options are taken, in exactly their spelling and without arguments."""
    (problem,) = problems({"options": ["pty", option]})
    assert problem.startswith(".options[1]: ")


def test_every_set_of_options_has_one_order() -> None:
    """Options are stored in one fixed order with `restrict` first; opposites are refused."""
    for pair in itertools.permutations(KEY_OPTIONS, 2):
        first, second = pair
        if first == f"no-{second}" or second == f"no-{first}":
            assert "leave one of them out" in problems({"options": pair})[0]
            continue
        assert parse(keys={"options": pair}).keys.options == tuple(
            option for option in KEY_OPTIONS if option in pair
        )
    assert KEY_OPTIONS[0] == "restrict"


TAGS = {"os_users": ["deploy"], "tags": {"role": ["web", "db-*"], "env": ["prod"]}}


@pytest.mark.parametrize(
    "tags",
    [{"role": "web", "env": "prod"}, {"role": "db-1", "env": "prod", "else": "x"}],
)
def test_an_instance_with_matching_tags_is_allowed(tags: dict[str, str]) -> None:
    """An instance is allowed if every named tag matches one of its patterns."""
    parse(allow=TAGS).allow.check("10.0.0.1", "i-0f1e2d3c", "deploy", tags)


@pytest.mark.parametrize(
    "tags",
    [
        {}, {"role": "web"}, {"env": "prod"}, {"role": "web", "env": "dev"},
        {"role": "Web", "env": "prod"}, {"role": "", "env": "prod"}, {"Role": "web", "env": "prod"},
    ],
)  # fmt: skip
def test_an_instance_with_other_tags_is_refused(tags: dict[str, str]) -> None:
    """An instance is refused if a named tag is missing or different, or if no tags are known."""
    with pytest.raises(AuthException):
        parse(allow=TAGS).allow.check("10.0.0.1", "i-0f1e2d3c", "deploy", tags)


def test_tags_lift_no_other_restriction() -> None:
    """Matching tags do not lift the restrictions on OS users and instances."""
    tags = {"role": "web", "env": "prod"}
    with pytest.raises(AccessDeniedException):
        parse(allow=TAGS).allow.check("10.0.0.1", "i-0f1e2d3c", "root", tags)
    with pytest.raises(AuthException):
        parse(allow={**TAGS, "instances": ["i-ff*"]}).allow.check(
            "10.0.0.1", "i-0f1e2d3c", "deploy", tags
        )


@pytest.mark.parametrize(
    "tags", [{}, {"": ["a"]}, {"ü": ["a"]}, {"a" * 129: ["a"]}, {"a\nb": ["a"]}, {"role": []}]
)
def test_empty_or_malformed_tags_are_refused(tags: dict[str, list[str]]) -> None:
    """An empty mapping, an empty list and an invalid tag name are refused."""
    with pytest.raises(Problems, match=r"allow\.tags|not YAML|must be a name"):
        parse(allow={"os_users": ["*"], "tags": tags})
