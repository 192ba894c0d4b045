"""Archives of images: downloaded, verified and unpacked; files and folders appear complete or not at all."""

import errno
import gzip
import logging
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

import pooch
import requests

from igl_dt.data.parameters import ArchiveParameters, FetchingParameters
from igl_dt.utils.files import lock_of
from igl_dt.utils.progress import Progress

logger = logging.getLogger(__name__)

RETRIES = 2
TIMEOUT = 60
"""Seconds without an answer of the server."""
MIB = 2**20

DAMAGE = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError)
"""Exceptions of Python's archive modules for unreadable files."""


class FetchingError(RuntimeError):
    """An archive cannot be downloaded, verified or unpacked."""


def fetch_archives(parameters: FetchingParameters, root: Path) -> None:
    """Download and unpack archives; existing folders are left as they are.

    Args:
        parameters: the archives, and the folder where they are kept.
        root: folder of the data set.

    Raises:
        FetchingError: no archives are configured; the user has to download one first; or the network, the disk or an
            archive fails. The message names the fix.
    """
    if not parameters.archives:
        raise FetchingError(
            "this environment has nothing to download: fetching.archives is empty. pascal and cityscapes have archives "
            f"(--env=pascal); the images of other environments belong in {root}, see docs/environments.md"
        )
    folder = Path(parameters.folder)
    wanted = []
    for archive in parameters.archives:
        if (root / archive.target).exists():
            logger.info("%s exists and is left as it is; remove it to unpack it again", root / archive.target)
        else:
            wanted.append(archive)
    if absent := [archive for archive in wanted if archive.url is None and not (folder / archive.file).is_file()]:
        raise FetchingError(
            f"{' and '.join(archive.file for archive in absent)} cannot be downloaded without an account: register at "
            f"{' and '.join(dict.fromkeys(str(archive.page) for archive in absent))}, download to {folder}, and rerun "
            "the command, which unpacks what is there"
        )
    for archive in wanted:
        target = root / archive.target
        try:
            with lock_of(folder / archive.file):  # of two commands at once, one downloads and unpacks
                if target.exists():
                    continue
                _get(archive, folder / archive.file)
                logger.info("unpacking %s into %s", folder / archive.file, target)
                _unpack(folder / archive.file, archive.member, target)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            remedy = "free some space" if full else "fix this"
            raise FetchingError(
                f"{archive.file} cannot be downloaded to {folder} and unpacked into {target}: {error}; "
                f"{remedy}, and rerun the command"
            ) from error


def _get(archive: ArchiveParameters, path: Path) -> None:
    """Download the archive unless it is there and its checksum matches."""
    if path.is_file():
        if archive.checksum is None:
            return
        algorithm, _, expected = archive.checksum.partition(":")
        found = pooch.file_hash(str(path), algorithm)
        if found == expected:
            return
        wrong = f"{path} is incomplete or another file: its {algorithm} is {found}, not {expected}"
        if archive.url is None:
            raise FetchingError(f"{wrong}; download it again from {archive.page}")
        logger.warning("%s; downloading it again", wrong)
    _download(archive, path)


def _download(archive: ArchiveParameters, path: Path) -> None:
    url = str(archive.url)
    by_hand = f"Or download it in another way to {path.parent}, and rerun the command"
    pooch.get_logger().setLevel(logging.WARNING)  # pooch would name the temporary folder
    logger.info("downloading %s to %s", url, path)
    with _beside(path) as folder:
        dog = pooch.create(
            folder, "", registry={path.name: archive.checksum}, urls={path.name: url}, retry_if_failed=RETRIES
        )
        try:
            with closing(_Received(path.name)) as received:
                downloader = pooch.HTTPDownloader(
                    progressbar=received,
                    chunk_size=MIB,
                    timeout=TIMEOUT,
                    headers={"Accept-Encoding": "identity"},  # the checksum is that of the file as stored
                )
                dog.fetch(path.name, downloader=downloader)
        except requests.HTTPError as error:
            raise FetchingError(
                f"{url}: the server answered: {error}. Try later, or correct the url. {by_hand}"
            ) from error
        except requests.exceptions.ChunkedEncodingError as error:
            raise FetchingError(
                f"{url}: truncated, as the connection was lost: {error}. Try again. {by_hand}"
            ) from error
        except requests.RequestException as error:
            raise FetchingError(
                f"{url}: no network, or the server does not answer: {error}. Check the network. {by_hand}"
            ) from error
        except ValueError as error:  # pooch's, with both checksums
            raise FetchingError(f"{url}: wrong checksum: {error} Try again. {by_hand}") from error
        (folder / path.name).replace(path)


class _Received:
    """Progress of a download, as pooch reports it: ``total`` is set at the start of each attempt."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._progress: Progress | None = None

    @property
    def total(self) -> int:
        return self._total

    @total.setter
    def total(self, total: int) -> None:
        self.close()
        self._total, self._received, self._shown = total, 0, 0
        self._progress = Progress(self._name, 0, total // MIB, 1, "MiB", "MiB")

    def update(self, count: int) -> None:
        self._received += count
        done = min(self._received, self._total) // MIB
        if self._progress is not None and done > self._shown:
            self._shown = done
            self._progress.update(done, {})

    def reset(self) -> None:
        self._received = 0

    def close(self) -> None:
        if self._progress is not None:
            self._progress.close()


def _unpack(path: Path, member: str, target: Path) -> None:
    """Unpack the folder ``member`` of an archive as the folder ``target``."""
    try:
        with zipfile.ZipFile(path) if _is_zip(path) else tarfile.open(path) as archive:
            if isinstance(archive, tarfile.TarFile):
                # Drops owners and special modes; missing in the first releases of Python 3.11.
                archive.extraction_filter = getattr(tarfile, "data_filter", lambda entry, _: entry)
            entries = archive.infolist() if isinstance(archive, zipfile.ZipFile) else archive.getmembers()
            for entry in entries:
                _check(path, entry)
            chosen = [entry for entry in entries if PurePosixPath(_name(entry)).is_relative_to(member)]
            if not chosen:
                raise FetchingError(f"{path} has no folder {member}: is it another archive of the same name?")
            progress = Progress(f"unpacking {path.name}", 0, len(chosen), 1, "file", "files")
            with _beside(target) as folder, closing(progress):
                for number, entry in enumerate(chosen, start=1):
                    archive.extract(entry, folder)  # type: ignore[arg-type]  # an entry of this archive
                    progress.update(number, {})
                (folder / member).rename(target)
    except DAMAGE as error:
        raise FetchingError(
            f"{path} is damaged, or not an archive: {error}; remove it and download it again"
        ) from error


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _name(entry: zipfile.ZipInfo | tarfile.TarInfo) -> str:
    return entry.filename if isinstance(entry, zipfile.ZipInfo) else entry.name


def _check(path: Path, entry: zipfile.ZipInfo | tarfile.TarInfo) -> None:
    """Refuse anything but plain files and folders within the archive: data sets have nothing else."""
    name = PureWindowsPath(_name(entry))  # parses the separators and roots of all systems
    if name.drive or name.root or ".." in name.parts:
        problem = "leads out of the folder"
    elif isinstance(entry, tarfile.TarInfo) and not (entry.isfile() or entry.isdir()):
        problem = "is a link" if entry.islnk() or entry.issym() else "is a device"
    elif isinstance(entry, zipfile.ZipInfo) and stat.S_ISLNK(entry.external_attr >> 16):
        problem = "is a link"
    elif isinstance(entry, zipfile.ZipInfo) and entry.flag_bits & 1:
        problem = "is encrypted"
    else:
        return
    raise FetchingError(
        f"{path} is not unpacked, as its entry {_name(entry)!r} {problem}: download it from its official page"
    )


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Yield an empty folder on the same disk, so that a rename can turn its content into ``path``.

    Its name is fixed, so that the remains of a killed process are removed by the next one.
    """
    folder = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
