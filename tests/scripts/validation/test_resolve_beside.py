"""What ctmar moves of another program's packages, from pip's reports."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import TimeoutExpired
from types import SimpleNamespace

import pytest

from ctmar.errors import CtmarError
from scripts.validation import resolve_beside
from scripts.validation.resolve_beside import main, moved, resolved, row

ALONE = {"torchio": "1.2.1", "numpy": "2.2.0", "torch": "2.9.0"}


def report(versions: dict[str, str]) -> str:
    return json.dumps({"install": [{"metadata": {"name": n, "version": v}} for n, v in versions.items()]})


def pip(monkeypatch: pytest.MonkeyPatch, answers: list[dict[str, str] | str]) -> list[list[str]]:
    """Stands in for pip, which answers with versions or an error."""
    asked: list[list[str]] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        asked.append(command)
        answer = answers.pop(0)
        if isinstance(answer, str):
            return SimpleNamespace(returncode=1, stderr=answer)
        Path(command[command.index("--report") + 1]).write_text(report(answer), encoding="utf-8")
        return SimpleNamespace(returncode=0, stderr="")

    stands_in(monkeypatch, run)
    return asked


def stands_in(monkeypatch: pytest.MonkeyPatch, run: Callable[..., object]) -> None:
    """In that module alone: a record asks git for the commit."""
    given = SimpleNamespace(run=run, TimeoutExpired=TimeoutExpired)
    monkeypatch.setattr(resolve_beside, "subprocess", given)


def test_what_is_added_moves_nothing_and_what_differs_does() -> None:
    assert moved(ALONE, ALONE | {"monai": "1.6"}) == []
    together = {"torchio": "1.2.1", "numpy": "2.4.1"}
    assert moved(ALONE, together) == ["numpy 2.2.0 → 2.4.1", "torch 2.9.0 → gone"]
    assert row("TorchIO", ALONE, together) == [
        *("TorchIO", "1.2.1", 3, 2),
        "numpy 2.2.0 → 2.4.1, torch 2.9.0 → gone",
    ]


def test_names_are_compared_as_pip_does(monkeypatch: pytest.MonkeyPatch) -> None:
    pip(monkeypatch, [{"PyYAML": "6.0", "typing_extensions": "4.1"}])
    assert resolved("any") == {"pyyaml": "6.0", "typing-extensions": "4.1"}


def test_each_program_is_resolved_alone_and_with_this_checkout(monkeypatch, capsys, tmp_path) -> None:
    asked = pip(monkeypatch, [ALONE, ALONE | {"monai": "1.6"}])
    assert main(["torchio", "--json", str(tmp_path / "a.json")]) == 0
    assert [command[-1] for command in asked] == ["torchio", str(resolve_beside.ROOT)]
    assert all("--dry-run" in command and "--ignore-installed" in command for command in asked)
    assert "| torchio | 1.2.1 | 3 | 4 | nothing |" in capsys.readouterr().out
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["name"] == "beside"


def test_a_moved_package_and_what_does_not_resolve_end_with_one(monkeypatch, capsys) -> None:
    pip(monkeypatch, [ALONE, ALONE | {"numpy": "2.4.1"}])
    assert main(["torchio"]) == 1
    pip(monkeypatch, [ALONE, "ERROR: ResolutionImpossible\n"])
    assert main(["torchio"]) == 1
    assert "error: torchio" in capsys.readouterr().err


def test_a_resolution_has_a_limit(monkeypatch) -> None:
    def never(*_: object, timeout: float, **__: object) -> None:
        raise TimeoutExpired("pip", timeout)

    stands_in(monkeypatch, never)
    with pytest.raises(CtmarError, match="torchio must resolve within 900 s"):
        resolved("torchio")
