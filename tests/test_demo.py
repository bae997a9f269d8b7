"""The demo, on the data set that is always there."""

import pytest
from matplotlib import image

from evaluation import demo
from golden.cases import CHECKPOINT_CASES
from hls.bindings import Accelerator
from model.data import public_sets

WEATHER = CHECKPOINT_CASES[0]


@pytest.fixture
def no_etth1(monkeypatch, tmp_path):
    monkeypatch.delenv("CMAMBA_DATA", raising=False)
    monkeypatch.setattr(public_sets, "DATA_FOLDER", tmp_path)


def row(output: str, label: str) -> list[str]:
    """The cells of the table's row of that label."""
    (line,) = [line for line in output.splitlines() if line.startswith(label)]
    return line.removeprefix(label).split()


def test_leaves_out_what_has_no_data(no_etth1, tmp_path, capsys):
    plots = tmp_path / "plots"
    assert demo.main(["--output", str(plots)]) == 0
    out = capsys.readouterr().out
    left_out = [line for line in out.splitlines() if ": left out: " in line]
    assert len(left_out) == len(CHECKPOINT_CASES) - 1
    for line in left_out:
        assert f"ETTh1.csv not found in {tmp_path}" in line
        assert "make data" in line and "CMAMBA_DATA" in line
    assert row(out, "windows of the test split") == ["1,723"]
    assert row(out, "  values that differ") == ["0"]
    assert int(row(out, "tensor values compared with HLS")[0].replace(",", "")) > 50_000

    path = plots / f"{WEATHER.name}.png"
    assert list(plots.iterdir()) == [path]
    assert f"plot: {path}" in out
    pixels = image.imread(path)
    assert min(pixels.shape[:2]) > 400
    assert pixels[..., :3].std() > 0.05  # drawn, not blank


def test_fails_when_hls_differs(monkeypatch, tmp_path, capsys):
    class FlippedBit(Accelerator):
        """The lowest bit of one value of one tensor is wrong."""

        def run_traced(self, tokens):
            tensors = super().run_traced(tokens)
            tensors[7] = tensors[7].copy()
            tensors[7].flat[100] ^= 1
            return tensors

    monkeypatch.setattr(demo, "CHECKPOINT_CASES", (WEATHER,))
    monkeypatch.setattr(demo, "Accelerator", FlippedBit)
    assert demo.main(["--output", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert row(captured.out, "  values that differ") == ["1"]
    assert captured.err == "error: HLS and the integer model differ; `make csim` says where\n"
