"""Files that are whole or absent, and what identifies their content."""

import hashlib
import os
from pathlib import Path


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that it is there whole or not at all, also after a power failure; its folder is made if needed.

    Raises:
        OSError: it cannot be written; what was there before is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def digest(content: bytes | memoryview) -> str:
    """Give the sha256 of some bytes, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
