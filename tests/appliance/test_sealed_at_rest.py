"""Whoever takes the box after a chat finds nothing of it, and nothing that opens it; two keys that are not there do."""

import gzip
import json
import random
import resource
import shutil
import signal
import sqlite3
import string
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from silo.crypto import _hpke, labels
from silo.crypto.encoding import b32, b64, read_json, unb64
from silo.crypto.keyring import Keyring, SignedKeyring, verify_keyring
from silo.crypto.keys import Signer
from silo.crypto.locks import Lock, lock_salt, stretch
from silo.crypto.opening import Opener, core_hash, open_core, open_epochs, open_record, open_sealed
from silo.crypto.sealing import HEADER_SIZE, frame_key, head_hash
from tests import postgres
from tests.appliance.company import Listening, behind, turn_body, until
from tests.appliance.seizure import (
    Loot,
    Material,
    candidates,
    derived,
    gather,
    of_process,
    search,
    spellings,
    written,
)
from tests.harness import Device, Served, clean_environment, envelope

NewDevice = Callable[[str], Device]
PASSWORD = "a long enough password"
"""The harness's."""


def canary() -> str:
    """A word that stands nowhere by chance, and that JSON may escape."""
    return "".join(random.choices(string.ascii_lowercase, k=12)) + "ö" + "".join(random.choices(string.digits, k=6))


@dataclass
class Chatted:
    """A box on which people chat, and what nobody may find on it."""

    root: Path
    served: Served
    device: Device
    keyring: Keyring
    epoch: bytes
    """The vault epoch's seed."""
    since: float
    words: list[str] = field(default_factory=lambda: [PASSWORD])
    """Said by somebody."""
    material: Material = field(default_factory=dict)
    """Everything of every moment so far."""

    @property
    def environment(self) -> dict[str, str]:
        """All that its programs write anywhere is meant to come under one folder."""
        own = {"TMPDIR": str(self.root / "tmp"), "HOME": str(self.root)}
        return clean_environment(**own, **postgres.settings_of(self.served.data))

    def seeds(self) -> list[bytes]:
        """The keys that it never had."""
        device = self.device
        return [
            *(device.secret, device.account_seed, device.signer.seed, self.epoch),
            *(device.admin.seed, device.admin.seal_seed, device.admin.signer.seed),
        ]

    def look(self, moment: str) -> None:
        """Gather everything there is at this moment, and find nothing in it."""
        command = [sys.executable, "-P", "-m", "appliance.siloctl", "--data", str(self.served.data)]
        command += ["export", str(self.root / f"{moment}.export")]
        done = subprocess.run(command, env=self.environment, cwd=self.root, capture_output=True, timeout=60, check=True)
        running = self.served.process is not None
        material = gather(self.root, self.served.pid if running else None, self.since)
        material["siloctl"] = done.stdout + done.stderr
        if not self.served.database.startswith("sqlite"):
            found = postgres.traces(self.served.database, self.since)
            assert any("pg_wal" in name for name in found)
            material |= found
        assert f"{moment}.export" in material
        assert not running or any(where.endswith("arguments") for where in material)
        assert search(material, self.words) == set(), moment
        spelled_out = [text for one in self.seeds() for text in (one, b32(one).encode(), b64(one).encode())]
        assert [where for where, data in material.items() for one in spelled_out if one in data] == [], moment
        self.material |= {f"{moment}: {where}": data for where, data in material.items()}

    def chat(self) -> None:
        """Turns of every kind, whole and cut; canaries in all that people say, and what the model said."""
        device = self.device
        system, prompt, context, cut = said = [canary() for _ in range(4)]
        self.words += said
        messages = [
            {"role": "system", "content": f"You are a poet. {system} {system}"},
            {"role": "user", "content": f"{prompt}: a long poem about a pelican, please, and say {prompt} again."},
        ]
        # Of the small model that is enough.
        body = turn_body(device, messages, max_tokens=80) | {"context": [{"role": "user", "content": context}]}
        answered = device.ask("POST", "/chat", body)
        assert answered.end["kept"], answered
        self.words += pieces(answered.text)
        request = device.request("POST", "/chat")
        body = turn_body(device, [{"role": "user", "content": f"chunks 500 gap 10 {cut}: say all there is on {cut}"}])
        reply = Listening(device, request, body).until_words(6)
        reply.leave()
        until(lambda: device.ask("GET", f"/turns/{body['turn']}").json["state"] == "kept", 10)
        self.words += pieces(reply.heard)


def pieces(reply: str) -> list[str]:
    """Parts of a reply that are long enough to stand nowhere by chance."""
    found = [reply[at : at + 24] for at in range(0, len(reply) - 23, 24)]
    assert found or len(reply) < 24
    return found[:6]


def epoch_seed(device: Device, keyring: Keyring) -> bytes:
    """The vault epoch's private half, as the admin key opens it."""
    [epoch] = keyring.document.epochs
    context = keyring.half_context(epoch, device.admin.public.fingerprint)
    key = _hpke.PrivateKey(device.admin.seal_seed)
    return open_sealed(key, unb64(epoch.halves[0].sealed), labels.EPOCH_HALF, *context)


@pytest.fixture(params=["llama", "fake"])
def chatted(request: pytest.FixtureRequest, tmp_path: Path, new_device: NewDevice, database: str) -> Iterator[Chatted]:
    """A silo with the real small model, and one whose model echoes."""
    root = tmp_path / "box"
    (root / "tmp").mkdir(parents=True)
    served = Served(root / "silo", request.param, SILO_SHAPE="fast", TMPDIR=str(root / "tmp"), HOME=str(root))
    since = time.time()
    try:
        device = new_device(served.start().link).set_up()
        signed = SignedKeyring(**device.ask("GET", "/keyrings").json["keyrings"][0])
        keyring = verify_keyring(signed, device.silo, device.admin.public.fingerprint)
        yield Chatted(root, served, device, keyring, epoch_seed(device, keyring), since)
    finally:
        served.stop()


def test_nothing_on_the_box_is_or_opens_what_was_said(chatted: Chatted, tmp_path: Path) -> None:
    box, device, served = chatted, chatted.device, chatted.served
    box.chat()
    if served.engine == "fake":
        # A reply that ends with its engine, and one that repeats a word of ours: it is in what was searched for.
        failed = canary()
        box.words.append(failed)
        end = device.chat(f"chunks 50 {failed} crash after 20").end
        assert (end["finish"], end["kept"]["index"]) == ("failed", 3)
        until(lambda: device.chat("back").status == 200, 20)
    box.look("running")
    served.stop()
    box.look("stopped")
    served.start()
    device.moved(served.url)
    box.chat()
    box.look("restarted")
    # In the middle of a turn.
    last = canary()
    box.words.append(last)
    reply = Listening(
        device,
        device.request("POST", "/chat"),
        turn_body(device, [{"role": "user", "content": f"gap 20 {last} " * 40}]),
    ).until_words(3)
    served.kill()
    reply.leave()
    box.look("killed")
    served.start()
    device.moved(served.url)
    box.look("restarted after a kill")
    nothing_opens(box)
    if served.engine == "fake":
        the_search_finds(box, tmp_path / "control")


def nothing_opens(box: Chatted) -> None:
    """No 32 bytes of anything that was gathered open a record; each of two keys that the box never had opens all."""
    device = box.device
    loot = Loot(*taken(box), device.silo, device.admin.public.fingerprint)
    assert len(loot.records) >= 4
    found = candidates(box.material, box.served.database)
    lines = (box.served.data / "identity.key").read_text().splitlines()
    identity = next(line.split()[1] for line in lines if line.startswith("secret "))
    [own] = [one for one in found if b32(one) == identity]
    assert Signer(own).public == device.identity
    assert {one for one in found if loot.opened_with(one)} == set()
    # What stands there as text is tried harder: on wraps that are for somebody else, and under every label.
    strongest = written(box.material.values())
    assert own in strongest
    assert {one for one in strongest if loot.forced_with(one)} == set()
    assert {one for one in derived(strongest) if loot.opened_with(one)} == set()
    # The admin key opens each through its half of the vault epoch, the account key each by itself.
    for opener in (*open_epochs(device.admin, box.keyring), Opener(device.account_seed)):
        for record in loot.records:
            opened = open_record(record, [opener], device.silo, device.user, device.identity)
            assert json.loads(json.loads(opened.content)["turn"])["messages"]
    # What tried the keys would have noticed: every kind of key that opens, among all the others.
    record = loot.records[0]
    record_key = Opener(device.account_seed).open_wrap(record.wraps[device.account.fingerprint], core_hash(record.core))
    frames = frame_key(record_key, head_hash(record.core[:HEADER_SIZE]))
    assert open_core(record.core, record_key)
    salt = lock_salt(loot.lock)
    password = stretch(PASSWORD, salt, device.silo, device.admin.public.fingerprint).seal_seed
    for key in (device.account_seed, box.epoch, device.admin.seed, record_key, frames, password):
        assert loot.opened_with(key)
        for note in (
            b"key " + b32(key).encode(),
            b'{"key":"' + b64(key).encode() + b'"}',
            key.hex().encode(),
            b"in " + key,
        ):
            assert key in candidates({"a note": note}, box.served.database)
    assert loot.forced_with(device.account_seed)
    assert loot.forced_with(box.epoch)


def taken(box: Chatted) -> tuple[list, SignedKeyring, Lock]:
    """Records, keyring and lock as they lie in the box: from an export, and the database."""
    lines = [json.loads(line) for line in (box.root / "restarted after a kill.export").read_bytes().splitlines()]
    records = [envelope(line) for line in lines if line["type"] == "record"]
    [keyring] = [SignedKeyring(**line["signed"]) for line in lines if line["type"] == "keyring"]
    with behind(box.served) as database:
        [(document,)] = database.execute("SELECT document FROM lock WHERE kind = 'password'").fetchall()
    return records, keyring, read_json(document.encode(), Lock)


# --- the control ---


def the_search_finds(box: Chatted, control: Path) -> None:
    """The same search over a copy of the same material, with words planted where they would be left: all found."""
    shutil.copytree(box.root, control, ignore=shutil.ignore_patterns("*.sock"))
    planted: set[tuple[str, str, str]] = set()

    def plant(where: str, how: str = "utf-8") -> str:
        word = canary()
        planted.add((where, word, how))
        return word

    # However it is spelled, and packed.
    for number, how in enumerate(spellings("word")):
        for at, text in enumerate(spellings(word := plant(f"spelled/{number}", how))[how]):
            # Any one of its forms is enough.
            path = control / f"spelled/{number}" if at == 0 else control / f"spelled/{number}.{at}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"before " + text + b" after")
            planted.add((str(path.relative_to(control)), word, how))
    for name, pack in (("gzip", gzip.compress), ("zlib", zlib.compress)):
        word = plant(f"packed/{name}", "packed utf-8")
        (control / "packed").mkdir(exist_ok=True)
        (control / "packed" / name).write_bytes(b"some bytes before" + pack(f"{word} and more".encode()) + b"after")
    # In a free page, where SQLite leaves what was deleted unless it is told not to; and in the write-ahead log.
    free, log = plant("silo/silo.db"), plant("silo/silo.db-wal")
    for path in control.glob("silo/silo.db-*"):
        path.unlink()
    database = sqlite3.connect(control / "silo/silo.db")
    with closing(database):
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA secure_delete = OFF")
        database.execute("CREATE TABLE note (text)")
        database.execute("INSERT INTO note VALUES (?)", (f"{free} " * 3000,))
        database.commit()
        database.execute("DELETE FROM note")
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert database.execute("PRAGMA freelist_count").fetchone()[0] > 0
        assert database.execute("SELECT count(*) FROM note").fetchone() == (0,)
        database.execute("INSERT INTO note VALUES (?)", (log,))
        database.commit()
        # In a line of the log, in an export, and deep in a folder.
        with (control / "silo.log").open("a") as file:
            file.write(json.dumps({"event": "answered", "prompt": plant("silo.log")}, ensure_ascii=False) + "\n")
        with (control / "running.export").open("a") as file:
            file.write(json.dumps({"type": "record", "core": plant("running.export", "json")}) + "\n")
        (control / "tmp/deep/er").mkdir(parents=True)
        (control / "tmp/deep/er/.cache").write_text(plant("tmp/deep/er/.cache"))
        found = search(gather(control), [word for _, word, _ in planted])
    assert planted <= found
    if not box.served.database.startswith("sqlite"):
        # In a row, and in the pages of what was deleted.
        row, gone = canary(), canary()
        with postgres.behind(box.served.database) as opened:
            opened.execute("CREATE TABLE note (text varchar)")
            opened.executemany("INSERT INTO note VALUES (?)", [(row,), (gone,)])
            opened.execute("DELETE FROM note WHERE text = ?", (gone,))
        places = search(postgres.traces(box.served.database, box.since), [row, gone])
        for word in (row, gone):
            assert {name.split("/")[0] for name, found, _ in places if found == word} == {"base", "pg_wal"}
    # In arguments, environment and a file that was deleted while it is open.
    argument, variable, deleted = canary(), canary(), canary()
    program = (
        "import sys, tempfile, time\n"
        "file = tempfile.TemporaryFile()\n"
        "file.write(sys.stdin.buffer.read())\n"
        "file.flush()\n"
        "print(flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, argument]
    with subprocess.Popen(
        command, env=clean_environment(NOTE=variable), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(deleted.encode())
        process.stdin.close()
        process.stdout.readline()
        material = of_process(psutil.Process(process.pid))
        process.kill()
    where = {word: place for place, word, _ in search(material, [argument, variable, deleted])}
    assert where[argument].endswith("arguments")
    assert where[variable].endswith("environment")
    if sys.platform == "linux":
        assert " file " in where[deleted]


@pytest.fixture
def core_files_allowed() -> Iterator[None]:
    """As where somebody has said `ulimit -c unlimited`."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


def test_a_crash_leaves_no_picture_of_memory(core_files_allowed: None, chatted: Chatted) -> None:
    """A core file would hold what is being said: neither the silo nor its engine may write one."""
    served = chatted.served
    children = psutil.Process(served.pid).children(recursive=True)
    assert children
    if sys.platform == "linux":
        for pid in (served.pid, *(child.pid for child in children)):
            assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
    before = set(chatted.root.iterdir())
    for one in (*children, psutil.Process(served.pid)):
        one.send_signal(signal.SIGSEGV)
    assert served.process
    assert served.process.wait(10) == -signal.SIGSEGV
    assert set(chatted.root.iterdir()) == before
