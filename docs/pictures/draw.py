"""Draws the .dot files beside it as SVG that reads well on light and dark pages. Needs Graphviz's `dot`.

.venv/bin/python docs/pictures/draw.py           draw them all
.venv/bin/python docs/pictures/draw.py --check   fail where a picture is older than its source
"""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
STYLE = """<style>
.node path, .node polygon, .cluster path, .edge path { stroke: #57606a; fill: none }
.edge polygon { stroke: #57606a; fill: #57606a }
text { fill: #1f2328 }
.others path { stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) {
  .node path, .node polygon, .cluster path, .edge path { stroke: #9198a1 }
  .edge polygon { stroke: #9198a1; fill: #9198a1 }
  text { fill: #e6edf3 }
}
</style>"""


def mark(source: Path) -> str:
    """What ties a picture to its source."""
    return f"<!-- from {source.name} {hashlib.sha256(source.read_bytes()).hexdigest()[:16]} -->"


def draw(source: Path) -> str:
    """The picture of one source."""
    svg = subprocess.run(["dot", "-Tsvg", str(source)], check=True, capture_output=True, text=True).stdout
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (stroke|fill)="(black|none|transparent)"', "", svg)
    return re.sub(r"(<svg[^>]*>)", lambda found: f"{found[1]}\n{mark(source)}\n{STYLE}", svg, count=1, flags=re.DOTALL)


def main() -> int:
    """Draw or check; the exit code."""
    stale = []
    for source in sorted(HERE.glob("*.dot")):
        picture = source.with_suffix(".svg")
        if "--check" not in sys.argv:
            picture.write_text(draw(source), encoding="utf-8")
        elif not picture.exists() or mark(source) not in picture.read_text("utf-8"):
            stale.append(picture.name)
    for name in stale:
        print(f"{name} is older than its source; run docs/pictures/draw.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
