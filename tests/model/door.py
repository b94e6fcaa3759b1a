"""The door as a model: one thing that a person asks, the client's tries, the network's tricks, a silo of several hosts.

Whoever carries the bytes may drop a sealed request, keep it back, send it as often as it likes, to any host that holds
the key; may keep answers back; may say at any moment what is said in the clear. It opens and forges nothing.
A tick is 5 minutes. What a request does is left open: it runs (an engine, a deletion) and is kept, or comes to nothing.
"""

from collections.abc import Iterator
from typing import NamedTuple

HERE = "ran twice"
GONE = "a receipt for what is not kept"
AFTER = "told that it came to nothing, and it was kept"


class Rules(NamedTuple):
    """The protocol's lines, each of which can be taken out, and how large the world is."""

    once: bool = True
    """4.3 step 8: (device, id) is written down before the work begins."""
    same_id: bool = True
    """4.3: a retry keeps its id."""
    shared: bool = True
    """4.3: … whatever key or host it came to; False: each transport key has a table of its own."""
    refused_stay: bool = True
    """4.3 step 8: what came to nothing stays written down."""
    commit_first: bool = True
    """7.4: the receipt goes back after the commit."""
    doubts: bool = True
    """4.3, 5.4: what is said in the clear does not say that the request did not run."""
    asks_host: bool = True
    """4.3 step 8: `lost` is said of what a crash ended; False: of whatever this host itself does not run."""
    window: int = 2
    """4.3 step 4: how far a time may be from the silo's clock."""
    life: int = 6
    """4.3: how long what was written down is kept."""
    retimed: int = 1
    """4.3: how long after its first try a request may take a new time."""
    early_written: bool = True
    """4.3: a time in the future is written down as refused, and its request gets a new id."""

    hosts: int = 1
    crashes: int = 0
    tries: int = 2
    ticks: int = 0
    ahead: int = 0
    """Ticks by which the client's clock is wrong."""


class Sealed(NamedTuple):
    """A request on the wire."""

    number: int
    """Which sealing: its answer opens for this one alone (4.4)."""
    id: int
    time: int
    key: int


class Written(NamedTuple):
    """A row of the table of requests that run once."""

    scope: int
    id: int
    state: str
    host: int
    time: int


class Client(NamedTuple):
    """The client that asks."""

    id: int = 0
    time: int = 0
    began: int = -1
    tries: int = 0
    retimed: bool = False
    told: str = ""


class State(NamedTuple):
    """Everything."""

    client: Client
    hosts: tuple[int, ...]
    """The key of each host. A crash gives it another one: keys live in memory only (5.1)."""
    clock: int = 0
    sent: frozenset[Sealed] = frozenset()
    answers: frozenset[tuple[int, str]] = frozenset()
    """(sealing, what it says)"""
    table: frozenset[Written] = frozenset()
    running: frozenset[Sealed] = frozenset()
    """Begun by the host that holds its key."""
    uncommitted: frozenset[Sealed] = frozenset()
    runs: int = 0
    kept: int = 0


def start(rules: Rules) -> State:
    """Nothing has happened."""
    return State(Client(time=rules.ahead), tuple(range(rules.hosts)))


def wrong(state: State) -> str:
    """The property that does not hold."""
    if state.runs > 1:
        return HERE
    if state.client.told == "receipt" and not state.kept and not state.uncommitted:
        return GONE
    if state.client.told in ("lost", "failed", "a hint") and state.kept:
        return AFTER
    return ""


def steps(rules: Rules):
    """What can happen in a state, under these rules."""

    def happens(state: State) -> Iterator[tuple[str, State]]:
        for name, after in _happens(rules, state):
            yield name, _without_the_past(rules, after)

    return happens


def _without_the_past(rules: Rules, state: State) -> State:
    """The same state without what can change nothing any more, so that there are fewer of them."""
    waits = -1 if state.client.told else state.client.tries - 1
    return state._replace(
        answers=frozenset(answer for answer in state.answers if answer[0] == waits),
        sent=frozenset(
            sealed for sealed in state.sent if sealed.number == waits or sealed.time >= state.clock - rules.window
        ),
    )


def _happens(rules: Rules, state: State) -> Iterator[tuple[str, State]]:
    yield from _client(rules, state)
    for sealed in sorted(state.sent):
        if sealed.key in state.hosts:
            yield _arrives(rules, state, sealed)
    for sealed in sorted(state.running):
        yield from _ends(rules, state, sealed)
    for sealed in sorted(state.uncommitted):
        yield f"{sealed.number} is committed", _commit(rules, state, sealed)
    if max(state.hosts) + 1 - rules.hosts < rules.crashes:
        for host in range(rules.hosts):
            yield f"host {host} crashes", _crash(state, host, max(state.hosts) + 1)
    if state.clock < rules.ticks:
        clock = state.clock + 1
        table = frozenset(row for row in state.table if row.time > clock - rules.life)
        yield "time passes", state._replace(clock=clock, table=table)


# --- the client ---


def _client(rules: Rules, state: State) -> Iterator[tuple[str, State]]:
    client = state.client
    if client.told:
        return
    if client.tries < rules.tries:
        # The first try, or another one: because of silence, or of anything that was said in the clear.
        for key in sorted(set(state.hosts)):
            yield from _seals(rules, state, key)
    if client.tries and not rules.doubts:
        yield "the client hears a hint and believes it", state._replace(client=client._replace(told="a hint"))
    for number, said in sorted(state.answers):
        if number == client.tries - 1:
            yield from _hears(rules, state, said)


def _seals(rules: Rules, state: State, key: int) -> Iterator[tuple[str, State]]:
    client = state.client
    number = client.tries
    request = client.id if rules.same_id else number
    began = client.began if number else state.clock
    sealed = Sealed(number, request, client.time, key)
    after = client._replace(tries=number + 1, began=began)
    yield f"the client seals {number} to key {key}", state._replace(client=after, sent=state.sent | {sealed})


def _hears(rules: Rules, state: State, said: str) -> Iterator[tuple[str, State]]:
    client = state.client
    if said in ("early", "late") and not client.retimed:
        renew = said == "early" and rules.early_written
        if said == "early" or state.clock - client.began <= rules.retimed:
            after = client._replace(retimed=True, time=state.clock, id=client.id + 100 if renew else client.id)
            yield f"the client hears {said} and takes a new time", state._replace(client=after)
            return
    yield f"the client hears {said}", state._replace(client=client._replace(told=said))


# --- the silo ---


def _arrives(rules: Rules, state: State, sealed: Sealed) -> tuple[str, State]:
    def answer(said: str, **more: object) -> tuple[str, State]:
        after = state._replace(answers=state.answers | {(sealed.number, said)}, **more)
        return f"{sealed.number} arrives: {said}", after

    scope = 0 if rules.shared else sealed.key
    row = next((row for row in state.table if (row.scope, row.id) == (scope, sealed.id)), None)
    if sealed.time > state.clock + rules.window:
        early = {Written(scope, sealed.id, "refused", sealed.key, sealed.time)} if rules.early_written else set()
        return answer("early", table=state.table | (early if row is None else set()))
    if sealed.time < state.clock - rules.window:
        return answer("late")
    if row is not None and rules.once:
        if row.state == "running":
            here = row.host == sealed.key if not rules.asks_host else row.host in state.hosts
            return answer("in progress" if here else "lost")
        return answer("done" if row.state == "done" else "lost")
    row = Written(scope, sealed.id, "running", sealed.key, state.clock)
    begun = state._replace(table=state.table | {row}, running=state.running | {sealed}, runs=state.runs + 1)
    return f"{sealed.number} arrives and runs", begun


def _marked(rules: Rules, state: State, sealed: Sealed, mark: str) -> frozenset[Written]:
    scope = 0 if rules.shared else sealed.key
    rows: set[Written] = set()
    for row in state.table:
        if (row.scope, row.id) != (scope, sealed.id):
            rows.add(row)
        elif mark == "done" or rules.refused_stay:
            rows.add(row._replace(state=mark))
    return frozenset(rows)


def _ends(rules: Rules, state: State, sealed: Sealed) -> Iterator[tuple[str, State]]:
    ended = state._replace(running=state.running - {sealed})
    answered = state.answers | {(sealed.number, "receipt")}
    if rules.commit_first:
        yield f"{sealed.number} is kept and answered", _commit(rules, ended, sealed)._replace(answers=answered)
    else:
        waiting = ended._replace(uncommitted=state.uncommitted | {sealed}, answers=answered)
        yield f"{sealed.number} is answered", waiting
    failed = ended._replace(table=_marked(rules, state, sealed, "refused"))
    yield f"{sealed.number} fails", failed._replace(answers=state.answers | {(sealed.number, "failed")})


def _commit(rules: Rules, state: State, sealed: Sealed) -> State:
    table = _marked(rules, state, sealed, "done")
    return state._replace(kept=state.kept + 1, table=table, uncommitted=state.uncommitted - {sealed})


def _crash(state: State, host: int, key: int) -> State:
    hosts = tuple(key if number == host else old for number, old in enumerate(state.hosts))
    gone = state.hosts[host]
    return state._replace(
        hosts=hosts,
        running=frozenset(sealed for sealed in state.running if sealed.key != gone),
        uncommitted=frozenset(sealed for sealed in state.uncommitted if sealed.key != gone),
    )
