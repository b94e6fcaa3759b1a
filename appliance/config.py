"""Settings: the only reader of the environment and of `.env`. env.example lists every variable.

Bad or contradictory settings stop the start, one line each, naming the variable, the fault and the fix.
"""

import io
import ipaddress
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from dotenv.parser import parse_stream

from silo.errors import SiloError

MIB = 1024 * 1024
# What other programs of ours read, and so is no misspelling here.
_NOT_OURS = {"SILO_HOME", "SILO_PASSPHRASE_FILE"}


@dataclass(frozen=True)
class Config:
    """Every setting, checked. Sizes in bytes."""

    data: Path
    host: str = "localhost"
    port: int = 6006
    url: str = ""
    """The public URL; empty: the listener's own."""
    database_url: str = ""
    engine: str = "llama"
    model: Path | None = None
    shape: str = "steady"
    context: int = 4096
    parallel: int = 4
    queue: int = 16
    max_body: int = 16 * MIB
    disk_margin: int = 256 * MIB
    key_letters: str = ""
    """What the ids of this host's transport keys begin with, any of these letters; empty: anything."""
    door_rate: int = 200
    """Requests a second that one source may send to the door, in the long run."""
    backup_days: int | None = None
    """How long backups are kept; None: not known."""
    trusted_proxies: tuple[str, ...] = ()
    log_level: str = "info"
    meta: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def database(self) -> str:
        """The database's URL: SQLite in the data folder unless one is set."""
        return self.database_url or f"sqlite://{self.data / 'silo.db'}"

    @property
    def address(self) -> str:
        """What people open: the public URL, or the listener's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.url or f"http://{host}:{self.port}").rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host.strip("[]") == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class _Reader:
    """Reads variables one by one and collects every fault instead of stopping at the first."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values
        self.faults: list[str] = []
        self.known: set[str] = set()

    def text(self, name: str, default: str = "") -> str:
        self.known.add(name)
        value = self.values.get(name, "").strip()
        if value.isprintable():
            return value or default
        # It could neither be a path nor be shown in one line.
        self.faults.append(f"{name} holds a character that cannot be printed; write it again")
        return default

    def number(self, name: str, default: int, least: int, most: int) -> int:
        raw = self.text(name, str(default))
        if raw.isascii() and raw.isdigit() and least <= int(raw[:18]) <= most:
            return int(raw)
        self.faults.append(f"{name} is {raw!r:.80}; set it to a whole number from {least} to {most}")
        return default

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        raw = self.text(name, default)
        if raw in choices:
            return raw
        self.faults.append(f"{name} is {raw!r:.80}; set it to {' or '.join(filter(None, choices))}")
        return default

    def check_unknown(self) -> None:
        for name in sorted(self.values):
            # In a .env small letters and other dashes are as near a miss as another word.
            if name.upper().replace("-", "_").startswith("SILO_") and name not in self.known | _NOT_OURS:
                shown = name if name.isidentifier() else ascii(name)
                self.faults.append(f"{shown:.80} is no setting of this version; remove it, or see env.example")


def read_environment(folders: list[Path], overrides: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """All settings as text: `.env` of the first folder that has one, then the environment, then `overrides`.

    Raises SiloError `bad_settings` for a `.env` that cannot be read.
    """
    values: dict[str, str] = {}
    for folder in folders:
        path = folder / ".env"
        if path.is_file():
            values = _read_dotenv(path)
            break
    values.update({name: value for name, value in os.environ.items() if name.startswith("SILO_")})
    values.update({name: value for name, value in (overrides or {}).items() if value is not None})
    return values


def _read_dotenv(path: Path) -> dict[str, str]:
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise SiloError("bad_settings", f"{path} cannot be read; make it a text file in UTF-8") from None
    values: dict[str, str] = {}
    faults: list[str] = []
    for binding in parse_stream(io.StringIO(text)):
        blank = len(binding.original.string) - len(binding.original.string.lstrip())
        line = binding.original.line + binding.original.string[:blank].count("\n")
        if binding.error or (binding.key is not None and binding.value is None):
            faults.append(f"{path} line {line} is not NAME=value; correct or remove it")
        elif binding.key in values:
            faults.append(f"{path} line {line} sets {binding.key!a:.80} a second time; keep one of the two")
        elif binding.key is not None:
            values[binding.key] = binding.value or ""
    if faults:
        raise SiloError("bad_settings", "\n".join(faults))
    return values


def load(values: Mapping[str, str], default_data: Path) -> Config:
    """The settings, checked. Raises SiloError `bad_settings` with every fault in `detail`, one a line."""
    read = _Reader(values)
    host = read.text("SILO_HOST", "localhost")
    url = read.text("SILO_URL").rstrip("/")
    mode = _ssl_mode(read)
    confirmed = read.choice("SILO_SSL_CONFIRMED", "0", ("0", "1"))
    _check_url(read, url, mode, confirmed)
    model = read.text("SILO_MODELS")
    database = read.text("SILO_DATABASE_URL")
    if database and not database.startswith(("sqlite:///", "postgres://", "postgresql://", "asyncpg://")):
        read.faults.append(
            "SILO_DATABASE_URL is neither sqlite:///path/of/a/file nor postgres://user@host/name; correct or remove it"
        )
    engine = read.text("SILO_ENGINE", "llama")
    if engine not in ("llama", "fake") and not engine.startswith(("fake:", "unix:/")):
        read.faults.append(f"SILO_ENGINE is {engine!r:.80}; set it to llama, or to unix:/path/of/an/engine.sock")
    config = Config(
        data=Path(read.text("SILO_DATA", str(default_data))).expanduser().absolute(),
        host=host,
        port=read.number("SILO_PORT", 6006, 0, 65535),
        url=url,
        database_url=database,
        engine=engine,
        model=Path(model).expanduser().absolute() if model else None,
        shape=read.choice("SILO_SHAPE", "steady", ("steady", "fast")),
        context=read.number("SILO_CONTEXT", 4096, 128, 1_048_576),
        parallel=read.number("SILO_PARALLEL", 4, 1, 1024),
        queue=read.number("SILO_QUEUE", 16, 0, 65536),
        max_body=read.number("SILO_MAX_BODY_MB", 16, 1, 1024) * MIB,
        disk_margin=read.number("SILO_DISK_MARGIN_MB", 256, 0, 1_048_576 * 16) * MIB,
        key_letters=_letters(read),
        door_rate=read.number("SILO_DOOR_RATE", 200, 1, 1_000_000),
        backup_days=read.number("SILO_BACKUP_DAYS", 0, 0, 36_500) if read.text("SILO_BACKUP_DAYS") else None,
        trusted_proxies=_proxies(read),
        log_level=read.choice("SILO_LOG_LEVEL", "info", ("debug", "info", "warning", "error")),
        meta={name: read.text(f"SILO_META_{name}") for name in ("Key_Pair_Id", "Policy", "Signature")},
    )
    read.check_unknown()
    if read.faults:
        raise SiloError("bad_settings", "\n".join(read.faults))
    return config


def _letters(read: _Reader) -> str:
    raw = read.text("SILO_KEY_LETTERS")
    if raw.strip("abcdefghijklmnopqrstuvwxyz234567"):
        read.faults.append(f"SILO_KEY_LETTERS is {raw!r:.80}; set it to some of the letters a to z and 2 to 7")
    return raw


def _ssl_mode(read: _Reader) -> int:
    mode = read.choice("SILO_SSL_MODE", "", ("", "0", "1"))
    other = read.choice("SILO_SSL", "", ("", "0", "1"))
    if mode and other and mode != other:
        read.faults.append(f"SILO_SSL_MODE is {mode} and SILO_SSL is {other}; they are one setting, keep one")
    if (mode or other) == "1":
        read.faults.append(
            f"{'SILO_SSL_MODE' if mode else 'SILO_SSL'} is 1, and this version does not end TLS itself; "
            "set it to 0 and let a proxy on the same machine end TLS"
        )
    return int(mode or other or 0)


def _check_url(read: _Reader, url: str, mode: int, confirmed: str) -> None:
    if not url:
        return
    try:
        parts = urlsplit(url)
        port_fits = parts.port != 0
    except ValueError:
        port_fits, parts = False, urlsplit("")
    odd = parts.query or parts.fragment or "@" in parts.netloc or any(one.isspace() for one in url)
    if not port_fits or parts.scheme not in ("http", "https") or not parts.hostname or odd:
        read.faults.append("SILO_URL is no web address; set it to something like https://silo.example.org")
    elif parts.scheme == "http" and not is_loopback(parts.hostname):
        read.faults.append("SILO_URL is neither https nor this machine's own; people reach a silo over https only")
    elif parts.scheme == "https" and mode == 0 and confirmed != "1" and not _confirm(url):
        read.faults.append(
            "SILO_URL is https and the silo serves http; if a proxy ends TLS, confirm with SILO_SSL_CONFIRMED=1"
        )


def _confirm(url: str) -> bool:
    """Ask, where somebody can answer, whether https in front of http is meant."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write(
        f"SILO_URL is {url}, and the silo itself serves plain http.\nDoes a proxy end TLS in front of it? [y/N] "
    )
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _proxies(read: _Reader) -> tuple[str, ...]:
    found: list[str] = []
    for item in read.text("SILO_TRUSTED_PROXIES").replace(",", " ").split():
        try:
            found.append(str(ipaddress.ip_network(item, strict=False)))
        except ValueError:
            read.faults.append(f"SILO_TRUSTED_PROXIES holds {item!r:.80}; list addresses or networks, like 10.0.0.0/8")
    return tuple(found)
