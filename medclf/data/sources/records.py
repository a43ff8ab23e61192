from dataclasses import dataclass, field
from pathlib import PurePosixPath

from medclf.config.bounded_regex import bounded_search
from medclf.config.schema import SplitName


@dataclass(frozen=True)
class FoundImage:
    """One image: path below root (with ``/``), class, patient, the part that the source gives or None, and what else
    the source tells of it by name, such as sex or site."""

    path: str
    label: str
    group: str
    split: SplitName | None
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FoundImages:
    """The images of a source, sorted by path; the classes in order; and how many files were left out, and why.

    ``skipped`` are paths of files that are not images, by the end of their name or what they are (a named pipe).
    """

    images: list[FoundImage]
    classes: list[str]
    excluded: int = 0
    outside: int = 0
    skipped: dict[str, list[str]] = field(default_factory=dict)


def match_group(path: str, pattern: str | None) -> str:
    """Return the patient in a file's name, or its whole path: an image that is a patient of its own."""
    found = bounded_search("dataset.group_pattern", pattern, PurePosixPath(path).name) if pattern else None
    if found is None:
        return path
    return (found.group(1) if found.re.groups else found.group(0)) or path
