"""Makes installed packages importable when the interpreter was started without them (-S)."""

from __future__ import annotations

import sys


def enable() -> None:
    """Put site-packages on the path. The program starts faster without them."""
    if sys.flags.no_site and "site" not in sys.modules:
        import site

        site.main()
