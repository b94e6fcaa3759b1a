"""The main job through the door: a reply comes, sealed, and so does its record."""

import json

from tests.harness import Device


def test_a_reply_streams_and_its_record_opens(device: Device) -> None:
    answered = device.chat("three names for a pelican")
    assert answered.status == 200
    assert answered.text
    assert answered.end["finish"] == "stop"
    [record] = device.history()
    content = json.loads(record.content)
    assert content["reply"]["content"] == answered.text
    assert json.loads(content["turn"])["messages"][0]["content"] == "three names for a pelican"
    assert answered.end["kept"]["index"] == record.place.index == 1
