"""The one table of errors: code -> HTTP status, exit code, sentence, hint.

The codes are the protocol's (SPEC 11) and the two programs' own. Both ends read this table, so a
code means the same on the wire, on the screen and in a shell script. The sentences are constant:
what varies (a field's name, a limit, a path) stands in `detail`, never content, a name or a key.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One error: what the wire, the shell and the person get."""

    status: int
    """HTTP status of the (inner) answer; 0 for what never crosses the wire."""
    exit: int
    """Exit code of the program that ends because of it."""
    sentence: str
    hint: str = ""


# Exit codes, the same for `silo` and `siloctl` and `./dev up` (README, "Exit codes").
USAGE, SETTINGS, MACHINE, AWAY, REFUSED, LATER, TRUST, ENGINE, NOT_KEPT, PARTLY = range(2, 12)

TABLE: dict[str, Row] = {
    # In the clear, before the header opens (SPEC 5.4). Hints only: never downgrade or enrol because of one.
    "bad_version": Row(
        400, TRUST, "the silo does not speak this version of the protocol", "update the older of the two"
    ),
    "stale_key": Row(409, LATER, "the silo has a newer transport key", "try again; a client does so by itself"),
    "cannot_open": Row(400, TRUST, "the silo could not open the request", "check the silo's address and fingerprint"),
    "too_large": Row(413, REFUSED, "the request is larger than this silo takes", "send less at once"),
    "busy": Row(503, LATER, "the silo is busy", "try again in a moment"),
    "not_ready": Row(503, AWAY, "the silo is not set up yet", "open its setup link: silo init LINK"),
    # Sealed: the request itself.
    "bad_request": Row(
        400, USAGE, "the silo did not understand a field of the request", "the field is named in the detail"
    ),
    "not_found": Row(404, USAGE, "there is no such thing on this silo"),
    "bad_method": Row(405, USAGE, "this path does not take that method"),
    "clock": Row(
        400, MACHINE, "this device's clock and the silo's are too far apart", "set the clock of the one that is wrong"
    ),
    "unknown_device": Row(401, REFUSED, "the silo does not know this device", "enrol it again"),
    "forbidden": Row(403, REFUSED, "this account may not do that"),
    "setup_wrong": Row(403, REFUSED, "this setup link is not valid", "get a new one: siloctl setup-link"),
    "setup_used": Row(409, REFUSED, "this silo has its administrator already", "setup links work once"),
    "limited": Row(429, LATER, "too many attempts", "wait as long as the detail says"),
    # Sealed: trust.
    "keyring_changed": Row(409, TRUST, "the silo's keyring is not the one this device accepted"),
    "account_changed": Row(
        409,
        TRUST,
        "the silo's database names another account key than yours",
        "nothing was sent; ask the administrator how that came about",
    ),
    "stale_head": Row(
        409,
        TRUST,
        "the silo does not have records that this device has seen",
        "it may have been restored from a backup; ask the administrator",
    ),
    "keyring_broken": Row(
        503,
        TRUST,
        "the silo's keyring does not fit its administrator's key, so it refuses to seal",
        "the database was changed behind the silo's back; ask the administrator",
    ),
    # Sealed: once only.
    "in_progress": Row(409, LATER, "this request is running already"),
    "already_done": Row(409, REFUSED, "this request ran already", "its receipt is in the detail"),
    "lost": Row(
        409, LATER, "this request was begun and came to nothing", "nothing of it was kept; send it again as a new one"
    ),
    "bag_changed": Row(409, LATER, "another device has renewed these keys meanwhile", "read the chat again"),
    # Sealed: the engine.
    "context_overflow": Row(
        400, USAGE, "the conversation is longer than the model's context", "start a new chat or send less"
    ),
    "unknown_model": Row(404, USAGE, "this silo does not serve that model", "see: silo models"),
    "engine_busy": Row(429, LATER, "every place at the model is taken", "wait as long as the detail says"),
    "engine_failed": Row(
        502, ENGINE, "the model stopped in the middle", "it is being started again; try once more in a moment"
    ),
    "engine_down": Row(503, ENGINE, "the model is not running", "it is being started; try again in a moment"),
    # Sealed: keeping.
    "storage_full": Row(
        507, REFUSED, "the silo's disk is nearly full, so it takes no new turns", "ask the operator to free space"
    ),
    "not_kept": Row(
        507,
        NOT_KEPT,
        "the reply arrived, but the silo could not keep it",
        "save it yourself; ask the operator to look at the disk",
    ),
    "storage_away": Row(
        503, AWAY, "the silo cannot reach its database", "try again in a moment; if it stays so, ask the operator"
    ),
    "internal": Row(500, 1, "the silo failed", "the operator finds the id in the detail in the log"),
    # The verdicts (SPEC 10). The silo sends `forged` alone, for what a device did not sign; the rest are the client's.
    "forged": Row(403, TRUST, "a signature or a proof is missing or wrong"),
    "no_match": Row(0, TRUST, "this key is not one that opens this"),
    "header_failure": Row(0, TRUST, "the header does not open"),
    "payload_failure": Row(0, TRUST, "the content was changed"),
    "truncated": Row(0, TRUST, "the content ends too early"),
    "stale": Row(0, TRUST, "this is older than what was seen before"),
    "replay": Row(0, TRUST, "this was used before"),
    "wrong_silo": Row(
        0,
        TRUST,
        "this is not the silo that this device has pinned",
        "compare the fingerprint with the one the operator sees",
    ),
    "other_fingerprint": Row(
        0,
        TRUST,
        "stopped, and nothing was sent: the fingerprints differ",
        "get the setup link again, over another road",
    ),
    "no_identity": Row(0, USAGE, "this device belongs to no silo yet", "silo init LINK"),
    "has_identity": Row(
        0, USAGE, "this device belongs to a silo already", "use another SILO_HOME, or remove the identity there"
    ),
    "bad_link": Row(
        0, USAGE, "this is not a setup link", "it looks like http://localhost:6006/#setup.… ; quote it in the shell"
    ),
    "bad_key_file": Row(0, USAGE, "this is not a key file"),
    "wrong_passphrase": Row(0, REFUSED, "the passphrase does not open it"),
    "bad_password": Row(0, USAGE, "this password cannot be used"),
    "weak_password": Row(0, USAGE, "the password is too weak", "take the suggested one, or a longer one"),
    "unreachable": Row(0, AWAY, "the silo does not answer", "is it running, and is the address right?"),
    "bad_export": Row(0, USAGE, "this cannot be used as an export of a silo"),
    "bad_file": Row(0, USAGE, "this file cannot be used"),
    "stdout_failed": Row(0, MACHINE, "the answer cannot be written to stdout", "what the silo kept is in: silo logs"),
    "bad_option": Row(0, USAGE, "this option cannot be used"),
    "unsettled": Row(
        0, AWAY, "the silo went away, and whether it kept this turn is not known", "look once it is back: silo logs"
    ),
    "deleted": Row(
        0, REFUSED, "the turn was kept and has been deleted since", "who deleted it, and when, stands in: silo logs"
    ),
    "unknown_code": Row(
        0, REFUSED, "the silo refused with a code that this version does not know", "update the older of the two"
    ),
    "partly": Row(0, PARTLY, "not everything could be opened", "the report names each record and why"),
    "bad_reply": Row(0, AWAY, "the answer is not a silo's", "something between here and the silo changed it"),
    # Starting up.
    "bad_settings": Row(0, SETTINGS, "the settings do not fit"),
    "port_taken": Row(0, MACHINE, "the port is taken", "choose another with --port or SILO_PORT"),
    "data_unwritable": Row(0, MACHINE, "the data folder cannot be written", "choose another with --data or SILO_DATA"),
    "data_locked": Row(0, MACHINE, "another silo uses this data folder", "stop it, or choose another with --data"),
    "data_missing": Row(0, MACHINE, "there is no silo in this data folder", "name it with --data or SILO_DATA"),
    "data_damaged": Row(0, MACHINE, "the silo in this data folder is damaged", "restore it from a backup"),
    "database_away": Row(0, MACHINE, "the database does not answer", "is it running, and is SILO_DATABASE_URL right?"),
    "database_used": Row(
        0, MACHINE, "a silo is using this database", "stop it, on every machine; one that was killed counts for 10 s"
    ),
    "newer_database": Row(
        0, MACHINE, "the database is from a newer version", "use that version, or restore a backup from before"
    ),
    "model_broken": Row(0, MACHINE, "the model file cannot be used", "name another with --model or SILO_MODELS"),
}


class SiloError(Exception):
    """One row of the table, with what varies beside it.

    `code` is a key of TABLE; `detail` is shown after the sentence and crosses the wire, so it may
    name a field, a limit or a number, never content; `extra` holds further JSON members of the answer.
    """

    def __init__(self, code: str, detail: str = "", **extra: Any) -> None:
        self.code = code if code in TABLE else "internal"
        self.detail = detail
        self.extra = extra
        super().__init__(code)

    @property
    def row(self) -> Row:
        """The row of the table."""
        return TABLE[self.code]

    def sentence(self) -> str:
        """The constant sentence, and what varies after it."""
        return f"{self.row.sentence}: {self.detail}" if self.detail else self.row.sentence

    def __str__(self) -> str:
        return self.sentence()
