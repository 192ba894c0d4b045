"""Files that are whole or absent, and what identifies their content."""

import errno
import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock


def atomic_write(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that it is there whole or not at all, also after a power failure; its folder is made if needed.

    Raises:
        OSError: it cannot be written; what was there before is unchanged. Where the disk is full, it says how much
            is needed and how much is free.
    """
    temporary = path.with_name(f".{path.name[:50]}.{os.getpid()}.tmp")  # no longer than a file system allows
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        problem, where = error.strerror or str(error), error.filename
        if error.errno in (errno.ENOSPC, errno.EDQUOT) and path.parent.is_dir():
            temporary.unlink(missing_ok=True)  # so that its space counts as free below
            needed, free = memoryview(content).nbytes, shutil.disk_usage(path.parent).free
            problem += f": it needs {needed / 2**20:.1f} MiB, and {free / 2**20:.1f} MiB are free"
        # Raised by this module, it is shown without a traceback.
        raise OSError(error.errno, problem, str(path) if where in (None, str(temporary)) else where) from error
    finally:
        with suppress(OSError):  # already renamed, or the folder does not exist
            temporary.unlink()


def digest(content: bytes | memoryview) -> str:
    """Give the sha256 of some bytes, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def lock_of(path: Path) -> FileLock:
    """Give the lock of a user's processes, on this machine, that make a file or folder.

    It is not beside it, where results lie. Another user could not open the lock's file.
    """
    return FileLock(
        Path(tempfile.gettempdir()) / f"igl-dt-{os.getuid()}-{digest(str(path.resolve()).encode())[:16]}.lock"
    )
