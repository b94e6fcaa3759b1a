"""What each role may: one pure function."""

_EVERYBODY = frozenset({"me", "keyrings", "enrolments", "locks", "models", "chat", "turns", "log", "history"})

_OWN_RECORDS = frozenset({"deletions", "bags"})

MAY: dict[str, frozenset[str]] = {"admin": _EVERYBODY | _OWN_RECORDS, "user": _EVERYBODY | _OWN_RECORDS}
"""role -> verbs; a verb is the first part of an inner path."""


def may(role: str, verb: str) -> bool:
    """Whether an account of this role may use this verb. An unknown role may nothing."""
    return verb in MAY.get(role, frozenset())
