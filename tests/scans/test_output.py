"""An output is there as a whole or not at all, and nothing of the user's goes."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from ctmar.errors import CtmarError
from ctmar.scans.output import check_output, whole
from tests.children import finish, run, start


def test_a_run_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), whole(tmp_path / "out", True) as work:
        (work / "half").write_text("half", encoding="utf-8")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_replaced_keeps_files_of_other_names(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "notes").mkdir(parents=True)
    (out / "notes" / "mine.txt").write_text("mine", encoding="utf-8")
    (out / "ct.dcm").write_text("old", encoding="utf-8")
    with whole(out, True) as work:
        (work / "ct.dcm").write_text("new", encoding="utf-8")
    assert (out / "notes" / "mine.txt").read_text(encoding="utf-8") == "mine" and (out / "ct.dcm").read_text(
        encoding="utf-8"
    ) == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_run_left_is_removed_and_what_it_set_aside_comes_back(tmp_path: Path) -> None:
    gone = run([sys.executable, "-c", "import os; print(os.getpid())"])
    pid = int(gone.stdout)
    left = tmp_path / f".out.ctmar-{pid}-0a"
    aside = tmp_path / f".out.ctmar-{pid}-0a.old"
    running = tmp_path / f".out.ctmar-{os.getpid()}-0b"
    for folder in (left, aside, running):
        folder.mkdir()
        (folder / "file").write_text(folder.name, encoding="utf-8")
    with pytest.raises(RuntimeError), whole(tmp_path / "out", True):
        assert (tmp_path / "out" / "file").read_text(encoding="utf-8") == aside.name
        raise RuntimeError
    assert sorted(path.name for path in tmp_path.iterdir()) == [running.name, "out"]


@pytest.mark.parametrize("place", ["in", "in/out", "."])
def test_input_and_output_lie_apart(place: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(CtmarError, match="apart from the input"):
        check_output(tmp_path / place, tmp_path / "in", is_folder=True, overwrite=True)


def test_an_empty_folder_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    check_output(tmp_path / "out", tmp_path / "in", is_folder=True, overwrite=False)
    with whole(tmp_path / "out", True) as work:
        (work / "a").write_text("a", encoding="utf-8")
    assert (tmp_path / "out" / "a").is_file()


def test_a_folder_that_is_not_empty_needs_overwrite(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("a", encoding="utf-8")
    with pytest.raises(CtmarError, match="not empty"):
        check_output(tmp_path / "out", tmp_path / "in", is_folder=True, overwrite=False)
    check_output(tmp_path / "out", tmp_path / "in", is_folder=True, overwrite=True)


@pytest.mark.slow
def test_a_terminated_run_cleans_up(tmp_path: Path) -> None:
    code = (
        "import time, sys; from pathlib import Path; from ctmar.scans.output import whole\n"
        "with whole(Path(sys.argv[1]), True) as work:\n"
        "    (work / 'half').write_text('half'); print('ready', flush=True); time.sleep(30)"
    )
    child = start([sys.executable, "-c", code, tmp_path / "out"])
    assert child.stdout is not None and child.stdout.readline()
    child.send_signal(signal.SIGTERM)
    finish(child, limit=20)
    time.sleep(0.05)
    assert not list(tmp_path.iterdir())
