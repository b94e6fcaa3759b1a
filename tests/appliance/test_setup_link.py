"""The setup link, the one administrator that it lets in, and everybody else (SPEC 8.5)."""

import json
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from silo.crypto import labels
from silo.crypto.directory import Entry, sign_entry
from silo.crypto.encoding import b32, b64, new_id, unb64, write_json
from silo.crypto.keyring import Document, first_keyring, sign_keyring
from silo.crypto.keys import AccountKey, AdminKey, Enrolment, Signer, recipient_of, setup_bearer
from silo.crypto.labels import pack, unpack
from silo.errors import MACHINE, REFUSED
from tests import postgres
from tests.conftest import Serve
from tests.harness import Answered, Device, Served, clean_environment, now

NewDevice = Callable[[str], Device]
MINUTE = 60_000


def behind(served: Served, statement: str, *values: object) -> list[Any]:
    """Ask the database, or change it, behind the silo's back."""
    with postgres.behind(served.database) as database:
        return database.execute(statement, values).fetchall()


def untouched(served: Served) -> bool:
    """Whether nothing of a first run was written."""
    tables = ("keyring", "user", "device", "lock", "manifest", "directory", "record", "once")
    rows = [behind(served, f'SELECT count(*) FROM "{table}"')[0][0] for table in tables]
    return not any(rows) and not list(served.data.glob("admin.pin*"))


def siloctl(served: Served, *words: str) -> subprocess.CompletedProcess[str]:
    """Run siloctl on the silo's data folder."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "appliance.siloctl", "--data", str(served.data), *words],
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment(**postgres.settings_of(served.data)),
        cwd=served.data.parent,
        stdin=subprocess.DEVNULL,
    )


def set_up(device: Device, **bent: Any) -> Answered:
    """`POST /setup`, honest but for `bent`, which replaces whole fields of the body."""
    return device.ask("POST", "/setup", device.setup_body() | bent, anonymous=True)


# --- before ---


def test_nothing_else_is_answered_before(silo_server: Served, new_device: NewDevice) -> None:
    device = new_device(silo_server.link)
    health = device.http.get(f"{device.url}/silo/health").json()
    assert health == {"live": True, "ready": False}
    assert device.fetch_keys().until > now()
    assert device.http.get(device.url).status_code == 200
    for method, path in (
        *(
            ("GET", "/me"),
            ("GET", "/keyrings"),
            ("GET", "/enrolments"),
            ("GET", "/locks"),
            ("GET", "/models"),
            ("POST", "/chat"),
        ),
        *(("GET", f"/turns/{new_id()}"), ("GET", "/log"), ("GET", "/history"), ("GET", "/setup"), ("GET", "/no")),
    ):
        bends: list[dict[str, Any]] = [{}, {"time": 0}, {"anonymous": True}, {"headers": {"cookie": "x"}}]
        for bent in bends:
            answered = device.ask(method, path, **bent)
            assert (answered.sealed, answered.status, answered.code) == (True, 503, "not_ready"), (path, bent)
    assert untouched(silo_server)
    # A device is known only once there is a keyring: even here nobody sets up with one.
    assert device.ask("POST", "/setup", device.setup_body()).code == "unknown_device"
    assert device.ask("POST", "/setup", device.setup_body(), anonymous=True, time=now() - 11 * MINUTE).code == "clock"
    assert untouched(silo_server)
    assert device.set_up().ask("GET", "/me").status == 200
    assert device.http.get(f"{device.url}/silo/health").json() == {"live": True, "ready": True}


# --- the link ---


def check(device: Device, **bent: Any) -> Answered:
    """`POST /setup-link`."""
    return device.ask("POST", "/setup-link", {"bearer": b32(setup_bearer(device.secret))} | bent, anonymous=True)


def test_asking_whether_a_link_works(silo_server: Served, new_device: NewDevice) -> None:
    device = new_device(silo_server.link)
    for _ in range(3):
        answered = check(device)
        assert (answered.sealed, answered.status, answered.json) == (True, 200, {})
    assert check(device, bearer=b32(secrets.token_bytes(32))).code == "setup_wrong"
    assert untouched(silo_server)
    # A day later it is void; so it is when another is made.
    behind(silo_server, "UPDATE setup SET time = time - ?", 24 * 60 * MINUTE + MINUTE)
    assert check(device).code == "setup_wrong"
    other = new_device(siloctl(silo_server, "setup-link").stdout.strip())
    assert check(device).code == "setup_wrong"
    assert check(other).status == 200
    assert set_up(other).status == 201
    assert check(other).code == check(device).code == "setup_used"


def test_asking_is_slowed_like_trying(silo_server: Served, new_device: NewDevice) -> None:
    device = new_device(silo_server.link)
    body = device.setup_body()
    for number in range(5):
        path, wrong = ("/setup", body) if number % 2 else ("/setup-link", {})
        answered = device.ask("POST", path, wrong | {"bearer": b32(secrets.token_bytes(32))}, anonymous=True)
        assert answered.code == "setup_wrong"
    assert check(device).code == "limited"
    assert set_up(device).code == "limited"


def test_the_link_works_once(silo_server: Served, new_device: NewDevice) -> None:
    device, second = new_device(silo_server.link), new_device(silo_server.link)
    answered = set_up(device)
    assert answered.status == 201
    assert answered.json["user"] == b32(device.user)
    assert answered.json["device"] == b32(device.device)
    assert device.keyring
    assert answered.json["keyring"] == {"at": 1, "hash": device.keyring.hash}
    # The same again, another admin, another link: there is one administrator.
    assert set_up(device).code == "setup_used"
    assert set_up(second).code == "setup_used"
    assert set_up(second, bearer=b32(secrets.token_bytes(32))).code == "setup_used"
    done = siloctl(silo_server, "setup-link")
    assert (done.returncode, done.stdout) == (REFUSED, "")
    [line] = done.stderr.splitlines()
    assert "administrator already" in line
    assert behind(silo_server, 'SELECT id, name, role FROM "user"') == [(b32(device.user), "alice", "admin")]
    assert (silo_server.data / "admin.pin").read_text().strip() == b32(device.admin.public.fingerprint)
    assert second.ask("GET", "/me").code == "unknown_device"


def test_two_with_one_link(silo_server: Served, new_device: NewDevice) -> None:
    devices = [new_device(silo_server.link) for _ in range(6)]
    bodies = [device.setup_body() for device in devices]
    gate = threading.Barrier(len(devices))
    answers: dict[int, Answered] = {}

    def race(number: int) -> None:
        gate.wait()
        answers[number] = devices[number].ask("POST", "/setup", bodies[number], anonymous=True)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(len(devices))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = [number for number, answered in answers.items() if answered.status == 201]
    assert {answered.code for number, answered in answers.items() if number != winner} <= {"setup_used", "limited"}
    assert (silo_server.data / "admin.pin").read_text().strip() == b32(devices[winner].admin.public.fingerprint)
    assert [one.ask("GET", "/me").status for one in devices].count(200) == 1
    assert devices[winner].chat("I am in").status == 200


def test_wrong_links_are_slowed_and_void_nothing(serve: Serve, new_device: NewDevice) -> None:
    served = serve(SILO_TRUSTED_PROXIES="127.0.0.1")
    device, guesser, near = (new_device(served.link) for _ in range(3))
    guesser.http.headers["x-forwarded-for"] = near.http.headers["x-forwarded-for"] = "203.0.113.7"
    body = guesser.setup_body()

    def guess() -> Answered:
        return guesser.ask("POST", "/setup", body | {"bearer": b32(secrets.token_bytes(32))}, anonymous=True)

    answers = [guess() for _ in range(8)]
    assert [answered.code for answered in answers] == ["setup_wrong"] * 5 + ["limited"] * 3
    assert answers[0].status == 403
    limited = answers[-1]
    assert limited.status == 429
    wait = limited.json["error"]["retry_after"]
    assert isinstance(wait, int)
    assert 1 <= wait <= 2
    # Whoever comes from there waits, too, right or not. Then one more is heard, and the next waits longer.
    assert set_up(near).code == "limited"
    time.sleep(wait)
    assert guess().code == "setup_wrong"
    longer = guess()
    assert longer.code == "limited"
    assert longer.json["error"]["retry_after"] >= 2
    # What is no body is no guess.
    assert device.ask("POST", "/setup", {}, anonymous=True).code == "bad_request"
    assert untouched(served)
    assert set_up(device).status == 201


def test_a_link_lives_a_day(silo_server: Served, new_device: NewDevice) -> None:
    device = new_device(silo_server.link)
    day = 24 * 60 * MINUTE
    behind(silo_server, "UPDATE setup SET time = ?", now() - day - 1000)
    answered = set_up(device)
    assert (answered.status, answered.code) == (403, "setup_wrong")
    assert untouched(silo_server)
    behind(silo_server, "UPDATE setup SET time = ?", now() - day + MINUTE)
    assert set_up(device).status == 201


def test_a_new_link_voids_the_one_before(silo_server: Served, new_device: NewDevice) -> None:
    plain = siloctl(silo_server, "setup-link")
    assert (plain.returncode, plain.stderr) == (0, "")
    [link] = plain.stdout.splitlines()
    as_json = siloctl(silo_server, "setup-link", "--json")
    assert (as_json.returncode, as_json.stderr) == (0, "")
    told = json.loads(as_json.stdout)
    assert told["hours"] == 24
    links = [silo_server.link, link, told["link"]]
    assert len(set(links)) == 3
    # The silo listens where `up` was told to; siloctl says the same.
    assert {link.partition("/#setup.")[0] for link in links} == {silo_server.url}
    devices = [new_device(link) for link in links]
    assert {device.pin for device in devices} == {devices[0].pin}
    assert [set_up(device).code for device in devices[:2]] == ["setup_wrong", "setup_wrong"]
    assert set_up(devices[2]).status == 201


def test_the_link_s_secret_is_kept_nowhere(silo_server: Served, new_device: NewDevice) -> None:
    device = new_device(silo_server.link)
    bearer = unb64(silo_server.link.partition("/#setup.")[2])[:32]
    files = [*(path for path in silo_server.data.iterdir() if path.is_file()), silo_server.log]
    kept = b"".join(path.read_bytes() for path in files)
    for secret in (bearer, b32(bearer).encode(), b64(bearer).encode(), device.setup_body()["bearer"].encode()):
        assert secret not in kept


# --- what must fit ---

Bend = Callable[[Device, dict[str, Any]], None]


def keyring(**bent: Any) -> Bend:
    """A first keyring whose document is changed, and which the same admin key signs."""

    def change(device: Device, body: dict[str, Any]) -> None:
        said = msgspec.json.decode(body["keyring"].document, type=Document)
        body["keyring"] = sign_keyring(device.admin, msgspec.structs.replace(said, **bent))

    return change


def signed(text: Callable[[str], str]) -> Bend:
    """A first keyring whose text is changed, and which the same admin key signs."""

    def change(device: Device, body: dict[str, Any]) -> None:
        said = text(body["keyring"].document)
        signature = b64(device.admin.signer.sign(labels.KEYRING, said.encode()))
        body["keyring"] = {"document": said, "signer": body["keyring"].signer, "signature": signature}

    return change


def enrolment(sign: Signer | None = None, **bent: Any) -> Bend:
    """An enrolment that says something else, and that the device signs."""

    def change(device: Device, body: dict[str, Any]) -> None:
        seal = recipient_of(secrets.token_bytes(32)).public
        fields: dict[str, Any] = {
            "silo": device.silo,
            "user": device.user,
            "device": device.device,
            "seal": seal,
            "time": now(),
        }
        fields |= {"sign": device.signer.public} | bent
        said = Enrolment(**fields).statement()
        body["enrolment"] = device.vouched(said, (sign or device.signer).sign(labels.ENROLMENT, said))

    return change


def statement(text: Callable[[bytes], bytes]) -> Bend:
    """An enrolment whose bytes are changed, and that the device signs."""

    def change(device: Device, body: dict[str, Any]) -> None:
        said = text(unb64(body["enrolment"]["statement"]))
        body["enrolment"] = device.vouched(said)

    return change


def replaced(**fields: Any) -> Bend:
    """Other values; a name like `user__name` is inside."""

    def change(device: Device, body: dict[str, Any]) -> None:
        for name, value in fields.items():
            outer, _, inner = name.partition("__")
            if inner:
                body[outer] = json.loads(write_json(body[outer])) | {inner: value}
            else:
                body[outer] = value

    return change


def lock(at: int, **fields: Any) -> Bend:
    """The lock at that place in the list (0: the password's, 1: the device's), with other values."""

    def change(device: Device, body: dict[str, Any]) -> None:
        locks = json.loads(write_json(body["locks"]))
        locks[at] |= fields
        body["locks"] = locks

    return change


def manifest(**bent: Any) -> Bend:
    """A manifest that says something else, MACed by the account key."""

    def change(device: Device, body: dict[str, Any]) -> None:
        account = AccountKey(device.account_seed)
        said = json.loads(body["manifest"].manifest) | bent
        text = write_json(said)
        body["manifest"] = {"manifest": text.decode(), "mac": b32(account.mac(labels.LOCK_MANIFEST, text))}

    return change


def entry(admin: AdminKey | None = None, **bent: Any) -> Bend:
    """An entry of the directory that says something else."""

    def change(device: Device, body: dict[str, Any]) -> None:
        account = AccountKey(device.account_seed)
        fields: dict[str, Any] = {"silo": device.silo, "user": device.user, "name": body["user"]["name"]}
        fields |= {"account": account.fingerprint, "sign": account.signer.public, "time": now()} | bent
        body["entry"] = sign_entry(admin or device.admin, Entry(**fields))

    return change


def without_locks(device: Device, body: dict[str, Any]) -> None:
    """Neither locks nor a manifest that lists one."""
    body["locks"] = []
    manifest(locks=[])(device, body)


def another_admin(device: Device, body: dict[str, Any]) -> None:
    """Signed by one key, in the name of another."""
    other = first_keyring(AdminKey(), "mallory", device.silo, device.identity, now())
    body["keyring"] = {
        "document": body["keyring"].document,
        "signer": body["keyring"].signer,
        "signature": other.signature,
    }


def another_signer(device: Device, body: dict[str, Any]) -> None:
    """Signed by a key that the document does not hold."""
    other = AdminKey()
    said = msgspec.json.decode(body["keyring"].document, type=Document)
    body["keyring"] = sign_keyring(other, said)


def low_order(public: bytes) -> bytes:
    """An X-Wing key whose X25519 half gives zero."""
    return public[:1184] + bytes(32)


ACCOUNT = recipient_of(secrets.token_bytes(32)).public
OTHER = Signer()
WRONG: dict[str, tuple[Bend, str]] = {
    "a keyring of another silo": (keyring(silo=b32(secrets.token_bytes(16))), "keyring"),
    "a keyring of another identity": (keyring(identity=b32(OTHER.public)), "keyring.identity"),
    "a keyring of version 0": (keyring(version=0), "keyring"),
    "a keyring of version 2": (keyring(version=2), "keyring"),
    "a keyring after another": (keyring(previous="a" * 52), "keyring"),
    "a keyring without holders": (keyring(holders=[]), "keyring"),
    "a keyring without epochs": (keyring(epochs=[]), "keyring"),
    "a keyring without the waiver": (keyring(waiver=None), "keyring"),
    "a keyring with an extra that is no key": (
        keyring(extras=[{"user": new_id(), "recipient": b64(low_order(ACCOUNT))}]),
        "keyring",
    ),
    "a keyring with a field more": (signed(lambda text: text[:-1] + ',"note":1}'), "keyring"),
    "a keyring with a field twice": (signed(lambda text: text[:-1] + ',"version":1}'), "keyring"),
    "a keyring that is no JSON": (signed(lambda text: "keyring"), "keyring"),
    "a keyring that says nothing": (signed(lambda text: ""), "keyring"),
    "a keyring that is not signed": (replaced(keyring__signature=b64(bytes(64))), "keyring"),
    "a keyring with an empty signature": (replaced(keyring__signature=""), "keyring"),
    "a keyring that another key signed": (another_admin, "keyring"),
    "a keyring that a stranger signed": (another_signer, "keyring"),
    "a keyring in another's name": (replaced(keyring__signer="a" * 52), "keyring"),
    "no name": (replaced(user__name=""), "user.name"),
    "a long name": (replaced(user__name="a" * 65), "user.name"),
    "a name with a line feed": (replaced(user__name="al\nice"), "user.name"),
    "a name with a NUL": (replaced(user__name="al\0ice"), "user.name"),
    "a name that turns around": (replaced(user__name="al\u202eice"), "user.name"),
    "a name that escapes": (replaced(user__name="al\x1b[31mice"), "user.name"),
    "a name with a space before it": (replaced(user__name=" alice"), "user.name"),
    "a name with a space after it": (replaced(user__name="alice\u3000"), "user.name"),
    "an account key that is short": (replaced(user__account=b64(ACCOUNT[:-1])), "user.account"),
    "an account key that is long": (replaced(user__account=b64(ACCOUNT + b"\0")), "user.account"),
    "an account key of none": (replaced(user__account=""), "user.account"),
    "an account key of low order": (replaced(user__account=b64(low_order(ACCOUNT))), "user.account"),
    "an account key out of range": (replaced(user__account=b64(b"\xff" * 1184 + ACCOUNT[1184:])), "user.account"),
    "an enrolment at another silo": (enrolment(silo=secrets.token_bytes(16)), "enrolment"),
    "an enrolment of another user": (enrolment(user=secrets.token_bytes(16)), "enrolment"),
    "an enrolment of no device": (enrolment(device=bytes(16)), "enrolment"),
    "an enrolment with a short id": (enrolment(device=bytes(15)), "enrolment"),
    "an enrolment with a short key": (enrolment(sign=OTHER, seal=ACCOUNT[:-1]), "enrolment"),
    "an enrolment with a key of low order": (enrolment(seal=low_order(ACCOUNT)), "enrolment"),
    "an enrolment that another signed": (enrolment(sign=OTHER), "enrolment"),
    "an enrolment that is not signed": (replaced(enrolment__signature=b64(bytes(64))), "enrolment"),
    "an enrolment that says more": (statement(lambda said: said + b"\0"), "enrolment"),
    "an enrolment that was cut": (statement(lambda said: said[:-1]), "enrolment"),
    "an enrolment under another label": (
        statement(lambda said: pack(labels.DEVICE, *unpack(labels.ENROLMENT, said, 6))),
        "enrolment",
    ),
    "no enrolment": (statement(lambda said: b""), "enrolment"),
    "a user of another enrolment": (replaced(user__id=new_id()), "enrolment"),
    "an enrolment that nobody vouched for": (replaced(enrolment__vouch=b64(bytes(64))), "enrolment.vouch"),
    "an enrolment vouched for by another account": (replaced(user__sign=b32(OTHER.public)), "enrolment.vouch"),
    "a lock to no key": (lock(0, public=b64(ACCOUNT[:-1])), "locks.public"),
    "a lock to a key of low order": (lock(0, public=b64(low_order(ACCOUNT))), "locks.public"),
    "a lock with nothing in it": (lock(0, sealed=""), "locks.sealed"),
    "a lock with too much in it": (lock(0, sealed=b64(bytes(1250))), "locks.sealed"),
    "a lock of another manifest": (lock(0, manifest=2), "locks.manifest"),
    "a lock of another account key": (lock(0, account="a" * 52), "locks.account"),
    "a lock of another version": (lock(0, version=2), "locks"),
    "a lock of another kind": (lock(0, kind="prf"), "locks"),
    "a lock of another device": (lock(1, id=new_id()), "locks.id"),
    "a lock to another key than the device's": (lock(1, public=b64(ACCOUNT)), "locks.id"),
    "a lock that the manifest does not list": (lock(0, id=new_id()), "manifest"),
    "no lock": (without_locks, "manifest"),
    "a manifest of another silo": (manifest(silo=new_id()), "manifest"),
    "a manifest of another user": (manifest(user=new_id()), "manifest"),
    "a manifest of another account key": (manifest(account="a" * 52), "manifest"),
    "a manifest of version 2": (manifest(version=2), "manifest"),
    "a manifest with a field more": (manifest(note=1), "manifest"),
    "a manifest that is no JSON": (replaced(manifest__manifest="manifest"), "manifest"),
    "an entry that another key signed": (entry(AdminKey()), "entry"),
    "an entry of another silo": (entry(silo=secrets.token_bytes(16)), "entry"),
    "an entry of another user": (entry(user=secrets.token_bytes(16)), "entry"),
    "an entry of another name": (entry(name="bob"), "entry"),
    "an entry of another account key": (entry(account=bytes(32)), "entry"),
    "an entry of another signing key": (entry(sign=OTHER.public), "entry"),
    "an entry that is not signed": (replaced(entry__signature=b64(bytes(64))), "entry"),
}


def test_a_body_that_does_not_fit_is_named_and_nothing_is_written(silo_server: Served, new_device: NewDevice) -> None:
    device = new_device(silo_server.link)
    honest = device.setup_body()
    for name, (bend, place) in WRONG.items():
        body = dict(honest)
        bend(device, body)
        answered = device.ask("POST", "/setup", body, anonymous=True)
        assert (answered.status, answered.code) == (400, "bad_request"), name
        assert place in answered.json["error"]["detail"], name
        assert untouched(silo_server), name
    # None of them was a guess, and none used the link up.
    assert device.ask("POST", "/setup", honest, anonymous=True).status == 201


@pytest.mark.parametrize("name", ["a" * 64, "Łukasz 山田 🦩", "o'clock; DROP TABLE user"])
def test_names_that_are_names(silo_server: Served, new_device: NewDevice, name: str) -> None:
    device = new_device(silo_server.link)
    body = device.setup_body(name)
    assert device.ask("POST", "/setup", body, anonymous=True).status == 201
    assert device.ask("GET", "/me").json["user"]["name"] == name


# --- files that do not fit the database ---


@pytest.mark.parametrize("proposed", ["", "\xff"])
def test_a_proposal_that_does_not_fit_what_was_stored(serve: Serve, new_device: NewDevice, proposed: str) -> None:
    served = serve()
    device = new_device(served.link).set_up()
    served.kill()
    (served.data / "admin.pin").unlink()
    (served.data / "admin.pin.proposed").write_text(proposed, encoding="latin-1")
    served.start()
    # What the database says alone makes no pin, and nothing is sealed to what it names.
    answered = device.moved(served.url).chat("to whom")
    assert (answered.status, answered.code) == (503, "keyring_broken")
    assert not list(served.data.glob("admin.pin*"))
    other = new_device(f"{served.url}/#setup.{b64(device.secret + device.pin + device.silo)}")
    assert set_up(other).code == "setup_used"


def test_a_pin_without_a_keyring(serve: Serve, new_device: NewDevice) -> None:
    served = serve()
    new_device(served.link).set_up()
    served.stop()
    for table in ("keyring", "user", "device", "lock"):
        behind(served, f'DELETE FROM "{table}"')
    # Never a new administrator on top of what the old one had.
    with pytest.raises(RuntimeError, match=rf"(?s)exit {MACHINE}: .*error: [^\n]*damaged[^\n]*set up"):
        served.start()
    done = siloctl(served, "setup-link")
    assert (done.returncode, done.stdout) == (MACHINE, "")
    assert "damaged" in done.stderr
