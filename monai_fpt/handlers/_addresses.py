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

__all__ = ["HIDDEN", "SECRET_NAME", "hidden_address", "hidden_text", "lets_in"]

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
_OPENS = r"(?:access|api|app|auth|bearer|databricks|git|github|gitlab|hf|huggingface|mlflow|refresh|secret|session|tracking|user)"
SECRET_NAME = (  # a class token, a pool token and a number of tokens are none
    r"(?:[\w-]*(?:password|passwd|pwd|secret|api[_-]?key|access[_-]?key|private[_-]?key|credential)s?"
    rf"|(?:[\w-]*{_OPENS}[_-]?)?token|[\w-]*{_OPENS}[_-]?tokens)"
)
_ASSIGNED = re.compile(
    rf"(?i)(?<![\w-])({SECRET_NAME})(['\"]?\s*(?:=(?!=)|:(?![:/]))\s*)"
    r"('[^']*'|\"[^\"]*\"|(?!(?:true|false|none|null)\b|[@$])[^\s,;&'\"(){}]+)"
)


_LETS_IN = re.compile(rf"(?i){SCHEME}(?:[^\s/'\"@]+@|[^\s/'\":@]+:[^\s'\"]*@|[^\s'\"]*[?&;]{SECRET_NAME}=(?!\*))")


def lets_in(text: str) -> bool:
    """Whether an address in a text holds a password or a token. Stricter than what is hidden: an address that only might is none."""
    found = _LETS_IN.search(text)
    return found is not None and f"{HIDDEN}@" not in found[0]


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
    return _ASSIGNED.sub(_hidden_value, text)


def _hidden_value(found: re.Match[str]) -> str:
    quote = found[3][0] if found[3][0] in "'\"" else ""
    return f"{found[1]}{found[2]}{quote}{HIDDEN}{quote}"


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
