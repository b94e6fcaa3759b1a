"""Words of a model or of a silo, made harmless for a terminal: what could move the cursor, set a title, hide or
turn round what stands there is taken out. Line feeds and tabs stay.

    control characters and the sequences they begin    CSI and OSC whole, so that no debris is left
    bidirectional marks, overrides and isolates        CVE-2021-42574: they show text in another order
    tag characters, interlinear and variation marks    invisible text
"""

import re

_SEQUENCE = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]"  # CSI
    "|(?:\x1b[\\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]{0,4096}(?:\x07|\x1b\\\\|\x9c)"  # OSC, DCS, SOS, PM, APC
)
_DROP = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
# The beginning of a sequence at the end of a piece; more of it may be on the way.
_BEGUN = re.compile(
    "(?:\x1b|(?:\x1b\\[|\x9b)[0-?]{0,64}[ -/]{0,8}"
    "|(?:\x1b[\\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]{0,4096}\x1b?)$"
)


def inert(text: str) -> str:
    """`text` as it may be shown."""
    return _DROP.sub("", _SEQUENCE.sub("", text))


class InertStream:
    """The same for text that comes in pieces: a sequence may be cut anywhere."""

    def __init__(self) -> None:
        self._held = ""

    def push(self, piece: str) -> str:
        """What of it may be shown now."""
        text = self._held + piece
        begun = _BEGUN.search(text)
        cut = begun.start() if begun else len(text)
        self._held = text[cut:]
        return inert(text[:cut])

    def finish(self) -> str:
        """What was held back, at the end."""
        held, self._held = self._held, ""
        return inert(held)
