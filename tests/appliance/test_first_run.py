"""First run is all or nothing, whoever goes away or dies in the middle of it."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from silo.crypto.encoding import b32, b64
from tests.appliance.company import behind, send_only
from tests.conftest import Serve
from tests.harness import Device, Served

NewDevice = Callable[[str], Device]


def usable(served: Served, device: Device, link: str) -> str:
    """What became of a first run: `done` where the device belongs to the silo, `open` where it may still be run."""
    if device.ask("GET", "/me").status == 200:
        assert device.chat("hello").end["kept"]["index"] == 1
        return "done"
    assert device.ask("GET", "/me").code == "not_ready"
    with behind(served) as database:
        for table in ("keyring", "user", "device", "lock", "record"):
            assert database.execute(f'SELECT count(*) FROM "{table}"').fetchone() == (0,)
    other = Device(link).set_up()
    assert other.chat("hello").end["kept"]["index"] == 1
    other.http.close()
    return "open"


def test_clients_that_go_away_at_any_moment_of_first_run(serve: Serve, new_device: NewDevice) -> None:
    """Each a little later than the one before, until one of them has gone through; none may block the silo."""
    served = serve(SILO_SHAPE="fast")
    device = new_device(served.link)
    device.http.timeout = 5
    body = device.setup_body()
    for attempt in range(200):
        connection = send_only(device, device.request("POST", "/setup"), body, anonymous=True)
        time.sleep(attempt * 0.0001)
        connection.close()
        if device.ask("GET", "/me").status == 200:
            break
    assert usable(served, device, served.link) == "done"
    assert not list(served.data.glob("admin.pin.proposed"))


def test_a_first_run_killed_at_any_moment(serve: Serve, new_device: NewDevice, tmp_path: Path) -> None:
    served = serve(SILO_SHAPE="fast")
    device = new_device(served.link)
    for delay in range(0, 30, 3):
        body = device.setup_body()
        connection = send_only(device, device.request("POST", "/setup"), body, anonymous=True)
        time.sleep(delay / 1000)
        served.kill()
        connection.close()
        served.start()
        device.moved(served.url)
        if "#setup." not in served.link:
            break
        # A new start makes a new link, and nothing of the first run is left.
        device = new_device(served.link)
    usable(served, device, served.link)


@pytest.mark.parametrize("stored", [True, False])
def test_a_crash_between_the_keyring_and_the_pin(serve: Serve, new_device: NewDevice, stored: bool) -> None:
    """As it would find things: a proposal beside the place of the pin, and the keyring stored or not yet."""
    served = serve(SILO_SHAPE="fast")
    device = new_device(served.link)
    proposed = served.data / "admin.pin.proposed"
    if stored:
        device.set_up()
        served.stop()
        (served.data / "admin.pin").replace(proposed)
    else:
        served.stop()
        proposed.write_text(b32(device.admin.public.fingerprint) + "\n")
    served.start()
    assert not proposed.exists()
    assert usable(served, device.moved(served.url), served.link) == ("done" if stored else "open")


def test_no_keyring_makes_its_own_pin(serve: Serve, new_device: NewDevice) -> None:
    """The pin gone, and a proposal of another key beside the keyring: nothing is trusted, nothing is sealed."""
    served = serve(SILO_SHAPE="fast")
    device = new_device(served.link).set_up()
    served.stop()
    (served.data / "admin.pin").rename(served.data / "away")
    (served.data / "admin.pin.proposed").write_text(b32(bytes(32)) + "\n")
    served.start()
    device.moved(served.url)
    assert device.chat("hello").code == "keyring_broken"
    assert not (served.data / "admin.pin").exists()
    assert new_device(f"{served.url}/#setup.{fragment(device)}").ask("GET", "/me").code == "unknown_device"
    with behind(served) as database:
        assert database.execute("SELECT count(*) FROM record").fetchone() == (0,)


def fragment(device: Device) -> str:
    """A setup link's fragment, made from what a device knows."""
    return b64(device.secret + device.pin + device.silo)
