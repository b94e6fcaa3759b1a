"""The keyring, made and verified (SPEC 8)."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from silo.crypto import _hpke
from silo.crypto.encoding import b32, b64, unb64, write_json
from silo.crypto.keyring import (
    Document,
    Extra,
    Holder,
    Keyring,
    SignedKeyring,
    Waiver,
    first_keyring,
    half_context,
    sign_keyring,
    verify_chain,
    verify_keyring,
)
from silo.crypto.keys import AdminKey, Recipient, Signer, recipient_of
from silo.crypto.labels import EPOCH_HALF
from silo.crypto.opening import open_epochs, open_sealed
from silo.crypto.sealing import NO_HASH, Place, seal_record
from silo.errors import SiloError

SILO = b"s" * 16
ADMIN, OTHER = AdminKey(bytes(range(32))), AdminKey(bytes(range(1, 33)))
IDENTITY = Signer(bytes(range(2, 34)))
PIN = ADMIN.public.fingerprint
SIGNED = first_keyring(ADMIN, "admin", SILO, IDENTITY.public, 1_000)
FIRST = verify_keyring(SIGNED, SILO, PIN)


def _code(act: object, *args: object) -> str:
    assert callable(act)
    with pytest.raises(SiloError) as error:
        act(*args)
    return error.value.code


def _next(before: Keyring, **changes: object) -> Document:
    base = {"version": before.document.version + 1, "previous": b32(before.hash)}
    return msgspec.structs.replace(before.document, **base | changes)


def test_the_first_keyring_holds_one_admin_one_epoch_and_the_waiver():
    document = FIRST.document
    assert (document.version, document.previous, document.waiver) == (1, None, Waiver(since=1_000))
    assert [holder.role for holder in document.holders] == ["admin"]
    assert [epoch.state for epoch in document.epochs] == ["current"]
    assert FIRST.genesis == PIN
    assert FIRST.identity == IDENTITY.public
    assert (FIRST.seen.at, FIRST.seen.hash) == (1, b32(FIRST.hash))
    assert (document.policy.record_v1, document.policy.keyring_fresh_days) == (True, 365)


def test_only_the_admin_key_opens_its_epochs():
    (opener,) = open_epochs(ADMIN, FIRST)
    assert opener.fingerprint == FIRST.vault.fingerprint
    place = Place(SILO, b"u" * 16, 1, NO_HASH, b"t" * 16, NO_HASH, 1, b"i" * 16, 1)
    sealed = seal_record(place, b"", [FIRST.vault])
    assert len(opener.open_wrap(sealed.wraps[0][1], sealed.core_hash)) == 32
    assert _code(open_epochs, OTHER, FIRST) == "no_match"


def test_an_epochs_private_half_is_forgotten_and_fresh():
    again = first_keyring(ADMIN, "admin", SILO, IDENTITY.public, 1_000)
    assert verify_keyring(again, SILO, PIN).vault.fingerprint != FIRST.vault.fingerprint


@given(st.data())
def test_any_changed_byte_is_refused(data: st.DataObject):
    whole = bytearray(write_json(SIGNED))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 127))
    try:
        bent = msgspec.json.decode(bytes(whole), type=SignedKeyring)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if bent == SIGNED:
        return
    assert _code(verify_keyring, bent, SILO, PIN) in ("header_failure", "wrong_silo", "stale", "forged")


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=90))
def test_noise_is_no_keyring(document: str, signer: str, signature: str):
    signed = SignedKeyring(document=document, signer=signer, signature=signature)
    assert _code(verify_keyring, signed, SILO, PIN) == "header_failure"


def test_a_lone_surrogate_that_no_parser_saw_is_refused_too():
    signed = SignedKeyring(document="\ud800", signer=SIGNED.signer, signature=SIGNED.signature)
    assert _code(verify_keyring, signed, SILO, PIN) == "header_failure"


def test_a_chain_is_followed():
    second = sign_keyring(ADMIN, _next(FIRST, time=2_000))
    last = verify_chain([SIGNED, second], SILO, PIN)
    assert (last.document.version, last.genesis) == (2, PIN)
    third = sign_keyring(ADMIN, _next(last, time=3_000))
    assert verify_chain([third], SILO, PIN, last).document.version == 3
    assert verify_chain([], SILO, PIN, last) == last
    assert _code(verify_chain, [SIGNED, third], SILO, PIN) == "stale"
    assert _code(verify_chain, [], SILO, PIN) == "stale"


def _epoch_seed(keyring: Keyring) -> bytes:
    epoch = keyring.document.epochs[0]
    sealed = unb64(epoch.halves[0].sealed)
    return open_sealed(_hpke.PrivateKey(ADMIN.seal_seed), sealed, EPOCH_HALF, *keyring.half_context(epoch, PIN))


def test_a_hand_over_moves_the_right_to_sign_and_not_the_genesis():
    holder = msgspec.structs.replace(
        FIRST.document.holders[0], name="other", sign=b32(OTHER.public.sign), seal=b64(OTHER.public.seal)
    )
    epoch = FIRST.document.epochs[0]
    public = unb64(epoch.public)
    # Only a holder has the seed, so another key's half is made from an opened one.
    (opener,) = open_epochs(ADMIN, FIRST)
    seed = _epoch_seed(FIRST)
    assert recipient_of(seed).fingerprint == opener.fingerprint
    sealed = Recipient(OTHER.public.seal).seal(
        seed, EPOCH_HALF, *half_context(b32(SILO), 1, OTHER.public.fingerprint, public)
    )
    half = msgspec.structs.replace(epoch.halves[0], holder=b32(OTHER.public.fingerprint), sealed=b64(sealed))
    both = msgspec.structs.replace(epoch, halves=[*epoch.halves, half])
    document = _next(FIRST, holders=[FIRST.document.holders[0], holder], epochs=[both], waiver=None)
    second = verify_chain([SIGNED, sign_keyring(ADMIN, document)], SILO, PIN)
    assert open_epochs(OTHER, second)[0].fingerprint == opener.fingerprint
    third = sign_keyring(OTHER, _next(second))
    assert verify_keyring(third, SILO, PIN, second).genesis == PIN
    assert _code(verify_keyring, sign_keyring(OTHER, _next(FIRST)), SILO, PIN, FIRST) == "forged"


def test_extras_are_one_users():
    user, other = b32(b"u" * 16), b32(b"v" * 16)
    seal = recipient_of(bytes(32))
    auditor = msgspec.structs.replace(
        FIRST.document.holders[0], name="auditor", role="auditor", sign=None, seal=b64(seal.public)
    )
    extra = Extra(user=user, recipient=b64(seal.public))
    both = [FIRST.document.holders[0], auditor]
    keyring = verify_keyring(sign_keyring(ADMIN, _next(FIRST, holders=both, extras=[extra])), SILO, PIN, FIRST)
    assert [one.fingerprint for one in keyring.extras(user)] == [seal.fingerprint]
    assert keyring.extras(other) == []
    # Nobody reads who is not in the list of holders, and nobody twice.
    gone = msgspec.structs.replace(auditor, revoked=1)
    for holders, extras in ((both[:1], [extra]), ([both[0], gone], [extra]), (both, [extra, extra])):
        signed = sign_keyring(ADMIN, _next(FIRST, holders=holders, extras=extras))
        assert _code(verify_keyring, signed, SILO, PIN, FIRST) == "header_failure"


def test_a_spare_speaks_until_it_is_met_and_then_alone():
    identity, spare, third = FIRST.identity, bytes(range(32)), bytes(32)
    assert FIRST.identities() == [identity]
    with_spare = verify_keyring(sign_keyring(ADMIN, _next(FIRST, spare=b32(spare))), SILO, PIN, FIRST)
    assert with_spare.identities() == [identity, spare]
    assert with_spare.identities([identity]) == [spare]
    # The next keyring drops the former one; one that does not brings it back to nobody who gave it up.
    dropped = _next(with_spare, identity=b32(spare), spare=b32(third))
    assert verify_keyring(sign_keyring(ADMIN, dropped), SILO, PIN, with_spare).identities([identity]) == [spare, third]
    forgot = verify_keyring(sign_keyring(ADMIN, _next(with_spare, spare=None)), SILO, PIN, with_spare)
    with pytest.raises(SiloError) as error:
        forgot.identities([identity])
    assert error.value.code == "wrong_silo"
    same = sign_keyring(ADMIN, _next(FIRST, spare=b32(identity)))
    assert _code(verify_keyring, same, SILO, PIN, FIRST) == "header_failure"


def test_a_holder_that_never_signs_has_a_fingerprint_too():
    holder = msgspec.structs.replace(FIRST.document.holders[0], sign=None)
    assert isinstance(holder, Holder)
    assert holder.public.sign == b""
    assert holder.public.fingerprint != ADMIN.public.fingerprint
