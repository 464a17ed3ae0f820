"""Published collections on mock layouts; downloads against a local server; a fake TotalSegmentator."""

import hashlib
import http.server
import io
import os
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from ctmar.anatomy.collections import LAYOUTS, Collection
from ctmar.anatomy.download import fetch, unpack
from ctmar.anatomy.labels import LEVEL_TO_ID, SACRUM, to_totalsegmentator
from ctmar.anatomy.segment import labels_of
from ctmar.anatomy.sources import CTFiles
from ctmar.errors import CtmarError

SHAPE, MANY = (20, 12, 12), 12
CONFIGS = Path(__file__).parents[2] / "configs" / "anatomy"


def write(path: Path, array: np.ndarray) -> None:
    import SimpleITK as sitk

    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.0, 1.0, 2.0))
    sitk.WriteImage(image, os.fspath(path))


def ct() -> np.ndarray:
    hu = np.full(SHAPE, -1000, np.int16)
    hu[:, 3:9, 3:9] = 40
    hu[:, 5:7, 5:7] = 700
    return hu


def stacked(numbers: tuple[int, ...]) -> np.ndarray:
    """Vertebrae from below, each of the same height."""
    labels = np.zeros(SHAPE, np.int16)
    height = SHAPE[0] // len(numbers)
    for place, number in enumerate(numbers):
        labels[place * height : (place + 1) * height, 5:7, 5:7] = number
    return labels


def mock(layout: str, root: Path) -> tuple[int, ...]:
    """A small collection on disk; returns the ids that its first volume should hold."""
    if layout == "verse":
        for split in ("training", "validation", "test"):
            part, subject = root / f"dataset-verse19{split}", f"sub-verse-{split}"
            write(part / "rawdata" / subject / f"{subject}_ct.nii.gz", ct())
            write(part / "derivatives" / subject / f"{subject}_seg-vert_msk.nii.gz", stacked((24, 23)))
    elif layout == "ctspine1k":
        for n in range(MANY):
            write(root / f"rawdata/volumes/COLONOG/{n:04d}.nii.gz", ct())
            write(root / f"rawdata/labels/COLONOG/{n:04d}_seg.nii.gz", stacked((24, 23)))
    elif layout == "totalsegmentator":
        for n in range(MANY):
            write(root / f"s{n:04d}/ct.nii.gz", ct())
            for number, name in ((1, "vertebrae_L5"), (2, "vertebrae_L4")):
                write(
                    root / f"s{n:04d}/segmentations/{name}.nii.gz",
                    (stacked((1, 2)) == number).astype(np.uint8),
                )
    elif layout == "csi2014":
        for n in range(MANY):
            write(root / f"case{n}.mhd", ct())
            write(root / f"case{n}_label.mhd", stacked((200, 100)))
    return LEVEL_TO_ID["L5"], LEVEL_TO_ID["L4"]


@pytest.mark.parametrize("layout", ["verse", "ctspine1k", "totalsegmentator", "csi2014"])
def test_a_mock_of_each_layout_is_read(layout: str, tmp_path: Path) -> None:
    wanted = mock(layout, tmp_path)
    source = Collection(layout, tmp_path)
    names = {split: [p.name for p in source.patients(split)] for split in ("train", "val", "test")}
    every = [name for part in names.values() for name in part]
    assert len(every) == len(set(every)) == (3 if layout == "verse" else MANY)
    anatomy, slices = source.pick("train", 0)
    assert sorted(set(np.unique(anatomy.labels)) - {0}) == sorted(wanted)
    below, above = (np.nonzero(anatomy.labels == number)[0].mean() for number in wanted)
    assert below < above and anatomy.spacing_mm == (1.0, 1.0, 2.0)
    assert (slices.start, slices.stop) == (1, 19)
    assert source.pick("train", len(names["train"]))[0] is anatomy
    assert not anatomy.hu.flags.writeable
    if layout == "verse":
        assert names["val"] == ["sub-verse-validation"]


def test_ten_patients_are_enough_for_three_splits(tmp_path: Path) -> None:
    for n in range(1, 11):
        write(tmp_path / f"case{n}.mhd", ct())
        write(tmp_path / f"case{n}_label.mhd", stacked((2, 1)))
    sizes = [len(Collection("csi2014", tmp_path).patients(split)) for split in ("train", "val", "test")]
    assert sizes == [7, 1, 2]


def test_the_covid_set_asks_for_a_segmentation_and_for_hu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(MANY):
        write(tmp_path / f"data/coronacases_{n:03d}.nii.gz", ct())
        write(tmp_path / f"data/radiopaedia_{n:03d}.nii.gz", np.clip(ct(), 0, 255))
        write(tmp_path / f"data/Lung_Mask/coronacases_{n:03d}.nii.gz", stacked((1, 2)))
    source = Collection("covid19", tmp_path)
    assert sum(len(source.patients(s)) for s in ("train", "val", "test")) == 2 * MANY
    with pytest.raises(CtmarError, match="no vertebra labels: give anatomy.labels, or let TotalSegmentator"):
        source.pick("train", 0)
    monkeypatch.setenv("PATH", "")
    source = Collection("covid19", tmp_path, segment="totalsegmentator", segment_dir=tmp_path / "made")
    with pytest.raises(CtmarError, match="not installed: pip install TotalSegmentator"):
        source.pick("train", 0)
    fake_program(tmp_path, monkeypatch, stacked((27, 28)))
    good = next(p for p in source.patients("train") if p.name.startswith("corona"))
    assert set(np.unique(source.read(good).labels)) == {0, 27, 28}
    grey = next(p for p in source.patients("train") if p.name.startswith("radio"))
    with pytest.raises(CtmarError, match="radiopaedia_.* must be in HU, air below -200 .* got 0 to 255"):
        source.read(grey)


def fake_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: np.ndarray, status: int = 0
) -> Path:
    """A program of TotalSegmentator's name that notes its arguments and writes a label map."""
    write(tmp_path / "answer.nii.gz", labels)
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    script = folder / "TotalSegmentator"
    said = "echo no space left >&2; " if status else ""
    script.write_text(
        f'#!/bin/sh\necho "$@" >> {folder}/calls\n{said}[ {status} = 0 ] && /bin/cp {tmp_path}/answer.nii.gz "$4"\nexit {status}\n',  # noqa: E501
        encoding="utf-8",
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", os.fspath(folder))
    return folder / "calls"


def test_totalsegmentator_is_run_once_for_a_ct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "scan/ct.nii.gz", ct())
    calls = fake_program(tmp_path, monkeypatch, stacked((27, 28)))
    source = CTFiles(
        tmp_path / "scan/ct.nii.gz", None, segment="totalsegmentator", segment_dir=tmp_path / "made"
    )
    anatomy, _ = source.pick("train", 0)
    assert set(np.unique(anatomy.labels)) == {0, 27, 28}
    labels_of(tmp_path / "scan/ct.nii.gz", "totalsegmentator", tmp_path / "made")
    assert [p.name for p in (tmp_path / "made").iterdir()] == ["scan-ct.nii.gz"]
    (line,) = calls.read_text(encoding="utf-8").splitlines()
    assert line.startswith(f"-i {tmp_path}/scan/ct.nii.gz -o ") and line.endswith(" --ml")


def test_a_segmentation_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "ct.nii.gz", ct())
    fake_program(tmp_path, monkeypatch, stacked((27, 28)), status=3)
    with pytest.raises(CtmarError, match="ended with status 3: no space left"):
        labels_of(tmp_path / "ct.nii.gz", "totalsegmentator", tmp_path / "made")
    with pytest.raises(CtmarError, match="segment must be null or one of totalsegmentator, got 'nnunet'"):
        labels_of(tmp_path / "ct.nii.gz", "nnunet", tmp_path / "made")
    with pytest.raises(CtmarError, match="which does not exist"):
        labels_of(tmp_path / "nowhere.nii.gz", "totalsegmentator", tmp_path / "made")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_empty_root_names_layout_and_terms(layout: str, tmp_path: Path) -> None:
    with pytest.raises(CtmarError, match="must lie under anatomy.root as .* got none in"):
        Collection(layout, tmp_path / "nowhere").pick("train", 0)
    config = yaml.safe_load((CONFIGS / f"{layout}.yaml").read_text(encoding="utf-8"))
    assert config.pop("_target_") == "ctmar.anatomy.collections.Collection"
    config.pop("root")
    Collection(root=tmp_path, **config)


def test_unknown_names_and_numbers_are_refused(tmp_path: Path) -> None:
    mock("ctspine1k", tmp_path)
    with pytest.raises(CtmarError, match="layout must be one of verse, ctspine1k"):
        Collection("deeplesion", tmp_path)
    with pytest.raises(CtmarError, match="split must be one of train, val, test"):
        Collection("ctspine1k", tmp_path).pick("all", 0)
    with pytest.raises(CtmarError, match="index must be at least 0, got -1"):
        Collection("ctspine1k", tmp_path).pick("train", -1)


@pytest.mark.parametrize("numbers", [(1, 2, 3, 4), (4, 3, 2, 1), (10, 20, 30, 40)])
def test_plain_numbers_are_levels_from_the_lowest_up(numbers: tuple[int, ...]) -> None:
    found = to_totalsegmentator(stacked(numbers), "plain:L4")
    assert [int(found[k, 5, 5]) for k in (0, 5, 10, 15)] == [LEVEL_TO_ID[n] for n in ("L4", "L3", "L2", "L1")]


@pytest.mark.parametrize(
    ("numbers", "convention", "message"),
    [
        ((1, 2, 4, 5), "plain:L5", "equal steps"),
        ((1, 3, 2, 4), "plain:L5", r"must follow the spine, got \[1, 3, 2, 4\] from below"),
        ((1, 2, 3, 4), "plain:X9", "plain: must name the lowest level"),
        ((1, 2, 3, 4), "plain:C2", "4 vertebrae must fit above C2"),
    ],
)
def test_plain_numbers_that_tell_nothing_are_refused(
    numbers: tuple[int, ...], convention: str, message: str
) -> None:
    with pytest.raises(CtmarError, match=message):
        to_totalsegmentator(stacked(numbers), convention)


def test_verse_26_is_the_sacrum() -> None:
    assert set(np.unique(to_totalsegmentator(stacked((26, 24, 23, 22)), "verse"))) == {0, SACRUM, 27, 28, 29}


class Server(http.server.BaseHTTPRequestHandler):
    """Serves one archive with ranges, and cuts the first answer short where told to."""

    content = b""
    cut: int | None = None
    ranges = True
    asked: list[str | None]

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        type(self).asked.append(wanted)
        first = int(wanted.split("=")[1].rstrip("-")) if wanted and self.ranges else 0
        if first > len(self.content):
            self.send_response(416)
            self.end_headers()
            return
        self.send_response(206 if first else 200)
        part = self.content[first:]
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        cut, type(self).cut = self.cut, None
        self.wfile.write(part if cut is None else part[:cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    Server.content, Server.cut, Server.ranges, Server.asked = archive(), None, True, []
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def archive(names: tuple[str, ...] = ("case1.mhd", "deep/case2.mhd")) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name in names:
            packed.writestr(zipfile.ZipInfo(name), name * 20_000)
    return buffer.getvalue()


def checksum() -> str:
    return hashlib.sha256(Server.content).hexdigest()


def test_an_archive_is_fetched_once_checked_and_unpacked(server: str, tmp_path: Path) -> None:
    for _ in range(2):
        fetch(f"{server}/set.zip", checksum(), tmp_path)
    assert Server.asked == [None]
    assert (tmp_path / "deep/case2.mhd").read_text(encoding="utf-8").startswith("deep/case2.mhd")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".unpacked", "case1.mhd", "deep"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_was_cut_goes_on(server: str, tmp_path: Path, ranges: bool) -> None:
    Server.cut, Server.ranges = 200_000, ranges
    with pytest.raises(CtmarError, match="must answer, got"):
        fetch(f"{server}/set.zip", checksum(), tmp_path)
    # Whole blocks of what arrived are kept.
    assert (tmp_path / ".set.zip.part").stat().st_size == 3 << 16 and not (tmp_path / "case1.mhd").exists()
    fetch(f"{server}/set.zip", checksum(), tmp_path)
    assert Server.asked == [None, f"bytes={3 << 16}-"]
    assert (tmp_path / "case1.mhd").is_file() and not (tmp_path / ".set.zip.part").exists()


def test_another_files_beginning_is_thrown_away(server: str, tmp_path: Path) -> None:
    (tmp_path / ".set.zip.part").write_bytes(b"x" * 900_000)
    with pytest.raises(CtmarError, match="does not belong to the file; it was removed"):
        fetch(f"{server}/set.zip", checksum(), tmp_path)
    fetch(f"{server}/set.zip", checksum(), tmp_path)
    assert (tmp_path / "case1.mhd").is_file()


def test_a_wrong_checksum_leaves_nothing(server: str, tmp_path: Path) -> None:
    with pytest.raises(CtmarError, match="must have the checksum"):
        fetch(f"{server}/set.zip", "0" * 64, tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(CtmarError, match="must be the archive's checksum of 64 hex digits, got None"):
        fetch(f"{server}/set.zip", None, tmp_path)
    with pytest.raises(CtmarError, match="url must name a .zip"):
        fetch(f"{server}/set.exe", "0" * 64, tmp_path)


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "deep/../../outside.txt"])
def test_members_that_would_land_outside_are_refused(name: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "bad.zip").write_bytes(archive(("fine.txt", name)))
    with tarfile.open(tmp_path / "bad.tar", "w") as bundle:
        for member in ("fine.txt", name):
            bundle.addfile(tarfile.TarInfo(member))
    for kind in ("zip", "tar"):
        with pytest.raises(CtmarError, match="files must land in"):
            unpack(tmp_path / f"bad.{kind}", root)
    assert not list(root.iterdir()) and not (tmp_path / "outside.txt").exists()


def test_links_and_broken_archives_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "link.tar", "w") as bundle:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        bundle.addfile(link)
    with pytest.raises(CtmarError, match="files must land in .* got a member 'link'"):
        unpack(tmp_path / "link.tar", tmp_path / "root")
    (tmp_path / "broken.zip").write_bytes(b"PK no archive")
    with pytest.raises(CtmarError, match="must be an archive that can be read"):
        unpack(tmp_path / "broken.zip", tmp_path / "root")
