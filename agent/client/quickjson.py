"""JSON by CPython's C scanner, without the module `json`.

To import `json` compiles regular expressions, which takes as long as the interpreter's start. An
interpreter without the C scanner uses `json`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Json:
    """The settings that json.JSONDecoder gives to the C scanner."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int, parse_constant = float, int, float


def loads(text: str) -> Any:
    """The same as json.loads. Raises ValueError."""
    try:
        scan = __import__("_json").make_scanner(_Json)
    except (ImportError, AttributeError, TypeError):
        import json

        return json.loads(text)
    try:
        value, end = scan(text, 0)
    except StopIteration:
        raise ValueError("not JSON") from None
    if text[end:].strip():
        raise ValueError("more than JSON")
    return value


def dumps(value: Any) -> str:
    """The same as json.dumps, for mappings with str keys, lists, texts and numbers."""
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quote(key)}: {dumps(value[key])}" for key in value) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(dumps, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def _quote(text: str) -> str:
    try:
        return str(__import__("_json").encode_basestring_ascii(text))
    except (ImportError, AttributeError):
        import json

        return json.dumps(text)
