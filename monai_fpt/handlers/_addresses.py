"""Addresses without what opens them: the one rule by which passwords and tokens are taken out of an address.

Whatever is written down, tracked or packed passes here. Decisions:

- In doubt more is hidden. Passwords hold ``/``, ``@`` and ``?`` although they should not, so who is let in ends at the
  *last* ``@``, and where it cannot be said what an ``@`` belongs to, the whole address is hidden.
- Of web addresses also the name before ``@`` is hidden, for services take tokens there. A database's user is kept: he
  tells which rows he may see, and is needed to connect.
- Of a query only values of harmless names are kept; a list of harmful ones would never be complete.
- Hiding twice changes nothing, so that a hidden address can be compared with an address.
"""

from __future__ import annotations

import re

__all__ = ["HIDDEN", "hidden_address", "hidden_text"]

HIDDEN = "***"
SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*://"
_HOST = r"(?:\[[0-9A-Fa-f:.%]+\]|[\w.-]*)(?::\d+)?"
_HOSTS = re.compile(rf"{_HOST}(?:,{_HOST})*")
_HARMLESS = {
    *(
        "application_name",
        "cache",
        "charset",
        "check_same_thread",
        "connect_timeout",
        "driver",
        "host",
        "isolation_level",
    ),
    *("mode", "port", "sslmode", "target_session_attrs", "timeout", "uri", "version"),
}
_IN_TEXT = re.compile(rf"(?<![A-Za-z0-9+.-])(?:(?<=')({SCHEME}[^'\n]*)|(?<=\")({SCHEME}[^\"\n]*)|({SCHEME}\S*))")
_ASSIGNED = re.compile(
    r"(?i)\b((?:\w*_)?(?:password|passwd|pwd|token|secret|api_?key|access_?key))(\s*=\s*)('[^']*'|\"[^\"]*\"|[^\s,;&'\"()]+)"
)


def hidden_address(address: str) -> str:
    """An address as it may be written down; text that is no ``scheme://`` address comes back as it is.

    Args:
        address: of a server, a database, a file.

    Example:
        >>> hidden_address("postgresql+psycopg://ann:p@ss/word@[::1]:5432/mlflow?sslmode=require&password=x")
        'postgresql+psycopg://ann:***@[::1]:5432/mlflow?sslmode=require&password=***'
        >>> hidden_address("https://tok3n@tracking.example/mlflow")
        'https://***@tracking.example/mlflow'
    """
    if re.match(SCHEME, address) is None:
        return address
    scheme, _, rest = address.partition("://")
    rest, query = _divided(rest)
    if "@" in query and "@" not in rest:
        return f"{scheme}://{HIDDEN}"
    rest, sharp, fragment = rest.partition("#") if "@" not in rest.partition("#")[2] else (rest, "", "")
    user, at, place = rest.rpartition("@")
    if at:
        rest = f"{_user(user, web=scheme.lower().startswith('http'))}@{place}"
    elif _HOSTS.fullmatch(rest.partition("/")[0]) is None:  # the beginning of a password that goes on behind a ? or a #
        return f"{scheme}://{HIDDEN}"
    if sharp:
        rest += sharp + (fragment if re.fullmatch(r"[\w/.-]*", fragment) else HIDDEN)
    return f"{scheme}://{rest}" + (f"?{_query(query)}" if query else "")


def hidden_text(text: str) -> str:
    """A text in which every address is hidden as above, and every ``password=...`` or ``token=...`` too.

    Args:
        text: any; an address in quotes ends with them, another one with the next blank.
    """
    text = _IN_TEXT.sub(lambda found: hidden_address(found[0]), text)
    return _ASSIGNED.sub(lambda found: found[1] + found[2] + HIDDEN, text)


def _divided(rest: str) -> tuple[str, str]:
    """At the ``?`` of a query; one within a password is none."""
    head, _, query = rest.partition("?")
    if query and re.match(r"[\w.-]+(=|&|;|#|$)", query) is None and "@" in query:
        before, at, behind = rest.rpartition("@")
        behind, _, query = behind.partition("?")
        return before + at + behind, query
    return head, query


def _user(user: str, web: bool) -> str:
    name, colon, _ = user.partition(":")
    if web or re.fullmatch(r"[\w.%+-]*", name) is None:
        return HIDDEN
    return f"{name}:{HIDDEN}" if colon else name


def _query(query: str) -> str:
    parts = re.split(r"([&;])", query)
    return "".join(part if part in ("&", ";") else _pair(part) for part in parts)


def _pair(part: str) -> str:
    name, equals, value = part.partition("=")
    if name.lower() in _HARMLESS and "#" not in value:
        return part
    return f"{name}={HIDDEN}" if equals else (HIDDEN if part else "")
