"""Archives are downloaded, checked and unpacked, and nothing is ever there by halves or outside its folder."""

import errno
import hashlib
import http.server
import io
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from igl_dt.data import download as fetching
from igl_dt.data.datasets.cityscapes import Cityscapes
from igl_dt.data.datasets.pascal import PascalVoc
from igl_dt.data.download import FetchingError, fetch_archives
from igl_dt.data.parameters import ArchiveParameters, FetchingParameters

FILE = "VOCtrainval.tar"
IDS = {"train": ("2007_000032", "2007_000039"), "val": ("2007_000033",)}


class Server:
    """An HTTP server on this machine, which remembers what it was asked for and can be told to misbehave."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.breaks_off = 0
        """How many of the next answers end in the middle."""
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.removeprefix("/")
                server.asked.append(name)
                content = server.files.get(name)
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if server.breaks_off > 0:
                    server.breaks_off -= 1
                    content = content[: len(content) // 2]
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("time.sleep", lambda _: None)  # pooch's, between attempts
    server = Server()
    yield server
    server.stop()


def image(mode: str, suffix: str) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (12, 8)).save(file, suffix)
    return file.getvalue()


def voc() -> dict[str, bytes]:
    """Give the files of a small VOC2012, as its archive names them."""
    files = {"VOCdevkit/VOC2012/Annotations/2007_000032.xml": b"<annotation/>"}
    for split, ids in IDS.items():
        files[f"VOCdevkit/VOC2012/ImageSets/Segmentation/{split}.txt"] = "\n".join(ids).encode()
        for id_ in ids:
            files[f"VOCdevkit/VOC2012/JPEGImages/{id_}.jpg"] = image("RGB", "jpeg")
            files[f"VOCdevkit/VOC2012/SegmentationClass/{id_}.png"] = image("P", "png")
    return files


def tar(files: dict[str, bytes], *more: tarfile.TarInfo, mode: str = "w") -> bytes:
    """Pack files, and entries of any other kind."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for entry in more:
            archive.addfile(entry)
    return packed.getvalue()


def packed_zip(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


@pytest.fixture
def fetch(server: Server, tmp_path: Path) -> Callable[..., Path]:
    """Serve an archive and fetch it; give the data set's folder."""

    def fetch(content: bytes, **changes: object) -> Path:
        server.files[FILE] = content
        values = {
            "file": FILE,
            "url": f"{server.url}/{FILE}",
            "checksum": md5(content),
            "member": "VOCdevkit/VOC2012",
            "target": "VOC2012",
        }
        archive = ArchiveParameters(**(values | changes))
        root = tmp_path / "VOCdevkit"
        fetch_archives(FetchingParameters(folder=str(tmp_path / "archives"), archives=(archive,)), root)
        return root

    return fetch


def files_in(folder: Path) -> list[str]:
    """Name all files, also hidden ones."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_an_archive_becomes_a_data_set(fetch: Callable[..., Path], tmp_path: Path, mode: str) -> None:
    content = tar(voc() | {"VOCdevkit/README": b"beside"}, mode=mode)
    root = fetch(content, checksum=f"sha256:{hashlib.sha256(content).hexdigest()}")
    assert {image.id: image.split for image in PascalVoc(root, {}).list_samples().samples} == {
        id_: split for split, ids in IDS.items() for id_ in ids
    }
    for name, expected in voc().items():
        assert (root / name.removeprefix("VOCdevkit/")).read_bytes() == expected
    assert files_in(tmp_path) == sorted([f"archives/{FILE}", *voc()])


def test_a_zip_does_too(fetch: Callable[..., Path]) -> None:
    root = fetch(packed_zip(voc()))
    assert len(PascalVoc(root, {}).list_samples().samples) == 3


def test_a_whole_archive_can_become_a_folder(fetch: Callable[..., Path]) -> None:
    root = fetch(tar({"./a/x": b"x", "b": b"b"}), member=".", target="all")
    assert files_in(root) == ["all/a/x", "all/b"]


def test_what_is_there_is_neither_downloaded_nor_unpacked_again(
    fetch: Callable[..., Path], server: Server, tmp_path: Path
) -> None:
    content = tar(voc())
    root = fetch(content)
    mine = root / "VOC2012/SegmentationClassAug/2007_000032.png"
    mine.parent.mkdir()
    mine.write_bytes(b"of SBD")
    fetch(content)
    assert server.asked == [FILE]
    assert mine.read_bytes() == b"of SBD"

    shutil.rmtree(root)  # the archive is still there, and right
    fetch(content)
    assert server.asked == [FILE]
    assert len(PascalVoc(root, {}).list_samples().samples) == 3

    (tmp_path / "archives" / FILE).unlink()  # nobody needs it any more
    fetch(content)
    assert server.asked == [FILE]


def test_a_wrong_file_in_its_place_is_replaced(fetch: Callable[..., Path], server: Server, tmp_path: Path) -> None:
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / FILE).write_bytes(tar(voc())[:1000])
    root = fetch(tar(voc()))
    assert server.asked == [FILE]
    assert len(PascalVoc(root, {}).list_samples().samples) == 3


def test_a_connection_that_breaks_off_once_is_tried_again(fetch: Callable[..., Path], server: Server) -> None:
    server.breaks_off = 1
    root = fetch(tar(voc()))
    assert server.asked == [FILE, FILE]
    assert len(PascalVoc(root, {}).list_samples().samples) == 3


def test_a_truncated_download_leaves_nothing(fetch: Callable[..., Path], server: Server, tmp_path: Path) -> None:
    server.breaks_off = 10
    with pytest.raises(FetchingError, match=rf"{server.url}/{FILE}: truncated.*archives, and rerun the command"):
        fetch(tar(voc()))
    assert files_in(tmp_path) == []
    assert len(server.asked) == 1 + fetching.RETRIES


def test_a_wrong_checksum_leaves_nothing(fetch: Callable[..., Path], server: Server, tmp_path: Path) -> None:
    content = tar(voc())
    found, expected = md5(content).removeprefix("md5:"), "0" * 32
    with pytest.raises(FetchingError, match=rf"{server.url}/{FILE}: wrong checksum.*{expected}.*{found}"):
        fetch(content, checksum=f"md5:{expected}")
    assert files_in(tmp_path) == []


def test_what_the_server_does_not_have_is_named_with_its_answer(
    fetch: Callable[..., Path], server: Server, tmp_path: Path
) -> None:
    with pytest.raises(FetchingError, match=rf"{server.url}/absent\.tar: the server answered: 404 .*Not Found"):
        fetch(tar(voc()), url=f"{server.url}/absent.tar")
    assert files_in(tmp_path) == []


def test_no_server_is_no_network(fetch: Callable[..., Path], server: Server, tmp_path: Path) -> None:
    server.stop()
    with pytest.raises(FetchingError, match=rf"{server.url}/{FILE}: no network.*in another way to .*archives"):
        fetch(tar(voc()))
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    ("work", "left"), [((fetching._Received, "update"), []), ((tarfile.TarFile, "extract"), [f"archives/{FILE}"])]
)
def test_a_full_disk_is_said_to_be_full(
    fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, work: tuple[type, str], left: list[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*work, full)
    with pytest.raises(FetchingError, match=rf"{FILE}.*No space left on device; free some space"):
        fetch(tar(voc()))
    assert files_in(tmp_path) == left


def test_an_interrupted_download_leaves_nothing_by_halves(
    fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupt(*_: object) -> None:
        assert files_in(tmp_path)  # something has come already, under another name
        assert not (tmp_path / "archives" / FILE).exists()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fetching._Received, "update", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch(tar(voc()))
    assert files_in(tmp_path) == []
    assert len(PascalVoc(fetch(tar(voc())), {}).list_samples().samples) == 3


def test_interrupted_unpacking_leaves_nothing_by_halves(
    fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupt(*_: object) -> None:
        assert not (tmp_path / "VOCdevkit/VOC2012").exists()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fetching.Progress, "update", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch(tar(voc()))
    assert files_in(tmp_path) == [f"archives/{FILE}"]
    assert len(PascalVoc(fetch(tar(voc())), {}).list_samples().samples) == 3


def test_what_a_killed_run_left_is_removed(fetch: Callable[..., Path], tmp_path: Path) -> None:
    for left in (f"archives/.{FILE}.tmp/half", "VOCdevkit/.VOC2012.tmp/half"):
        (tmp_path / left).parent.mkdir(parents=True)
        (tmp_path / left).write_bytes(b"half")
    fetch(tar(voc()))
    assert files_in(tmp_path) == sorted([f"archives/{FILE}", *voc()])


def entry(name: str, kind: bytes, to: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, to
    return entry


INSIDE = "VOCdevkit/VOC2012/x"
HOSTILE = {
    "dots": (tar(voc() | {"../x": b""}), r"'\.\./x' leads out"),
    "dots within": (tar(voc() | {"VOCdevkit/VOC2012/../../../x": b""}), "leads out"),
    "absolute": (tar(voc() | {"/x": b""}), "'/x' leads out"),
    "symbolic link out": (tar(voc(), entry(INSIDE, tarfile.SYMTYPE, "../../..")), "is a link"),
    "absolute symbolic link": (tar(voc(), entry(INSIDE, tarfile.SYMTYPE, "/etc")), "is a link"),
    "hard link out": (tar(voc(), entry(INSIDE, tarfile.LNKTYPE, "../../../secret")), "is a link"),
    "device": (tar(voc(), entry(INSIDE, tarfile.CHRTYPE)), "is a device"),
    "pipe": (tar(voc(), entry(INSIDE, tarfile.FIFOTYPE)), "is a device"),
    "zip with dots": (packed_zip(voc() | {"../x": b""}), "leads out"),
    "zip, absolute": (packed_zip(voc() | {"/x": b""}), "leads out"),
    "zip with a drive": (packed_zip(voc() | {"C:/x": b""}), "leads out"),
}


@pytest.mark.parametrize(("content", "said"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_is_not_unpacked(
    fetch: Callable[..., Path], tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    with pytest.raises(FetchingError, match=rf"{FILE} is not unpacked.*{said}"):
        fetch(content)
    assert files_in(tmp_path) == [f"archives/{FILE}", "secret"]
    assert not (tmp_path / "VOCdevkit").exists()


def test_a_link_in_a_zip_is_refused(fetch: Callable[..., Path], tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        link = zipfile.ZipInfo(INSIDE)
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "../../..")
    with pytest.raises(FetchingError, match="is a link"):
        fetch(packed.getvalue())
    assert files_in(tmp_path) == [f"archives/{FILE}"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>log in first</html>", "damaged, or not an archive"),
        (b"", "damaged, or not an archive"),
        (tar(voc())[:3000], "damaged, or not an archive"),
        (tar(voc(), mode="w:gz")[:-40], "damaged, or not an archive"),
        (packed_zip(voc())[:-40], "damaged, or not an archive"),
        (tar({"other/a.png": b""}), "has no folder VOCdevkit/VOC2012"),
    ],
)
def test_what_is_no_such_archive_is_said(fetch: Callable[..., Path], tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(FetchingError, match=rf"archives/{FILE} .*{said}"):
        fetch(content)
    assert not (tmp_path / "VOCdevkit/VOC2012").exists()
    assert files_in(tmp_path) == [f"archives/{FILE}"]


class TestArchivesOfTheUser:
    PAGE = "https://images.invalid/downloads/"

    def parameters(self, tmp_path: Path, **changes: object) -> FetchingParameters:
        archives = tuple(
            ArchiveParameters(**{"file": f"{name}.zip", "page": self.PAGE, "member": name, "target": name} | changes)
            for name in ("leftImg8bit", "gtFine")
        )
        return FetchingParameters(folder=str(tmp_path / "archives"), archives=archives)

    def bring(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "archives").mkdir(exist_ok=True)
        ending = "leftImg8bit" if name == "leftImg8bit" else "gtFine_labelIds"
        files = {f"{name}/{split}/bonn/bonn_0_{ending}.png": image("L", "png") for split in ("train", "val")}
        content = packed_zip(files | {"README": b"in both", "license.txt": b"in both"})
        (tmp_path / "archives" / f"{name}.zip").write_bytes(content)

    def test_are_asked_for_with_the_page_and_their_names(self, tmp_path: Path) -> None:
        with pytest.raises(FetchingError, match=rf"leftImg8bit\.zip and gtFine\.zip .*account.*{self.PAGE}.*archives"):
            fetch_archives(self.parameters(tmp_path), tmp_path / "cityscapes")
        self.bring(tmp_path, "leftImg8bit")
        with pytest.raises(FetchingError, match=r"^gtFine\.zip cannot be downloaded without an account"):
            fetch_archives(self.parameters(tmp_path), tmp_path / "cityscapes")

    def test_are_unpacked(self, tmp_path: Path) -> None:
        self.bring(tmp_path, "leftImg8bit")
        self.bring(tmp_path, "gtFine")
        fetch_archives(self.parameters(tmp_path), tmp_path / "cityscapes")
        assert len(Cityscapes(tmp_path / "cityscapes", {}).list_samples().samples) == 2
        assert sorted(path.name for path in (tmp_path / "cityscapes").iterdir()) == ["gtFine", "leftImg8bit"]

    def test_are_checked_where_their_checksum_is_known(self, tmp_path: Path) -> None:
        self.bring(tmp_path, "leftImg8bit")
        self.bring(tmp_path, "gtFine")
        with pytest.raises(
            FetchingError, match=rf"leftImg8bit\.zip is incomplete .* not {'0' * 32}; download it again .*{self.PAGE}"
        ):
            fetch_archives(self.parameters(tmp_path, checksum=f"md5:{'0' * 32}"), tmp_path / "cityscapes")
        assert (tmp_path / "archives/leftImg8bit.zip").is_file()
        assert not (tmp_path / "cityscapes").exists()


def test_a_description_without_archives_has_nothing_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(FetchingError, match=r"nothing to download: fetching\.archives is empty.*--env=pascal"):
        fetch_archives(FetchingParameters(folder=str(tmp_path)), tmp_path / "images")


RIGHT = {"file": "a.tar", "url": "https://a.invalid/a.tar", "checksum": md5(b""), "member": "a", "target": "a"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"file": "../a.tar"}, "file"),
        ({"file": ".."}, "file"),
        ({"url": "ftp://a.invalid/a.tar"}, "url"),
        ({"url": None}, "needs either url, or page"),
        ({"page": "https://a.invalid"}, "needs either url"),
        ({"checksum": None}, "needs a checksum for its url"),
        ({"checksum": "0" * 32}, "checksum"),
        ({"member": "/a"}, "must be a relative path"),
        ({"target": "../a"}, "must be a relative path"),
        ({"target": ""}, "must be a relative path"),
    ],
)
def test_wrong_parameters_are_refused(changes: dict, said: str) -> None:
    ArchiveParameters(**RIGHT)
    with pytest.raises(ValueError, match=said):
        ArchiveParameters(**(RIGHT | changes))
