"""Takes what fits our building blocks from a copy of Wycheproof: python take.py FOLDER/testvectors_v1

One file a primitive, one case a line; bytes in base64url. Cases that our wrappers cannot be given (another key size, an
output of kilobytes) are left out, and so is what a case derives from its other fields.
"""

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def spelled(text: str) -> str:
    return base64.urlsafe_b64encode(bytes.fromhex(text)).decode().rstrip("=")


def cases(folder: Path, name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(group, case) of one of Wycheproof's files."""
    for group in json.loads((folder / f"{name}_test.json").read_text("utf-8"))["testGroups"]:
        for case in group["tests"]:
            yield group, case


def take(case: dict[str, Any], *keys: str, **more: Any) -> dict[str, Any]:
    """The case's number, what it shows, whether it is valid, and these of its fields."""
    flags = case.get("flags", [])
    kept = {key: spelled(case[key]) for key in keys if key in case}
    return {"id": case["tcId"], "flags": flags, "result": case["result"], **kept, **more}


def write(name: str, taken: list[dict[str, Any]]) -> None:
    lines = ",\n".join(json.dumps(one, separators=(",", ":")) for one in taken)
    (HERE / f"{name}.json").write_text(f"[\n{lines}\n]\n", "utf-8")
    print(name, len(taken))


def main(folder: Path) -> None:
    aes = [
        take(case, "key", "iv", "aad", "msg", "ct", "tag")
        for group, case in cases(folder, "aes_gcm")
        if (group["keySize"], group["ivSize"], group["tagSize"]) == (256, 96, 128)
    ]
    ed25519 = [
        take(case, "msg", "sig", pk=spelled(group["publicKey"]["pk"])) for group, case in cases(folder, "ed25519")
    ]
    # Ours gives 32 bytes: what is longer is compared with its beginning.
    hkdf = []
    for _, case in cases(folder, "hkdf_sha256"):
        if case["result"] == "valid":
            hkdf.append(take({**case, "okm": case["okm"][:64]}, "ikm", "salt", "info", "okm"))
    x25519 = [take(case, "public", "private", "shared") for _, case in cases(folder, "x25519")]
    keygen = [take(case, "seed", "ek") for _, case in cases(folder, "mlkem_768_keygen_seed")]
    decaps = [take(case, "seed", "c", "K") for _, case in cases(folder, "mlkem_768")]
    encaps = [take(case, "ek") for _, case in cases(folder, "mlkem_768_encaps")]
    named = {"aes-gcm": aes, "ed25519": ed25519, "hkdf-sha256": hkdf, "x25519": x25519}
    named |= {"mlkem-768-keygen": keygen, "mlkem-768-decaps": decaps, "mlkem-768-encaps": encaps}
    for name, taken in named.items():
        write(name, taken)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
