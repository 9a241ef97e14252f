"""What has become dearer between two commits, by the figures that `all.py --trend FILE` has kept.

    python benchmarks/compare.py FILE A B

Prints each figure of both with its change, and exits with 1 where one has grown by more than a tenth.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

DEARER = 1.1


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    _, file, before, after = sys.argv
    kept = {entry["commit"]: entry["figures"] for entry in map(json.loads, Path(file).read_text().splitlines())}
    if missing := [commit for commit in (before, after) if commit not in kept]:
        sys.exit(f"{file} has no figures of {', '.join(missing)}; it has those of {', '.join(kept) or 'no commit'}.")
    worse = []
    for name, was in kept[before].items():
        now = kept[after].get(name)
        if now is None or not was:
            continue
        print(f"{name:45} {was:>9} {now:>9}  {now / was:.2f}")
        if now / was > DEARER:
            worse.append(name)
    if worse:
        sys.exit(f"More than a tenth dearer: {', '.join(worse)}.")


if __name__ == "__main__":
    main()
