"""Finds the credential: in the environment, AWS's files, our cache, or by botocore.

What botocore finds (SSO, roles, processes) expires. It is cached until then, in memory only and
never on a disk. Without a folder in memory, botocore is asked each time.
"""

from __future__ import annotations

import os

from agent.client import folders, limits, quickjson
from agent.client.sigv4 import Credential
from agent.client.trouble import REFUSED, Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from agent.client.settings import Settings

_LOGIN_HINT = "aws sso login, or aws configure, or credentials in client.yaml's profile"


def find(settings: Settings, now: float) -> Credential:
    """The credential to push with. Raises Trouble. `now` is in seconds since 1970."""
    found = _environment(settings) or _plain_key(settings) or _read_cache(settings, now)
    if found is not None:
        return found
    from agent.client import aws

    found = aws.credential(settings)
    _write_cache(settings, found, now)
    return found


def region(settings: Settings) -> str:
    """The region that requests are signed for. Raises Trouble: no region is set."""
    found = settings.get("region")
    if not found:
        files = _Files(settings)
        found = files.config.get("region") or files.shared.get("region")
        if found:
            settings.put("region", found, f"{files.config_path}, profile {files.profile}")
    if not found:
        raise Trouble(
            REFUSED, "NoRegion", "no region is set to sign requests for",
            "--region, SIXTYKEY_REGION, `region` in client.yaml, or in AWS's profile",
        )  # fmt: skip
    return found


def _environment(settings: Settings) -> Optional[Credential]:
    """The environment's credential. As with AWS's tools, a profile chosen here comes before it."""
    environ = settings.environ
    key, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    chosen = settings.origins.get("profile", "environment, AWS_PROFILE")
    if not key or not secret or chosen != "environment, AWS_PROFILE":
        return None
    token = environ.get("AWS_SESSION_TOKEN") or environ.get("AWS_SECURITY_TOKEN") or ""
    return Credential(key, secret, token, origin="environment, AWS_ACCESS_KEY_ID")


def _plain_key(settings: Settings) -> Optional[Credential]:
    """The access key in AWS's files, unless they configure something with higher priority."""
    files = _Files(settings)
    # botocore's chain of providers uses these before a plain access key.
    first = ("role_arn", "sso_session", "sso_start_url", "web_identity_token_file", "login_session")
    if any(name in section for name in first for section in (files.config, files.shared)):
        return None
    for section, path in ((files.shared, files.shared_path), (files.config, files.config_path)):
        key, secret = section.get("aws_access_key_id"), section.get("aws_secret_access_key")
        if section is files.config and "credential_process" in section:
            return None
        if key and secret:
            token = section.get("aws_session_token", "")
            return Credential(key, secret, token, origin=f"{path}, profile {files.profile}")
    return None


class _Files:
    """The profile's sections in AWS's two files; empty when they are not simple."""

    def __init__(self, settings: Settings) -> None:
        environ = settings.environ
        self.profile = settings.get("profile") or environ.get("AWS_DEFAULT_PROFILE") or "default"
        folder = os.path.join(environ.get("HOME", "/"), ".aws")
        self.config_path = environ.get("AWS_CONFIG_FILE") or os.path.join(folder, "config")
        name = "AWS_SHARED_CREDENTIALS_FILE"
        self.shared_path = environ.get(name) or os.path.join(folder, "credentials")
        heading = "default" if self.profile == "default" else f"profile {self.profile}"
        self.texts = _text(self.config_path), _text(self.shared_path)
        self.config = section_of(self.texts[0], heading)
        self.shared = section_of(self.texts[1], self.profile)


def _text(path: str) -> str:
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as file:
            return file.read(limits.FILE_BYTES)
    except (OSError, UnicodeDecodeError):
        return ""


def section_of(text: str, heading: str) -> dict[str, str]:
    """The `name = value` lines below `[heading]`; nested settings are left out.

    A repeated section is ignored, and botocore decides.
    """
    found: dict[str, str] = {}
    inside, times = False, 0
    for line in text.splitlines():
        if line.startswith("["):
            inside = " ".join(line.strip("[] \t").replace('"', "").split()) == heading
            times += inside
        elif inside and line[:1] not in ("", " ", "\t", "#", ";"):
            name, _, value = line.partition("=")
            found[name.strip().lower()] = value.partition(" #")[0].strip()
    return found if times == 1 else {}


def _cache_file(settings: Settings) -> Optional[str]:
    import hashlib

    folder = folders.memory_folder(settings.environ)
    if folder is None:
        return None
    files = _Files(settings)
    # Another role, token file or place to ask (AWS_...), or another text, may mean somebody else.
    variables = [f"{each}={settings.environ[each]}" for each in sorted(settings.environ)
                 if each.startswith("AWS_")]  # fmt: skip
    paths = files.config_path, files.shared_path
    which = "\0".join((files.profile, *paths, *files.texts, *variables)).encode("utf-8", "replace")
    digest = hashlib.sha256(which).hexdigest()[:32]
    return os.path.join(folder, f"credential-{digest}.json")


def _read_cache(settings: Settings, now: float) -> Optional[Credential]:
    path = _cache_file(settings)
    text = None if path is None else folders.read(path, limits.FILE_BYTES)
    if not text:
        return None
    try:
        kept = quickjson.loads(text)
        ends, until = float(kept["ends"]), float(kept["until"])
        taken = float(kept["taken"])
        origin = f"{kept['origin']}, kept in memory"
        credential = Credential(kept["key"], kept["secret"], kept["token"], ends, origin)
    except (ValueError, KeyError, TypeError):
        return None
    # Setting the clock back must not extend a credential's life.
    if not taken <= now < min(until, ends - limits.CREDENTIAL_SPARE_SECONDS):
        return None
    return credential


def _write_cache(settings: Settings, found: Credential, now: float) -> None:
    path = _cache_file(settings)
    if path is None or found.ends is None:
        return
    kept = {
        "key": found.access_key_id,
        "secret": found.secret_access_key,
        "token": found.token,
        "ends": found.ends,
        "taken": now,
        "until": now + limits.CREDENTIAL_MOST_SECONDS,
        "origin": found.origin,
    }
    folders.write(path, quickjson.dumps(kept))


def forget(settings: Settings) -> None:
    """Remove the cached credential."""
    folder = folders.runtime_folder(settings.environ)
    for name in os.listdir(folder) if folder else ():
        if name.startswith("credential-") and folder:
            os.unlink(os.path.join(folder, name))
