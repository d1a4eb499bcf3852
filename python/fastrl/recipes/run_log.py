"""Logs of a run: one JSON object a line, cut back to the last checkpoint before going on."""

import json
from pathlib import Path
from typing import Any

from fastrl._dispatch import argument_error

Record = dict[str, Any]


class RunLog:
    """A file of JSON lines that grows at its end.

    Args:
        path: The file.
        offset: Bytes to keep; what a killed process wrote after its last checkpoint goes. None
            keeps all.
    """

    def __init__(self, path: Path, offset: int | None = 0) -> None:
        self._path = path
        size = path.stat().st_size if path.exists() else 0
        if offset is not None and size < offset:
            raise argument_error(
                "RunLog", "path", f"hold the {offset} bytes of the checkpoint", f"{path} of {size}"
            )
        with path.open("ab") as file:
            if offset is not None:
                file.truncate(offset)
            self.offset = file.seek(0, 2)

    def write(self, record: Record) -> None:
        """Adds a line; it survives the end of this process."""
        with self._path.open("ab") as file:
            self.offset += file.write(json.dumps(record).encode() + b"\n")


def read_log(path: Path) -> list[Record]:
    """The records of a log; a last line that a killed process left unfinished is skipped."""
    lines = path.read_bytes().split(b"\n")[:-1]
    records: list[Record] = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise argument_error("read_log", "path", "hold JSON objects", f"{path}, line {number}")
        records.append(record)
    return records
