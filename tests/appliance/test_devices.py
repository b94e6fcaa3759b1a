"""Devices that only the database knows (SPEC 4.3, step 4): whoever writes to it can write a row, and no proof."""

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from silo.crypto import labels
from silo.crypto.encoding import b32, unb64, write_json
from silo.crypto.keys import AccountKey, Enrolment, Signer, recipient_of
from silo.crypto.rotation import Vouched, make_rotation
from tests.appliance.company import another_device, another_person, behind
from tests.harness import Device, Served, now

ALARM = "a device's row has no proof"
Rows = dict[str, Any]


@pytest.fixture
def second(silo_server: Served, device: Device) -> Iterator[Device]:
    """Another device of the same account, honestly enrolled, which has asked nothing yet."""
    other = another_device(silo_server, device)
    yield other
    other.http.close()


def set_row(served: Served, table: str, key: str, **columns: Any) -> None:
    with behind(served) as database:
        names = ", ".join(f"{name} = ?" for name in columns)
        column = "user_id" if table == "directory" else "id"
        database.execute(f'UPDATE "{table}" SET {names} WHERE {column} = ?', (*columns.values(), key))


def enrolment(asker: Device, account: AccountKey, revoked: int | None = None, **bent: Any) -> Rows:
    """A device's row as it would be written for it, vouched for by `account`."""
    fields: dict[str, Any] = {
        "silo": asker.silo,
        "user": asker.user,
        "device": asker.device,
        "sign": asker.signer.public,
        "seal": recipient_of(secrets.token_bytes(32)).public,
        "time": now(),
    }
    statement = Enrolment(**fields | bent).statement()
    signature = asker.signer.sign(labels.ENROLMENT, statement)
    return {"statement": statement, "signature": signature, "vouch": account.vouch(statement, signature, revoked)}


def strange(device: Device) -> dict[str, Rows]:
    """Rows for this device that prove nothing."""
    account = AccountKey(device.account_seed)
    honest = enrolment(device, account)
    return {
        "nothing": {"statement": b"", "signature": b"", "vouch": b""},
        "no vouch": honest | {"vouch": b""},
        "vouched for by itself": enrolment(device, AccountKey()),
        "another statement's vouch": honest | {"vouch": enrolment(device, account)["vouch"]},
        "another user's statement": enrolment(device, account, user=secrets.token_bytes(16)),
        "another silo's": enrolment(device, account, silo=secrets.token_bytes(16)),
        "another device's": enrolment(device, account, device=secrets.token_bytes(16)),
        "not signed by itself": honest | {"signature": Signer().sign(labels.ENROLMENT, honest["statement"])},
        "vouched for as revoked": enrolment(device, account, revoked=now()),
    }


def test_a_row_without_its_proof_is_no_device(silo_server: Served, device: Device, second: Device) -> None:
    mark = b32(second.device)
    for number, (name, row) in enumerate(strange(second).items(), 1):
        set_row(silo_server, "device", mark, **row)
        assert second.chat("as alice").code == "unknown_device", name
        assert silo_server.log.read_text().count(ALARM) == number, name
    assert mark not in silo_server.log.read_text()
    # With its proof it is one; and what was once right is no more than that.
    set_row(silo_server, "device", mark, **enrolment(second, AccountKey(second.account_seed)))
    assert second.ask("GET", "/me").status == 200
    for name, row in strange(second).items():
        set_row(silo_server, "device", mark, **row)
        assert second.ask("GET", "/me").code == "unknown_device", name
    assert device.ask("GET", "/me").status == 200
    assert device.history() == []


def test_another_key_in_the_row(silo_server: Served, device: Device, second: Device) -> None:
    thief = Signer()
    set_row(silo_server, "device", b32(second.device), sign=thief.public)
    second.signer = thief
    assert second.ask("GET", "/me").code == "unknown_device"
    # Another account's device.
    other = another_person(silo_server, device, "bob")
    assert other.ask("GET", "/me").status == 200
    set_row(silo_server, "device", b32(other.device), user_id=b32(device.user))
    assert other.ask("GET", "/me").code == "unknown_device"
    other.http.close()


def test_a_revoked_device_that_was_remembered(silo_server: Served, second: Device) -> None:
    assert second.ask("GET", "/me").status == 200
    set_row(silo_server, "device", b32(second.device), revoked=now())
    assert second.ask("GET", "/me").code == "unknown_device"


def test_a_signing_key_that_the_directory_does_not_know(silo_server: Served, device: Device, second: Device) -> None:
    """The writer exchanges the account's signing key too: the administrator's entry names another."""
    own = AccountKey()
    mark = device.account.fingerprint
    statement = enrolment(second, own)
    statement["vouch"] = own.signer.sign(
        *(labels.ENROLMENT_VOUCH, statement["statement"], statement["signature"], mark, b"")
    )
    set_row(silo_server, "device", b32(second.device), **statement)
    set_row(silo_server, "user", b32(device.user), sign=own.signer.public)
    assert second.ask("GET", "/me").code == "unknown_device"
    assert device.ask("GET", "/me").code == "unknown_device"
    set_row(silo_server, "user", b32(device.user), sign=AccountKey(device.account_seed).signer.public)
    assert device.ask("GET", "/me").status == 200


@pytest.mark.parametrize("honest", [True, False])
def test_a_rotation_leads_to_the_signing_key(
    serve: Callable[..., Served], new_device: Callable[[str], Device], honest: bool
) -> None:
    served = serve(SILO_SHAPE="fast")
    device = new_device(served.link).set_up()
    old, new = AccountKey(device.account_seed), AccountKey()
    with behind(served) as database:
        [(statement, signature)] = database.execute("SELECT statement, signature FROM device").fetchall()
        vouched = Vouched(**device.vouched(statement, signature))
        rotation = make_rotation(
            old if honest else AccountKey(), new, device.signer, vouched, 2, device.silo, device.user, now()
        )
        database.execute(
            "INSERT INTO rotation (user_id, version, document) VALUES (?, 2, ?)",
            (b32(device.user), write_json(rotation).decode()),
        )
        database.execute("UPDATE device SET vouch = ?", (new.vouch(statement, signature),))
        database.execute("UPDATE user SET account = ?, sign = ?", (new.recipient.public, new.signer.public))
    device.account = new.recipient
    assert device.ask("GET", "/me").code == ("" if honest else "unknown_device")


def test_a_device_that_was_proven_costs_nothing_more(silo_server: Served, device: Device) -> None:
    """Its row is compared: the directory is not read again."""
    assert device.ask("GET", "/me").status == 200
    with behind(silo_server) as database:
        database.execute("UPDATE directory SET document = 'nothing'")
        database.execute("DROP TABLE rotation")
    assert device.ask("GET", "/me").status == 200
    assert unb64(device.ask("GET", "/me").json["user"]["account"]) == device.account.public
