"""Without an extra, what needs it names it."""

import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.jobs.mistakes import one_line
from ctmar.operators import RayTransform
from ctmar.scans.dicom.segmentation import require_highdicom
from tests.jobs.building import CONFIGS, answer


def hide(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Makes ``import`` of the modules fail as if they were not installed."""
    for name in [name for name in sys.modules if name.split(".")[0] in modules]:
        monkeypatch.delitem(sys.modules, name)
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("backend,module", [("astra", "astra"), ("skimage", "skimage")])
def test_a_projector_names_its_extra(monkeypatch: pytest.MonkeyPatch, backend: str, module: str) -> None:
    import torch

    hide(monkeypatch, module)
    with pytest.raises(CtmarError, match=rf"projector {backend} needs .* pip install 'ctmar\[{backend}\]'"):
        RayTransform(ImageGrid((8, 8), 1.0), ParallelBeam(4, 12, 1.0), backend).forward(torch.zeros(8, 8))


def test_dicom_seg_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "highdicom")
    with pytest.raises(CtmarError, match=r"seg needs highdicom: pip install 'ctmar\[seg\]'"):
        require_highdicom()


def test_tensorboard_names_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for library in ("_TENSORBOARD_AVAILABLE", "_TENSORBOARDX_AVAILABLE"):
        monkeypatch.setattr(f"lightning_fabric.loggers.tensorboard.{library}", False)
    expected = "logger=tensorboard needs the tensorboard extra: pip install 'ctmar[tensorboard]'"
    assert answer(tmp_path, "logger=tensorboard") == expected


def test_a_cluster_names_its_extra() -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        try:
            compose("train", overrides=["hydra/launcher=cluster"], return_hydra_config=True)
        except Exception as error:
            assert (
                one_line(error)
                == "hydra/launcher=cluster needs the cluster extra: pip install 'ctmar[cluster]'"
            )
            return
    pytest.importorskip("hydra_plugins", reason="it composed, so the extra must be there")
