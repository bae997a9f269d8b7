"""README.md and the pages of docs/ show what their commands print: each ```console block is run.

In a block, a line `$ COMMAND` is followed by what it prints, standard output and error together. A
line `...` stands for any number of lines. The rest has to be equal, except for figures that depend
on the machine: see TOLERANCES.

The blocks of a document run in order, in a folder that links to the checkout but has a build/ of
its own. `make demo` and `make golden` install packages and run for minutes; their tables are
compared with what the same programs print here, those on ETTh1 where ETTh1.csv is there.

After a change that moves figures, `python -m tests.test_readme` writes all but those two anew.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from evaluation import demo
from golden import __main__ as make_golden
from golden.cases import CHECKPOINT_CASES
from model.data import DataError
from model.data.public_sets import public_path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = {
    str(path.relative_to(ROOT)): path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if "```console" in path.read_text(encoding="utf-8")
}
TABLES = ("make demo", "make golden")

# Kind of figure, the pattern that finds its number, and the largest difference that passes:
# absolute, or relative where it ends in %.
TOLERANCES = (
    ("seconds", r"\d+\.\d+(?= s\b)|\d+\.\d\d(?=  (?:ok|FAILED)$)", "any"),
    # Sums of floating-point numbers depend on the CPU, and so do calibrated scales.
    ("change of the MSE", r"[+-]\d+\.\d\d(?=%)", "0.05"),
    ("MSE or MAE", r"(?<![\d.])\d\.\d{4}(?!\d)", "0.0002"),
    ("SQNR", r"\d+\.\d(?= dB|$)", "0.3"),
    # One activation on the other side of a rounding moves the largest difference.
    ("difference to fp32", r"(?<![\d.])\d\.\d{5}(?!\d)", "20%"),
    ("distance of positions", r"\d+\.\d{3}(?= m\b)", "20%"),
    # The metadata hold the scales as decimal numbers, whose lengths differ.
    ("bytes of a package", r"\d[\d,]*(?= bytes)|(?<=bytes: )\d[\d,]*", "0.1%"),
)
FIGURE = re.compile(" *(?:" + "|".join(f"({pattern})" for _, pattern, _ in TOLERANCES) + ")")


def same(expected: str, found: str) -> bool:
    """Whether two lines are equal but for figures within their tolerances."""
    if FIGURE.sub("#", expected) != FIGURE.sub("#", found):
        return False
    for a, b in zip(FIGURE.finditer(expected), FIGURE.finditer(found), strict=True):
        if a.lastindex != b.lastindex:
            return False
        limit = TOLERANCES[a.lastindex - 1][2]
        x, y = (float(m[m.lastindex].replace(",", "")) for m in (a, b))
        if limit == "any":
            continue
        allowed = float(limit.rstrip("%")) * (abs(x) / 100 if limit.endswith("%") else 1)
        if abs(x - y) > allowed + 1e-9:
            return False
    return True


def matches(expected: list[str], found: list[str]) -> bool:
    """Whether the lines are the `same`, `...` standing for any number of them."""
    if not expected:
        return not found
    if expected[0] == "...":
        return any(matches(expected[1:], found[i:]) for i in range(len(found) + 1))
    return bool(found) and same(expected[0], found[0]) and matches(expected[1:], found[1:])


def blocks(text: str) -> list[list[tuple[str, list[str]]]]:
    """The console blocks: of each the commands, and the lines shown below each command."""
    indented = re.search(r"^ +```console$", text, re.M)
    assert not indented, "a console block is indented, as in a list: move it out, or it is not run"
    result = []
    for body in re.findall(r"^```console\n(.*?)^```$", text, re.M | re.S):
        block = []
        for line in body.splitlines():
            if line.startswith("$ "):
                block.append((line[2:], []))
            else:
                block[-1][1].append(line)
        result.append(block)
    return result


def commands(path: Path) -> list[tuple[str, list[str]]]:
    return [each for block in blocks(path.read_text(encoding="utf-8")) for each in block]


def link_checkout(folder: Path) -> None:
    """Make `folder` look like the checkout, with a build/ of its own that has what was compiled."""
    for path in ROOT.iterdir():
        if path.name not in (".git", "build"):
            (folder / path.name).symlink_to(path)
    (folder / "build").mkdir()
    for name in ("bindings", "csim", "hls"):
        (folder / "build" / name).symlink_to(ROOT / "build" / name)


def run(command: str, folder: Path) -> list[str]:
    """What a shell prints for `command`: the environment's python, no vendor tools on PATH."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    environment = {
        **kept,
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONUNBUFFERED": "1",  # standard output and error in the order of printing
    }
    result = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    return result.stdout.splitlines()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_shows_real_output(name, tmp_path):
    link_checkout(tmp_path)
    wrong = []
    for command, expected in commands(DOCUMENTS[name]):
        if command in TABLES:
            continue
        found = run(command, tmp_path)
        if not matches(expected, found):
            wrong += [f"$ {command}", *(f"- {x}" for x in expected), *(f"+ {x}" for x in found)]
    assert not wrong, "\n".join([f"{name} (-) and what its commands print (+):", *wrong])


def shown(command: str) -> list[str]:
    """What the one document that has `command` shows below it."""
    everything = [each for path in DOCUMENTS.values() for each in commands(path)]
    (lines,) = [lines for c, lines in everything if c == command]
    return lines


def demo_columns(lines: list[str]) -> dict[str, list[str]]:
    """Of each model in the demo's table, its cells as `label: cell`."""
    start = next(i for i, line in enumerate(lines) if line.split()[:1] == ["nyc_weather"])
    names = lines[start].split()
    columns = {name: [] for name in names}
    for line in lines[start + 1 :]:
        if not line:
            break
        label, *cells = line.rsplit(None, len(names))
        for name, cell in zip(names, cells, strict=True):
            columns[name].append(f"{label.strip()}: {cell}")
    return columns


def has_etth1() -> bool:
    try:
        return public_path("etth1").is_file()
    except DataError:
        return False


def test_tables(tmp_path, capsys):
    """The demo's table, and the accuracy of `make golden`, which holds the same figures."""
    columns = demo_columns(shown("make demo"))
    assert list(columns) == [case.name for case in CHECKPOINT_CASES]
    assert demo.main(["--output", str(tmp_path)]) == 0
    found = demo_columns(capsys.readouterr().out.splitlines())
    assert list(found) == (list(columns) if has_etth1() else ["nyc_weather"])
    wrong = [
        f"{name}, shown: {a}, now: {b}"
        for name in found
        for a, b in zip(columns[name], found[name], strict=True)
        if not same(a, b)
    ]
    assert not wrong, "\n".join(wrong)

    rows = {line.split()[0]: line.split() for line in shown("make golden") if line}
    for name, cells in columns.items():
        values = dict(cell.split(": ") for cell in cells)
        labels = ["windows of the test split", "test MSE, FP32", "test MSE, int8", "change"]
        labels += ["test MAE, FP32", "test MAE, int8"]
        assert rows[name][1:] == [values[label].replace(",", "") for label in labels], name

    assert make_golden.main(["nyc_weather_pow2", "--output", str(tmp_path)]) == 0
    (found,) = re.findall(r"^nyc_weather_pow2 .*%.*$", capsys.readouterr().out, re.M)[:1]
    (expected,) = [x for x in shown("make golden") if x.startswith("nyc_weather_pow2 ")]
    assert same(expected, found), f"shown: {expected}\nnow:   {found}"


@pytest.mark.parametrize(
    ("expected", "found", "equal"),
    [
        ("test MSE, int8: 0.4928", "test MSE, int8: 0.4930", True),
        ("test MSE, int8: 0.4928", "test MSE, int8: 0.4931", False),
        ("test MSE, int8: 0.4928", "test MAE, int8: 0.4928", False),
        ("change: +0.03%", "change: -0.01%", True),
        ("change: +0.03%", "change: +0.09%", False),
        ("values that differ: 0", "values that differ: 1", False),
        ("MACs of a forecast: 878,592", "MACs of a forecast: 878,593", False),
        ("package, bytes: 248,370", "package, bytes: 248,454", True),
        ("package, bytes: 248,370", "package, bytes: 249,370", False),
        ("x.bin: 248,370 bytes, 204 tiles", "x.bin: 248,370 bytes, 205 tiles", False),
        ("mean 0.00332, SQNR 44.6 dB", "mean 0.00340, SQNR 44.4 dB", True),
        ("mean 0.00332, SQNR 44.6 dB", "mean 0.00332, SQNR 41.6 dB", False),
        ("  9.6 s", " 10.1 s", True),
        ("nyc  21  63816  0      0.38  ok", "nyc  21  63816  0     10.38  ok", True),
        ("nyc  21  63816  0      0.38  ok", "nyc  21  63816  1      0.38  FAILED", False),
        ("nyc  1374  1.601  5.50  6.7%", "nyc  1374  1.602  5.50  6.7%", False),
    ],
)
def test_comparison(expected, found, equal):
    assert same(expected, found) is equal


def test_indented_block_is_refused():
    with pytest.raises(AssertionError, match="is indented"):
        blocks("1. As follows:\n\n   ```console\n   $ true\n   ```\n")


def test_elision():
    assert matches(["a", "...", "d"], ["a", "b", "c", "d"])
    assert matches(["..."], [])
    assert not matches(["a", "...", "d"], ["a", "b", "c"])
    assert not matches(["a"], ["a", "b"])


def rewrite(path: Path) -> None:
    """Write the documented output of every command of `path` anew, where it does not match."""
    text = path.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        link_checkout(Path(folder))
        for command, expected in commands(path):
            if command in TABLES:
                continue
            found = run(command, Path(folder))
            if matches(expected, found):
                continue
            if "..." in expected:
                print(f"{path}: `{command}` prints something else; has `...`, edit by hand:")
                print("\n".join(found))
                continue
            old, new = ("\n".join([f"$ {command}", *x, ""]) for x in (expected, found))
            assert text.count(old) == 1, f"{path}: `{command}` is not there once"
            text = text.replace(old, new)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


if __name__ == "__main__":
    for document in DOCUMENTS.values():
        rewrite(document)
