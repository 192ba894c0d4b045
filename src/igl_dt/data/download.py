"""Archives of images: downloaded, checked and unpacked, and at every moment there whole or not at all."""

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
from igl_dt.utils.progress import Progress

logger = logging.getLogger(__name__)

RETRIES = 2
SECONDS_WITHOUT_ANSWER = 60
MIB = 2**20

DAMAGE = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError)
"""What Python raises for an archive that it cannot read."""


class FetchingError(RuntimeError):
    """An archive cannot be downloaded, or is not what it should be, or cannot be unpacked."""


def fetch_archives(parameters: FetchingParameters, root: Path) -> None:
    """Download and unpack archives; what is there already is left as it is.

    Args:
        parameters: which archives, and where they are kept.
        root: the data set's folder.

    Raises:
        FetchingError: there are no archives to fetch, or the user has to bring some first, or the network, the disk,
            or an archive is not as it should be. The message names the way out.
    """
    if not parameters.archives:
        raise FetchingError(
            "this recipe has nothing to fetch: fetching.archives is empty. Recipes with archives are pascal and "
            f"cityscapes (--env=pascal); those of another recipe belong into {root}, as docs/environments.md says"
        )
    folder = Path(parameters.folder)
    wanted = []
    for archive in parameters.archives:
        if (root / archive.target).exists():
            logger.info("%s is there and stays as it is; remove it to have it unpacked anew", root / archive.target)
        else:
            wanted.append(archive)
    if absent := [archive for archive in wanted if archive.url is None and not (folder / archive.file).is_file()]:
        raise FetchingError(
            f"{' and '.join(archive.file for archive in absent)} must be downloaded by you, since it takes an account "
            f"of your own: get one at {' and '.join(dict.fromkeys(str(archive.page) for archive in absent))}, put the "
            f"files into {folder} and type the command again: it unpacks them"
        )
    for archive in wanted:
        try:
            _get(archive, folder / archive.file)
            logger.info("unpacking %s into %s", folder / archive.file, root / archive.target)
            _unpack(folder / archive.file, archive.member, root / archive.target)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            remedy = "free some space" if full else "mend that"
            raise FetchingError(
                f"{archive.file} cannot be fetched into {folder} and {root / archive.target}: {error}; {remedy} and "
                "type the command again"
            ) from error


def _get(archive: ArchiveParameters, path: Path) -> None:
    """See to it that the archive is there, and right."""
    if path.is_file():
        if archive.checksum is None:
            return
        algorithm, _, expected = archive.checksum.partition(":")
        found = pooch.file_hash(str(path), algorithm)
        if found == expected:
            return
        wrong = f"{path} is not the archive, or not whole: its {algorithm} is {found}, not {expected}"
        if archive.url is None:
            raise FetchingError(f"{wrong}; get it again from {archive.page}")
        logger.warning("%s; it is downloaded anew", wrong)
    _download(archive, path)


def _download(archive: ArchiveParameters, path: Path) -> None:
    url = str(archive.url)
    by_hand = f"Or download it in another way, put it into {path.parent} and type the command again"
    pooch.get_logger().setLevel(logging.WARNING)  # it would name the temporary folder
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
                    timeout=SECONDS_WITHOUT_ANSWER,
                    headers={"Accept-Encoding": "identity"},  # the checksum is that of the file as it lies there
                )
                dog.fetch(path.name, downloader=downloader)
        except requests.HTTPError as error:
            raise FetchingError(
                f"{url}: the server answers: {error}. Try later, or correct the url. {by_hand}"
            ) from error
        except requests.exceptions.ChunkedEncodingError as error:
            raise FetchingError(f"{url}: truncated, the connection broke off: {error}. Try again. {by_hand}") from error
        except requests.RequestException as error:
            raise FetchingError(
                f"{url}: no network, or the server does not answer: {error}. See to the network. {by_hand}"
            ) from error
        except ValueError as error:  # pooch's, with both checksums
            raise FetchingError(f"{url}: wrong checksum: {error} Try again. {by_hand}") from error
        (folder / path.name).replace(path)


class _Received:
    """Shows a download as pooch tells of it: ``total`` is set at the start of each attempt."""

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
    """Make the folder ``target`` of the folder ``member`` of an archive."""
    try:
        with zipfile.ZipFile(path) if _is_zip(path) else tarfile.open(path) as archive:
            if isinstance(archive, tarfile.TarFile):
                # Takes away owners and special modes; the first releases of Python 3.11 do not have it.
                archive.extraction_filter = getattr(tarfile, "data_filter", lambda entry, _: entry)
            entries = archive.infolist() if isinstance(archive, zipfile.ZipFile) else archive.getmembers()
            for entry in entries:
                _check(path, entry)
            chosen = [entry for entry in entries if PurePosixPath(_name(entry)).is_relative_to(member)]
            if not chosen:
                raise FetchingError(f"{path} has no folder {member}: is it another archive of this name?")
            progress = Progress(f"unpacking {path.name}", 0, len(chosen), 1, "file", "files")
            with _beside(target) as folder, closing(progress):
                for number, entry in enumerate(chosen, start=1):
                    archive.extract(entry, folder)  # type: ignore[arg-type]  # an entry of its own kind
                    progress.update(number, {})
                (folder / member).rename(target)
    except DAMAGE as error:
        raise FetchingError(f"{path} is damaged, or no archive: {error}; remove it and get it again") from error


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _name(entry: zipfile.ZipInfo | tarfile.TarInfo) -> str:
    return entry.filename if isinstance(entry, zipfile.ZipInfo) else entry.name


def _check(path: Path, entry: zipfile.ZipInfo | tarfile.TarInfo) -> None:
    """Stop at whatever is no plain file or folder within the archive: data sets have nothing else."""
    name = PureWindowsPath(_name(entry))  # knows the separators and roots of all systems
    if name.drive or name.root or ".." in name.parts:
        problem = "leads out of the folder that it is unpacked in"
    elif isinstance(entry, tarfile.TarInfo) and not (entry.isfile() or entry.isdir()):
        problem = "is a link" if entry.islnk() or entry.issym() else "is a device"
    elif isinstance(entry, zipfile.ZipInfo) and stat.S_ISLNK(entry.external_attr >> 16):
        problem = "is a link"
    elif isinstance(entry, zipfile.ZipInfo) and entry.flag_bits & 1:
        problem = "is encrypted"
    else:
        return
    raise FetchingError(
        f"{path} is not unpacked, as {_name(entry)!r} in it {problem}: get it from where it is official"
    )


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Give an empty folder on the same disk, so that what is made there can become ``path`` by a rename.

    It has a fixed name, so that what a killed process left there is removed by the next.
    """
    folder = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
