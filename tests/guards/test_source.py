"""What must never stand in the project's files."""

from __future__ import annotations

import ast
import hashlib
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARED = next((p for p in (ROOT / "shared", ROOT.parent / "shared") if (p / "data").is_dir()), None)
PACKAGES = ("latentnlp", "recipes", "data_prep", "benchmarks")
# The only ones that may speak of CUDA by name: they choose devices.
CHOOSE_DEVICES = {"run.py", "distributed.py", "loop.py", "cli.py"}


def tracked() -> list[Path]:
    """The files under version control; without git, all that is not hidden or built."""
    listing = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True
    )
    names = listing.stdout.split("\0") if listing.returncode == 0 else []
    files = [ROOT / name for name in names if name]
    if not files:
        folders = (*PACKAGES, "tests")
        files = [path for folder in folders for path in (ROOT / folder).rglob("*")]
        files += ROOT.glob("*.*")
    return [path for path in files if path.is_file() and "__pycache__" not in path.parts]


def texts() -> dict[Path, str]:
    found = {}
    for path in tracked():
        try:
            found[path.relative_to(ROOT)] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    assert len(found) > 50
    return found


def python(folder: str) -> dict[Path, ast.Module]:
    files = sorted((ROOT / folder).rglob("*.py"))
    return {path.relative_to(ROOT): ast.parse(path.read_text("utf-8")) for path in files}


def uses(tree: ast.Module) -> set[str]:
    """Modules imported, and attributes and calls as dotted names."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute):
            found.add(ast.unparse(node))
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            found.add(f"allow_pickle={ast.unparse(node.value)}")
    return found


PICKLE = re.compile(
    r"(torch\.(load|save|package)|(c?[pP]ickle|dill|joblib|shelve|marshal)(\..*)?|allow_pickle=True)"
)


@pytest.mark.parametrize("folder", PACKAGES)
def test_no_pickle(folder: str) -> None:
    bad = {
        str(path): sorted(name for name in uses(tree) if PICKLE.fullmatch(name))
        for path, tree in python(folder).items()
    }
    assert not {path: names for path, names in bad.items() if names}


def test_numpy_reads_no_pickle() -> None:
    """`np.load` must be told, or an object array in a file would run code."""
    for path, tree in python("latentnlp").items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "numpy.load"):
                words = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert words.get("allow_pickle") == "False", path


def test_no_device_by_name() -> None:
    """Devices come from outside; a model with "cuda" in it runs on one machine only."""
    for path, tree in python("latentnlp").items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                assert node.attr != "cuda" or path.name in CHOOSE_DEVICES, f"{path}:{node.lineno}"
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named = re.fullmatch(r"cuda(:\d+)?", node.value)
                assert not named or path.name in CHOOSE_DEVICES, f"{path}:{node.lineno}"


REGISTRIES = re.compile(
    r"https?://[^\s)\"'>]*(py"
    r"pi|python"
    r"hosted|ana"
    r"conda|npm"
    r"js|crates\.io|artifactory|nexus|jfrog|localhost|127\.0\.0\.1)",
    re.IGNORECASE,
)
# Folders of one machine; a path that a reader would type on his own is relative or ~.
MACHINE = re.compile(r"(?<![\w./~<-])/(work|home|root|Users|mnt|opt|srv)/\w")


def test_no_registry_and_no_path_of_one_machine() -> None:
    for path, text in texts().items():
        assert not REGISTRIES.search(text), f"{path}: {REGISTRIES.search(text)}"
        if path != Path(__file__).relative_to(ROOT):
            assert not MACHINE.search(text), f"{path}: {MACHINE.search(text)}"


def test_nothing_of_the_shared_folder_was_copied() -> None:
    if SHARED is None:
        pytest.skip("has no shared folder to compare with")
    by_size: dict[int, list[Path]] = {}
    for path in tracked():
        if path.stat().st_size > 0:
            by_size.setdefault(path.stat().st_size, []).append(path)
    for other in SHARED.rglob("*"):
        if other.is_file() and other.stat().st_size in by_size:
            for path in by_size[other.stat().st_size]:
                assert digest(path) != digest(other), f"{path} is a copy of {other}"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_no_data_is_kept_here() -> None:
    """Corpora are fetched when they are prepared; what is tracked is small and made by hand."""
    large = {str(path): path.stat().st_size for path in tracked() if path.suffix != ".png"}
    assert not {path: size for path, size in large.items() if size > 200_000}
    assert not [path for path in tracked() if path.suffix in {".pt", ".pkl", ".npy", ".gz", ".zip"}]


MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "latentnlp").rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py")
)


def test_every_module_says_what_it_is() -> None:
    for folder in PACKAGES:
        for path, tree in python(folder).items():
            if path.name not in ("__init__.py", "__main__.py"):
                assert ast.get_docstring(tree), f"{path} has no docstring"


def test_every_public_class_and_function_of_the_interface_has_one() -> None:
    import latentnlp

    for name in latentnlp.__all__:
        thing = getattr(latentnlp, name)
        assert name == "__version__" or thing.__doc__
    for public in (latentnlp.Aligner, latentnlp.RationaleExtractor, latentnlp.Translator):
        for name, member in vars(public).items():
            assert name.startswith("_") or member.__doc__, name


OPTIONAL = (
    "torchtext",
    "datasets",
    "tensorboard",
    "transformers",
    "eflomal",
    "machine",
    "thot",
    "pytest",
)


def test_the_package_imports_without_its_extras() -> None:
    """All of it but the torchtext adapter, in a process in which the extras cannot be imported."""
    modules = [name for name in MODULES if name != "latentnlp.data.torchtext_adapter"]
    code = f"""
import importlib, sys
for name in {OPTIONAL}:
    sys.modules[name] = None  # what import makes of it is ModuleNotFoundError
for name in {modules}:
    importlib.import_module(name)
from latentnlp import Aligner, UserError
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_light_modules_stay_light() -> None:
    """What `--help` needs imports neither torch nor numpy, not even at one remove."""
    code = """
import sys
import latentnlp, latentnlp.cli, latentnlp.config, latentnlp.errors
assert not {"torch", "numpy"} & set(sys.modules), "torch or numpy is imported"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_file_names_are_the_register() -> None:
    """A configuration's choice of model is a file of that name, and every such file is a choice."""
    from typing import get_args, get_type_hints

    from latentnlp.tasks.alignment_model import ModelConfig

    kinds = get_type_hints(ModelConfig)
    for field, folder in (("emission", "emissions"), ("positions", "models")):
        files = {
            path.stem
            for path in (ROOT / "latentnlp" / folder).glob("*.py")
            if not path.stem.startswith("_")
            and path.stem not in ("aligner", "rationale", "evidence")
        }
        assert set(get_args(kinds[field])) == files
        for name in files:
            module = importlib.import_module(f"latentnlp.{folder}.{name}")
            assert kinds[name] is module.Config and callable(module.build)


def test_so_are_those_of_translation() -> None:
    from typing import get_args, get_type_hints

    from latentnlp.tasks.translation_model import ModelConfig

    kinds = get_type_hints(ModelConfig)
    folder = ROOT / "latentnlp" / "translation_models"
    files = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
    assert set(get_args(kinds["kind"])) == files
    for name in files:
        module = importlib.import_module(f"latentnlp.translation_models.{name}")
        assert kinds[name] is module.Config and callable(module.build)
