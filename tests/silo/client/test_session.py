"""What a device checks of what its silo says and keeps."""

import asyncio

import msgspec
import pytest

from silo.client.door import Refused
from silo.client.session import End, Session
from silo.client.setup import Plan, load_admin_key
from silo.crypto import labels
from silo.crypto.channel import OpenedRequest
from silo.crypto.encoding import b32, b64, id_bytes, new_id, unb64
from silo.crypto.keyring import Document, Half, Holder, SignedKeyring, half_context, sign_keyring, verify_keyring
from silo.crypto.keys import AccountKey, AdminKey, Recipient, Signer, recipient_of
from silo.crypto.locks import Lock, SignedManifest, device_secret, make_lock, read_manifest, state_manifest
from silo.crypto.rotation import Vouched, make_rotation, next_locks
from silo.errors import REFUSED, SiloError
from tests.silo.liar import HOUR, Liar, refused
from tests.silo.talk import ask, chat


def admin_of(plan: Plan) -> AdminKey:
    return load_admin_key(plan.key_path, str)


async def failure(session: Session, text: str = "hello") -> SiloError:
    with pytest.raises(SiloError) as caught:
        await chat(session, text)
    return caught.value


# --- replies that break off ---


def first_frame(whole: bytes) -> int:
    return 32 + 4 + 512 + 16


@pytest.mark.parametrize("hang_up", [True, False])
async def test_a_reply_that_breaks_off_is_fetched_from_the_record(session: Session, liar: Liar, hang_up: bool):
    liar.bend, liar.hang_up = lambda whole: whole[: first_frame(whole)], hang_up
    pieces = [piece async for piece in session.chat(ask("a pelican on a pier"))]
    assert pieces[:-1] == ["a pelican", " on a pier"]
    end = pieces[-1]
    assert isinstance(end, End)
    assert end.text == "a pelican on a pier"
    assert end.kept is not None
    assert len(liar.records) == 1


async def test_cover_that_breaks_off_takes_nothing_away(session: Session, liar: Liar):
    liar.bend, liar.hang_up = lambda whole: whole[:-100], True
    assert (await chat(session, "hello")).kept is not None


async def test_a_changed_frame_releases_nothing_after_it(session: Session, liar: Liar):
    liar.bend = lambda whole: whole[: first_frame(whole) + 50] + b"\x00" + whole[first_frame(whole) + 51 :]
    said = session.chat(ask("a pelican on a pier"))
    assert await anext(said) == "a pelican"
    with pytest.raises(SiloError) as caught:
        await anext(said)
    assert caught.value.code == "payload_failure"


async def test_words_that_end_inside_a_character_are_no_reply(session: Session, liar: Liar):
    liar.instead["/chat"] = lambda _: (200, {})
    assert (await failure(session)).code == "bad_reply"


@pytest.mark.parametrize(
    ("cut", "knows", "code"),
    [
        (100, (200, {"state": "lost", "kept": None}), "lost"),
        (600, refused("not_found"), "lost"),
        (100, refused("not_found"), "truncated"),
    ],
    ids=["begun", "words were heard", "nothing was heard"],
)
async def test_a_turn_that_broke_off_and_was_not_kept(
    session: Session, liar: Liar, cut: int, knows: tuple[int, dict], code: str
):
    liar.bend, liar.hang_up, liar.kept = lambda whole: whole[:cut], True, False
    liar._turns = lambda path: knows  # pyright: ignore[reportAttributeAccessIssue]
    assert (await failure(session)).code == code


async def test_a_silo_that_goes_away_is_waited_for(session: Session, liar: Liar, warnings: list[str]):
    liar.bend, liar.hang_up = lambda whole: whole[:600], True
    honest = liar._chat

    def crash(*words) -> bytes:
        liar.before = [b""] * 4
        return honest(*words)

    liar._chat = crash  # pyright: ignore[reportAttributeAccessIssue]
    assert (await chat(session, "hello")).text == "hello"
    assert warnings == ["the silo went away; waiting up to 0.5 s for what it kept of this turn"]


async def test_a_silo_that_stays_away_is_left(session: Session, liar: Liar):
    liar.bend, liar.hang_up = lambda whole: whole[:600], True
    honest = liar._chat

    def crash(*words) -> bytes:
        liar.before = [b""] * 999
        return honest(*words)

    liar._chat = crash  # pyright: ignore[reportAttributeAccessIssue]
    assert (await failure(session)).code == "unsettled"


async def test_a_turn_that_was_deleted_meanwhile_is_said_to_be(session: Session, liar: Liar):
    def ran(body: dict) -> tuple[int, dict]:
        liar.records.append(liar.write(body, "what it said"))
        return refused("already_done")

    liar.instead["/chat"] = ran
    liar._turns = lambda path: (200, {"state": "deleted", "kept": None})  # pyright: ignore[reportAttributeAccessIssue]
    async with asyncio.timeout(10):
        error = await failure(session)
        assert await session.stopped(new_id(), liar.records[0].turn) is None
    assert error.sentence() == "the turn was kept and has been deleted since"
    assert error.row.exit == REFUSED


async def test_what_became_of_a_turn_is_asked_for_its_request(session: Session, liar: Liar):
    """Under the id that it was sent with last."""
    asked: list[dict] = []

    def knows_nothing(body: dict) -> tuple[int, dict]:
        asked.append(body)
        return refused("not_found")

    honest = liar._answer

    def answer(opened: OpenedRequest, body: dict) -> bytes:
        return liar._whole(opened, *knows_nothing(body)) if "/turns/" in opened.header.path else honest(opened, body)

    liar._answer = answer  # pyright: ignore[reportAttributeAccessIssue]
    liar.before = [b""] * 3
    # The silo answers now, and has made sure of it.
    assert (await failure(session)).code == "lost"
    sent = [opened.header.id for opened in liar.seen if opened.header.path == "/chat"]
    assert len(sent) == 3
    assert asked == [{"request": sent[0]}]
    # A time that was in the future makes another request of it.
    asked.clear()
    liar.seen.clear()
    liar.instead["/chat"] = lambda _: refused("clock", now=liar.now() - HOUR)
    await failure(session)
    first, second = [opened.header.id for opened in liar.seen if opened.header.path == "/chat"]
    assert first != second
    assert asked == [{"request": second}]


@pytest.mark.parametrize("code", ["storage_full", "internal"])
async def test_where_the_silo_cannot_make_sure_nothing_is_known(session: Session, liar: Liar, code: str):
    liar.before = [b""] * 3
    liar._turns = lambda path: refused(code)  # pyright: ignore[reportAttributeAccessIssue]
    assert (await failure(session)).code == "unsettled"


async def test_where_the_silo_cannot_be_asked_nobody_is_told_to_start_it(session: Session, liar: Liar):
    liar.before = [b""] * 999
    error = await failure(session)
    assert error.code == "unsettled"
    assert "is not known" in error.sentence()
    assert "running" not in error.sentence() + error.row.hint


async def test_a_turn_that_ran_already_is_shown(session: Session, liar: Liar):
    def ran(body: dict) -> tuple[int, dict]:
        liar.records.append(liar.write(body, "what it said"))
        return refused("already_done")

    liar.instead["/chat"] = ran
    assert (await chat(session, "hello")).text == "what it said"


async def test_a_reply_that_was_not_kept_says_so(session: Session, liar: Liar):
    liar.kept = False
    end = await chat(session, "hello")
    assert (end.text, end.kept) == ("hello", None)
    assert end.error is not None
    assert end.error.code == "not_kept"
    assert session.profile.head is None


async def test_a_reply_that_was_not_kept_without_a_reason_is_refused(session: Session, liar: Liar):
    liar.end = lambda end: end | {"kept": None}
    assert (await failure(session)).code == "bad_reply"


# --- records that are not what was said ---


async def test_a_record_with_another_reply_is_forged(session: Session, liar: Liar):
    liar.content = lambda content: content | {"reply": content["reply"] | {"content": "something else"}}
    assert (await failure(session)).code == "forged"
    assert session.home.read().head is None


async def test_a_record_with_another_question_is_forged(session: Session, liar: Liar):
    liar.content = lambda content: content | {"turn": content["turn"].replace("hello", "goodbye")}
    assert (await failure(session)).code == "forged"


async def test_a_receipt_that_another_identity_signed_is_forged(session: Session, liar: Liar):
    liar.receipt_signer = Signer()
    assert (await failure(session)).code == "forged"


async def test_a_receipt_for_another_record_is_forged(session: Session, liar: Liar):
    await chat(session, "one")
    liar.end = lambda end: end | {"kept": end["kept"] | {"receipt": b64(liar.records[0].receipt)}}
    assert (await failure(session)).code == "forged"


@pytest.mark.parametrize(
    "lie",
    [
        lambda honest: [*honest, recipient_of(bytes(32))],
        lambda honest: [honest[0], recipient_of(bytes(32))],
        lambda honest: honest[:1],
    ],
    ids=["one more", "another vault", "no vault"],
)
async def test_a_record_for_other_readers_is_forged(session: Session, liar: Liar, lie):
    liar.recipients = lie
    assert (await failure(session)).code == "forged"


async def test_a_wrap_that_opens_nothing_is_found_at_once(session: Session, liar: Liar):
    class Lying(Recipient):
        def seal(self, plaintext: bytes, label: str, *fields: bytes) -> bytes:
            return super().seal(bytes(32), label, *fields)

    liar.recipients = lambda honest: [Lying(honest[0].public), *honest[1:]]
    assert (await failure(session)).code == "header_failure"


async def test_a_record_that_is_not_there_is_missed(session: Session, liar: Liar):
    liar.instead["/history"] = lambda _: (200, {"records": [], "tombstones": [], "next": None})
    assert (await failure(session)).code == "forged"


# --- the log ---


async def test_a_log_that_was_rolled_back_is_named(enter, liar: Liar):
    session = await enter()
    for text in ("one", "two", "three"):
        await chat(session, text)
    del liar.records[1:]
    error = await failure(await enter())
    assert (error.code, error.detail) == ("stale_head", "entries 2 to 3")
    with pytest.raises(SiloError) as caught:
        await (await enter()).history()
    assert caught.value.code == "stale_head"
    assert len(liar.records) == 1


async def test_a_log_that_was_rolled_back_and_went_on_is_forged(enter, liar: Liar):
    session = await enter()
    await chat(session, "one")
    body = {"text": '{"messages":[],"model":null,"options":{}}', "signature": "", "turn": new_id(), "parent": None}
    liar.records.clear()
    for _ in range(2):
        liar.records.append(liar.write(body | {"thread": new_id()}, "other"))
    assert (await failure(await enter())).code == "forged"


async def test_a_log_that_another_device_went_on_with_is_walked(enter, liar: Liar):
    one, other = await enter(), await enter()
    await chat(one, "one")
    await chat(one, "two")
    end = await chat(other, "three")
    assert end.kept is not None
    assert end.kept.index == 3
    assert one.home.read().head == other.profile.head
    # The first command's own idea of the head is older; the folder's is not moved back.
    await chat(one, "four")
    assert one.home.read().head is not None
    assert one.profile.head is not None
    assert one.profile.head.at == 4


async def test_history_is_opened_in_order(session: Session, liar: Liar):
    thread = new_id()
    first = await chat(session, "one", thread=thread)
    await chat(session, "two")
    assert first.opened is not None
    await chat(session, "three", thread=thread, parent=first.opened.core)
    found = await session.history()
    assert [one.turn.reply.content for one in found if one.turn] == ["one", "two", "three"]
    assert [one.entry.index for one in await session.history(2)] == [2, 3]
    assert [turn.reply.content for turn in await session.thread(thread)] == ["one", "three"]
    with pytest.raises(SiloError) as caught:
        await session.thread(new_id())
    assert caught.value.code == "not_found"


async def test_branches_go_their_own_way(session: Session):
    thread = new_id()
    first = (await chat(session, "one", thread=thread)).opened
    assert first is not None
    await chat(session, "left", thread=thread, parent=first.core)
    await chat(session, "right", thread=thread, parent=first.core)
    assert [turn.reply.content for turn in await session.thread(thread)] == ["one", "right"]


async def test_many_records_come_in_pages(session: Session, liar: Liar, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("silo.client.session.PAGE", 2)
    monkeypatch.setattr("silo.client.session.LOG_PAGE", 2)
    for number in range(5):
        await chat(session, str(number))
    assert [one.turn.reply.content for one in await session.history() if one.turn] == list("01234")


async def test_what_does_not_open_is_named_and_the_rest_is_shown(session: Session, liar: Liar):
    for text in ("one", "two", "three"):
        await chat(session, text)
    liar.swap_receipts()
    found = await session.history()
    assert [one.error.code if one.error else "" for one in found] == ["forged", "forged", ""]


async def test_a_record_that_the_silo_no_longer_has_is_named(session: Session, liar: Liar):
    for text in ("one", "two"):
        await chat(session, text)
    honest = liar._history
    liar.instead["/history"] = lambda body: (
        200,
        {
            "records": [one for one in honest(body)[1]["records"] if one["index"] != 1],
            "tombstones": [],
            "next": None,
        },
    )
    first, second = await session.history()
    assert first.error is not None
    assert second.error is None


@pytest.mark.parametrize("field", ["id", "time", "parent"])
async def test_a_log_that_describes_a_record_otherwise_is_forged(session: Session, liar: Liar, field: str):
    await chat(session, "one")
    lies = {"id": new_id(), "time": 1, "parent": b32(bytes(32))}
    honest = liar._log

    def lie(body: dict) -> tuple[int, dict]:
        status, answer = honest(body)
        for entry in answer["entries"]:
            entry[field] = lies[field]
        return status, answer

    liar.instead["/log"] = lie
    (only,) = await session.history()
    assert only.error is not None
    assert only.error.code == "forged"


async def test_a_foreign_device_among_the_enrolments_is_refused(session: Session, liar: Liar):
    await chat(session, "one")
    liar.enrolment = liar.enrolment | {"signature": b64(bytes(64))}
    with pytest.raises(SiloError) as caught:
        await session.history()
    assert caught.value.code == "forged"


def vouched_by(account: AccountKey, liar: Liar) -> dict[str, str]:
    """The liar's one enrolment, vouched for by that account."""
    vouch = account.vouch(unb64(liar.enrolment["statement"]), unb64(liar.enrolment["signature"]))
    return liar.enrolment | {"vouch": b64(vouch)}


async def test_a_device_that_the_account_did_not_vouch_for_is_refused(session: Session, liar: Liar):
    await chat(session, "one")
    for lie in (vouched_by(AccountKey(), liar), liar.enrolment | {"vouch": ""}):
        liar.enrolment = lie
        with pytest.raises(SiloError) as caught:
            await session.history()
        assert caught.value.code == "forged"
        assert "vouched" in caught.value.detail


async def test_what_a_device_signed_after_its_revocation_is_forged(session: Session, liar: Liar):
    await chat(session, "one")
    await asyncio.sleep(0.01)
    await chat(session, "two")
    times = [one.sealed.place.time for one in liar.records]
    said = unb64(liar.enrolment["statement"]), unb64(liar.enrolment["signature"])
    vouch = session._secrets.account_key.vouch(*said, times[0])
    honest = liar.enrolment
    liar.enrolment = honest | {"vouch": b64(vouch), "revoked": times[0]}
    first, second = await session.history()
    assert first.turn is not None
    assert second.error is not None
    assert (second.error.code, second.error.detail) == ("forged", "its device had been revoked")
    # What stands beside the vouch is not the silo's to choose.
    for lie in ({"vouch": b64(vouch)}, {"vouch": b64(vouch), "revoked": times[1]}, {"revoked": times[1]}):
        session._devices = None
        liar.enrolment = honest | lie
        with pytest.raises(SiloError) as caught:
            await session.history()
        assert caught.value.code == "forged"


# --- the account key and its locks ---


def manifest_of(session: Session, account: AccountKey, version: int, locks: list[dict]) -> dict[str, str]:
    listed = [msgspec.convert(lock, Lock) for lock in locks]
    silo, user = id_bytes(session.profile.silo), id_bytes(session.profile.user)
    return msgspec.to_builtins(state_manifest(account, silo, user, version, listed))


async def test_a_newer_manifest_is_verified_and_an_older_one_stale(enter, liar: Liar):
    session = await enter()
    before = liar.manifest
    assert [one.kind for one in (await session.locks()).locks] == ["password", "device"]
    liar.manifest = manifest_of(session, session._secrets.account_key, 4, liar.locks[1:])
    await session.refresh()
    assert session.profile.manifest == 4
    liar.manifest = before
    for again in (session, await enter()):
        with pytest.raises(SiloError) as caught:
            await again.refresh()
        assert caught.value.code == "stale"


async def test_a_manifest_that_the_account_key_did_not_write_is_forged(session: Session, liar: Liar):
    liar.manifest = manifest_of(session, AccountKey(), 2, liar.locks)
    with pytest.raises(SiloError) as caught:
        await session.refresh()
    assert caught.value.code == "forged"
    # Nor one that leaves this device out: the next account key would be sealed to others alone.
    liar.manifest = manifest_of(session, session._secrets.account_key, 2, liar.locks[:1])
    with pytest.raises(SiloError) as caught:
        await session.locks()
    assert caught.value.code == "forged"


async def test_a_lock_of_this_device_that_holds_another_seed_is_forged(session: Session, liar: Liar):
    own = msgspec.convert(liar.locks[1], Lock)
    silo, user = id_bytes(session.profile.silo), id_bytes(session.profile.user)
    seed = session._secrets.seal
    other = make_lock(device_secret(seed), id_bytes(own.id), AccountKey(), silo, session.keyring.genesis, user)
    liar.locks = [liar.locks[0], msgspec.to_builtins(other)]
    with pytest.raises(SiloError) as caught:
        await session.locks()
    assert caught.value.code == "forged"
    liar.locks = liar.locks[:1]
    with pytest.raises(SiloError) as caught:
        await session.locks()
    assert caught.value.code == "forged"


async def test_an_account_key_that_another_device_rotated_is_not_taken_for_ours(session: Session, liar: Liar):
    old, new = session._secrets.account_key, AccountKey()
    silo, user, genesis = id_bytes(session.profile.silo), id_bytes(session.profile.user), session.keyring.genesis
    before = read_manifest(msgspec.convert(liar.manifest, SignedManifest), old, silo, user)
    resealed, manifest = next_locks(before, new, genesis)
    enrolled = msgspec.convert(liar.enrolment, Vouched)
    rotation = make_rotation(old, new, session._signer, enrolled, 2, silo, user, liar.now())
    liar.rotations = [msgspec.to_builtins(rotation)]
    liar.locks = [lock | {"sealed": one.sealed} for lock, one in zip(liar.locks, resealed, strict=True)]
    liar.manifest = msgspec.to_builtins(manifest)
    with pytest.raises(SiloError) as caught:
        await session.refresh()
    assert caught.value.code == "account_changed"


# --- keys ---


async def test_a_changed_account_key_stops_everything(session: Session, liar: Liar):
    liar.user = liar.user | {"account": b64(recipient_of(bytes(32)).public)}
    error = await failure(session)
    assert error.code == "account_changed"
    assert not liar.records
    with pytest.raises(SiloError) as caught:
        await session.me()
    assert caught.value.code == "account_changed"


async def test_a_newer_keyring_is_verified_and_kept(session: Session, liar: Liar, plan: Plan, warnings: list[str]):
    liar.install(liar.next_keyring(admin_of(plan), time=liar.now()))
    end = await chat(session, "hello")
    assert end.text == "hello"
    assert session.home.read().keyring().document.version == 2
    assert not warnings
    ids = {opened.header.id for opened in liar.seen if opened.header.path == "/chat"}
    assert len(ids) == 1


async def test_a_new_administrator_is_told(session: Session, liar: Liar, plan: Plan, warnings: list[str]):
    admin, other = admin_of(plan), AdminKey()
    liar.install(two_admins(liar, admin, other))
    await chat(session, "hello")
    assert len(warnings) == 1
    assert "administrator keys changed" in warnings[0]


def two_admins(liar: Liar, admin: AdminKey, other: AdminKey) -> SignedKeyring:
    """A keyring with a second administrator, who holds the vault's half too."""

    document = liar.ring.document
    epoch = document.epochs[0]
    holder = Holder("other", "admin", b32(other.public.sign), b64(other.public.seal), False, liar.now(), None)
    context = half_context(document.silo, epoch.id, other.public.fingerprint, unb64(epoch.public))
    half = Half(
        b32(other.public.fingerprint), b64(Recipient(other.public.seal).seal(bytes(32), labels.EPOCH_HALF, *context))
    )
    epochs = [msgspec.structs.replace(epoch, halves=[*epoch.halves, half])]
    return liar.next_keyring(admin, holders=[*document.holders, holder], epochs=epochs, waiver=None)


async def test_a_keyring_of_a_stranger_is_forged(session: Session, liar: Liar, plan: Plan):
    honest = liar.next_keyring(admin_of(plan))
    stranger = AdminKey()
    lie = sign_keyring(stranger, msgspec.json.decode(honest.document, type=Document))
    liar.instead["/chat"] = lambda _: refused("keyring_changed", keyrings=[lie])
    error = await failure(session)
    assert error.code == "forged"
    assert session.home.read().keyring().document.version == 1


async def test_a_forked_keyring_is_forged(session: Session, liar: Liar, plan: Plan):
    admin = admin_of(plan)
    liar.install(liar.next_keyring(admin, time=1))
    await chat(session, "one")
    liar.chain.pop()
    liar.keyring = verify_keyring(liar.chain[0], liar.silo, admin.public.fingerprint)
    liar.install(liar.next_keyring(admin, time=2))
    assert (await failure(session)).code == "forged"


async def test_an_older_keyring_is_stale(session: Session, liar: Liar, plan: Plan):
    admin = admin_of(plan)
    liar.install(liar.next_keyring(admin, time=1))
    await chat(session, "one")
    liar.chain.pop()
    liar.keyring = verify_keyring(liar.chain[0], liar.silo, admin.public.fingerprint)
    error = await failure(session)
    assert (error.code, error.detail) == ("stale", "keyring 2 is missing from the silo")
    assert session.home.read().keyring().document.version == 2


async def test_refreshing_finds_an_older_keyring_too(session: Session, liar: Liar, plan: Plan):
    admin = admin_of(plan)
    liar.install(liar.next_keyring(admin, time=1))
    await session.refresh()
    assert session.home.read().keyring().document.version == 2
    liar.chain.pop()
    liar.keyring = verify_keyring(liar.chain[0], liar.silo, admin.public.fingerprint)
    with pytest.raises(SiloError) as caught:
        await session.refresh()
    assert caught.value.code == "stale"


def spared(liar: Liar, admin: AdminKey) -> tuple[Signer, Signer]:
    """Put a keyring in force that certifies a spare; gives the identity and the spare."""
    spare = Signer()
    liar.install(liar.next_keyring(admin, spare=b32(spare.public)))
    return liar.identity, spare


def speak(liar: Liar, identity: Signer) -> None:
    """The silo has been started with that identity."""
    liar.identity = identity
    liar.keys = [liar.new_key()]


async def test_the_spare_takes_the_identity_s_place_for_good(enter, liar: Liar, plan: Plan, warnings: list[str]):
    identity, spare = spared(liar, admin_of(plan))
    session = await enter()
    await chat(session, "one")
    assert warnings == []
    speak(liar, spare)
    await chat(session, "two")
    assert [text for text in warnings if "spare identity" in text] == warnings
    assert len(warnings) == 1
    assert (session.profile.former, session.profile.identity) == ([b32(identity.public)], b32(spare.public))
    # What the former one signed before stays good, and it can say nothing new.
    assert [one.error for one in await (await enter()).history()] == [None, None]
    speak(liar, identity)
    for again in (session, await enter()):
        assert (await failure(again)).code == "wrong_silo"
    assert len(liar.records) == 2
    speak(liar, spare)
    await chat(await enter(), "three")
    assert len(warnings) == 1


async def test_the_former_identity_signs_no_more_receipts(session: Session, liar: Liar, plan: Plan):
    identity, spare = spared(liar, admin_of(plan))
    await session.refresh()
    speak(liar, spare)
    liar.receipt_signer = identity
    assert (await failure(session)).code == "forged"


async def test_the_next_keyring_drops_the_former_identity(enter, liar: Liar, plan: Plan):
    admin = admin_of(plan)
    identity, spare = spared(liar, admin)
    session = await enter()
    await session.refresh()
    speak(liar, spare)
    await session.refresh()
    # One that brings the former back, and it alone, is not kept.
    kept = liar.chain, liar.keyring
    liar.chain = [*liar.chain]
    liar.install(liar.next_keyring(admin, spare=None))
    with pytest.raises(SiloError) as caught:
        await session.refresh()
    assert caught.value.code == "wrong_silo"
    assert session.keyring.document.version == 2
    liar.chain, liar.keyring = kept
    third = Signer()
    liar.install(liar.next_keyring(admin, identity=b32(spare.public), spare=b32(third.public)))
    again = await enter()
    await again.refresh()
    assert again.keyring.document.version == 3
    speak(liar, third)
    await chat(again, "four")
    assert again.profile.former == [b32(identity.public), b32(spare.public)]


async def test_a_spare_that_no_keyring_certifies_is_another_silo(session: Session, liar: Liar):
    speak(liar, Signer())
    assert (await failure(session)).code in ("wrong_silo", "stale_key")
    assert session.profile.former == []


async def test_a_keyring_that_grew_old_is_told(enter, liar: Liar, plan: Plan, warnings: list[str]):
    liar.install(liar.next_keyring(admin_of(plan), time=liar.now() - 400 * 86_400_000))
    await (await enter()).refresh()
    assert not warnings
    await enter()
    assert warnings == ["the silo's keyring is 400 days old; ask the administrator whether it still holds"]


async def test_a_silo_that_never_agrees_is_left(session: Session, liar: Liar):
    await chat(session, "one")
    liar.instead["/chat"] = lambda _: refused("stale_head", head=None)
    with pytest.raises(Refused) as caught:
        await chat(session, "two")
    assert caught.value.code == "stale_head"
    assert sum(opened.header.path == "/chat" for opened in liar.seen) == 4
