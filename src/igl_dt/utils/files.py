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
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(error.errno, error.strerror, str(path)) from error  # of this module: shown without traceback
        temporary.unlink(missing_ok=True)  # what it takes is free, too
        needed, free = memoryview(content).nbytes, shutil.disk_usage(path.parent).free
        space = f"it needs {needed / 2**20:.1f} MiB, and {free / 2**20:.1f} MiB are free"
        raise OSError(error.errno, f"{os.strerror(error.errno)}: {space}", str(path)) from error
    finally:
        with suppress(OSError):  # of a folder that is none
            temporary.unlink()


def digest(content: bytes | memoryview) -> str:
    """Give the sha256 of some bytes, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def lock_of(path: Path) -> FileLock:
    """Give the lock of the processes of this machine that make a file or folder: not beside it, where results lie."""
    return FileLock(Path(tempfile.gettempdir()) / f"igl-dt-{digest(str(path.resolve()).encode())[:16]}.lock")
