"""Every label of the protocol, and the one way to put fields behind a label (SPEC 2.1, 2.2).

A label names one purpose. No two purposes share one, so nothing made for one passes for another; the two steps
of one purpose (a statement, its signature) differ in their number of fields.
"""

import hashlib
from collections.abc import Sequence

FINGERPRINT = "securesilo/1 fingerprint"
ADMIN = "securesilo/1 admin"
ADMIN_SIGN = "securesilo/1 admin sign"
ADMIN_SEAL = "securesilo/1 admin seal"
DEVICE = "securesilo/1 device"
ENROLMENT = "securesilo/1 enrolment"
ENROLMENT_VOUCH = "securesilo/1 enrolment vouch"
KEYS = "securesilo/1 keys"
SETUP_BEARER = "securesilo/1 setup bearer"
SETUP_HASH = "securesilo/1 setup hash"

DOOR_HEADER = "securesilo/1 door header"
DOOR_SIGNATURE = "securesilo/1 door signature"
DOOR_REQUEST = "securesilo/1 door request"
DOOR_REPLY = "securesilo/1 door reply"

RECORD_COMMITMENT = "securesilo/1 record commitment"
RECORD_HEAD = "securesilo/1 record head"
RECORD_FRAMES = "securesilo/1 record frames"
RECORD_CORE = "securesilo/1 record core"
RECORD_WRAP = "securesilo/1 record wrap"
RECEIPT = "securesilo/1 receipt"
LOG_ENTRY = "securesilo/1 log entry"
HEADS = "securesilo/1 heads"
TURN = "securesilo/1 turn"
TOMBSTONE = "securesilo/1 tombstone"
TOMBSTONE_HASH = "securesilo/1 tombstone hash"
DELETION = "securesilo/1 deletion"
KEY_BAG = "securesilo/1 key bag"

KEYRING = "securesilo/1 keyring"
KEYRING_HASH = "securesilo/1 keyring hash"
EPOCH_HALF = "securesilo/1 epoch half"
DIRECTORY_ENTRY = "securesilo/1 directory entry"

ACCOUNT_SIGN = "securesilo/1 account sign"
ACCOUNT_MAC_KEY = "securesilo/1 account mac key"
ACCOUNT_ROTATION = "securesilo/1 account rotation"
ACCOUNT_ROTATION_MAC = "securesilo/1 account rotation mac"
ACCOUNT_PAST = "securesilo/1 account past"

LOCK_SALT = "securesilo/1 lock salt"
LOCK_PROOF = "securesilo/1 lock proof"
LOCK_PROOF_HASH = "securesilo/1 lock proof hash"
LOCK_SEAL = "securesilo/1 lock seal"
LOCK_MAC_KEY = "securesilo/1 lock mac key"
LOCK_MAC = "securesilo/1 lock mac"
LOCK = "securesilo/1 lock"
LOCK_MANIFEST = "securesilo/1 lock manifest"

KEY_FILE = "securesilo/1 key file"
DEVICE_SECRETS = "securesilo/1 device secrets"


def pack(label: str, *fields: bytes) -> bytes:
    """Label and fields, each behind its length in 4 bytes, big-endian (SPEC 2.2).

    No two lists of fields give the same bytes.
    """
    out = bytearray()
    for field in (label.encode("ascii"), *fields):
        out += len(field).to_bytes(4, "big")
        out += field
    return bytes(out)


def unpack(label: str, data: bytes, count: int) -> Sequence[bytes]:
    """The `count` fields that `pack` put behind `label`.

    Raises ValueError for another label, another count, or anything before or after.
    """
    fields: list[bytes] = []
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        field = data[at + 4 : at + 4 + size]
        if len(data) - at < 4 or len(field) != size:
            raise ValueError("a field ends too early")
        fields.append(field)
        at += 4 + size
    if len(fields) != count + 1 or fields[0] != label.encode("ascii"):
        raise ValueError("not the fields of this label")
    return fields[1:]


def digest(label: str, *fields: bytes) -> bytes:
    """SHA-256 over `pack(label, *fields)`: 32 bytes (SPEC 2.2)."""
    return hashlib.sha256(pack(label, *fields)).digest()
