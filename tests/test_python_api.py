"""The Python API does what the commands do; and installed, in any folder, it is all there."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import cmamba
import run_infer
from compiler import export
from golden import export_onnx
from model import train_forecast
from model.data import DataError
from model.io import save_checkpoint
from model.regressor_args import RegressorArgs
from tests.compiled_regressors import random_regressor
from tests.sines import SHORT, SMALL_MODEL, csv_of_sines
from tests.test_readme import link_checkout

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "python_api.md"
SIZES = {
    **{"seq_len": 24, "patch_len": 8, "stride": 4, "d_model": 8, "n_layer": 1, "d_state": 2},
    **{"epochs": 2, "batch_size": 32, "device": "cpu"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """With a CSV, and what the commands make of it."""
    folder = tmp_path_factory.mktemp("commands")
    csv = str(csv_of_sines(folder / "my.csv"))
    weights = str(folder / "my.safetensors")
    calls = (
        (train_forecast, "--data", csv, "--out", weights, *SMALL_MODEL, *SHORT),
        (export, "--weights", weights, "--dataset", csv, "--output", str(folder / "my.bin")),
        (export_onnx, "--package", str(folder / "my.bin"), "--output", str(folder / "my.onnx")),
    )
    for command, *arguments in calls:
        assert command.main(arguments) == 0
    return folder


@pytest.fixture(scope="module")
def fitted(folder, tmp_path_factory) -> tuple[cmamba.Model, Path]:
    out = tmp_path_factory.mktemp("api") / "fitted.safetensors"
    return cmamba.fit(folder / "my.csv", 8, out=out, verbose=False, **SIZES), out


def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "my.csv", index_col="date", parse_dates=True)


def test_fit_trains_as_the_command(folder, fitted):
    _, out = fitted
    assert out.read_bytes() == (folder / "my.safetensors").read_bytes()
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_what_training_prints_is_a_choice(folder, capfd):
    arguments = SIZES | {"epochs": 1}
    cmamba.fit(folder / "my.csv", 8, verbose=False, **arguments)
    assert capfd.readouterr() == ("", "")
    cmamba.fit(folder / "my.csv", 8, **arguments)
    captured = capfd.readouterr()
    assert "epoch   1" in captured.out and "my.csv: 200 rows" in captured.err


@pytest.mark.parametrize("backend", ["fp32", "int8"])
@pytest.mark.parametrize("every", [None, 50])
def test_predict_gives_what_run_infer_writes(folder, fitted, tmp_path, backend, every):
    files = ["--weights", folder / "my.safetensors", "--input", folder / "my.csv"]
    options = ["--output", tmp_path / "y.csv", "--backend", backend]
    options += ["--package", folder / "my.bin"] if backend == "int8" else []
    options += ["--rolling", every] if every else []
    assert run_infer.main([*map(str, [*files, *options])]) == 0

    frame = fitted[0].predict(folder / "my.csv", backend=backend, every=every)
    assert frame.index.names == (["origin", "date"] if every else ["date"])
    assert [*frame.columns] == ["a", "b"]
    # The file has dates as the CSV has them.
    text = frame.rename(index=lambda date: date.isoformat(sep=" "))
    text = text.to_csv(float_format="%.7g")
    assert text == (tmp_path / "y.csv").read_text()


def test_a_table_is_as_good_as_a_file(folder, fitted):
    model, _ = fitted
    expected = model.predict(folder / "my.csv")
    pd.testing.assert_frame_equal(model.predict(table(folder)), expected)
    pd.testing.assert_frame_equal(model.predict(table(folder).reset_index()), expected)
    again = cmamba.fit(table(folder), 8, verbose=False, **SIZES)
    pd.testing.assert_frame_equal(again.predict(table(folder)), expected)


def test_dates_with_a_zone_come_back_in_utc(folder, fitted):
    zoned = table(folder).tz_localize("Europe/Berlin", ambiguous=True).head(100)
    index = fitted[0].predict(zoned).index
    assert str(index.tz) == "UTC" and index[0] == zoned.index[-1] + pd.Timedelta("1h")


def test_export_writes_what_the_commands_write(folder, fitted, tmp_path):
    for name in ("new/my.bin", "new/my.onnx"):
        fitted[0].export(tmp_path / name)
    for name in ("my.bin", "my.json", "my.npz", "my.onnx"):
        assert (tmp_path / "new" / name).read_bytes() == (folder / name).read_bytes(), name


def test_a_saved_model_is_the_same(folder, fitted, tmp_path):
    model, _ = fitted
    model.save(tmp_path / "saved.safetensors")
    loaded = cmamba.load(tmp_path / "saved.safetensors", folder / "my.csv")
    for backend in cmamba.api.BACKENDS:
        expected = model.predict(folder / "my.csv", backend=backend)
        pd.testing.assert_frame_equal(loaded.predict(folder / "my.csv", backend=backend), expected)
        assert loaded.evaluate(backend) == model.evaluate(backend)


def test_int8_wants_the_training_data(fitted, folder):
    model = cmamba.load(fitted[1])
    assert len(model.predict(folder / "my.csv")) == 8
    for call in (
        model.evaluate,
        lambda: model.export(folder / "other.bin"),
        lambda: model.predict(folder / "my.csv", backend="int8"),
    ):
        with pytest.raises(ValueError, match="not known: load it with data="):
            call()
    assert not (folder / "other.bin").exists()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"epoch": 3}, TypeError, "fit: unknown option epoch"),
        ({"qat": "x", "help": True}, TypeError, "fit: unknown option help, qat"),
        ({"epochs": "many"}, ValueError, "--epochs: invalid int value"),
        ({"epochs": 0}, ValueError, "epochs: expected at least 1, found 0"),
        ({"loss": "l3"}, ValueError, "--loss: invalid choice"),
        ({"horizon": 12}, ValueError, "--forecast-len: found 12, expected a multiple of 8"),
        ({"data": "none.csv"}, FileNotFoundError, "none.csv: no such file"),
        ({"columns": "c"}, DataError, "'c'"),
        ({"out": "my.bin"}, ValueError, "--out: expected a name ending in .safetensors"),
    ],
)
def test_fit_refuses_in_one_line(folder, tmp_path, monkeypatch, arguments, error, message):
    monkeypatch.chdir(tmp_path)
    given = {"data": folder / "my.csv", "horizon": 8, "verbose": False, **SIZES, **arguments}
    with pytest.raises(error, match=re.escape(message)) as raised:
        cmamba.fit(**given)
    assert "\n" not in str(raised.value)
    assert [*tmp_path.iterdir()] == []


def test_predict_refuses(folder, fitted, tmp_path):
    model, _ = fitted
    for arguments, message in (
        ({"backend": "hls"}, "backend: found 'hls', expected fp32 or int8"),
        ({"every": 0}, "every: expected at least 1, found 0"),
        ({"data": tmp_path / "none.csv"}, "none.csv: no such file"),
        ({"data": table(folder)[["a"]]}, "'b'"),
        ({"data": table(folder).head(20)}, "20 rows, expected at least 24"),
    ):
        with pytest.raises((ValueError, OSError), match=re.escape(message)):
            model.predict(**{"data": folder / "my.csv", **arguments})


def test_a_regressor_is_refused(tmp_path):
    args = RegressorArgs(num_features=3, num_channels=4, seq_len=8, patch_len=4, d_model=8)
    save_checkpoint(random_regressor(args), tmp_path / "r.safetensors")
    with pytest.raises(ValueError, match=r"r\.safetensors: a regressor, expected a forecaster"):
        cmamba.load(tmp_path / "r.safetensors")


# ------------------------------------------------------------------------------ installed


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The Python of an environment with the wheel and the requirements of this one."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / "checkout").mkdir()
    link_checkout(folder / "checkout")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    offline = ["--no-deps", "--no-index"]
    build = ["wheel", "--no-build-isolation", *offline, "-w", folder / "wheel"]
    subprocess.run([*pip, *build, folder / "checkout"], check=True)
    (wheel,) = (folder / "wheel").iterdir()
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    subprocess.run([*pip, "--python", python, "install", *offline, wheel], check=True)
    found = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    site = Path(found.stdout.strip())
    assert sorted(path.name for path in site.iterdir()) == ["cmamba", "cmamba-0.1.0.dist-info"]
    (site / "shared.pth").write_text("\n".join(p for p in sys.path if "site-packages" in p))
    return python


def run(python: Path, code: str, folder: Path) -> str:
    result = subprocess.run(
        [python, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def page_block(language: str) -> str:
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    return block


def words(text: str) -> list[str | float]:
    """The words of a text, and its numbers as such."""
    found = re.findall(r"[-\d.]+\d|[^\s\d]+", text)
    return [float(word) if re.fullmatch(r"-?\d+\.\d+", word) else word for word in found]


@pytest.mark.slow
def test_the_example_of_the_page(installed, tmp_path):
    out = run(installed, page_block("python"), tmp_path)
    shown = page_block("text")
    assert words("".join(out.splitlines(True)[-len(shown.splitlines()) :])) == [
        pytest.approx(word, abs=1.0) if isinstance(word, float) else word for word in words(shown)
    ]
    written = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert written == [
        *("board/my.bin", "board/my.json", "board/my.npz", "board/my.onnx"),
        *("my.csv", "my.safetensors"),
    ]


@pytest.mark.slow
def test_every_module_of_the_wheel_is_whole_and_disturbs_nobody(installed, tmp_path):
    """Each can be imported; and none is, or wants, a module of a name that could be anybody's."""
    (tmp_path / "model.py").write_text("raise RuntimeError('of the user')")
    code = (
        "import cmamba, importlib, pkgutil, sys\n"
        "names = [m.name for m in pkgutil.walk_packages(cmamba.__path__, 'cmamba.')]\n"
        "for name in names: importlib.import_module(name)\n"
        "print(*names)\n"
        "print(*(n for n in sys.modules if n.split('.')[0] in "
        "{'common', 'isa', 'model', 'compiler', 'golden', 'hls', 'host', 'evaluation'}))\n"
    )
    names, foreign = run(installed, code, tmp_path).split("\n")[:2]
    assert {"cmamba.api", "cmamba.model.cmamba", "cmamba.golden.onnx_graph"} <= set(names.split())
    assert foreign == ""
