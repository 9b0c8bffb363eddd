"""The configuration file, for the commands that need it: they start slower."""

from __future__ import annotations

import sys

from agent.client.trouble import REFUSED, Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agent.config.settings import Config

DEFAULT_PATH = "/etc/sixtykey/config.yaml"


def third_party() -> None:
    """Make the distribution's packages importable: the launcher starts Python without them."""
    if sys.flags.no_site:
        import site

        site.main()
    try:
        import yaml  # noqa: F401 - only to see whether it is installed
    except ImportError:
        raise Trouble(
            REFUSED, "NoYaml", f"{sys.executable} has no PyYAML", "install python3-yaml"
        ) from None


def load(path: str) -> Config:
    """The configuration. Raises Trouble."""
    third_party()
    from agent.config import file as config_file
    from agent.config.document import Problems

    try:
        return config_file.load(path)
    except Problems as problems:
        words = "the configuration cannot be used: " + "; ".join(problems.problems)
        raise Trouble(REFUSED, "Configuration", words, "sixtykey check") from None
