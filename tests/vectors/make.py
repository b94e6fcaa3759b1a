"""Writes the vector files: python tests/vectors/make.py [--again NAME …]

Functions under test take no nonce and no seed, so every run would make other bytes. Files are therefore
frozen once they are committed: what exists is left alone, unless it is named behind --again.
"""

import argparse
from pathlib import Path

import form
import lies
import lies.accounts
import lies.blocks
import lies.deleting
import lies.door
import lies.frames
import lies.keyring
import lies.locks
import lies.records


def make(folder: Path, again: list[str]) -> list[str]:
    """Write what is missing in `folder`, and what is named in `again`; gives the names written.

    Raises KeyError for a name that is on no list.
    """
    unknown = [name for name in again if name not in lies.LIES]
    if unknown:
        raise KeyError(", ".join(unknown))
    written: list[str] = []
    for name, one in lies.LIES.items():
        path = folder / f"{name}.txt"
        if path.exists() and name not in again:
            continue
        with path.open("w" if name in again else "x", encoding="utf-8", newline="\n") as file:
            file.write(form.write(one.fields()))
        written.append(name)
    return written


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Writes the vector files that are missing.")
    parser.add_argument("--again", nargs="+", default=[], metavar="NAME", help="replace these frozen files")
    parser.add_argument("--folder", type=Path, default=form.FOLDER)
    options = parser.parse_args()
    try:
        written = make(options.folder, options.again)
    except KeyError as error:
        parser.error(f"no such vector: {error.args[0]}")
    left = len(lies.LIES) - len(written)
    print(f"wrote {len(written)}, left {left} frozen ones alone")


if __name__ == "__main__":
    main()
