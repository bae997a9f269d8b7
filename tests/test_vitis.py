"""The Vitis HLS scripts, run with stand-ins for the tools that record what they are asked to do."""

import json
import os
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

from bitstream_scripts import hls_export
from bitstream_scripts.clocks import clock_of
from bitstream_scripts.design import DESIGN
from rtl.synth.resources import Resources
from tests.vivado_reports import HLS_UTILIZATION, hls_timing, hls_timing_paths

ROOT = Path(__file__).resolve().parents[1]
RUN = ROOT / "hls/vitis/run.sh"
STEPS = ("csim", "csynth", "cosim", "export")

# Commands of Vitis HLS 2022.2 with the options that UG1399 gives: 1 where an option takes a value.
TCL_COMMANDS = {
    "open_project": {"-reset": 0, "-upgrade": 0},
    "set_top": {},
    "add_files": {"-tb": 0, "-cflags": 1, "-csimflags": 1, "-blackbox": 0},
    "open_solution": {"-reset": 0, "-flow_target": 1},
    "set_part": {"-board": 1},
    "create_clock": {"-period": 1, "-name": 1},
    "csim_design": {
        **{"-argv": 1, "-clean": 0, "-ldflags": 1, "-mflags": 1},
        **{"-O": 0, "-profile": 0, "-setup": 0},
    },
    "csynth_design": {"-dump_cfg": 0, "-dump_post_cfg": 0, "-synthesis_check": 0},
    "cosim_design": {
        **{"-O": 0, "-argv": 1, "-compiled_library_dir": 1, "-coverage": 0, "-ldflags": 1},
        **{"-mflags": 1, "-random_stall": 0, "-rtl": 1, "-setup": 0, "-tool": 1},
        **{"-trace_level": 1, "-wave_debug": 0, "-disable_deadlock_detection": 0},
    },
    "export_design": {
        **{"-description": 1, "-display_name": 1, "-flow": 1, "-format": 1, "-ipname": 1},
        **{"-library": 1, "-output": 1, "-rtl": 1, "-taxonomy": 1, "-vendor": 1, "-version": 1},
    },
    "close_solution": {},
    "close_project": {},
}

# Keys of the v++ configuration file (UG1399, "Tcl to Config File Command Map").
CONFIG_KEYS = {
    *("part", "flow_target", "clock", "syn.top", "syn.file", "syn.cflags", "syn.csimflags"),
    *("tb.file", "tb.cflags", "csim.O", "csim.clean", "csim.argv", "cosim.O", "cosim.rtl"),
    *("cosim.argv", "package.output.format", "package.output.file", "package.ip.vendor"),
    *("vivado.flow", "vivado.rtl"),
    *("package.ip.library", "package.ip.name", "package.ip.version", "package.ip.display_name"),
}


# What the tools print of a module whose loop has the II that it should have.
PIPELINED = (
    "INFO: [HLS 200-1470] Pipelining result : Target II = %s, Final II = %s, Depth = 9, loop '%s'\n"
)
MODULE = "INFO: [HLS 200-42] -- Implementing module 'process_Conv_s'\n"
SLOW = "Estimated clock period (4.1 ns) exceeds the target (4 ns)."
SYNTHESIS = MODULE + PIPELINED % (1, 1, "process_steps") + PIPELINED % ("NA", 2, "clear")
# Other output, and the error.
MISSED = {
    "II": (
        MODULE + PIPELINED % (1, 3, "process_steps"),
        "csynth: II of loop 'process_steps' in 'process_Conv_s' is 3, not 1\n",
    ),
    "clock": (
        f"{SYNTHESIS}WARNING: [HLS 200-871] {SLOW}\n",
        f"csynth: 'process_Conv_s': {SLOW}\n",
    ),
    "other words": (MODULE, "csynth: {log} says of no loop what its II is\n"),
}


@pytest.fixture
def checkout(tmp_path):
    """A copy of hls/, so that nothing is written into the real build/."""
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / "hls", root / "hls", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def install(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(script)
    path.chmod(0o755)


def run(
    checkout: Path, tools: Path, step: str, *golden: str, build: str = "", flow: str = ""
) -> subprocess.CompletedProcess:
    """run.sh, from the root, with nothing but the base system and `tools` on PATH. `build` and
    `flow` are what make gives it, empty where nobody has chosen one."""
    return subprocess.run(
        [checkout / "hls/vitis/run.sh", step, *golden],
        cwd=checkout,
        env={
            **os.environ,
            "PATH": f"{tools}:/usr/bin:/bin",
            "CMAMBA_BUILD": build,
            "CMAMBA_FLOW": flow,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )


def vitis_hls(tools: Path, log: Path) -> None:
    """A vitis_hls that runs the script under tclsh; its commands write their words to `log`."""
    if shutil.which("tclsh") is None and not os.environ.get("CI"):
        pytest.skip("tclsh is not installed (Debian: apt install tcl); CI runs this check")
    commands = "\n".join(
        f'proc {name} args {{ record {name} $args; if {{"{name}" eq "open_solution"}} '
        f"{{ file mkdir [file join $::project solution syn] }} }}"
        for name in TCL_COMMANDS
        if name != "open_project"
    )
    prelude = textwrap.dedent(
        f"""\
        proc record {{name words}} {{
          set log [open {{{log}}} a]
          puts $log [join [concat [list $name] $words] "\\t"]
          close $log
        }}
        proc open_project args {{ record open_project $args; set ::project [lindex $args end] }}
        """
    )
    synthesis = tools.parent / "synthesis"
    synthesis.write_text(SYNTHESIS)
    prelude += f"proc say_synthesis {{}} {{ puts -nonewline [read [open {{{synthesis}}}]] }}\n"
    commands += "\nproc csynth_design args { record csynth_design $args; say_synthesis }"
    # With a flow, Vivado leaves its reports: those that lie in a folder beside the tools.
    commands += (
        "\nproc export_design args { record export_design $args; "
        "if {[lsearch $args -flow] >= 0} { "
        "set folder [file join $::project solution impl verilog report]; file mkdir $folder; "
        f"foreach file [glob -nocomplain {tools.parent}/vivado/*] {{ file copy $file $folder }}"
        " } }"
    )
    stubs = tools.parent / "stubs.tcl"
    stubs.write_text(prelude + commands + "\nsource [lindex $argv 1]\n")
    install(tools, "vitis_hls", f'#!/bin/sh\nexec {shutil.which("tclsh")} {stubs} "$@"\n')


def parse(log: Path) -> list[tuple[str, dict[str, str], list[str]]]:
    """(command, options, positional arguments) of each line; an unknown command or option fails."""
    calls = []
    for line in log.read_text().splitlines():
        name, *words = line.split("\t")
        known = TCL_COMMANDS[name]
        options, positional = {}, []
        while words:
            word = words.pop(0)
            if word in known:
                options[word] = words.pop(0) if known[word] else ""
            else:
                assert not word.startswith("-"), f"{name} has no option {word}"
                positional.append(word)
        calls.append((name, options, positional))
    return calls


def find(calls, name):
    return [(options, positional) for n, options, positional in calls if n == name]


def assert_headers_of(build: str, checkout: Path, cflags: str) -> None:
    """The sources find their own headers, and config.h of one build."""
    folders = [Path(folder) for folder in re.findall(r"-I(\S+)", cflags)]
    found = [folder / "config.h" for folder in folders if (folder / "config.h").is_file()]
    assert found == [checkout / f"hls/build/{build}/config.h"]
    assert any((folder / "memory.h").is_file() for folder in folders)


@pytest.mark.parametrize(("chosen", "build"), [("", "default"), ("deep", "deep")])
def test_tcl_synthesis(checkout, tmp_path, chosen, build):
    tools, log = tmp_path / "tools", tmp_path / "log"
    tools.mkdir()
    vitis_hls(tools, log)
    result = run(checkout, tools, "csynth", build=chosen)
    assert result.returncode == 0, result.stderr
    calls = parse(log)
    names = [name for name, _, _ in calls]
    assert names.index("open_project") < names.index("set_top") < names.index("add_files")
    assert names.index("open_solution") < names.index("set_part") < names.index("csynth_design")
    assert names[-2:] == ["close_solution", "close_project"]
    assert find(calls, "set_part") == [({}, ["xczu9eg-ffvb1156-2-e"])]
    assert find(calls, "create_clock")[0][0]["-period"] == "4"
    assert find(calls, "open_solution")[0][0]["-flow_target"] == "vivado"

    (top,) = find(calls, "set_top")[0][1]
    sources = {Path(p[0]) for options, p in find(calls, "add_files") if "-tb" not in options}
    assert sources == set((checkout / "hls/src").glob("*.cpp"))
    assert any(re.search(rf"^void {top}\(", p.read_text(), re.M) for p in sources)
    testbench = {Path(p[0]) for options, p in find(calls, "add_files") if "-tb" in options}
    assert testbench == set((checkout / "hls/tb").glob("*.cpp"))
    for options, _ in find(calls, "add_files"):
        assert_headers_of(build, checkout, options["-cflags"])


def test_unknown_build_is_named(checkout, tmp_path):
    result = run(checkout, tmp_path, "csynth", build="huge")
    assert result.returncode == 1
    builds = " ".join(sorted(folder.name for folder in (ROOT / "hls/build").iterdir()))
    assert result.stderr == (
        f"csynth: {checkout}/hls/build/huge/config.h does not exist; CMAMBA_BUILD is one of "
        f"{builds}\n"
    )


def test_tcl_simulations_and_export(checkout, tmp_path):
    tools, log = tmp_path / "tools", tmp_path / "log"
    tools.mkdir()
    vitis_hls(tools, log)
    golden = checkout / "build/golden"
    for name, size in (("large", 3), ("small", 1), ("middle", 2)):
        (golden / name).mkdir(parents=True)
        (golden / name / "package.bin").write_bytes(bytes(size))
    for step in STEPS:
        result = run(checkout, tools, step)
        assert result.returncode == 0, result.stderr
    calls = parse(log)
    expected = f"{golden}/large {golden}/middle {golden}/small"
    assert find(calls, "csim_design")[0][0]["-argv"] == expected
    cosim, _ = find(calls, "cosim_design")[0]
    assert cosim["-argv"] == f"--outputs-only {golden}/small"
    assert cosim["-rtl"] == "verilog"
    export, _ = find(calls, "export_design")[0]
    assert export["-format"] == "ip_catalog" and "-flow" not in export
    # cosim and export go on from the synthesized project instead of resetting it.
    projects = find(calls, "open_project")
    assert projects == [
        ({"-reset": ""}, ["csim"]),
        ({"-reset": ""}, ["csynth"]),
        ({}, ["csynth"]),
        ({}, ["csynth"]),
    ]


def test_golden_folders_become_absolute(checkout, tmp_path):
    tools, log = tmp_path / "tools", tmp_path / "log"
    tools.mkdir()
    vitis_hls(tools, log)
    run(checkout, tools, "csim", "build/golden/a", "/b")
    (options, _), *_ = find(parse(log), "csim_design")
    assert options["-argv"] == f"{checkout}/build/golden/a /b"


@pytest.mark.parametrize("step", ["csim", "cosim"])
def test_simulation_needs_golden_folders(checkout, tmp_path, step):
    tools = tmp_path / "tools"
    tools.mkdir()
    vitis_hls(tools, tmp_path / "log")
    result = run(checkout, tools, step)
    assert result.returncode == 1
    assert "run `make golden` first" in result.stderr


def test_reports_are_collected(checkout, tmp_path):
    tools, log = tmp_path / "tools", tmp_path / "log"
    tools.mkdir()
    vitis_hls(tools, log)
    report = checkout / "build/vitis/default/csynth/solution/syn/report/cmamba_top_csynth.rpt"
    report.parent.mkdir(parents=True)
    report.write_text("report\n")
    result = run(checkout, tools, "csynth")
    assert "cmamba_top_csynth.rpt" in result.stdout
    assert (checkout / "build/reports/cmamba_top_csynth.rpt").read_text() == "report\n"


@pytest.mark.parametrize("tool", ["vitis_hls", "v++"])
@pytest.mark.parametrize("case", MISSED)
def test_missed_targets_fail(checkout, tmp_path, tool, case):
    output, error = MISSED[case]
    tools = tmp_path / "tools"
    tools.mkdir()
    script = f"#!/bin/sh\ncat {tmp_path}/synthesis\nmkdir -p hls_component\n"
    for name in (tool, "vitis-run"):
        install(tools, name, script)
    (tmp_path / "synthesis").write_text(SYNTHESIS)
    assert run(checkout, tools, "csynth").returncode == 0
    (tmp_path / "synthesis").write_text(output)
    result = run(checkout, tools, "csynth")
    assert result.returncode == 1
    assert result.stderr == error.format(log=checkout / "build/reports/csynth.log")


@pytest.mark.parametrize("tool", ["vitis_hls", "v++"])
def test_status_of_the_tool_is_that_of_synthesis(checkout, tmp_path, tool):
    tools = tmp_path / "tools"
    for name in (tool, "vitis-run"):
        install(tools, name, "#!/bin/sh\necho no licence\nexit 3\n")
    result = run(checkout, tools, "csynth")
    assert (result.returncode, result.stdout, result.stderr) == (3, "no licence\n", "")


@pytest.mark.parametrize("step", ["cosim", "export"])
def test_tcl_asks_for_synthesis_first(checkout, tmp_path, step):
    tools = tmp_path / "tools"
    tools.mkdir()
    vitis_hls(tools, tmp_path / "log")
    result = run(checkout, tools, step, "/golden")
    assert result.returncode != 0
    assert "run csynth first" in result.stderr


@pytest.mark.parametrize(
    ("step", "command"),
    [
        ("csim", "vitis-run --mode hls --csim"),
        ("csynth", "v++ -c --mode hls"),
        ("cosim", "vitis-run --mode hls --cosim"),
        ("export", "vitis-run --mode hls --package"),
    ],
)
@pytest.mark.parametrize(("chosen", "build"), [("", "default"), ("deep", "deep")])
def test_config_file(checkout, tmp_path, step, command, chosen, build):
    tools, log = tmp_path / "tools", tmp_path / "log"
    (tmp_path / "synthesis").write_text(SYNTHESIS)
    for tool in ("v++", "vitis-run"):
        install(
            tools,
            tool,
            f'#!/bin/sh\necho "{tool} $*" >>{log}\ncat {tmp_path}/synthesis\n'
            f"mkdir -p {checkout}/build/vitis/{build}/hls_component/hls/syn/report\n"
            f"echo r >{checkout}/build/vitis/{build}/hls_component/hls/syn/report/csynth.rpt\n",
        )
    result = run(checkout, tools, step, "/golden/a", "/golden/b", build=chosen)
    assert result.returncode == 0, result.stderr
    work = checkout / "build/vitis" / build
    config = work / "hls_config.cfg"
    assert log.read_text() == f"{command} --config {config} --work_dir {work}/hls_component\n"
    assert (checkout / "build/reports/csynth.rpt").is_file()

    lines = [x for x in config.read_text().splitlines() if x and x[0] not in "#["]
    pairs = [line.split("=", 1) for line in lines]
    assert {key for key, _ in pairs} == CONFIG_KEYS
    values = dict(pairs)
    assert values["part"] == "xczu9eg-ffvb1156-2-e"
    assert values["syn.top"] == "cmamba_top"
    for key in ("syn.cflags", "syn.csimflags", "tb.cflags"):
        assert_headers_of(build, checkout, values[key])
    if step in ("csim", "cosim"):
        assert values["csim.argv"] == "/golden/a /golden/b"
        assert values["cosim.argv"] == "--outputs-only /golden/a /golden/b"
    for key, folder in (("syn.file", "src"), ("tb.file", "tb")):
        files = {Path(value) for k, value in pairs if k == key}
        assert files == set((checkout / "hls" / folder).glob("*.cpp"))


def vitis_run(tools: Path, log: Path, work: Path) -> None:
    """A v++ and a vitis-run, which leaves the reports that lie in a folder beside the tools."""
    folder = work / "hls_component/hls/impl/verilog/report"
    script = (
        f'#!/bin/sh\necho "${{0##*/}} $*" >>{log}\nmkdir -p {folder}\n'
        f'case "$*" in *--impl*) cp {tools.parent}/vivado/* {folder} ;; esac\n'
    )
    for name in ("v++", "vitis-run"):
        install(tools, name, script)


STAGES = {"syn": "synth", "impl": "routed"}


def vivado(folder, flow, setup=0.212, hold=0.01, dsp="DSP Blocks"):
    """What Vivado reports of the core: slacks in ns, the column of DSP48E2."""
    folder.mkdir()
    texts = {
        "utilization_hierarchical": HLS_UTILIZATION.replace("DSP Blocks", dsp),
        "timing": hls_timing(setup, hold),
        "timing_paths": hls_timing_paths((setup, 0.3)),
    }
    for name, text in texts.items():
        (folder / f"cmamba_top_{name}_{STAGES[flow]}.rpt").write_text(text)


@pytest.fixture
def export(checkout, tmp_path, monkeypatch):
    """Both parts of `make export FLOW=...`; the status of the second, and what the first one asked
    the tool."""
    tools, log = tmp_path / "tools", tmp_path / "log"
    tools.mkdir()
    monkeypatch.setattr(hls_export, "ROOT", checkout)

    def run_both(tool: str, flow: str, build: str = "default") -> tuple[int, str]:
        work = checkout / "build/vitis" / build
        if tool == "vitis_hls":
            vitis_hls(tools, log)
            (work / "csynth/solution/syn").mkdir(parents=True)
        else:
            vitis_run(tools, log, work)
        result = run(checkout, tools, "export", build=build, flow=flow)
        assert result.returncode == 0, result.stderr
        return hls_export.main(["--build", build, "--flow", flow]), log.read_text()

    return run_both


@pytest.mark.parametrize(
    ("tool", "dsp"), [("vitis_hls", "DSP Blocks"), ("v++", "      DSPs")], ids=["2022.2", "2024.2"]
)
@pytest.mark.parametrize("flow", STAGES)
def test_vivado_on_the_export(checkout, export, tmp_path, capsys, tool, dsp, flow):
    """Resources and timing are in the JSON, and on the terminal, as those of make synth."""
    # Before routing, hold means nothing.
    vivado(tmp_path / "vivado", flow, hold=0.01 if flow == "impl" else -0.03, dsp=dsp)
    stale = checkout / "build/reports/cmamba_top_timing_routed.rpt"
    stale.parent.mkdir(parents=True)
    stale.write_text("of an earlier run")
    status, log = export(tool, flow, "deep")
    assert status == 0
    if tool == "vitis_hls":
        assert f"export_design\t-flow\t{flow}\t-format\tip_catalog\t" in log
    else:
        work = f"--work_dir {checkout}/build/vitis/deep/hls_component"
        config = f"--config {checkout}/build/vitis/deep/hls_config.cfg"
        assert log.splitlines() == [
            f"vitis-run --mode hls --package {config} {work}",
            f"vitis-run --mode hls --impl {config} {work}",
        ]
        text = (checkout / "build/vitis/deep/hls_config.cfg").read_text()
        assert f"\nvivado.flow={flow}\n" in text
    assert stale.exists() == (flow == "impl")

    document = json.loads((checkout / "build/synth/cmamba_top-deep.json").read_text())
    assert {name: document[name] for name in ("module", "core", "build", "flow", "clock_ns")} == {
        "module": "bd_0_wrapper",
        "core": "hls",
        "build": "deep",
        "flow": flow,
        "clock_ns": 4.0,
    }
    assert Resources(**document["total"]) == Resources(
        lut=140_000, lutram=40_000, ff=90_000, dsp=1050, bram=641.5
    )
    assert document["timing"]["setup_slack"] == 0.212 and document["failures"] == []
    units = {unit["path"].split("/")[-1]: unit for unit in document["units"]}
    assert units["process_Scan_U0"]["resources"]["dsp"] == 340
    assert units["process_Scan_U0"]["longest_path_ns"] == 3.612
    assert [path["slack_ns"] for path in document["paths"]] == [0.212, 0.3]
    assert document["paths"][0]["source"] == "h_reg_911_reg[7]/C"
    out = capsys.readouterr().out
    assert "timing met, all targets of resources met\nmake hls-budget counts " in out
    assert out.endswith("build/synth/cmamba_top-deep.json\n")


@pytest.mark.parametrize("tool", ["vitis_hls", "v++"])
def test_vivado_misses_the_clock(export, tmp_path, capsys, tool):
    vivado(tmp_path / "vivado", "impl", setup=-0.3, hold=-0.01)
    assert export(tool, "impl")[0] == 1
    assert capsys.readouterr().err.splitlines() == [
        "export: setup: slack -0.300 ns, 93 end points fail",
        "export: hold: slack -0.010 ns, 0 end points fail",
    ]


def test_the_core_is_too_large(export, tmp_path, capsys):
    vivado(tmp_path / "vivado", "syn")
    path = tmp_path / "vivado/cmamba_top_utilization_hierarchical_synth.rpt"
    path.write_text(path.read_text().replace(" 140000 ", " 170000 ", 1))
    assert export("v++", "syn")[0] == 1
    assert capsys.readouterr().err == "export: LUT: 62.0% of the device, at most 60%\n"


def test_vivado_has_left_no_report(checkout, export, tmp_path, capsys):
    """A JSON of an earlier run does not stay."""
    document = checkout / "build/synth/cmamba_top-default.json"
    document.parent.mkdir(parents=True)
    document.touch()
    vivado(tmp_path / "vivado", "impl")
    (tmp_path / "vivado/cmamba_top_timing_routed.rpt").unlink()
    assert export("v++", "impl")[0] == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"export: {checkout}/build/reports/cmamba_top_timing_routed.rpt does not"
    )
    assert "run `make csynth export FLOW=impl`" in line
    assert not document.exists()


@pytest.mark.parametrize("step", ["csynth", "export"])
def test_reports_of_an_earlier_core_are_gone(checkout, tmp_path, step):
    """Those that the tool has, too, which are collected after every step."""
    tools, work = tmp_path / "tools", checkout / "build/vitis/default"
    tools.mkdir()
    vitis_run(tools, tmp_path / "log", work)
    (tools / "v++").write_text(f"#!/bin/sh\ncat {tmp_path}/synthesis\n")
    (tmp_path / "synthesis").write_text(SYNTHESIS)
    folders = (checkout / "build/reports", work / "hls_component/hls/impl/verilog/report")
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "cmamba_top_timing_routed.rpt").touch()
    result = run(checkout, tools, step)
    assert result.returncode == 0, result.stderr
    assert not (folders[0] / "cmamba_top_timing_routed.rpt").exists()


def test_a_flow_that_is_none(checkout, tmp_path):
    result = run(checkout, tmp_path, "export", flow="bit")
    assert result.returncode == 2
    assert result.stderr == 'export: FLOW is "bit", expected syn or impl\n'


def test_make_runs_both_parts():
    said = subprocess.run(
        ["make", "-n", "--no-print-directory", "export", "FLOW=impl", "BUILD=deep"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.splitlines()[-2:] == [
        "CMAMBA_FLOW=impl CMAMBA_BUILD=deep hls/vitis/run.sh export",
        ".venv/bin/python -m bitstream_scripts.hls_export --build deep --flow impl",
    ]


def test_the_clock_is_that_of_the_tool():
    period = f"{clock_of(DESIGN.clock.frequency_mhz).period_ns:g}"
    assert f"\nset clock_ns {period}\n" in (ROOT / "hls/vitis/run.tcl").read_text()
    assert f"\nclock={period}ns\n" in (ROOT / "hls/vitis/hls_config.cfg.in").read_text()


@pytest.mark.parametrize("step", STEPS)
def test_missing_tool_is_one_line(tmp_path, step):
    result = run(ROOT, tmp_path, step)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "neither vitis_hls nor v++" in result.stderr
    assert result.stdout == ""
