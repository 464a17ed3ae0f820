"""``scripts/validation/compare_gecatsim.py`` up to where gecatsim is called, and from what it recorded."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ctmar.errors import CtmarError
from ctmar.physics.materials import attenuation
from scripts.validation import compare_gecatsim
from scripts.validation.compare_gecatsim import (
    BEAMS,
    ENERGIES_KEV,
    NAMES,
    SCANS,
    TABLED,
    Scans,
    check_scans,
    main,
    ours,
    read_scans,
    setup,
    theirs,
    write_scans,
)

VIEWS = 48


def recorded(mine: Scans) -> Scans:
    """What gecatsim would have recorded, were it ctmar with another noise."""
    own = setup(VIEWS)
    spectrum = own.scanner.spectrum
    found = {f"{beam}/{name}": mine[name] for beam in BEAMS for name in NAMES}
    found["own/spectrum"] = np.stack([spectrum.energies_kev, spectrum.weights / spectrum.energies_kev])
    found["attenuation"] = np.stack([attenuation(name, list(ENERGIES_KEV)) for name in TABLED])
    return found


@pytest.mark.slow
def test_what_is_the_same_differs_in_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scans = recorded(ours(VIEWS))
    shifted = {name: 1.01 * scan if name.startswith("own/") and "spectrum" not in name else scan
               for name, scan in scans.items()}  # fmt: skip
    write_scans(tmp_path / "scans.npz", shifted)
    assert main(["--recorded", str(tmp_path / "scans.npz"), "--json", str(tmp_path / "table.json")]) == 0
    rows = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))["rows"]
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(rows) + 1 and "gecatsim" in printed[0]
    by = {(row["beam"], row["name"]): row for row in rows}
    for row in rows:
        if row["beam"] != "own":
            assert row["ours"] == pytest.approx(row["theirs"], rel=2e-3, abs=0.05)
    water = by["own", "water, 290 mm"]
    assert water["theirs"] == pytest.approx(1.01 * water["ours"], rel=1e-4)
    # The closed forms: a rod's path through steel, and CT numbers of what was put in.
    assert by["shared", "CT number, water"]["ours"] == pytest.approx(0, abs=3)
    assert by["shared", "CT number, bone"]["ours"] > 1000
    assert by["shared", "steel, 9.5 to 10 mm, added"]["ours"] > 3
    noise = by["shared", "noise SD, water, 280 mm and more"]
    assert noise["error"] < 0.05 * noise["theirs"]


def test_the_phantom_and_the_beam_are_written_as_gecatsim_reads_them(tmp_path: Path) -> None:
    own = setup(VIEWS)
    parts = ("phantom", "scanner", "protocol", "physics")
    ct = SimpleNamespace(**{name: SimpleNamespace() for name in parts})
    compare_gecatsim._set_geometry(ct, own)
    compare_gecatsim._set_phantom(ct, SCANS["rod"], tmp_path)
    compare_gecatsim._set_beam(ct, own, "shared", tmp_path)
    assert (ct.scanner.sid, ct.scanner.sdd) == (541.0, 949.075)
    assert ct.scanner.detectorColOffset == pytest.approx(-1.25) and ct.protocol.stopViewId == VIEWS - 1
    assert ct.protocol.mA * ct.protocol.rotationTime / ct.protocol.viewsPerRotation == 1.0
    phantom = Path(ct.phantom.filename).read_text(encoding="utf-8")
    assert "object.center(2,:) = [60.0 40.0 0.0];" in phantom and "object.material(2) = 2;" in phantom
    steel = (tmp_path / "mat_316L").read_text(encoding="utf-8").split("\n")
    assert steel[:2] == ["6", "8.000000"] and steel[2].startswith("26 0.655")
    lines = Path(ct.protocol.spectrumFilename).read_text(encoding="utf-8").split()
    assert int(lines[0]) == ct.physics.energyCount == len(lines) - 2
    energies, photons = np.array([line.split(",") for line in lines[1:-1]], float).T
    np.testing.assert_allclose(np.diff(energies), np.diff(energies)[0], atol=1e-5)
    assert photons.sum() == pytest.approx(1.0)
    assert energies @ photons == pytest.approx(1 / (own.scanner.spectrum.weights / energies).sum(), rel=1e-5)
    gamma, thick = np.loadtxt(compare_gecatsim._bowtie_file(own, tmp_path))[:, :2].T
    assert np.interp(0, gamma, thick) == pytest.approx(0.05)
    assert np.interp(np.arcsin(100 / 541), gamma, thick) == pytest.approx(0.5, abs=1e-3)


def test_without_gecatsim_and_without_its_scans_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "gecatsim", None)
    with pytest.raises(CtmarError, match=r"gecatsim must be installed \(pip install gecatsim\) or its scans"):
        theirs(VIEWS)
    assert main(["--views", "48"]) == 2 and main(["--views", "3"]) == 2
    (tmp_path / "none.npz").write_bytes(b"nothing")
    assert main(["--recorded", str(tmp_path / "none.npz")]) == 2
    assert main(["--recorded", str(tmp_path / "absent.npz")]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0][:30] for line in told] == [
        "error: gecatsim must be instal",
        "error: --views must be 16 or m",
        "error: --recorded must be a fi",
        "error: --recorded must be a fi",
    ]


def test_scans_that_are_not_those_are_refused(tmp_path: Path) -> None:
    zeros = np.zeros((VIEWS, 888))
    scans = recorded(dict.fromkeys(NAMES, zeros))
    write_scans(tmp_path / "scans.npz", scans)
    assert read_scans(tmp_path / "scans.npz").keys() == scans.keys()
    for name, value, match in (
        ("own/rod", None, "must hold .*, got no own/rod"),
        ("own/rod", zeros[:, :-1], r"finite sinograms \(views, 888\) of one shape, got own/rod \(48, 887\)"),
        ("own/rod", zeros + np.nan, "finite sinograms"),
        ("attenuation", np.zeros(3), r"finite attenuation, \(3, 3\), got \(3,\)"),
        ("own/spectrum", None, "got no own/spectrum"),
    ):
        changed = {key: scan for key, scan in scans.items() if key != name}
        if value is not None:
            changed[name] = value
        with pytest.raises(CtmarError, match=match):
            check_scans(changed, "must hold")
