"""What a silo keeps of an account key, handed out and opened (SPEC 6.2, 8.8, 9)."""

import subprocess
import sys
from typing import Any

import msgspec

from silo.crypto.directory import SignedEntry, newest, read_entry
from silo.crypto.encoding import b32, id_bytes, unb64, write_json
from silo.crypto.keyring import SignedKeyring, verify_chain
from silo.crypto.keys import AccountKey, check_vouch
from silo.crypto.locks import Lock, device_secret, read_manifest
from silo.crypto.rotation import Rotation, Vouched, follow, make_rotation, next_locks
from silo.crypto.unlocking import open_lock
from silo.messages import Locks
from tests import postgres
from tests.appliance.company import another_person
from tests.harness import Device, Served


def locks(device: Device) -> Locks:
    """The answer of `GET /locks`."""
    return msgspec.convert(device.ask("GET", "/locks").json, Locks, strict=True)


def rotate(served: Served, device: Device) -> AccountKey:
    """Rotate the account key behind the silo's back, as a later version's door will."""
    had = locks(device)
    old, new, genesis = AccountKey(device.account_seed), AccountKey(), device.admin.public.fingerprint
    before = read_manifest(had.manifest, old, device.silo, device.user)
    resealed, manifest = next_locks(before, new, genesis)
    (own,) = device.ask("GET", "/enrolments").json["enrolments"]
    enrolled = Vouched(own["statement"], own["signature"], own["vouch"])
    rotation = make_rotation(old, new, device.signer, enrolled, before.version + 1, device.silo, device.user, 5)
    user = b32(device.user)
    with postgres.behind(served.database) as database:
        for one in resealed:
            (document,) = database.execute("SELECT document FROM lock WHERE id = ?", (one.id,)).fetchone()
            lock = msgspec.structs.replace(msgspec.json.decode(document, type=Lock), sealed=one.sealed)
            database.execute("UPDATE lock SET document = ? WHERE id = ?", (write_json(lock).decode(), one.id))
        database.execute(
            "UPDATE manifest SET version = version + 1, document = ? WHERE user_id = ?",
            (write_json(manifest).decode(), user),
        )
        database.execute(
            "INSERT INTO rotation (user_id, version, document) VALUES (?, ?, ?)",
            (user, before.version + 1, write_json(rotation).decode()),
        )
    return new


def test_locks_are_handed_out_as_they_were_brought(device: Device) -> None:
    account, genesis = AccountKey(device.account_seed), device.admin.public.fingerprint
    had = locks(device)
    assert had.lock is not None
    assert had.rotations == []
    secret = device_secret(device.seal_seed)
    unlocked = open_lock(had.lock, secret, device.silo, genesis, device.user, (), account.fingerprint)
    manifest = read_manifest(had.manifest, unlocked.account, device.silo, device.user, 1)
    assert [one.kind for one in manifest.locks] == ["password", "device"]
    assert device.ask("GET", "/me").json["manifest"] == 1
    # The others are released to their secrets alone.
    assert id_bytes(had.lock.id) == device.device
    assert device.ask("GET", "/locks").body.count(b'"sealed"') == 1


def test_nobody_gets_another_s_locks(silo_server: Served, device: Device) -> None:
    other = another_person(silo_server, device, "bob")
    with other.http:
        had = locks(other)
    assert had.lock is None
    read_manifest(had.manifest, AccountKey(other.account_seed), other.silo, other.user)
    assert had.manifest != locks(device).manifest


def test_a_rotated_account_key_is_walked_back(silo_server: Served, device: Device) -> None:
    old, genesis = AccountKey(device.account_seed), device.admin.public.fingerprint
    new = rotate(silo_server, device)
    had = locks(device)
    assert had.lock is not None
    secret = device_secret(device.seal_seed)
    unlocked = open_lock(had.lock, secret, device.silo, genesis, device.user, had.rotations, old.fingerprint)
    assert [one.seed for one in unlocked.keys] == [new.seed, old.seed]
    assert read_manifest(had.manifest, new, device.silo, device.user, unlocked.manifest).version == 2
    assert device.ask("GET", "/me").json["manifest"] == 2


def test_an_export_says_whose_account_it_is(silo_server: Served, device: Device) -> None:
    old = AccountKey(device.account_seed)
    new = rotate(silo_server, device)
    out = silo_server.data.parent / "of.export"
    command = [sys.executable, "-P", "-m", "appliance.siloctl", "--data", str(silo_server.data), "export", str(out)]
    subprocess.run(command, env=silo_server.environment, cwd=out.parent, capture_output=True, timeout=60, check=True)
    lines = [msgspec.json.decode(line) for line in out.read_bytes().splitlines()]
    found: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        found.setdefault(line["type"], []).append(line)
    chain = [msgspec.convert(one["signed"], SignedKeyring) for one in found["keyring"]]
    keyring = verify_chain(chain, device.silo, device.admin.public.fingerprint)
    entries = [read_entry(msgspec.convert(one["entry"], SignedEntry), keyring) for one in found["entry"]]
    entry = newest(entries)[device.user]
    assert (entry.account, entry.sign) == (old.fingerprint, old.signer.public)
    rotations = [msgspec.convert(one["rotation"], Rotation) for one in found["rotation"]]
    assert follow(rotations, device.silo, device.user, entry.account, entry.sign) == (
        new.fingerprint,
        new.signer.public,
    )
    (enrolled,) = found["enrolment"]
    vouch = unb64(enrolled["vouch"])
    check_vouch(entry.sign, entry.account, vouch, unb64(enrolled["statement"]), unb64(enrolled["signature"]))
    assert id_bytes(enrolled["device"]) == device.device
    assert [one for one in found if one in ("lock", "manifest")] == []
