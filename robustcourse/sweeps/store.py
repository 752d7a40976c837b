"""A folder of finished members: a file for each, and one with the settings that all of them share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from robustcourse.files import replacing
from robustcourse.runtime import changes, described

CURVES = ("moments", "loss", "fitted", "hits", "retired")  # what there is of a member besides its weights
Record = dict[str, Tensor]


class Store:
    """Where the members of one sweep lie, in this process and in those of all workers.

    Args:
        folder: it is made where it is missing.
        settings: what all members share.

    Raises:
        ValueError: the folder holds members of a sweep with other settings, or of none that is known.
    """

    def __init__(self, folder: str | Path, **settings: object) -> None:
        self.folder = Path(folder).resolve()  # a worker may stand elsewhere
        self.settings = {name: described(value) for name, value in settings.items()}
        self._facts = self.folder / "sweep.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._facts.exists() and not any(self.folder.glob("*.safetensors")):
            return
        try:
            was = dict(json.loads(self._facts.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError) as error:
            raise ValueError(f"{self._facts} is missing, cut off or of no sweep; give another folder") from error
        if said := changes(was, self.settings):
            raise ValueError(f"folder {self.folder} is of another sweep: {said}; give another folder")

    def path(self, member: object) -> Path:
        """The file of a member."""
        return self.folder / f"{member}.safetensors"

    def has(self, member: object) -> bool:
        """Whether a member is stored: a file is there once it is whole."""
        return self.path(member).exists()

    def read(self, member: object) -> Record:
        """What there is of a stored member besides its weights; a ValueError if its file is no good."""
        return read(self.path(member), CURVES)

    def write(self, member: object, record: Record) -> None:
        """Store a member; an OSError if it cannot be written."""
        try:
            if not self._facts.exists():
                with replacing(self._facts) as file:
                    file.write_text(json.dumps(self.settings, indent=1), encoding="utf-8")
            with replacing(self.path(member)) as file:
                save_file(record, file)
        except (OSError, SafetensorError) as error:  # the second one is what safetensors says to a full disk
            stored = len(list(self.folder.glob("*.safetensors")))
            raise OSError(
                f"member {member} could not be stored ({error}); {stored} are stored in {self.folder}. "
                "Make room and call again, which goes on from there"
            ) from error


def read(path: Path, names: Iterable[str] | None = None) -> Record:
    """The record in a file, all of it or these tensors; a ValueError if the file is cut off or foreign."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in names or file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path} is cut off or no member of a sweep; delete it to train it again") from error
