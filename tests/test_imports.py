"""The one way through the house, read from the imports themselves."""

import ast
import sys
from pathlib import Path

import pytest

from tests.children import run

ROOT = Path(__file__).parents[1] / "ctmar"
ORDER = (
    "errors",
    "files",
    "units",
    "vectors",
    "geometry",
    "operators",
    "case",
    "physics",
    "anatomy",
    "phantoms",
    "implants",
    "scenes",
    "networks",
    "methods",
    "inputs",
    "learned",
    "stored",
    "data",
    "losses",
    "training",
    "metrics",
    "report",
    "evaluation",
    "scans",
    "pairs",
    "clinical",
    "callbacks",
    "config",
    "jobs",
    "__main__",
)
ONLY_IN = {
    "hydra": ("config", "jobs"),
    "omegaconf": ("config", "jobs"),
    "pytorch_lightning": ("training", "callbacks", "data/module.py", "config", "jobs"),
    "wandb": ("callbacks",),
    "SimpleITK": ("anatomy/volume.py", "scans"),
    "pydicom": ("scans/dicom",),
    "highdicom": ("scans/dicom",),
    "monai": ("networks",),
    "numba": ("operators",),
    "triton": ("operators",),
    "astra": ("operators/adapters",),
    "torch_radon": ("operators/adapters",),
    "skimage": ("operators/adapters",),
}
LONGEST = 300
FILES = sorted(ROOT.rglob("*.py"))


def imports(tree: ast.AST) -> set[str]:
    """Every module that a file imports, at its top or inside a function."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "relative imports hide the order"
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "ctmar"}
    return names


def too_early(station: str, imported: set[str]) -> list[str]:
    """What ``station`` imports of the stations behind it."""
    parts = [name.split(".")[1] for name in imported if name.startswith("ctmar.")]
    known = [part for part in parts if part in ORDER]
    return [part for part in known if ORDER.index(part) > ORDER.index(station)]


def forbidden(path: str, imported: set[str]) -> list[str]:
    """Libraries that ``path`` (relative to the package) may not know."""
    tops = {name.split(".")[0] for name in imported}
    return [lib for lib, homes in ONLY_IN.items() if lib in tops and not path.startswith(homes)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_imports_only_what_stands_before_it(file: Path) -> None:
    path = file.relative_to(ROOT)
    station = path.parts[0].removesuffix(".py")
    if station == "__init__":
        return
    imported = imports(ast.parse(file.read_text(encoding="utf-8")))
    assert station in ORDER
    assert not too_early(station, imported)
    assert not forbidden(path.as_posix(), imported)


def test_no_file_is_longer_than_a_reader_keeps_in_mind() -> None:
    lengths = {file.relative_to(ROOT).as_posix(): len(file.read_text("utf-8").splitlines()) for file in FILES}
    assert {name: count for name, count in lengths.items() if count > LONGEST} == {}


def test_the_rule_refuses_what_it_should() -> None:
    assert too_early("physics", imports(ast.parse("from ctmar.methods.base import Method"))) == ["methods"]
    assert too_early("physics", imports(ast.parse("def f():\n    from ctmar import jobs"))) == ["jobs"]
    assert forbidden("data/store.py", imports(ast.parse("import pytorch_lightning as pl"))) == [
        "pytorch_lightning"
    ]
    assert forbidden("anatomy/masks.py", imports(ast.parse("from SimpleITK import Cast"))) == ["SimpleITK"]


def test_importing_the_package_imports_no_heavy_library() -> None:
    heavy = ("torch", "wandb", "hydra", "astra", "torch_radon", "SimpleITK", "pytorch_lightning")
    code = f"import ctmar, sys; print([m for m in {heavy} if m in sys.modules])"
    out = run([sys.executable, "-c", code])
    assert out.stdout.strip() == "[]"


def test_the_command_line_stays_light_until_a_job_runs() -> None:
    code = "import ctmar.jobs.cli, sys; print('torch' in sys.modules)"
    out = run([sys.executable, "-c", code])
    assert out.stdout.strip() == "False"
