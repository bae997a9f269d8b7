"""make bitstream and make vivado-synth from the command line to the products, with a stand-in."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bitstream_scripts import __main__ as command
from bitstream_scripts import flow, generate, inference, synth
from bitstream_scripts import vivado as runner
from bitstream_scripts.clocks import Clock
from bitstream_scripts.inference import read_estimate
from bitstream_scripts.strategies import STRATEGIES, TRIED, directives
from tests.vivado import DIRECTIVES, Vivado, parse
from tests.vivado_reports import ESTIMATE, TEMPLATE, UTILIZATION

ROOT = Path(__file__).resolve().parents[1]
PORTS = [name for _, _, name in generate.ports()]

pytestmark = pytest.mark.skipif(
    shutil.which("tclsh") is None and not os.environ.get("CI"),
    reason="tclsh is not installed (Debian: apt install tcl); CI runs these checks",
)

# One strategy keeps the tests short. Its placement has this directive.
ONE = ("--strategy", "Performance_ExtraTimingOpt")
PLACE = "ExtraTimingOpt"


@pytest.fixture
def at(tmp_path, monkeypatch):
    """A folder with a vivado on PATH: `at.install(Vivado(...))`, and `at.run(...)` for main."""

    class At:
        out = tmp_path / "out"
        record = tmp_path / "stub/record"

        def install(self, vivado=None, utilization=UTILIZATION):
            self.record.unlink(missing_ok=True)
            (vivado or Vivado()).install(tmp_path / "stub", PORTS, utilization, TEMPLATE)

        def run(self, *arguments, main=command.main):
            return main([*ONE, *arguments] if main is command.main else list(arguments))

        def names(self):
            return [call.name for call in parse(self.record)]

        def calls(self, name):
            return [call for call in parse(self.record) if call.name == name]

        def report(self):
            return json.loads((self.out / "report.json").read_text())

    monkeypatch.setenv("PATH", f"{tmp_path / 'stub'}:{os.environ['PATH']}")
    monkeypatch.setattr(command, "OUT", At.out)
    monkeypatch.setattr(synth, "OUT", At.out)
    monkeypatch.setattr(inference, "estimate", lambda build: read_estimate(ESTIMATE))
    monkeypatch.setattr(runner, "available_gb", lambda: 64.0)
    at = At()
    at.install()
    return at


def error(capsys):
    (line,) = capsys.readouterr().err.splitlines()
    return line


# ------------------------------------------------------------------------------- the clock


def test_250_mhz_holds(at, capsys):
    assert at.run("--build", "deep") == 0
    out = capsys.readouterr().out
    assert "250 MHz holds with 0.041 ns: " in out
    assert "longest paths, of Performance_ExtraTimingOpt, against 4.00 ns" in out
    assert f"{at.out / 'cmamba.bit'}, with cmamba.hwh and cmamba.xsa" in out
    report = at.report()
    assert report["build"] == "deep" and report["missed"] == []
    assert round(report["frequency_mhz"], 3) == round(report["asked_mhz"], 3) == 249.975
    assert "249.975" in (at.out / "cmamba.hwh").read_text()
    assert not at.calls("create_clock")


@pytest.mark.parametrize(
    ("slack", "clock", "missed"),
    [("-0.152", Clock(7), 1), ("-0.8", Clock(8), 2), ("-2.6", Clock(10), 4)],
)
def test_a_slower_clock_holds(at, capsys, slack, clock, missed):
    """The first that holds is written to the .hwh, and the report says why."""
    at.install(Vivado(slacks={PLACE: (slack, "0.01")}))
    assert at.run() == 0
    out = capsys.readouterr().out
    assert f"250 MHz is missed by {-float(slack):.3f} ns: " in out and f"{clock} holds with" in out
    assert f"against {clock.period_ns:.2f} ns" in out
    report = at.report()
    assert report["frequency_mhz"] == clock.mhz and round(report["asked_mhz"]) == 250
    assert len(report["missed"]) == missed
    assert report["missed"][0]["setup_slack_ns"] == float(slack)
    assert "head_q_reg[3]/C to " in report["missed"][0]["path"]
    assert f"{clock.mhz:.6f}" in (at.out / "cmamba.hwh").read_text()
    assert len(at.calls("place_design")) == 1
    (written,) = at.calls("write_bitstream")
    assert "period 4.000" in (at.out / "cmamba.bit").read_text()  # the netlist is the same
    assert written.words == (str(at.out / "cmamba.part.bit"),)


def test_no_clock_holds(at, capsys):
    at.install(Vivado(slacks={PLACE: ("-3.5", "0.01")}))
    at.out.mkdir()
    (at.out / "cmamba.bit").write_text("an earlier one")
    assert at.run() == 1
    line = error(capsys)
    assert line.startswith(
        "bitstream: timing is not met: 250 MHz is missed by 3.500 ns, and 150 MHz"
    )
    assert "gen_lane[1].u_lane/u_fifo/head_q_reg[3]/C to " in line and "KEEP=1" in line
    assert not (at.out / "cmamba.bit").exists()
    assert (at.out / "timing.rpt").exists() and at.report()["failures"]


def test_hold_is_not_mended_by_a_slower_clock(at, capsys):
    at.install(Vivado(slacks={PLACE: ("0.1", "-0.02")}))
    assert at.run() == 1
    assert "hold slack -0.020 ns" in (line := error(capsys)) and "a slower clock does not" in line
    assert not at.calls("create_clock")


def test_a_clock_without_a_slower_one(at, capsys):
    at.install(Vivado(slacks={PLACE: ("-3", "0.01")}))
    assert at.run("--frequency", "150") == 1
    assert "timing is not met: 150 MHz is missed by 0.333 ns, worst path" in error(capsys)


def test_missed_timing_can_be_kept(at, capsys):
    at.install(Vivado(slacks={PLACE: ("-0.1", "0.01")}))
    assert at.run("--keep") == 0
    assert "250 MHz is missed by 0.100 ns" in capsys.readouterr().out
    assert "249.975" in (at.out / "cmamba.hwh").read_text()


def test_a_handoff_with_another_clock(at, capsys, monkeypatch):
    """No product is left."""

    def refuse(path, clock):
        raise ValueError(f"{path}: PL clock 0 has 1 MHz, expected {clock}")

    monkeypatch.setattr(flow, "check_handoff", refuse)
    assert at.run() == 1
    assert "PL clock 0 has 1 MHz, expected 250 MHz" in error(capsys)
    assert not any((at.out / name).exists() for name in flow.PRODUCTS)


# ------------------------------------------------------------------------------- strategies


def best_of(slacks, monkeypatch):
    results = [
        flow.Result(str(i), Clock(6), timing, [])
        for i, timing in enumerate(flow.reports.Timing(s, 0, h, 0, 1.0, 0) for s, h in slacks)
    ]
    return int(flow._best(results).strategy)


@pytest.mark.parametrize(
    ("slacks", "best"),
    [
        ([(0.010, 0.02), (0.120, 0.01)], 1),
        ([(0.100, 0.02), (0.090, 0.03)], 0),
        ([(0.300, -0.01), (0.001, 0.00)], 1),
        ([(-0.300, 0.01), (-0.001, 0.00)], 1),
    ],
)
def test_the_best_is_kept(slacks, best, monkeypatch):
    assert best_of(slacks, monkeypatch) == best


def test_all_strategies(at, capsys):
    """Those that are tried by default; the one that fails does not count."""
    at.install(Vivado(slacks={"Explore": ("0.2", "0.01"), "ExtraNetDelay_high": ("0.3", "0.01")}))
    assert command.main([]) == 0
    out = capsys.readouterr().out
    assert all(f"{strategy}: setup slack" in out for strategy in TRIED)
    assert "of Performance_NetDelay_high" in out
    places = sorted(call.options["-directive"] for call in at.calls("place_design"))
    assert places == sorted(directives(strategy)["place"] for strategy in TRIED)


def test_a_strategy_that_fails_does_not_count(at, capsys):
    assert at.run() == 0
    folder = at.out / ONE[1]
    (at.out / "Performance_WLBlockPlacement").mkdir()
    (at.out / "Performance_WLBlockPlacement/place.dcp").write_text("half a file")
    assert at.run("--strategy", "Performance_WLBlockPlacement") == 0
    out = capsys.readouterr().out
    assert "Performance_WLBlockPlacement: implement: [Coretcl" not in out
    assert "place.dcp is corrupt" in out and (folder / "routed.dcp").exists()


def test_all_strategies_fail(at, capsys):
    at.install(Vivado(failing=("route_design",)))
    assert at.run() == 1
    line = error(capsys)
    assert (
        "all 1 implementations have failed, the first: implement: [Stub 1-1] route_design" in line
    )
    assert f"see {at.out / ONE[1] / 'implement.log'}" in line


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_directives_are_known_to_vivado(strategy):
    commands = dict.fromkeys(("phys_opt", "post_route"), "phys_opt_design")
    for step, directive in directives(strategy).items():
        name = commands.get(step, f"{step}_design")
        assert directive in DIRECTIVES[name].split()


@pytest.mark.parametrize(
    ("memory", "n", "processes"), [(64.0, 3, 3), (40.0, 3, 2), (8.0, 3, 1), (None, 2, 2)]
)
def test_runs_at_a_time(monkeypatch, memory, n, processes):
    """As many as there is memory for."""
    monkeypatch.setattr(runner, "available_gb", lambda: memory)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert runner.processes(n, 16) == processes


def test_little_memory_is_said(at, capsys, monkeypatch):
    monkeypatch.setattr(runner, "available_gb", lambda: 6.0)
    assert at.run() == 0
    assert "6 GB of memory are available, implementation may take 16" in capsys.readouterr().out


def test_memory_of_this_machine():
    assert runner.available_gb() > 0


# ------------------------------------------------------------------------------- reruns


def test_a_rerun_goes_on(at, capsys):
    """Killed in routing: synthesis and placement are not repeated."""
    at.install(Vivado(killed_at=("route_design",)))
    assert at.run() == 1
    assert "Vivado was killed, most often for want of memory" in error(capsys)
    at.install()
    assert at.run() == 0
    assert "place_design" not in at.names() and "create_bd_design" not in at.names()
    assert "route_design" in at.names()
    at.install()
    assert at.run() == 0
    assert "route_design" not in at.names() and "write_bitstream" in at.names()


def test_a_killed_export_goes_on(at, capsys):
    at.install(Vivado(slacks={PLACE: ("-0.1", "0.01")}, killed_at=("write_bitstream",)))
    assert at.run() == 1
    assert not any((at.out / name).exists() for name in flow.PRODUCTS)
    at.install(Vivado(slacks={PLACE: ("-0.1", "0.01")}))
    assert at.run() == 0
    assert "create_clock" not in at.names()  # timing at slower clocks is there
    assert "214.264" in (at.out / "cmamba.hwh").read_text()


@pytest.mark.parametrize(
    "arguments",
    [("--build", "deep"), ("--frequency", "300"), ("--synthesis", "Flow_AreaOptimized_high")],
)
def test_other_settings_start_afresh(at, arguments):
    assert at.run() == 0
    (at.out / "of_an_earlier_run").touch()
    at.install()
    assert at.run(*arguments) == 0
    assert "create_bd_design" in at.names() and "place_design" in at.names()
    assert not (at.out / "of_an_earlier_run").exists()


def test_other_sources_start_afresh(at, monkeypatch, tmp_path):
    assert at.run() == 0
    at.install()
    extra = tmp_path / "cmamba_new.sv"
    extra.write_text("module cmamba_new; endmodule")
    before = flow.sources
    monkeypatch.setattr(flow, "sources", lambda build: [*before(build), extra])
    assert at.run() == 0
    assert "create_bd_design" in at.names()


def test_two_at_once(at, capsys):
    at.out.mkdir()
    with runner.alone(at.out):
        assert at.run() == 1
    assert "another run, or a Vivado that one has left behind, is at work there" in error(capsys)
    with runner.alone(at.out):
        pass


ONE_RUN = "vivado.run(folder / 'vivado', 'export.tcl', {'out': folder}, folder / 'log')"
# The second one waits for the first.
TWO_STRATEGIES = (
    "flow._implement(folder / 'vivado', flow.Settings('rtl', 'deep', clocks.Clock(6), '',"
    " ('Performance_NetDelay_high', 'Performance_NetDelay_low'), 1, False), folder)"
)


@pytest.fixture(params=[ONE_RUN, TWO_STRATEGIES], ids=["one", "two"])
def sleeper(request, tmp_path):
    """A process that runs a Vivado that sleeps in a child; the process, and the child's number."""
    program = tmp_path / "vivado"
    program.write_text(f"#!/bin/sh\nsleep 600 & echo $! >{tmp_path}/child\nwait\n")
    program.chmod(0o755)
    code = (
        "from pathlib import Path; from bitstream_scripts import clocks, flow, vivado\n"
        f"folder = Path({str(tmp_path)!r})\n"
        f"with vivado.alone(folder):\n    {request.param}\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)
    child = tmp_path / "child"
    wait_for(lambda: child.exists() and child.read_text().strip())
    pid = int(child.read_text())
    yield process, pid
    process.kill()
    process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(os.getpgid(pid), signal.SIGKILL)


def wait_for(condition):
    limit = time.monotonic() + 60
    while not condition() and time.monotonic() < limit:
        time.sleep(0.05)
    assert condition()


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except FileNotFoundError:
        return True


def test_interrupted_with_all_that_it_started(sleeper, tmp_path):
    """Ctrl-C ends Vivado and its children, and nothing else starts."""
    process, child = sleeper
    process.send_signal(signal.SIGINT)
    process.wait(30)
    wait_for(lambda: is_gone(child))
    assert not (tmp_path / "Performance_NetDelay_low").exists()


def test_a_vivado_that_is_left_behind(sleeper, tmp_path):
    """Nobody works beside it."""
    process, child = sleeper
    process.kill()
    process.wait()
    with (
        pytest.raises(runner.VivadoError, match="a Vivado that one has left"),
        runner.alone(tmp_path),
    ):
        pass
    os.killpg(os.getpgid(child), signal.SIGKILL)
    wait_for(lambda: is_gone(child))
    with runner.alone(tmp_path):
        pass


# ------------------------------------------------------------------------------- inference


WRONG = Vivado(
    cells={
        "cmamba_zcu102_i/cmamba_0/inst/u_cmamba/gen_lane[0].u_lane/memory_reg_bram_0": {
            **{"REF_NAME": "RAMB36E2", "DOA_REG": "0", "DOB_REG": "0"}
        }
    }
)


def test_the_flow_stops_after_synthesis(at, capsys):
    """Where something is not as designed, with the module's name."""
    at.install(WRONG)
    assert at.run() == 1
    captured = capsys.readouterr()
    assert "module, without those in it" in captured.out
    (line,) = captured.err.splitlines()
    assert "1 points, the first: cmamba_lane: 1 of 1 block RAMs have no output register" in line
    assert "KEEP=1 goes on nevertheless" in line and "opt_design" not in at.names()
    at.install(WRONG)
    assert at.run("--keep") == 0
    assert "opt_design" in at.names()


def test_a_table_that_a_release_has_changed(at, capsys):
    """Nothing can be compared then; who wants the bitstream nevertheless gets it."""
    at.install(utilization=UTILIZATION.replace("LUTRAMs", "LRAMs"))
    assert at.run() == 1
    line = error(capsys)
    assert (
        "utilization_synth.rpt: the table by hierarchy lacks LUTRAMs" in line and "KEEP=1" in line
    )
    at.install(utilization=UTILIZATION.replace("LUTRAMs", "LRAMs"))
    assert at.run("--keep") == 0
    assert "no report.json: " in capsys.readouterr().out
    assert (at.out / "cmamba.bit").exists()


def test_the_core_alone(at, capsys):
    assert at.run("--build", "deep", main=synth.main) == 0
    out = capsys.readouterr().out
    assert "block RAM, DSP48E2, LUTs as memory and output registers are as designed" in out
    assert f"Vivado's reports: {at.out / 'deep'}/*.rpt" in out
    assert "get_board_parts" not in at.names()


def test_the_core_alone_is_not_as_designed(at, capsys):
    at.install(
        Vivado(synthesis_log="WARNING: [Synth 8-4767] Trying to implement RAM 'waits_reg' in")
    )
    assert at.run(main=synth.main) == 1
    line = error(capsys)
    assert line.startswith("vivado-synth: synthesis did not make what was designed, 1 points")
    assert "array waits became registers" in line


def test_the_core_alone_on_an_old_vivado(at, capsys):
    at.install(Vivado(version="2019.1"))
    assert at.run(main=synth.main) == 1
    assert "vivado-synth: synth_core: this is Vivado 2019.1: install 2022.2 or" in error(capsys)


# ------------------------------------------------------------------------------- the commands


def make(*arguments):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=kept, capture_output=True, text=True, check=True
    ).stdout


def test_help_has_both_targets():
    group = make("help").split("Hardware with vendor tools")[1].split("\n\n")[0]
    assert "\n  vivado-synth " in group and "\n  bitstream " in group


def test_make_passes_the_settings_on():
    said = make("-n", "vivado-synth", "BUILD=deep")
    assert said.rstrip().endswith("-m bitstream_scripts.synth --build deep")
    said = make("-n", "bitstream", "BUILD=deep", "FREQUENCY=300", "STRATEGY=A B", "VIVADO_JOBS=1")
    words = said.replace("\\\n", " ").split()
    options = "--build deep --frequency 300 --strategy A --strategy B --jobs 1"
    assert " ".join(words).endswith(f"-m bitstream_scripts {options}")


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            "bitstream_scripts",
            "bitstream: vivado is not on PATH; install Vivado 2022.2 or later with",
        ),
        ("bitstream_scripts.synth", "vivado-synth: vivado is not on PATH; install Vivado 2022.2"),
    ],
)
def test_missing_vivado_is_one_line(tmp_path, module, message):
    result = subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(message)
    assert "and source its settings64.sh" in result.stderr
    assert result.stdout == ""


def test_a_core_of_vitis_hls(at, capsys, monkeypatch, tmp_path):
    """It has to be there; there is no estimate to compare it with."""
    assert at.run("--core", "hls", "--build", "deep") == 1
    line = error(capsys)
    assert "build/vitis/deep/cmamba_top.zip does not exist" in line
    assert "run `make csynth export BUILD=deep` first" in line
    export = tmp_path / "build/vitis/deep/cmamba_top.zip"
    export.parent.mkdir(parents=True)
    export.touch()
    (tmp_path / "bitstream_scripts").symlink_to(ROOT / "bitstream_scripts")
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(flow, "ROOT", tmp_path)
    assert at.run("--core", "hls", "--build", "deep") == 0
    out = capsys.readouterr().out
    assert "there is no estimate by modules to compare with\nmake hls-budget counts " in out
    # The limits are those of make hls-budget.
    assert re.search(r"^target, at most +60% +60% +80%$", re.sub(r"\.0%", "%", out), re.MULTILINE)
    assert at.report()["core"] == "hls" and (at.out / "cmamba.bit").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--frequency", "0"), "0 MHz, expected 10 to 400"),
        (("--frequency", "200"), "187.5 and 214.3 are the nearest"),
        (("--frequency", "x"), "could not convert"),
        (("--jobs", "0"), "--jobs is 0, expected at least 1"),
        (("--build", "huge"), "--build"),
        (("--strategy", "Performance_Best"), "--strategy"),
    ],
)
def test_settings_that_cannot_be(at, capsys, arguments, message):
    with pytest.raises(SystemExit):
        at.run(*arguments)
    assert message in capsys.readouterr().err
    assert not at.record.exists()


def test_stale_constants_are_refused(at, monkeypatch, capsys):
    stale = {path: text + "#" for path, text in generate.outputs().items()}
    monkeypatch.setattr(generate, "outputs", lambda: stale)
    assert at.run() == 1
    assert "run `make design` first" in error(capsys)


def test_a_vivado_that_ends_without_a_word(tmp_path):
    program = tmp_path / "vivado"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(runner.VivadoError, match="export: Vivado ended with status 3 without"):
        runner.run(program, "export.tcl", {"out": tmp_path}, tmp_path / "log")
