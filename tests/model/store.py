"""Keyring and log as a model: two devices of one user, an administrator, and somebody who writes into the database.

That somebody may put back an older keyring, cut the log, and put in keys of its own. It has neither the silo's identity
nor an administrator's key, and cannot write the pin's file.
"""

from collections.abc import Iterator
from typing import NamedTuple

NOBODYS = "sealed to a key that nobody named"
OLD = "sealed to a vault that the asker knows to be replaced"
SHORT = "written on a log that lacks what the asker has seen"
UNSEEN = "opened as whole, and what the opener has seen is missing"


class Rules(NamedTuple):
    """The protocol's lines, each of which can be taken out."""

    names_account: bool = True
    """4.3 step 6: the request names the account key."""
    names_keyring: bool = True
    """4.3 step 6: the request names the keyring."""
    names_head: bool = True
    """4.3 step 6: the request names the head."""
    pin_file: bool = True
    """4.7: the keyring is verified from a pin that is in no database."""
    keeps_newest: bool = True
    """PROTOCOL 8: a client keeps the highest keyring that it has accepted."""
    compares: bool = True
    """7.3: an opener compares the log with the newest entry that it has seen."""

    versions: int = 2
    entries: int = 3


Log = tuple[int, ...]
"""Entries by a number that no other has: what a hash chain does."""


class Device(NamedTuple):
    """What a device has accepted."""

    keyring: int = 1
    most: int = 1
    """The highest keyring that it ever accepted."""
    head: Log = ()
    """The log up to the entry seen last: the hash of it stands for all before."""
    stopped: bool = False


class State(NamedTuple):
    """Everything."""

    devices: tuple[Device, ...] = (Device(), Device())
    account: str = "user's"
    """What the database says it is."""
    keyring: int = 1
    """What the database says is in force; 0: one that a stranger signed, with a vault of its own."""
    newest: int = 1
    log: Log = ()
    written: int = 0
    broken: str = ""


def wrong(state: State) -> str:
    """The property that does not hold."""
    return state.broken


def steps(rules: Rules):
    """What can happen in a state, under these rules."""

    def happens(state: State) -> Iterator[tuple[str, State]]:
        for who, device in enumerate(state.devices):
            if not device.stopped:
                yield _asks(rules, state, who, device)
                yield _opens(rules, state, who, device)
                if state.keyring > device.keyring:
                    yield f"device {who} looks for keyrings", _learns(state, who, device)
        if state.newest < rules.versions and state.keyring == state.newest:
            after = state._replace(keyring=state.newest + 1, newest=state.newest + 1)
            yield f"the administrator signs keyring {after.newest}", after
        yield from _tampers(rules, state)

    return happens


def _with(state: State, who: int, device: Device, **more: object) -> State:
    devices = tuple(device if each == who else old for each, old in enumerate(state.devices))
    return state._replace(devices=devices, **more)


def _has(log: Log, head: Log) -> bool:
    return log[: len(head)] == head


def _learns(state: State, who: int, device: Device) -> State:
    most = max(device.most, state.keyring)
    return _with(state, who, device._replace(keyring=state.keyring, most=most))


def _asks(rules: Rules, state: State, who: int, device: Device) -> tuple[str, State]:
    name = f"device {who} asks"
    stops = _with(state, who, device._replace(stopped=True))
    if state.keyring == 0 and rules.pin_file:
        return f"{name}: keyring_broken", stops
    if rules.names_account and state.account != "user's":
        return f"{name}: account_changed", stops
    if rules.names_keyring and state.keyring != device.keyring:
        if state.keyring == 0 or (rules.keeps_newest and state.keyring < device.keyring):
            return f"{name}: stops at an older or strange keyring", stops
        return f"{name}: learns keyring {state.keyring}", _learns(state, who, device)
    if rules.names_head and not _has(state.log, device.head):
        return f"{name}: stale_head", stops
    if len(state.log) >= rules.entries:
        return f"{name}: later", state
    broken = ""
    if state.account != "user's" or state.keyring == 0:
        broken = NOBODYS
    elif state.keyring < device.most:
        broken = OLD
    elif not _has(state.log, device.head):
        broken = SHORT
    log = (*state.log, state.written + 1)
    after = _with(state, who, device._replace(head=log), log=log, written=state.written + 1, broken=broken)
    return f"{name}: entry {len(log)} is written", after


def _opens(rules: Rules, state: State, who: int, device: Device) -> tuple[str, State]:
    whole = _has(state.log, device.head)
    if not whole and rules.compares:
        stops = _with(state, who, device._replace(stopped=True))
        return f"device {who} opens: stale or forged", stops
    after = _with(state, who, device._replace(head=state.log), broken="" if whole else UNSEEN)
    return f"device {who} opens", after


def _tampers(rules: Rules, state: State) -> Iterator[tuple[str, State]]:
    if state.account == "user's":
        yield "the account key is exchanged", state._replace(account="a stranger's")
    for version in range(1, state.newest):
        if state.keyring != version:
            yield f"keyring {version} is put back", state._replace(keyring=version)
    if state.keyring != 0:
        yield "a stranger's keyring is put in", state._replace(keyring=0)
    for length in range(len(state.log)):
        yield f"the log is cut to {length}", state._replace(log=state.log[:length])
