"""A silo that was restored with its spare identity (SPEC 8.7)."""

from collections.abc import Callable

import msgspec

from silo.crypto.encoding import b32
from silo.crypto.keyring import Keyring, SignedKeyring, sign_keyring, verify_keyring
from silo.crypto.keys import Signer, fingerprint
from tests import postgres
from tests.conftest import Serve
from tests.harness import Device, Served

NewDevice = Callable[[str], Device]


def in_force(served: Served, device: Device) -> Keyring:
    """The first keyring, from the database."""
    with postgres.behind(served.database) as database:
        (row,) = database.execute("SELECT document, signer, signature FROM keyring").fetchall()
    return verify_keyring(SignedKeyring(*row), device.silo, device.admin.public.fingerprint)


def certify(served: Served, device: Device, spare: Signer) -> None:
    """Put keyring version 2 into the database, which names the spare, as a later version's door will."""
    before = in_force(served, device)
    document = msgspec.structs.replace(before.document, version=2, previous=b32(before.hash), spare=b32(spare.public))
    signed = sign_keyring(device.admin, document)
    device.keyring = verify_keyring(signed, device.silo, device.admin.public.fingerprint, before).seen
    row = (2, signed.document, signed.signer, signed.signature, document.time)
    with postgres.behind(served.database) as database:
        database.execute("INSERT INTO keyring VALUES (?, ?, ?, ?, ?)", row)


def take(served: Served, device: Device, identity: Signer) -> None:
    """Start with that identity, as a restore on new hardware does."""
    path = served.data / "identity.key"
    path.unlink()
    path.write_text(f"silo {b32(device.silo)}\npublic {b32(identity.public)}\nsecret {b32(identity.seed)}\n")
    served.start()
    device.pin = fingerprint(identity.public)
    device.moved(served.url)


def test_only_a_certified_identity_serves(serve: Serve, new_device: NewDevice) -> None:
    served = serve()
    device = new_device(served.link).set_up()
    assert device.chat("before").status == 200
    served.stop()
    spare = Signer()
    take(served, device, spare)
    assert device.chat("to whom").code == "keyring_broken"
    served.stop()
    certify(served, device, spare)
    served.start()
    answered = device.moved(served.url).chat("after")
    assert answered.status == 200
    assert answered.end["kept"]["index"] == 2
