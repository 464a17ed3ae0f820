"""No file makes this package run what is in it: read from the code itself."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([ROOT / "train.py", *(ROOT / "ctmar").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")])
NEVER = {
    *(f"{module}.{call}" for module in ("pickle", "joblib", "marshal", "dill") for call in ("load", "loads")),
    *(
        "pickle.Unpickler",
        "shelve.open",
        "yaml.unsafe_load",
        "yaml.full_load",
        "yaml.load",
        "pandas.read_pickle",
    ),
    *("os.system", "os.popen", "eval", "exec"),
}
"""Calls that run what a file or a user says."""


def dangerous(source: str) -> list[str]:
    """Calls that would unpickle or run text, as written."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and any(f"{node.module}.{n.name}" in NEVER for n in node.names):
            found.append(ast.unparse(node))
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if (
            name in NEVER
            or (name == "torch.load" and given.get("weights_only") != "True")
            or (name in ("np.load", "numpy.load") and given.get("allow_pickle", "False") != "False")
            or given.get("shell", "False") != "False"
            or (name.endswith(".extractall") and "tar" in source and name != "packed.extractall" and
                given.get("filter") != "'data'")
        ):  # fmt: skip
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_is_unpickled_or_run(file: Path) -> None:
    assert not dangerous(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.load(file)",
        "from pickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "subprocess.run(line, shell=True)",
        "eval(text)",
        "import tarfile\nbundle.extractall(root)",
    ],
)
def test_what_would_is_found(source: str) -> None:
    assert dangerous(source)


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(p, weights_only=True)",
        "np.load(p)",
        "yaml.safe_load(t)",
        "subprocess.run([a], shell=False)",
    ],
)
def test_what_is_safe_is_let_through(source: str) -> None:
    assert not dangerous(source)
