"""Patterns of host names, as in ssh_config(5): * is any text, ? is one character."""

from __future__ import annotations


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern matches the whole text. Case does not matter, as in host names."""
    pattern, text = pattern.lower(), text.lower()
    place = star = back = 0
    seen_star = False
    index = 0
    while index < len(text):
        if place < len(pattern) and pattern[place] == "*":
            seen_star, star, back = True, place, index
            place += 1
        elif place < len(pattern) and pattern[place] in ("?", text[index]):
            place += 1
            index += 1
        elif seen_star:
            back += 1
            place, index = star + 1, back
        else:
            return False
    return not pattern[place:].strip("*")
