"""Golden folders: what is in them, that they are whole, and `python -m golden`."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden import __main__ as command
from golden import vectors
from golden.cases import CASES, Case, CompiledCase, build_case
from golden.integer_model import IntegerModel
from golden.series import MAX_BYTES, window_step, write_series
from golden.vectors import golden_tokens, write_golden
from isa.package import Package
from model.args import ModelArgs
from model.data import DataError, Splits, Standardizer, Windows
from tests.compiled_models import SMALL, random_model


def tiny(name: str = "tiny", **args: object) -> Case:
    return Case(name, None, lambda: random_model(ModelArgs(**(SMALL | args))))


@pytest.fixture(scope="module")
def compiled() -> CompiledCase:
    return build_case(tiny(channel_mode="independent", topology="nested"))


def contents(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def test_a_folder_holds_every_tensor(compiled, tmp_path):
    tokens = golden_tokens(compiled)
    values = write_golden(tmp_path / "tiny", compiled.package, tokens)
    folder = tmp_path / "tiny"
    package = Package.read(folder / "package.bin", build="default")
    assert package.to_bytes() == compiled.package.to_bytes()
    trace: dict[str, torch.Tensor] = {}
    forecast = IntegerModel(package).run(tokens, trace)
    stored = np.fromfile(folder / "input.bin", np.int8).reshape(tokens.shape)
    np.testing.assert_array_equal(stored, tokens)
    stored = np.fromfile(folder / "forecast.bin", "<i2").reshape(forecast.shape)
    np.testing.assert_array_equal(stored, forecast)

    lines = (folder / "manifest.txt").read_text().splitlines()
    assert lines[0] == "cmamba-golden 1"
    assert lines[1] == f"n_forecasts {len(tokens) // package.iterations}"
    assert len(lines) == 2 + len(package.instructions)
    total = 0
    for index, line in enumerate(lines[2:]):
        number, opcode, name, file, rows, n, dtype = line.split()
        instruction = package.instructions[index]
        assert (int(number), opcode) == (index, instruction.opcode)
        assert name == package.instruction_name(index)
        stored = np.fromfile(folder / file, {"int8": "i1", "int16": "<i2"}[dtype])
        stored = stored.reshape(len(tokens), int(rows), int(n))
        np.testing.assert_array_equal(stored, trace[name].numpy())
        total += stored.size
    assert total == values

    manifest = json.loads((folder / "manifest.json").read_text())
    for file, digest in manifest["sha256"].items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest
    assert manifest["input"] == list(tokens.shape)
    assert [t["name"] for t in manifest["tensors"]] == list(trace)


def test_the_last_tokens_go_over_the_whole_range(compiled):
    tokens = golden_tokens(compiled)
    assert len(tokens) == (vectors.N_WINDOWS + 1) * compiled.package.iterations
    assert tokens[-1].min() < -120 and tokens[-1].max() > 120


def test_the_same_case_gives_the_same_bytes(compiled, tmp_path):
    tokens = golden_tokens(compiled)
    write_golden(tmp_path / "a", compiled.package, tokens)
    again = build_case(tiny(channel_mode="independent", topology="nested"))
    write_golden(tmp_path / "b", again.package, golden_tokens(again))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


class Interrupt(BaseException):
    """Stands for Ctrl-C."""


@pytest.mark.parametrize("moment", ["write", "more", "rename"])
@pytest.mark.parametrize("existing", [True, False])
def test_an_interrupted_write_leaves_what_was_there(
    compiled, tmp_path, monkeypatch, moment, existing
):
    folder, tokens = tmp_path / "tiny", golden_tokens(compiled)
    if existing:
        write_golden(folder, compiled.package, tokens[:1])
    before = contents(tmp_path)

    def interrupt(*args, **kwargs):
        raise Interrupt

    more = []
    if moment == "write":
        real = Package.write

        def write_and_interrupt(self, path):
            real(self, path)
            raise Interrupt

        monkeypatch.setattr(Package, "write", write_and_interrupt)
    elif moment == "more":
        more = [interrupt]
    else:
        real_rename = Path.rename

        def rename(self, target):
            if Path(target) == folder and not self.name.endswith(".old"):
                raise Interrupt
            return real_rename(self, target)

        monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(Interrupt):
        write_golden(folder, compiled.package, tokens, more)
    assert contents(tmp_path) == before
    assert folder.exists() is existing


def test_a_series_gives_back_the_windows_and_their_forecasts(tmp_path):
    args = ModelArgs(**(SMALL | {"num_channels": 2, "instance_norm": True}))
    model = random_model(args)
    rows = np.random.default_rng(0).standard_normal((40, 2))
    windows = Windows(rows, args.seq_len, args.forecast_len)
    scale = Standardizer(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    splits = Splits("tiny", ("a", "b"), scale, windows, windows, windows)
    write_series(CompiledCase(tiny(), model, splits, None), tmp_path / "series.npz")
    with np.load(tmp_path / "series.npz") as stored:
        series, fp32 = stored["series"], stored["fp32"]
        assert stored["columns"].tolist() == ["a", "b"]
        np.testing.assert_array_equal(stored["std"], scale.std)
        np.testing.assert_array_equal(stored["starts"], np.arange(len(windows)))
    np.testing.assert_array_equal(series, rows.astype(np.float32))
    assert len(fp32) == len(windows)
    x, _ = windows[len(windows) - 1]
    with torch.no_grad():
        expected = model(torch.from_numpy(x[None].copy())).numpy()[0]
    np.testing.assert_allclose(fp32[-1], expected, atol=1e-5)


@given(n=st.integers(1, 20_000), window_bytes=st.integers(4, 50_000))
def test_the_windows_of_a_series_fit_and_begin_at_every_hour(n, window_bytes):
    step = window_step(n, window_bytes)
    chosen = len(range(0, n, step))
    assert chosen * window_bytes <= MAX_BYTES
    assert step == 1 or 5 * chosen * window_bytes > MAX_BYTES  # no fewer than need be
    assert len({hour % 24 for hour in range(0, n, step)}) == min(24, chosen)


def test_an_old_folder_is_replaced_as_a_whole(compiled, tmp_path):
    folder, tokens = tmp_path / "tiny", golden_tokens(compiled)
    write_golden(folder, compiled.package, tokens[:1])
    (folder / "tensors" / "999.bin").write_bytes(b"of an older program")
    write_golden(
        folder, compiled.package, tokens, [lambda f: (f / "accuracy.txt").write_text("fine")]
    )
    assert not (folder / "tensors" / "999.bin").exists()
    assert (folder / "accuracy.txt").read_text() == "fine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny"]


def test_a_folder_of_somebody_else_is_not_replaced(compiled, tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "thesis.tex").write_text("unsaved")
    with pytest.raises(FileExistsError, match=r"tiny: found no manifest\.txt"):
        write_golden(folder, compiled.package, golden_tokens(compiled))
    assert (folder / "thesis.tex").read_text() == "unsaved"


# ------------------------------------------------------------------------------ the command


def test_names_of_the_cases_are_distinct():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)


def test_command_writes_the_cases(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "CASES", (tiny("one"), tiny("two", d_model=5)))
    assert command.main(["--output", str(tmp_path), "two"]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["two"]
    assert command.main(["--output", str(tmp_path)]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]
    assert "2 golden packages" in capsys.readouterr().out


def unavailable() -> None:
    raise DataError("series.csv: not found")


def test_command_without_a_data_set(tmp_path, monkeypatch, capsys):
    cases = (tiny("one"), Case("other", None, unavailable))
    monkeypatch.setattr(command, "CASES", cases)
    assert command.main(["--output", str(tmp_path)]) == 0  # the others are there
    assert "other: not written: series.csv: not found" in capsys.readouterr().err
    assert command.main(["--output", str(tmp_path), "other"]) == 1  # it was asked for


def test_command_errors(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["--output", str(tmp_path), "no_such_case"])
    assert stopped.value.code == 2
    assert "unknown case no_such_case, expected nyc_weather" in capsys.readouterr().err

    monkeypatch.setattr(command, "CASES", (tiny("wide", d_state=65),))
    assert command.main(["--output", str(tmp_path)]) == 2
    assert "error: wide: blocks.0.scan: d_state 65" in capsys.readouterr().err
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setattr(command, "CASES", (tiny("one"),))
    assert command.main(["--output", str(tmp_path / "file")]) == 2
    assert f"error: [Errno 20] Not a directory: '{tmp_path / 'file'}'" in capsys.readouterr().err
