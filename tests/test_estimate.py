"""Cycle estimates: the reference models reach their targets, and the simulation obeys the waits."""

import dataclasses
import re

import numpy as np
import pytest

import isa
from compiler import estimate as module
from compiler.compile import Options
from compiler.estimate import REFERENCE_MODELS, estimate, main, random_package, simulate
from compiler.schedule import timing
from compiler.schedule.order import NO_WAIT
from golden.random_programs import random_package as random_program
from model.args import ModelArgs
from model.published_args import PublishedArgs
from rtl.tb.packages import Packages
from tests.compiled_models import SMALL, compile_random

BUILD = isa.build()


def test_the_published_model_reaches_its_target():
    name = next(n for n in REFERENCE_MODELS if n.startswith("published"))
    e = estimate(random_package(REFERENCE_MODELS[name].args, BUILD), BUILD)
    D, V, K = 128, 7, 12
    token = 16 * D + 3 * (2 * D * D + D * (64 + D) + 32 * D + D * D) + D * 96
    gdd_mlp = 3 * (14 * 12 + 12 * 14)  # both MLPs, for means and maxima
    assert e.macs == K * (V * token + gdd_mlp)
    assert e.single <= 1.15 * e.bound and e.interval <= 1.1 * e.bound


def the_macs(args: ModelArgs) -> int:
    """Multiply-accumulates of the linear layers of a stacked model, from its shapes."""
    D, E, N, R = args.d_model, args.d_inner, args.d_state, args.dt_rank
    features = args.core_channels * args.patch_len
    padded = 1 << (N - 1).bit_length()
    x_proj = E * (-(-2 * padded // BUILD.tile_in) * BUILD.tile_in + R)  # B and C padded
    token = features * D + args.n_layer * (2 * D * E + x_proj + R * E + E * D)
    head = D * args.core_channels * args.forecast_len
    return args.n_seq * args.num_patches * (token + head)


STACKED = [
    name
    for name, reference in REFERENCE_MODELS.items()
    if type(reference.args) is ModelArgs and "nested" not in name
]


@pytest.mark.parametrize("name", STACKED)
def test_reference_models_reach_their_targets(name):
    args, build = REFERENCE_MODELS[name].args, isa.build(REFERENCE_MODELS[name].build)
    e = estimate(random_package(args, build), build)
    assert e.macs == the_macs(args)
    assert e.bound == e.macs / 1024
    if args.channel_mode == "mixing":
        assert e.single <= 1.25 * e.bound
    else:  # its sequences follow each other
        assert e.single <= 1.1 * e.bound
    assert e.interval <= 1.1 * e.bound
    assert e.bound <= e.busy["array"] * e.interval
    assert all(0.0 < share <= 1.001 for share in e.busy.values())


@pytest.fixture(scope="module")
def package():
    shape = {"num_channels": 2, "channel_mode": "independent"}
    return compile_random(ModelArgs(**(SMALL | shape)), Options("minmax")).package


def test_the_simulation_obeys_waits_and_units(package):
    timeline = simulate(package, BUILD, 4)
    waits, (counts,) = package.schedule["wait"], package.phases["unit_entries"].tolist()
    done = [np.sort(timeline.done[:, timeline.unit == u].reshape(-1)) for u in range(len(counts))]
    for iteration in range(4):
        for at in range(len(package.schedule)):
            for unit, wait in enumerate(waits[at]):
                needed = iteration * counts[unit] + int(wait)
                if wait != NO_WAIT and needed > 0:
                    after = timeline.unit[at]
                    earliest = done[unit][needed - 1] + timing.dispatch(unit, after)
                    assert timeline.start[iteration, at] >= earliest
    for unit in range(len(counts)):
        mine = timeline.unit == unit
        start = timeline.start[:, mine].reshape(-1)
        busy = np.tile(timeline.busy[mine], 4)
        # In order; one at a time, where a unit does not read for two entries in turns.
        gap = 1 if isa.UNITS[unit] == "vector" else busy[:-1]
        assert (np.diff(start) >= gap).all()
        finish = timeline.done[:, mine].reshape(-1)
        assert (np.diff(finish) >= 0).all()


def test_the_array_reads_as_late_as_in_the_rtl():
    assert Packages("default").sizes["ArrayReadDelay"] == timing.ARRAY_READ_DELAY


def test_a_smaller_build_takes_longer(package):
    small = compile_random(ModelArgs(**SMALL), Options("minmax"), "small").package
    default = compile_random(ModelArgs(**SMALL), Options("minmax"), "default").package
    e, f = estimate(small, isa.build("small")), estimate(default, BUILD)
    assert e.macs == f.macs - padding_of_x_proj(default, small)
    assert e.bound > 10 * f.bound
    assert e.single > f.single


def padding_of_x_proj(default, small) -> int:
    """MACs of the columns of x_proj that align dt to the tile."""
    total = 0
    for a, b in zip(default.instructions, small.instructions, strict=True):
        if a.opcode == "LINEAR":
            positions = default.n_positions
            total += positions * a.n_in * (a.n_out - b.n_out)
    return total


def test_weights_that_do_not_fit_are_streamed():
    package = random_package(ModelArgs(**(SMALL | {"d_model": 64, "n_layer": 1})), BUILD)
    capacity = dict(BUILD.capacity) | {"weights": 4}
    little = dataclasses.replace(BUILD, capacity=capacity)
    resident, streamed = estimate(package, BUILD), estimate(package, little)
    assert streamed.bound == resident.bound
    assert streamed.single > 10 * resident.single  # 64 beats a tile


def instruction(opcode: str, **fields: object) -> isa.Instruction:
    empty = {
        f.name: isa.Operand() if f.operand else 0
        for f in isa.OPCODES[opcode].format.fields
        if f.name != "opcode"
    }
    return isa.Instruction(opcode, {**empty, "n_positions": 2, **fields})


@pytest.mark.parametrize(
    ("opcode", "fields", "busy", "alone"),
    [
        ("RECV", {"n": 112}, 7 + 1, 7 + 1),
        ("SEND", {"n": 96}, 12, 12 + 8),
        # t tiles, the last with w words of 16 outputs: t + 25 + w.
        ("LINEAR", {"n_in": 128, "n_out": 256}, 32, 32 + 25 + 4),
        ("LINEAR", {"n_in": 128, "n_out": 70, "log2_split": 1}, 12, 12 + 25 + 1),
        # Fewer input tiles than words: the requantizer sets the pace.
        ("LINEAR", {"n_in": 8, "n_out": 256}, 4, 1 + 16 + 25),
        # w words of 64 channels: 24 + kernel + (w - 1) * 8.
        ("CONV", {"n": 256, "kernel": 4}, 32, 24 + 4 + 3 * 8),
        ("CONV", {"n": 192, "kernel": 8}, 24, 24 + 8 + 2 * 8),
        ("CONV", {"n": 70, "kernel": 2}, 8 + 2, 24 + 2 + 1),
        # Rows of 64 states, or four channels a step.
        ("SCAN", {"n": 256, "log2_state": 4}, 64, 36 + 64),
        ("SCAN", {"n": 30, "log2_state": 1}, 8, 36 + 8),
        ("SCAN", {"n": 6, "log2_state": 5}, 7, 36 + 3),
        ("NORM", {"n": 128}, 16, 67),
        ("NORM", {"n": 256}, 32, 83),
        ("POOL", {"n": 128}, 24, 44),
        ("SCALE", {"n": 128}, 8, 29),
    ],
)
def test_cycles_are_those_of_the_units(opcode, fields, busy, alone):
    """The formulas of docs/microarchitecture.md, for the last position of a sequence."""
    cost = timing.cost(instruction(opcode, **fields), 1, BUILD)
    assert (cost.busy, cost.alone) == (busy, alone)
    times, unit = timing.UnitTimes(), isa.OPCODES[opcode].unit
    assert times.run(unit, cost, 100) == (100, 100 + alone)


def test_the_requantizer_works_while_the_array_goes_on():
    tall = timing.cost(instruction("LINEAR", n_in=8, n_out=256), 0, BUILD)
    wide = timing.cost(instruction("LINEAR", n_in=1024, n_out=64), 0, BUILD)
    times, array = timing.UnitTimes(), isa.UNITS.index("array")
    assert times.run(array, tall, 100) == (100, 100 + 42)
    assert times.run(array, tall, 0) == (104, 100 + 42 + 16)  # behind the words of the first
    assert times.run(array, wide, 200) == (200, 200 + 64 + 25 + 4)
    assert times.run(array, tall, 0) == (264, 293 + 16)  # the last words of `wide` are out before


def test_a_reduction_waits_for_the_running_sums_before_it():
    first, last = (
        timing.cost(instruction("LINEAR", n_in=8, n_out=128, reduce=1), position, BUILD)
        for position in (0, 1)
    )
    array = isa.UNITS.index("array")
    for counted, extra in ((True, 3), (False, 0)):
        times = timing.UnitTimes(running_sums=counted)
        assert times.run(array, first, 100) == (100, 100 + 1 + 8 + 25)
        assert times.run(array, last, 100) == (102, 134 + 8 + extra)
        # The next sequence begins with the bias, and a late reduction finds its sums.
        assert times.run(array, first, 100) == (104, 134 + 16 + extra)
        assert times.run(array, last, 200) == (200, 234)


def test_parts_of_the_vector_unit_hold_different_entries():
    norm = timing.cost(instruction("NORM", n=128), 0, BUILD)
    scale = timing.cost(instruction("SCALE", n=128), 0, BUILD)
    times, vector = timing.UnitTimes(), isa.UNITS.index("vector")
    # The next row is read while the root is extracted; roots follow each other every 19 cycles.
    assert times.run(vector, norm, 0) == (0, 67)
    assert times.run(vector, norm, 0) == (8, 67 + 19)
    assert times.run(vector, norm, 0) == (16, 67 + 2 * 19)
    # A fourth NORM is not read before the back has begun the first, and read it.
    start, done = times.run(vector, norm, 0)
    assert (start, done) == (24, 67 + 3 * 19)
    # What needs no root waits behind what does, and adds its own beats.
    assert times.run(vector, scale, 0) == ((67 - 8 - 18) + 8 + 8, done + 8)
    assert times.choice(vector) == done + 8 - 18 - 18


@pytest.mark.parametrize("opcode", isa.OPCODES)
def test_every_entry_costs_a_cycle_at_least(opcode):
    nested = ModelArgs(**(SMALL | {"topology": "nested", "n_layer": 1}))
    published = PublishedArgs(**(SMALL | {"n_layer": 1, "dt_rank": 4}))
    instructions = [i for args in (nested, published) for i in random_package(args).instructions]
    instruction = next(i for i in instructions if i.opcode == opcode)
    for position in range(instruction.n_positions):
        cost = timing.cost(instruction, position, BUILD)
        assert 1 <= cost.busy <= cost.alone


def test_command_with_packages(package, tmp_path, capsys):
    for name in ("one.bin", "two.bin"):  # in one folder
        package.write(tmp_path / name)
    assert main([str(tmp_path / "one.bin"), str(tmp_path / "two.bin")]) == 0
    out = capsys.readouterr().out
    assert "blocks.0.in_proj_u" in out
    assert f"{tmp_path / 'one.bin'} " in out and f"{tmp_path / 'two.bin'} " in out


def test_command_finds_the_build_of_a_package(package, tmp_path, capsys):
    small = random_program(np.random.default_rng(3), "small")
    for name, each in (("one.bin", package), ("two.bin", small)):
        each.write(tmp_path / name)
    paths = [str(tmp_path / name) for name in ("one.bin", "two.bin")]
    assert main(paths) == 0
    lines = capsys.readouterr().out.splitlines()
    tables = [line.split(":")[0] for line in lines if line.startswith("build ")]
    assert tables == ["build 'default'", "build 'small'"]
    assert lines[-1].startswith(paths[1])
    assert main(["--build", "default", paths[1]]) == 2
    assert "two.bin: " in capsys.readouterr().err


def test_command_without_packages_estimates_the_references(monkeypatch, capsys):
    tiny = module.Reference(ModelArgs(**SMALL))
    monkeypatch.setattr(module, "REFERENCE_MODELS", {"tiny": tiny})
    assert main(["--build", "small"]) == 0
    assert "tiny" in capsys.readouterr().out


def test_command_errors(tmp_path, capsys):
    missing, damaged = tmp_path / "missing.bin", tmp_path / "damaged.bin"
    damaged.write_bytes(b"nothing")
    for arguments, message in (
        ([str(missing)], "missing.bin"),
        ([str(damaged)], "damaged.bin: header field magic"),
        (["--build", "huge"], "no build 'huge'"),
        (["--build", "small"], "ETTh1 mixing (V=7, D=128, 4 blocks): the model does not fit"),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err


def test_what_an_untrained_model_takes(tmp_path, capsys):
    """The figures of its package; what streams is counted by tile and forecast."""
    path = tmp_path / "args.json"
    path.write_text('{"d_model": 32, "n_layer": 2, "num_channels": 3}')
    assert main(["--args", str(path), "--build", "small"]) == 0
    header, line = capsys.readouterr().out.splitlines()
    package = random_package(ModelArgs(d_model=32, n_layer=2, num_channels=3), isa.build("small"))
    expected = estimate(package, isa.build("small"))
    name, tiles, _, fetched, size, _, single, _, interval, *_ = line.replace(",", "").split()
    assert (name, int(tiles), int(fetched)) == ("small", len(package.weights), 0)
    assert (int(size), int(single)) == (len(package.to_bytes()), expected.single)
    assert float(interval) == expected.interval and header.split()[-1] == "us@250MHz"


def test_tiles_beyond_the_chip_are_read_for_each_token():
    small = isa.build("small")
    package = random_package(ModelArgs(d_model=32, n_layer=1, num_channels=3), small)
    assert module.streamed_tiles(package, small) == 0
    chip = len(package.weights) - 1
    less = dataclasses.replace(small, capacity={**small.capacity, "weights": chip})
    # The last tile is of the last token alone: each position of the output layer has its own.
    assert module.streamed_tiles(package, less) == 1
    none = dataclasses.replace(small, capacity={**small.capacity, "weights": 0})
    steps = package.schedule["instruction"]
    linear = [package.instructions[i] for i in steps if package.instructions[i].opcode == "LINEAR"]
    assert module.streamed_tiles(package, none) == sum(
        timing.linear_tiles(i, small) for i in linear
    )


def test_all_that_is_in_the_way_is_said(tmp_path, capsys):
    path = tmp_path / "args.json"
    path.write_text('{"num_channels": 600, "n_layer": 1, "d_model": 16, "forecast_len": 16}')
    assert main(["--args", str(path), "--build", "default"]) == 1
    first, _, default, *reasons = capsys.readouterr().out.splitlines()
    assert (first, default) == ("no build holds the model", "default refuses:")
    shape = re.compile(r"memory '(\w+)' needs \d+ elements more, has \d+")
    assert [shape.search(reason)[1] for reason in reasons] == ["patch", "head"]
    with pytest.raises(SystemExit) as wrong:
        main(["--args", str(path), "package.bin"])
    assert wrong.value.code == 2
