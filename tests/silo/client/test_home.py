"""The folder of a device, and where its secrets lie."""

import os
import stat
import sys
import threading
from pathlib import Path

import keyring
import keyring.backend
import keyring.errors
import msgspec
import pytest

from silo.client.home import Home, Profile, Secrets, default_folder, default_passphrase_file
from silo.crypto.channel import Seen
from silo.crypto.encoding import b32, new_id
from silo.crypto.keys import recipient_of
from silo.errors import SiloError
from silo.files import write_private

SECRETS = Secrets(b"a" * 32, b"b" * 32, b"c" * 32)


def profile() -> Profile:
    return Profile(
        format="securesilo/1 identity",
        state="begun",
        url="http://localhost:6006",
        silo=new_id(),
        identity=b32(bytes(32)),
        genesis=b32(bytes(32)),
        keyrings=[],
        user=new_id(),
        name="alice",
        account=b32(recipient_of(SECRETS.account).fingerprint),
        device=new_id(),
        since=1,
        secrets="file",
    )


@pytest.fixture
def empty(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


class Memory(keyring.backend.KeyringBackend):
    """A keyring that keeps what it is given while the test runs."""

    priority = 5  # pyright: ignore[reportAssignmentType]

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


class PlaintextKeyring(Memory):
    """Has the name of one that keeps a plain file."""


class Forgetful(Memory):
    def set_password(self, service: str, username: str, password: str) -> None:
        pass


class Locked(Memory):
    def set_password(self, service: str, username: str, password: str) -> None:
        raise keyring.errors.KeyringLocked


def use(monkeypatch: pytest.MonkeyPatch, backend: Memory) -> None:
    monkeypatch.setattr(keyring, "get_keyring", lambda: backend)
    monkeypatch.setattr(keyring, "set_password", backend.set_password)
    monkeypatch.setattr(keyring, "get_password", backend.get_password)
    monkeypatch.setattr(keyring, "delete_password", backend.delete_password)


def test_a_real_keyring_holds_the_secrets(empty: Home, monkeypatch: pytest.MonkeyPatch, warnings: list[str]):
    backend = Memory()
    use(monkeypatch, backend)
    kept = empty.begin(profile(), SECRETS, None, warnings.append)
    assert (kept.secrets, warnings) == ("keyring", [])
    assert vars(empty.secrets(kept, str)) == vars(SECRETS)
    for path in empty.folder.iterdir():
        assert b"YWFhYWFh" not in path.read_bytes()
    empty.discard()
    assert not backend.kept


@pytest.mark.parametrize("backend", [PlaintextKeyring(), Forgetful(), Locked()])
def test_a_keyring_that_does_not_keep_is_none(
    empty: Home, monkeypatch: pytest.MonkeyPatch, warnings: list[str], backend: Memory
):
    use(monkeypatch, backend)
    kept = empty.begin(profile(), SECRETS, None, warnings.append)
    assert kept.secrets == "file"
    assert len(warnings) == 1
    assert vars(empty.secrets(kept, str)) == vars(SECRETS)
    assert not backend.kept


def test_a_keyring_that_lost_them(empty: Home, monkeypatch: pytest.MonkeyPatch, warnings: list[str]):
    backend = Memory()
    use(monkeypatch, backend)
    kept = empty.begin(profile(), SECRETS, None, warnings.append)
    backend.kept.clear()
    with pytest.raises(SiloError) as caught:
        empty.secrets(kept, str)
    assert caught.value.code == "bad_file"


def test_a_passphrase_comes_before_a_keyring(empty: Home, monkeypatch: pytest.MonkeyPatch, warnings: list[str]):
    backend = Memory()
    use(monkeypatch, backend)
    kept = empty.begin(profile(), SECRETS, "a passphrase", warnings.append)
    assert (kept.secrets, backend.kept, warnings) == ("passphrase", {}, [])
    assert vars(empty.secrets(kept, lambda: "a passphrase")) == vars(SECRETS)


@pytest.mark.parametrize("change", ["account", "device"])
def test_secrets_of_another_are_refused(empty: Home, warnings: list[str], change: str):
    kept = empty.begin(profile(), SECRETS, None, warnings.append)
    other = {"account": b32(bytes(32)), "device": new_id()}[change]
    with pytest.raises(SiloError) as caught:
        empty.secrets(msgspec.structs.replace(kept, **{change: other}), str)
    assert caught.value.code == "bad_file"


def test_one_identity_a_folder(empty: Home, warnings: list[str]):
    empty.begin(profile(), SECRETS, None, warnings.append)
    with pytest.raises(SiloError) as caught:
        empty.begin(profile(), SECRETS, None, warnings.append)
    assert caught.value.code == "has_identity"


def test_an_identity_in_use_is_not_discarded(empty: Home, warnings: list[str]):
    empty.begin(profile(), SECRETS, None, warnings.append)
    empty.update(lambda one: msgspec.structs.replace(one, state="ready"))
    with pytest.raises(SiloError) as caught:
        empty.discard()
    assert caught.value.code == "has_identity"


def test_changes_by_many_at_once_are_all_kept(empty: Home, warnings: list[str]):
    empty.begin(profile(), SECRETS, None, warnings.append)

    def count(one: Profile) -> Profile:
        at = one.head.at if one.head else 0
        return msgspec.structs.replace(one, head=Seen(at=at + 1, hash=b32(bytes(32))))

    threads = [threading.Thread(target=empty.update, args=[count]) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    changed = empty.read_begun()
    assert changed is not None
    assert changed.head is not None
    assert changed.head.at == 20


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"\xff", b'{"format":"securesilo/1 identity","format":1}'])
def test_a_damaged_identity_is_named(empty: Home, text: bytes):
    empty.make()
    (empty.folder / "identity.json").write_bytes(text)
    with pytest.raises(SiloError) as caught:
        empty.read()
    assert caught.value.code == "bad_file"
    assert "identity.json" in caught.value.detail


def test_no_identity(empty: Home):
    with pytest.raises(SiloError) as caught:
        empty.read()
    assert caught.value.code == "no_identity"


def test_the_folder_is_for_its_person_alone(tmp_path: Path):
    wide = tmp_path / "wide"
    wide.mkdir(mode=0o755)
    Home(wide).make()
    assert stat.S_IMODE(wide.stat().st_mode) == 0o700


def test_a_folder_in_other_use_is_left_alone(tmp_path: Path):
    wide = tmp_path / "documents"
    wide.mkdir(mode=0o755)
    (wide / "letter.txt").write_text("dear")
    with pytest.raises(SiloError) as caught:
        Home(wide).make()
    assert caught.value.code == "bad_file"
    assert stat.S_IMODE(wide.stat().st_mode) == 0o755


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "file"
    write_private(path, b"before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        write_private(path, b"after")
    assert path.read_bytes() == b"before"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_new_file_takes_no_others_place(tmp_path: Path):
    path = tmp_path / "file"
    write_private(path, b"before", new=True)
    with pytest.raises(FileExistsError):
        write_private(path, b"after", new=True)
    assert path.read_bytes() == b"before"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_where_a_device_lives(monkeypatch: pytest.MonkeyPatch):
    assert default_folder({"SILO_HOME": "/x"}) == Path("/x")
    monkeypatch.setattr(sys, "platform", "linux")
    assert default_folder({"XDG_DATA_HOME": "/data"}) == Path("/data/silo")
    assert default_folder({"XDG_DATA_HOME": "data"}) == Path.home() / ".local/share/silo"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert default_folder({}) == Path.home() / "Library/Application Support/silo"
    assert default_passphrase_file({}) is None
    assert default_passphrase_file({"SILO_PASSPHRASE_FILE": "/p"}) == Path("/p")
