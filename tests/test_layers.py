"""Imports go down the layers of folders, and never in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Each may import from itself and from those before it.
LAYERS = (
    "common",
    "isa",
    "model",
    "compiler",
    "golden",
    "hls",
    "rtl",
    "bitstream_scripts",
    "host",
    "evaluation",
    "cmamba",
    "experiments",
    "run_infer",
    "tests",
)
# What only tests and simulations import may take from them.
SIMULATION = "rtl.tb"


def modules(root: Path) -> dict[str, Path]:
    """Every module of the layers, by its name."""
    found = {}
    for layer in LAYERS:
        paths = [*(root / layer).rglob("*.py"), root / f"{layer}.py"]
        for path in filter(Path.is_file, paths):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of `known` that a file imports, anywhere in it."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # A name may be a module, or something inside of one.
            names += [
                name if (name := f"{node.module}.{alias.name}") in known else node.module
                for alias in node.names
            ]
    return {name for name in names if name in known}


def upward(root: Path) -> list[str]:
    """Imports from a higher layer. A `__main__` is a program, which nothing imports: it may."""
    known = modules(root)
    return [
        f"{module} imports {imported}"
        for module, path in sorted(known.items())
        if path.name != "__main__.py" and not module.startswith(SIMULATION)
        for imported in sorted(imports(path, known))
        if LAYERS.index(imported.split(".")[0]) > LAYERS.index(module.split(".")[0])
    ]


def circle(root: Path) -> list[str]:
    """The modules of one circle of imports, in their order; empty where there is none."""
    known = modules(root)
    done: set[str] = set()

    def visit(module: str, way: list[str]) -> list[str]:
        if module in way:
            return way[way.index(module) :]
        if module in done:
            return []
        for imported in sorted(imports(known[module], known) - {module}):
            if found := visit(imported, [*way, module]):
                return found
        done.add(module)
        return []

    return next(filter(None, (visit(module, []) for module in sorted(known))), [])


def test_no_import_runs_up():
    assert upward(ROOT) == []


def test_no_circle():
    assert circle(ROOT) == []


@pytest.fixture
def small(tmp_path):
    for file, text in {
        "isa/__init__.py": "",
        "isa/words.py": "import isa\n",
        "golden/__init__.py": "",
        "golden/cases.py": "from isa import words\n",
        "golden/__main__.py": "from evaluation import demo\n",
        "evaluation/demo.py": "def f():\n    from golden.cases import g\n",
    }.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    return tmp_path


def test_programs_may_import_all(small):
    assert upward(small) == [] and circle(small) == []


def test_an_import_that_runs_up_is_found(small):
    (small / "isa/words.py").write_text("def f():\n    from golden import cases\n")
    assert upward(small) == ["isa.words imports golden.cases"]
    assert circle(small) == ["golden.cases", "isa.words"]


def test_a_circle_in_a_folder_is_found(small):
    (small / "golden/host.py").write_text("from golden import cases\n")
    (small / "golden/cases.py").write_text("import golden.host\n")
    assert upward(small) == [] and circle(small) == ["golden.cases", "golden.host"]
