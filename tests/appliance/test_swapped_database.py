"""A database that somebody changed behind the silo's back: it refuses to seal, or its people see what was done.

Each change is made while the silo runs, and looked at again after a restart. The client is the honest one, and
has to name the reason.
"""

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keyring as system_keyring
import keyring.backends.fail
import msgspec
import pytest

from silo.client.history import Opened
from silo.client.home import Home
from silo.client.recover import recover
from silo.client.session import End, Session
from silo.client.setup import Plan, load_admin_key, parse_link, set_up
from silo.crypto.encoding import b32, b64, hash_bytes, id_bytes, write_json
from silo.crypto.keyring import SignedKeyring, first_keyring, keyring_hash, sign_keyring, verify_keyring
from silo.crypto.keys import AdminKey, Signer, fingerprint, recipient_of
from silo.crypto.opening import read_place
from silo.crypto.sealing import make_receipt, seal_record
from silo.errors import SiloError
from silo.messages import Message
from tests import postgres
from tests.appliance.company import OwnEngine, another_person, listen
from tests.harness import Device, Served, clean_environment, no_settings, now

Change = Callable[[postgres.Database], None]


def quiet(_: str) -> None:
    """Warnings are not what these tests are about."""


@dataclass
class Box:
    """A silo that alice was set up at with the honest client; her home, and her device for the harness."""

    served: Served
    home: Home
    device: Device
    admin: AdminKey

    def change(self, change: Change) -> None:
        """Change the database behind the silo's back."""
        with postgres.behind(self.served.database) as database:
            change(database)

    @property
    def on_sqlite(self) -> bool:
        """Which of the two databases it is."""
        return self.served.database.startswith("sqlite")

    def use(self, url: str) -> None:
        """Put another PostgreSQL database in its place."""
        postgres.use(self.served.data, url)
        self.served.database = self.served.settings["SILO_DATABASE_URL"] = url

    def records(self) -> int:
        """How many records the database has."""
        with postgres.behind(self.served.database) as database:
            return database.execute("SELECT count(*) FROM record").fetchone()[0]

    def restart(self) -> None:
        """Stop it and start it on the same folder."""
        self.served.stop()
        self.start()

    def start(self) -> None:
        """Start it; both clients know where it is now."""
        self.served.start()
        self.device.moved(self.served.url)
        self.home.update(lambda profile: msgspec.structs.replace(profile, url=self.served.url))

    def chat(self, prompt: str = "hello") -> End:
        """One turn of the honest client. Raises SiloError."""

        async def one() -> End:
            async with Session.open(self.home, str, now, quiet) as session:
                async for piece in session.chat([Message(role="user", content=prompt)]):
                    if isinstance(piece, End):
                        return piece
            raise AssertionError("no end")

        return asyncio.run(one())

    def refusal(self) -> tuple[str, str]:
        """Why the silo refuses a turn, as the door says it and as the honest client does; nothing may be written."""
        before = self.records()
        said = self.device.chat("hello").code
        try:
            end = self.chat()
        except SiloError as error:
            assert self.records() == before
            return said, error.code
        raise AssertionError(end)

    def history(self) -> list[Opened]:
        """All that the honest client makes of the history. Raises SiloError where the log itself is not whole."""

        async def every() -> list[Opened]:
            async with Session.open(self.home, str, now, quiet) as session:
                return await session.history()

        return asyncio.run(every())

    def verdicts(self) -> dict[int, str]:
        """index -> why that record does not open or does not fit."""
        return {one.entry.index: one.error.code for one in self.history() if one.error}


@dataclass
class Made:
    """Where the one that is copied for each test lies."""

    folder: Path
    admin: AdminKey
    engine: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[Made]:
    """A silo with four turns of alice's and two of bob's, stopped."""
    folder = tmp_path_factory.mktemp("box")
    engine = OwnEngine()
    served = Served(folder / "silo", engine.spec, SILO_SHAPE="fast").start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(system_keyring, "get_keyring", keyring.backends.fail.Keyring)
        plan = Plan("alice", "correct horse battery staple", folder / "admin.key")
        home = Home(folder / "home")
        asyncio.run(set_up(home, parse_link(served.link), plan, now, quiet))
        admin = load_admin_key(plan.key_path, str)
        box = Box(served, home, device_of(home, served.url), admin)
        for number in range(1, 5):
            end = box.chat(f"turn {number}")
            assert end.kept
            assert end.kept.index == number
        bob = another_person(served, box.device, "bob")
        assert [bob.chat("his").end["kept"]["index"] for _ in range(2)] == [1, 2]
        served.stop()
        for one in (bob, box.device):
            one.http.close()
    yield Made(folder, admin, engine.spec)
    engine.end()


@pytest.fixture
def box(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    """A copy of it, running."""
    monkeypatch.setattr(system_keyring, "get_keyring", keyring.backends.fail.Keyring)
    postgres.copy_silo(made.folder / "silo", tmp_path / "silo")
    shutil.copytree(made.folder / "home", tmp_path / "home")
    served = Served(tmp_path / "silo", made.engine, SILO_SHAPE="fast")
    home = Home(tmp_path / "home")
    copied = Box(served, home, device_of(home, "http://nowhere.invalid"), made.admin)
    copied.start()
    yield copied
    served.stop()
    copied.device.http.close()


def device_of(home: Home, url: str) -> Device:
    """The harness's device with the honest client's keys."""
    profile, seeds = home.read(), home.secrets(home.read(), str)
    pin = fingerprint(hash_bytes(profile.identity))
    device = Device(f"{url}/#setup.{b64(bytes(32) + pin + id_bytes(profile.silo))}")
    device.signer, device.device, device.user = seeds.signer, id_bytes(profile.device), id_bytes(profile.user)
    device.account_seed, device.account = seeds.account, recipient_of(seeds.account)
    device.identity, device.keyring = hash_bytes(profile.identity), profile.keyring().seen
    return device


def test_without_a_change_all_is_well(box: Box) -> None:
    """The control: what the other tests refuse works here."""
    end = box.chat()
    assert end.kept
    assert end.kept.index == 5
    assert box.device.chat("hello").end["kept"]["index"] == 6
    assert [one.turn.index for one in box.history() if one.turn] == [1, 2, 3, 4, 5, 6]
    assert box.verdicts() == {}


# --- whom it seals to ---


def test_another_account_key(box: Box) -> None:
    attacker = recipient_of(secrets.token_bytes(32))
    box.change(
        lambda it: it.execute('UPDATE "user" SET account = ? WHERE role = ?', (attacker.public, "admin")) and None
    )
    for again in (False, True):
        if again:
            box.restart()
        assert box.refusal() == ("account_changed", "account_changed")
        # With the key itself, so that the person can say what was put there.
        assert box.device.chat("hello").json["error"]["account"] == b64(attacker.public)


def test_an_account_key_that_is_none(box: Box) -> None:
    box.change(lambda it: it.execute('UPDATE "user" SET account = ? WHERE role = ?', (b"\0", "admin")) and None)
    assert box.refusal() == ("account_changed", "account_changed")


def insert(database: postgres.Database, version: int, signed: SignedKeyring) -> None:
    database.execute("DELETE FROM keyring WHERE version = ?", (version,))
    row = (version, signed.document, signed.signer, signed.signature, now())
    database.execute("INSERT INTO keyring VALUES (?, ?, ?, ?, ?)", row)


def second(box: Box, admin: AdminKey) -> SignedKeyring:
    """A version 2 that follows the first; who signs it is another matter."""
    first = box.home.read().keyrings[0]
    document = verify_keyring(first, box.device.silo, box.admin.public.fingerprint).document
    return sign_keyring(
        admin, msgspec.structs.replace(document, version=2, previous=b32(keyring_hash(first)), time=now())
    )


def other_admins(box: Box) -> Change:
    """The keyring replaced by one that another admin key signed; all of it is well formed."""
    signed = first_keyring(AdminKey(), "mallory", box.device.silo, box.device.identity, now())
    return lambda database: insert(database, 1, signed)


def other_admins_next(box: Box) -> Change:
    """A version 2 that another admin key signed."""
    signed = second(box, AdminKey())
    return lambda database: insert(database, 2, signed)


def other_vault(box: Box) -> Change:
    """The vault's key replaced in the document, signer and signature left."""
    text = box.home.read().keyrings[0].document
    epoch = msgspec.json.decode(text)["epochs"][0]["public"]
    changed = text.replace(epoch, b64(recipient_of(secrets.token_bytes(32)).public))
    assert changed != text
    return lambda database: database.execute("UPDATE keyring SET document = ?", (changed,)) and None


def dropped(_: Box) -> Change:
    """No keyring at all."""
    return lambda database: database.execute("DELETE FROM keyring") and None


def renumbered(_: Box) -> Change:
    """The same document under a higher number."""
    return lambda database: database.execute("UPDATE keyring SET version = 7") and None


@pytest.mark.parametrize("swap", [other_admins, other_admins_next, other_vault, dropped, renumbered])
def test_another_keyring(box: Box, swap: Callable[[Box], Change]) -> None:
    # Both when it has verified the good one before, and when it has not.
    assert box.chat().kept
    before = box.records()
    box.change(swap(box))
    assert box.refusal() == ("keyring_broken", "keyring_broken")
    box.restart()
    assert box.refusal() == ("keyring_broken", "keyring_broken")
    assert box.records() == before


def test_a_keyring_swapped_while_the_model_writes(box: Box) -> None:
    reply = listen(box.device, "chunks 30 gap 20 words").until_words(2)
    box.change(other_admins(box))
    answered = reply.rest()
    assert len(answered.text.split()) == 30
    assert answered.end["kept"] is None
    assert answered.end["error"]["code"] == "keyring_broken"
    assert box.records() == 6


def test_a_keyring_that_the_administrator_signed_is_taken_and_stays(box: Box) -> None:
    signed = second(box, box.admin)
    box.change(lambda database: insert(database, 2, signed))
    answered = box.device.chat("hello")
    assert answered.code == "keyring_changed"
    assert [one["document"] for one in answered.json["error"]["keyrings"]] == [signed.document]
    # The honest client verifies it, and goes on.
    assert box.chat().kept
    assert len(box.home.read().keyrings) == 2
    box.device.keyring = box.home.read().keyring().seen
    # Rolled back: seen by the silo while it runs, and by the client for ever.
    box.change(lambda database: database.execute("DELETE FROM keyring WHERE version = 2") and None)
    assert box.refusal() == ("keyring_broken", "keyring_broken")
    box.restart()
    assert box.refusal() == ("keyring_changed", "stale")


def test_records_rolled_back(box: Box) -> None:
    alice = b32(box.device.user)
    box.device.head = box.home.read().head

    def roll_back(database: postgres.Database) -> None:
        for table in ("record", "wrap"):
            database.execute(f'DELETE FROM {table} WHERE user_id = ? AND "index" >= 3', (alice,))

    box.change(roll_back)
    assert box.refusal() == ("stale_head", "stale_head")
    with pytest.raises(SiloError, match="entries 3 to 4"):
        box.history()
    box.restart()
    assert box.refusal() == ("stale_head", "stale_head")


def test_another_signing_key_for_the_device(box: Box) -> None:
    public = Signer().public
    box.change(lambda it: it.execute("UPDATE device SET sign = ?", (public,)) and None)
    assert box.refusal() == ("forged", "forged")


# --- another database ---


def other_silos(box: Box, tmp_path: Path) -> None:
    """Another silo's whole database, with its people and keyring."""
    other = Served(tmp_path / "other", box.served.engine, SILO_SHAPE="fast").start()
    device = Device(other.link).set_up()
    assert device.chat("elsewhere").end["kept"]
    device.http.close()
    other.stop()
    if box.on_sqlite:
        shutil.copy(other.data / "silo.db", box.served.data / "silo.db")
    else:
        box.use(other.database)


def empty(box: Box, _: Path) -> None:
    """No database at all: the silo would begin anew."""
    if box.on_sqlite:
        (box.served.data / "silo.db").unlink()
    else:
        box.use(postgres.cluster().create(postgres.EMPTY))


def rebound(box: Box, tmp_path: Path) -> None:
    """Another silo's, made to say that it is this one's; nobody of ours is in it."""
    other_silos(box, tmp_path)
    box.change(lambda it: it.execute("UPDATE silo SET id = ?", (b32(box.device.silo),)) and None)


def junk(box: Box, _: Path) -> None:
    """No database of ours: junk, or somebody's own."""
    if box.on_sqlite:
        (box.served.data / "silo.db").write_bytes(os.urandom(65536))
    else:
        box.use(postgres.cluster().create(postgres.EMPTY))
        box.change(lambda it: it.execute('CREATE TABLE "record" (note text)') and None)


@pytest.mark.parametrize("swap", [other_silos, empty, junk])
def test_another_database(box: Box, swap: Callable[[Box, Path], None], tmp_path: Path) -> None:
    box.served.stop()
    for path in box.served.data.glob("silo.db-*"):
        path.unlink()
    swap(box, tmp_path)
    box.served.log.write_text("")
    with pytest.raises(RuntimeError) as caught:
        box.served.start()
    said = str(caught.value)
    assert said.startswith("exit 4: error: the silo in this data folder is damaged")
    assert said.count("\n") == 1
    # The verbs of the box do not work on it either: an export would vouch for what is not this silo's.
    for verb in (["status"], ["setup-link"], ["export", str(tmp_path / "out")]):
        ended = siloctl(box.served.data, *verb)
        assert ended.returncode == 4
        assert "damaged" in ended.stderr
    assert not (tmp_path / "out").exists()


def test_another_silos_database_that_claims_to_be_ours(box: Box, tmp_path: Path) -> None:
    box.served.stop()
    rebound(box, tmp_path)
    box.start()
    # Alice's device is not in it; whoever is has another silo's keyring.
    assert box.device.chat("hello").code == "unknown_device"
    with pytest.raises(SiloError) as caught:
        box.chat()
    assert caught.value.code == "unknown_device"
    assert "#setup." not in box.served.link


def siloctl(data: Path, *words: str) -> Any:
    return subprocess.run(
        [sys.executable, "-P", "-m", "appliance.siloctl", "--data", str(data), *words],
        env=clean_environment(**postgres.settings_of(data)),
        cwd=no_settings(data.parent),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# --- records ---


@dataclass
class Parts:
    """What a record consists of."""

    core: bytes
    receipt: bytes
    wraps: list[tuple[int, str, bytes]]
    """(place, recipient, sealed)"""


def take(database: postgres.Database, user: str, index: int) -> Parts:
    at = (user, index)
    core, receipt = database.execute(
        'SELECT core, receipt FROM record WHERE user_id = ? AND "index" = ?', at
    ).fetchone()
    found = 'SELECT place, recipient, sealed FROM wrap WHERE user_id = ? AND "index" = ? ORDER BY place'
    return Parts(core, receipt, database.execute(found, at).fetchall())


def put(database: postgres.Database, user: str, index: int, parts: Parts) -> None:
    at = (user, index)
    change = 'UPDATE record SET core = ?, receipt = ? WHERE user_id = ? AND "index" = ?'
    database.execute(change, (parts.core, parts.receipt, *at))
    database.execute('DELETE FROM wrap WHERE user_id = ? AND "index" = ?', at)
    insert = 'INSERT INTO wrap (user_id, "index", place, recipient, sealed) VALUES (?, ?, ?, ?, ?)'
    database.executemany(insert, [(*at, *wrap) for wrap in parts.wraps])


Bend = Callable[[Parts, Parts], tuple[Parts, Parts]]

EXCHANGED: dict[str, Bend] = {
    "nothing": lambda one, two: (one, two),
    "cores": lambda one, two: (replace(one, core=two.core), replace(two, core=one.core)),
    "wraps": lambda one, two: (replace(one, wraps=two.wraps), replace(two, wraps=one.wraps)),
    "receipts": lambda one, two: (replace(one, receipt=two.receipt), replace(two, receipt=one.receipt)),
    "cores and wraps": lambda one, two: (replace(two, receipt=one.receipt), replace(one, receipt=two.receipt)),
    "all": lambda one, two: (two, one),
}
OF_ONES_OWN = {
    "nothing": {},
    "cores": {2: "no_match", 3: "no_match"},
    "wraps": {2: "no_match", 3: "no_match"},
    "receipts": {2: "forged", 3: "forged"},
    "cores and wraps": {2: "forged", 3: "forged"},
    "all": {2: "forged", 3: "forged"},
}
"""Between two records of one user. All of it moved opens, and says that it stands elsewhere."""
OF_ANOTHER = {
    "nothing": {},
    "cores": {2: "header_failure"},
    "wraps": {2: "no_match"},
    "receipts": {2: "forged"},
    "cores and wraps": {2: "header_failure"},
    "all": {2: "header_failure"},
}
"""Between two users."""


def bent(core: bytes, at: int) -> bytes:
    return core[:at] + bytes([core[at] ^ 1]) + core[at + 1 :]


def renamed(wraps: list[tuple[int, str, bytes]]) -> list[tuple[int, str, bytes]]:
    """Each wrap under the other's name."""
    (place, one, sealed), (next_place, two, other) = wraps
    return [(place, two, sealed), (next_place, one, other)]


CHANGED: dict[str, tuple[Callable[[Parts], Parts], str]] = {
    "no receipt": (lambda it: replace(it, receipt=b""), "forged"),
    "a receipt of another time": (lambda it: replace(it, receipt=bent(it.receipt, -65)), "forged"),
    "a wrap gone": (lambda it: replace(it, wraps=it.wraps[1:]), "no_match"),
    "wraps under each other's names": (lambda it: replace(it, wraps=renamed(it.wraps)), "no_match"),
    "a byte of a wrap": (lambda it: replace(it, wraps=[(0, it.wraps[0][1], bent(it.wraps[0][2], -1))]), "no_match"),
    "a byte of the content": (lambda it: replace(it, core=bent(it.core, -1)), "no_match"),
    "a byte of the place": (lambda it: replace(it, core=bent(it.core, 60)), "no_match"),
    "the magic line": (lambda it: replace(it, core=bent(it.core, 0)), "header_failure"),
    "the second half": (lambda it: replace(it, core=it.core[: len(it.core) // 2]), "no_match"),
    "nearly all": (lambda it: replace(it, core=it.core[:40]), "truncated"),
    # Nothing at all is what a deletion leaves, and here no tombstone stands for it.
    "everything": (lambda it: replace(it, core=b""), "forged"),
}
"""Of one record: what is done to it -> the verdict."""


@contextmanager
def restored(box: Box) -> Iterator[None]:
    """Records and wraps as they were before."""
    with postgres.behind(box.served.database) as database:
        kept = {name: database.execute(f"SELECT * FROM {name}").fetchall() for name in ("record", "wrap")}
    yield
    with postgres.behind(box.served.database) as database:
        for name, rows in kept.items():
            database.execute(f"DELETE FROM {name}")
            database.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows[0]))})", rows)


def test_exchanged_records_are_named(box: Box) -> None:
    alice = b32(box.device.user)
    with postgres.behind(box.served.database) as database:
        ((bob,),) = database.execute('SELECT id FROM "user" WHERE role = ?', ("user",)).fetchall()
    for other, expected in (((alice, 3), OF_ONES_OWN), ((bob, 2), OF_ANOTHER)):
        found: dict[str, dict[int, str]] = {}
        for name, bend in EXCHANGED.items():

            def change(database: postgres.Database, bend: Bend = bend, other: tuple[str, int] = other) -> None:
                one, two = bend(take(database, alice, 2), take(database, *other))
                put(database, alice, 2, one)
                put(database, *other, two)

            with restored(box):
                box.change(change)
                found[name] = box.verdicts()
        assert found == expected


def test_changed_records_are_named(box: Box) -> None:
    alice = b32(box.device.user)
    found: dict[str, dict[int, str]] = {}
    for name, (bend, _) in CHANGED.items():

        def change(database: postgres.Database, bend: Callable[[Parts], Parts] = bend) -> None:
            put(database, alice, 2, bend(take(database, alice, 2)))

        with restored(box):
            box.change(change)
            found[name] = box.verdicts()
    assert found == {name: {2: code} for name, (_, code) in CHANGED.items()}
    assert box.verdicts() == {}


ROWS: dict[str, str] = {
    "an entry gone": 'DELETE FROM record WHERE "index" = 2',
    "another thread": "UPDATE record SET thread = 'aaaaaaaaaaaaaaaaaaaaaaaaaa' WHERE \"index\" = 2",
    "another core": 'UPDATE record SET core_hash = (SELECT core_hash FROM record WHERE "index" = 3) WHERE "index" = 2',
    "a further entry": 'UPDATE record SET "index" = 9 WHERE "index" = 4',
}
"""What is done to the log itself: no record counts any more."""


def test_a_changed_log_is_named(box: Box) -> None:
    # Bob's records share the table; the statements above are meant for alice's.
    box.change(lambda it: it.execute("DELETE FROM record WHERE user_id != ?", (b32(box.device.user),)) and None)
    for name, statement in ROWS.items():
        with restored(box):
            box.change(lambda it, statement=statement: it.execute(statement) and None)
            with pytest.raises(SiloError) as caught:
                box.history()
            assert (name, caught.value.code) == (name, "forged")
    assert box.verdicts() == {}


def rewritten(box: Box, first: int) -> Change:
    """All from index `first` on written anew with other words by the box itself, which has its identity's key.

    Whoever has that can answer as the silo, and so can sign receipts; what a device has seen it cannot undo.
    """
    lines = (box.served.data / "identity.key").read_text().splitlines()
    (secret,) = [line.split()[1] for line in lines if line.startswith("secret ")]
    identity, alice = Signer(hash_bytes(secret)), b32(box.device.user)
    assert identity.public == box.device.identity
    recipients = [box.device.account, box.home.read().keyring().vault]
    records = {one.turn.index: one.turn for one in box.history() if one.turn}

    def change(database: postgres.Database) -> None:
        query = 'SELECT entry_hash FROM record WHERE user_id = ? AND "index" = ?'
        previous = hash_bytes(database.execute(query, (alice, first - 1)).fetchone()[0])
        for index in range(first, 5):
            turn = records[index]
            place = read_place(take(database, alice, index).core)
            reply = msgspec.structs.replace(turn.reply, content="what was never said")
            signature = "A" * 86
            content = {"turn": turn.text, "device": turn.device, "signature": signature, "reply": reply}
            sealed = seal_record(replace(place, previous=previous), write_json(content), recipients)
            wraps = [(at, b32(recipient), wrap) for at, (recipient, wrap) in enumerate(sealed.wraps)]
            put(database, alice, index, Parts(sealed.core, make_receipt(identity, sealed), wraps))
            update = 'UPDATE record SET core_hash = ?, entry_hash = ? WHERE user_id = ? AND "index" = ?'
            database.execute(update, (b32(sealed.core_hash), b32(sealed.entry_hash), alice, index))
            previous = sealed.entry_hash

    return change


def test_a_past_written_anew_by_the_box_is_named(box: Box) -> None:
    box.device.head = box.home.read().head
    box.change(rewritten(box, 3))
    with pytest.raises(SiloError) as caught:
        box.history()
    assert caught.value.code == "forged"
    # It does not have what this device has seen, and the client finds that it has something else there.
    assert box.refusal() == ("stale_head", "forged")


def test_an_export_of_moved_records_is_named(box: Box, tmp_path: Path) -> None:
    alice = b32(box.device.user)

    def change(database: postgres.Database) -> None:
        one, two = take(database, alice, 2), take(database, alice, 3)
        put(database, alice, 2, two)
        put(database, alice, 3, one)
        put(database, alice, 4, replace(take(database, alice, 4), receipt=b""))

    box.change(change)
    assert siloctl(box.served.data, "export", str(tmp_path / "export")).returncode == 0
    report = recover(tmp_path / "export", box.admin, tmp_path / "readable")
    assert not report.whole
    named = {(fault.index, fault.code) for fault in report.faults if fault.user == alice and fault.what == "record"}
    assert named == {(2, "forged"), (3, "forged"), (4, "forged")}


def test_files_exchanged_under_a_running_silo(box: Box) -> None:
    """What it wrote from then on would be gone at the next start, so it writes nothing."""
    assert box.device.chat("before").end["kept"]["index"] == 5
    reply = listen(box.device, "chunks 30 gap 20 words").until_words(2)
    for path in box.served.data.glob("silo.db*"):
        shutil.copy(path, f"{path}.new")
        os.replace(f"{path}.new", path)
    answered = reply.rest()
    assert (answered.end["kept"], answered.end["error"]["code"]) == (None, "not_kept")
    assert len(answered.text.split()) == 30
    assert box.device.chat("after").status == 500
    box.served.kill()
    box.start()
    assert box.device.chat("again").end["kept"]["index"] == 6
    assert box.verdicts() == {}
