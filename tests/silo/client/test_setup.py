"""The first run: what is made, what is proven first, and what is left when it goes wrong."""

import stat
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from silo.client.door import Broken, Refused
from silo.client.home import Home
from silo.client.setup import Plan, load_admin_key, parse_link, prove_admin_key, resume, set_up
from silo.crypto.encoding import b32, b64, hash_bytes, unb64
from silo.crypto.keyfile import is_locked, write_admin_key
from silo.crypto.keys import AdminKey, fingerprint
from silo.crypto.locks import Lock, lock_salt, stretch
from silo.crypto.unlocking import open_lock
from silo.errors import SiloError
from tests.harness import now
from tests.silo.liar import Liar, clear, refused


@pytest.fixture
def fresh(tmp_path: Path) -> Home:
    return Home(tmp_path / "fresh")


async def run(fresh: Home, liar: Liar, plan: Plan, warnings: list[str]):
    return await set_up(fresh, parse_link(liar.link), plan, now, warnings.append)


async def test_a_first_run(fresh: Home, liar: Liar, plan: Plan, warnings: list[str]):
    profile = await run(fresh, liar, plan, warnings)
    assert profile.state == "ready"
    assert fresh.read() == profile
    key = load_admin_key(plan.key_path, str)
    assert b32(key.public.fingerprint) == profile.genesis
    prove_admin_key(key, profile.keyring())
    assert stat.S_IMODE(plan.key_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(fresh.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in fresh.folder.iterdir()} == {0o600}
    assert len(warnings) == 1
    assert "no keyring" in warnings[0]


async def test_the_password_opens_the_account(fresh: Home, liar: Liar, plan: Plan, warnings: list[str]):
    sent: list[dict] = []
    honest = liar._setup

    def look(body: dict) -> tuple[int, dict]:
        sent.append(body)
        return honest(body)

    liar.instead["/setup"] = look
    profile = await run(fresh, liar, plan, warnings)
    (body,) = sent
    assert plan.password not in str(body)
    lock = Lock(**body["locks"][0])
    secret = stretch(plan.password, lock_salt(lock), liar.silo, hash_bytes(profile.genesis))
    unlocked = open_lock(lock, secret, liar.silo, hash_bytes(profile.genesis), unb32_id(profile.user))
    assert unlocked.account.seed == fresh.secrets(profile, str).account


def unb32_id(text: str) -> bytes:
    from silo.crypto.encoding import id_bytes

    return id_bytes(text)


async def test_both_files_under_passphrases(fresh: Home, liar: Liar, plan: Plan, warnings: list[str]):
    plan = replace(plan, passphrase="of the device", key_passphrase="of the key")
    profile = await run(fresh, liar, plan, warnings)
    assert not warnings
    assert is_locked(plan.key_path.read_text())
    load_admin_key(plan.key_path, lambda: "of the key")
    for path in (fresh.folder / "secrets.json", plan.key_path):
        assert "plain" not in path.read_text().replace('"plain": null', "")
    fresh.secrets(profile, lambda: "of the device")
    for typed, code in (("another", "wrong_passphrase"), ("", "bad_password")):
        for opens in (partial(load_admin_key, plan.key_path), partial(fresh.secrets, profile)):
            with pytest.raises(SiloError) as caught:
                opens(partial(str, typed))
            assert caught.value.code == code


@pytest.mark.parametrize(
    "link",
    [
        "",
        "hello",
        "http://localhost:6006",
        "http://localhost:6006/#setup.",
        "http://localhost:6006/#setup.AAAA",
        "ftp://localhost/#setup." + b64(bytes(80)),
        "http://#setup." + b64(bytes(80)),
        "http://localhost/?a=b#setup." + b64(bytes(80)),
        "http://localhost:99999999/#setup." + b64(bytes(80)),
        "http://localhost/#invite." + b64(bytes(80)),
        "http://localhost/#setup." + b64(bytes(80)) + "=",
        "http://localhost/#setup." + b64(bytes(81)),
    ],
)
def test_what_is_no_link_is_refused(link: str):
    with pytest.raises(SiloError) as caught:
        parse_link(link)
    assert caught.value.code == "bad_link"


def test_a_link():
    read = parse_link(" https://silo.example:8443/under/#setup." + b64(bytes(range(80))) + "\n")
    assert read.url == "https://silo.example:8443/under"
    assert (read.secret, read.identity, read.silo) == (
        bytes(range(32)),
        bytes(range(32, 64)),
        bytes(range(64, 80)),
    )


@pytest.mark.parametrize("name", ["", " alice", "alice ", "a\tb", "a\x1b[31m", "x" * 65, "\u202ealice"])
async def test_names_that_no_silo_takes(fresh: Home, liar: Liar, plan: Plan, warnings: list[str], name: str):
    with pytest.raises(SiloError) as caught:
        await run(fresh, liar, replace(plan, name=name), warnings)
    assert caught.value.code == "bad_request"
    assert not plan.key_path.exists()


async def test_another_silo_behind_the_link_gets_nothing(fresh: Home, liar: Liar, plan: Plan, warnings: list[str]):
    link = replace(parse_link(liar.link), identity=fingerprint(bytes(32)))
    with pytest.raises(SiloError) as caught:
        await set_up(fresh, link, plan, now, warnings.append)
    assert caught.value.code == "wrong_silo"
    assert not plan.key_path.exists()
    assert fresh.read_begun() is None
    assert not liar.seen


async def test_a_key_file_is_never_overwritten(fresh: Home, liar: Liar, plan: Plan, warnings: list[str]):
    plan.key_path.write_text("dear diary")
    with pytest.raises(SiloError) as caught:
        await run(fresh, liar, plan, warnings)
    assert caught.value.code == "bad_file"
    assert plan.key_path.read_text() == "dear diary"
    assert fresh.read_begun() is None
    assert not liar.seen


async def test_a_key_file_that_cannot_be_written_stops_it(fresh: Home, liar: Liar, plan: Plan, warnings: list[str]):
    with pytest.raises(SiloError) as caught:
        await run(fresh, liar, replace(plan, key_path=plan.key_path / "x" / "admin.key"), warnings)
    assert caught.value.code == "bad_file"
    assert not liar.seen


@pytest.mark.parametrize("code", ["setup_wrong", "setup_used", "limited", "bad_request"])
async def test_a_refusal_leaves_nothing(fresh: Home, liar: Liar, plan: Plan, warnings: list[str], code: str):
    liar.instead["/setup"] = lambda _: refused(code)
    with pytest.raises(Refused) as caught:
        await run(fresh, liar, plan, warnings)
    assert caught.value.code == code
    assert fresh.read_begun() is None
    assert not (fresh.folder / "secrets.json").exists()
    assert not plan.key_path.exists()
    liar.instead.clear()
    assert await resume(fresh, str, now, warnings.append) is None
    assert (await run(fresh, liar, plan, warnings)).state == "ready"


async def test_a_refusal_leaves_a_key_that_was_there(fresh: Home, liar: Liar, plan: Plan, warnings: list[str]):
    plan.key_path.write_text(write_admin_key(AdminKey(), "mine"))
    text = plan.key_path.read_text()
    liar.instead["/setup"] = lambda _: refused("limited")
    with pytest.raises(Refused):
        await run(fresh, liar, replace(plan, use_key=True), warnings)
    assert plan.key_path.read_text() == text


async def test_an_answer_that_was_lost_is_found_out(fresh: Home, liar: Liar, plan: Plan, warnings: list[str]):
    honest, lost = liar._answer, iter([True])

    def lose(opened, body: dict) -> bytes:
        answer = honest(opened, body)
        return b"" if next(lost, False) else answer

    liar._answer = lose  # pyright: ignore[reportAttributeAccessIssue]
    profile = await run(fresh, liar, plan, warnings)
    assert profile.state == "ready"
    assert [opened.header.path for opened in liar.seen] == ["/setup", "/setup", "/me"]


async def test_a_silo_that_goes_away_is_asked_next_time(fresh: Home, liar: Liar, plan: Plan, warnings: list[str]):
    honest = liar._answer

    def lose(opened, body: dict) -> bytes:
        honest(opened, body)
        return b""

    liar._answer = lose  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(Broken):
        await run(fresh, liar, plan, warnings)
    begun = fresh.read_begun()
    assert begun is not None
    with pytest.raises(SiloError) as caught:
        fresh.read()
    assert caught.value.code == "no_identity"
    liar._answer = honest  # pyright: ignore[reportAttributeAccessIssue]
    profile = await resume(fresh, str, now, warnings.append)
    assert profile is not None
    assert (profile.state, profile.user) == ("ready", begun.user)
    with pytest.raises(SiloError) as caught:
        await resume(fresh, str, now, warnings.append)
    assert caught.value.code == "has_identity"


async def test_a_stranger_cannot_make_it_forget(fresh: Home, liar: Liar, plan: Plan, warnings: list[str]):
    honest = liar._answer
    liar._answer = lambda opened, body: honest(opened, body) and b""  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(Broken):
        await run(fresh, liar, plan, warnings)
    for lie in (clear(503, "not_ready"), clear(400, "cannot_open")):
        liar.before = [lie]
        with pytest.raises(SiloError):
            await resume(fresh, str, now, warnings.append)
        assert fresh.read_begun() is not None


async def test_a_setup_that_never_arrived_is_begun_anew(fresh: Home, liar: Liar, plan: Plan, warnings: list[str]):
    liar.before = [b""] * 99
    with pytest.raises(Broken):
        await run(fresh, liar, plan, warnings)
    assert fresh.read_begun() is not None
    liar.before = []
    assert await resume(fresh, str, now, warnings.append) is None
    assert fresh.read_begun() is None
    assert (await run(fresh, liar, replace(plan, use_key=True), warnings)).state == "ready"


async def test_a_silo_that_sets_up_something_else(fresh: Home, liar: Liar, plan: Plan, warnings: list[str]):
    honest = liar._setup
    liar.instead["/setup"] = lambda body: (201, honest(body)[1] | {"user": b32(bytes(16))})
    with pytest.raises(SiloError) as caught:
        await run(fresh, liar, plan, warnings)
    assert caught.value.code == "bad_reply"
    with pytest.raises(SiloError):
        fresh.read()


def test_another_admin_key_does_not_open_the_vault(liar: Liar, plan: Plan, tmp_path: Path):
    from silo.crypto.keyring import first_keyring, verify_keyring

    admin = AdminKey()
    signed = first_keyring(admin, "alice", liar.silo, liar.identity.public, now())
    keyring = verify_keyring(signed, liar.silo, admin.public.fingerprint)
    prove_admin_key(admin, keyring)
    with pytest.raises(SiloError) as caught:
        prove_admin_key(AdminKey(), keyring)
    assert caught.value.code == "no_match"
    assert unb64(keyring.document.epochs[0].halves[0].sealed)
