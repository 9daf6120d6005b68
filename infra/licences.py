"""The licences of what a lock pins, as the installed packages state them: `make licences`.

    python -m infra.licences requirements/cpu.txt requirements/dev.txt

Prints name, version and licence of each package, and then those that want a look: a licence that the metadata do not
state, one with conditions on passing the package on (copyleft), or one that is not open.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

LONGEST = 80  # of the first line of a field `License`: some hold the whole text, which begins with its name
LOOK = {
    "unknown": re.compile(r"^$"),
    "copyleft": re.compile(r"GPL|GNU|\bMPL|Mozilla|\bEPL|Eclipse|CDDL|EUPL|CC-BY-SA", re.IGNORECASE),
    "not open": re.compile(r"proprietary|end user|\bEULA\b|NVIDIA", re.IGNORECASE),
}


class Pinned(NamedTuple):
    """A package of a lock. `licence` is "" where its metadata state none, and None where it is not installed, or in
    another version."""

    name: str
    version: str
    licence: str | None

    @property
    def wants(self) -> str | None:
        """What to look at: of LOOK, or "not installed"."""
        if self.licence is None:
            return "not installed"
        return next((what for what, words in LOOK.items() if words.search(self.licence)), None)


def licence(of: metadata.PackageMetadata) -> str:
    """What a package's metadata say: the SPDX expression, else `License` and the classifiers; "" for nothing."""
    if expression := of.get_all("License-Expression"):
        return expression[0]
    stated = "".join(of.get_all("License") or []).strip().partition("\n")[0]
    if len(stated) > LONGEST or re.match(r"unknown|copyright", stated, re.IGNORECASE):
        stated = ""
    classified = [each for each in of.get_all("Classifier") or [] if each.startswith("License :: ")]
    names = [
        name for each in classified if (name := each.rpartition(" :: ")[2]) not in ("OSI Approved", "DFSG approved")
    ]
    return "; ".join(dict.fromkeys([*([stated] if stated else []), *names]))


def pinned(locks: Sequence[Path]) -> Iterator[Pinned]:
    """What locks pin for this Python and machine, each package once, by name."""
    lines = [line.removesuffix(" \\") for lock in locks for line in lock.read_text().splitlines() if line[:1].strip()]
    wanted = {each.name: each for each in map(Requirement, lines) if not each.marker or each.marker.evaluate()}
    for name, each in sorted(wanted.items()):
        version = str(each.specifier).removeprefix("==")
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            found = None
        yield Pinned(name, version, licence(found.metadata) if found and found.version == version else None)


def main(locks: Sequence[str]) -> None:
    """Print the licences of these locks."""
    packages = list(pinned([Path(lock) for lock in locks]))
    for package in packages:
        print(f"{package.name:<40} {package.version:<20} {package.licence or '-'}")
    for what in [*LOOK, "not installed"]:
        if those := [package for package in packages if package.wants == what]:
            print(f"\n{what}: {len(those)} of {len(packages)}")
            for package in those:
                print(f"    {package.name} {package.version}" + (f": {package.licence}" if package.licence else ""))


if __name__ == "__main__":
    main(sys.argv[1:])
