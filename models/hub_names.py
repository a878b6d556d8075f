"""What the hub calls a model, as a name that a user gives or as a folder of its cache."""

import re
from pathlib import Path

# A model's folder in the hub's cache.
_SNAPSHOT = re.compile(r"models--(?P<id>[^/]+)/snapshots/(?P<revision>[0-9a-f]{40})\Z")


def snapshot_of(folder: Path) -> tuple[str, str] | None:
    """The hub id and the commit of a folder in the hub's cache, or None for another folder."""
    match = _SNAPSHOT.search(folder.resolve().as_posix())
    return (match["id"].replace("--", "/"), match["revision"]) if match else None


def is_hub_id(name: str) -> bool:
    """Whether a name has the form org/name, and is not a path."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))
