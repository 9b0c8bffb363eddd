"""Makes installed packages importable where the interpreter was started without them (-S)."""

from __future__ import annotations

import sys


def enable() -> None:
    """Have site-packages on the path; a start without them is faster."""
    if sys.flags.no_site and "site" not in sys.modules:
        import site

        site.main()
