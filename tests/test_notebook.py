"""The notebook, run from its first cell to its last in what the board gets, on a virtual board."""

import json
import sys
from dataclasses import replace

import nbformat
import numpy as np
import pytest

import isa
from compiler.compile import compile_model
from golden.cases import CASES, CompiledCase
from golden.integer_model import IntegerModel
from golden.series import write_series
from golden.vectors import golden_tokens
from host import board_package
from host import notebook as program
from host.errors import BoardError
from host.notebook import NOTEBOOK, execute
from host.virtual_board import VirtualBoard, write_overlay
from model.data import Windows, load_dataset
from model.quantization.calibrate import calibrate, calibration_windows
from tests.archives import unpack

BUILD = isa.build("small")
# Of the test split, so that the simulation is short.
WINDOWS = 7 * 24
# Before the notebook's first cell: every picture says here what it lacks.
LOOK = """
from matplotlib.backend_bases import FigureCanvasBase

pictures, lacking = 0, []


def look(canvas, *args, print_figure=FigureCanvasBase.print_figure, **options):
    global pictures
    pictures += 1
    figure = canvas.figure
    if figure.dpi < 110:
        lacking.append(f"{figure.dpi} dpi")
    legends = len(figure.legends)
    for axes in (axes for axes in figure.axes if axes.has_data()):  # not before the first curve
        name = f"{axes.get_title()} {axes.get_ylabel()}".replace("\\n", " ")
        if not (legends or axes.get_legend()):
            lacking.append(f"{name}: no legend")
        for axis in (axes.xaxis, axes.yaxis):
            text = axis.get_label_text()
            is_shown = any(label.get_visible() and label.get_text() for label in
                           axis.get_ticklabels())
            is_category = text == "step"
            if is_shown and not is_category and not ("(" in text and ")" in text):
                lacking.append(f"{name}: no unit in {text!r}")
    return print_figure(canvas, *args, **options)


FigureCanvasBase.print_figure = look
"""


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    """The weather model, compiled for the small build, as a golden folder."""
    folder = tmp_path_factory.mktemp("golden")
    case = next(case for case in CASES if case.name == "nyc_weather")
    model = case.load()
    splits = load_dataset(case.dataset, model.args.seq_len, model.args.forecast_len)
    ranges = calibrate(model, model.to_tokens(calibration_windows(splits, 64)))
    package = compile_model(model, ranges, build=BUILD)
    compiled = CompiledCase(case, model, splits, package)
    tokens = golden_tokens(compiled)
    forecast = IntegerModel(package, BUILD).run(tokens)
    (folder / case.name).mkdir()
    package.write(folder / case.name / "package.bin")
    (folder / case.name / "input.bin").write_bytes(tokens.tobytes())
    (folder / case.name / "forecast.bin").write_bytes(forecast.astype("<i2").tobytes())
    rows = splits.test.series[:, : model.args.seq_len + WINDOWS + model.args.forecast_len - 1].T
    week = replace(splits, test=Windows(rows, model.args.seq_len, model.args.forecast_len))
    write_series(replace(compiled, splits=week), folder / case.name / "series.npz")
    return folder


def texts(notebook):
    """All text that the cells have printed or shown, cell after cell."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            found += [output.get("text", ""), data.get("text/plain", ""), data.get("text/html", "")]
    return "".join(found)


def test_it_runs_in_the_archive_for_the_board(golden, tmp_path):
    files = board_package.contents(golden, tmp_path / "none", ["nyc_weather"])
    files["MANIFEST.json"] = board_package.manifest(files, None)
    (tmp_path / "board.tar.gz").write_bytes(board_package.archive(files))
    unpack(tmp_path / "board.tar.gz", tmp_path)
    folder = tmp_path / board_package.NAME
    bitfile = write_overlay(tmp_path / "overlay")
    with VirtualBoard(build="small", host="127.0.0.1", port=0) as board:
        environment = {
            "CMAMBA_BOARD": f"{board.address}:{board.port}",
            "CMAMBA_BITFILE": str(bitfile),
            "HOME": str(tmp_path),
        }
        notebook = nbformat.read(folder / f"notebooks/{NOTEBOOK.name}", as_version=4)
        notebook.cells.insert(0, nbformat.v4.new_code_cell(LOOK))
        notebook.cells.append(nbformat.v4.new_code_cell("print(f'{pictures > 0}: {lacking}')"))
        nbformat.write(notebook, tmp_path / "looked_at.ipynb")
        execute(tmp_path / "looked_at.ipynb", tmp_path / "run.ipynb", environment, folder)
    run = nbformat.read(tmp_path / "run.ipynb", as_version=4)
    text = texts(run)
    assert "576 values, 0 differ" in text
    assert "168 forecasts, of 168 windows of the test split" in text
    assert "MSE FP32       0.2333" in text and "MSE int8       0.23" in text
    assert "BAD_CRC: package: section weights" in text
    images = [
        o for c in run.cells for o in c.get("outputs", ()) if "image/png" in o.get("data", {})
    ]
    assert len(images) == 4
    assert texts(run).rstrip().endswith("True: []")
    assert all(c.execution_count for c in run.cells if c.cell_type == "code")


def test_a_cell_that_fails_is_an_error(tmp_path):
    from nbclient.exceptions import CellExecutionError

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    nbformat.write(notebook, tmp_path / "bad.ipynb")
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        execute(tmp_path / "bad.ipynb", tmp_path / "run.ipynb", {})
    assert "ZeroDivisionError" in (tmp_path / "run.ipynb").read_text()


def test_it_runs_in_this_python_whatever_kernels_are_installed(tmp_path, monkeypatch):
    kernel = tmp_path / "kernels/python3/kernel.json"
    kernel.parent.mkdir(parents=True)
    argv = ["/usr/bin/false", "{connection_file}"]
    kernel.write_text(json.dumps({"argv": argv, "display_name": "other", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    cell = nbformat.v4.new_code_cell("import sys; print(sys.executable)")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "which.ipynb")
    execute(tmp_path / "which.ipynb", tmp_path / "run.ipynb", {})
    assert texts(nbformat.read(tmp_path / "run.ipynb", as_version=4)) == f"{sys.executable}\n"


def test_the_outputs_in_the_repository_are_of_a_run():
    """Complete, in order, with the golden bits, and without a trace of the machine that ran it."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    text = texts(notebook)
    assert "values, 0 differ" in text and "16 x 64 MACs a cycle" in text
    assert not any(o.output_type == "error" for cell in code for o in cell.outputs)
    assert not any(word in json.dumps(notebook) for word in ("/home/", "/work", "/tmp", "/root"))


def test_the_series_that_it_shows_is_of_the_test_split(golden):
    with np.load(golden / "nyc_weather/series.npz") as data:
        assert data["fp32"].shape == (WINDOWS, 8, 24)
        assert data["series"].shape == (96 + WINDOWS + 24 - 1, 8)


def test_the_virtual_board_holds_every_model_of_the_notebook(monkeypatch, capsys):
    started = []

    def fail(build):
        started.append(build)
        raise BoardError("no board here")

    monkeypatch.setattr(program, "virtual_board", fail)
    assert program.main([]) == 1
    assert program.main(["--virtual", "small"]) == 1
    assert started == ["default", "small"]
    assert capsys.readouterr().err == 2 * "notebook: no board here\n"
