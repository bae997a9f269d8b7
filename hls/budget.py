"""What the HLS core should take of the ZU9EG, counted from the constants of a build.

    python -m hls.budget [--build default]

Block RAM and LUTs of memories and FIFOs follow from their sizes, in the layout of
``hls/include/memory.h`` and the pragmas of ``hls/src/top.cpp``. DSP48E2 are counted by the products
in the steps of the units. The LUTs of the logic are those that Yosys needs for the units of the
RTL, which compute the same (docs/microarchitecture.md, "Resources and timing"), with
`LOGIC_MARGIN`. It is a budget, which csynth has to confirm. Exit status 1: a share is above its
limit.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import sys
from typing import NamedTuple

import isa
from common import command_line

# Of the ZU9EG (DS891), and how much of each the core may take.
DEVICE = {"BRAM": 912, "LUT": 274_080, "DSP": 2_520}
LIMITS = {"BRAM": 0.8, "LUT": 0.6, "DSP": 0.6}
# Logic from C++ instead of SystemVerilog.
LOGIC_MARGIN = 1.25
# LUTs of the RTL's units but for their memories, of build `large`.
RTL_LOGIC = {
    "scan": 38_939 - 7_616,
    "array": 22_399 - 4_191,
    "vector": 15_815 - 3_652,
    "conv": 11_031 - 981,
    "choices around activations": 25_437 - 19_456,
    "sequencer": 5_027 - 2_888,
    "loader, checks, registers, bus, streams": 5_387 - 273,
}
# Words and bits of a RAMB18E2 with one port that writes and one that reads (UG573, table 1-8). Two
# are a block RAM.
HALF_BLOCK_RAM = [(512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)]
FIFO_CONTROL = 15  # LUTs: counters, full and empty


class Memory(NamedTuple):
    """Memories of one kind: ``banks`` of ``words`` words of ``bits``, each ``copies`` times."""

    words: int
    bits: int
    banks: int = 1
    copies: int = 1
    in_luts: bool = False

    @property
    def size(self) -> int:
        """Bits of all banks and copies."""
        return self.words * self.bits * self.banks * self.copies

    @property
    def block_rams(self) -> float:
        """RAMB36E2; a RAMB18E2 is half of one."""
        if self.in_luts:
            return 0
        halves = min(-(-self.words // w) * -(-self.bits // b) for w, b in HALF_BLOCK_RAM)
        return self.banks * self.copies * halves / 2

    @property
    def luts(self) -> int:
        """A RAM64M8 is 8 LUTs for 7 bits of 64 words, a RAM32M16 for 14 bits of 32."""
        if not self.in_luts:
            return 0
        words, bits = (64, 7) if self.words > 32 else (32, 14)
        return self.banks * self.copies * 8 * -(-self.words // words) * -(-self.bits // bits)


def memories(build: isa.Build) -> dict[str, Memory]:
    """Those of hls/include/memory.h, by their names there without that of the reader."""
    space, capacity = build.spaces, build.capacity
    row, lanes = build.row_align, build.requantize_lanes
    wide = max(lanes, 8)
    vector, conv, scan = build.vector_lanes, build.conv_lanes, build.scan_lanes
    channels = max(scan // 16, 1)
    weights = capacity["weights"]
    bank = min(weights, 512 if weights % 1024 else 1024)
    # The macros of config.h: deeper memories are block RAM.
    conv_in_luts, resid_in_luts = (space[name] // row <= 256 for name in ("conv", "resid"))
    params_in_luts = capacity["conv_params"] // conv <= 256
    return {
        "patch": Memory(space["patch"] // row, 8, row, in_luts=True),
        "norm": Memory(space["norm"] // row, 8, row, in_luts=True),
        "conv_in": Memory(space["conv_in"] // lanes, 8 * lanes, copies=8, in_luts=True),
        "gate": Memory(space["gate"] // lanes, 8 * lanes, in_luts=True),
        "conv_multiply": Memory(space["conv"] // row, 8 * conv, row // conv, in_luts=conv_in_luts),
        "conv_scan": Memory(space["conv"] // conv, 8 * conv, in_luts=conv_in_luts),
        "proj_multiply": Memory(space["proj"] // row, 8, row, in_luts=True),
        "proj_scan": Memory(space["proj"] // row, 8, row, in_luts=True),
        "proj_skip": Memory(space["proj"] // lanes, 8 * lanes, in_luts=True),
        "step": Memory(space["step"] // lanes, 8 * lanes, in_luts=True),
        "scan": Memory(space["scan"] // row, 8, row, in_luts=True),
        "logit": Memory(space["logit"] // lanes, 8 * lanes, in_luts=True),
        "resid_output": Memory(space["resid"] // wide, 16 * wide, in_luts=resid_in_luts),
        "resid_reduce": Memory(space["resid"] // wide, 16 * wide, in_luts=resid_in_luts),
        "resid_apply": Memory(space["resid"] // wide, 16 * wide, in_luts=resid_in_luts),
        "head": Memory(space["head"] // wide, 16 * wide, in_luts=True),
        "instructions": Memory(capacity["instructions"], 512, in_luts=True),
        "phases": Memory(capacity["phases"], 256, in_luts=True),
        "schedule": Memory(capacity["schedule"], 128),
        "weights": Memory(bank, 8 * build.tile_macs, -(-weights // bank)),
        "array_params": Memory(capacity["array_params"] // lanes, 64, lanes),
        "conv_params": Memory(capacity["conv_params"] // conv, 128, conv, in_luts=params_in_luts),
        "conv_tables": Memory(256 * capacity["conv_tables"], 8, copies=-(-conv // 2)),
        "scan_params": Memory(capacity["scan_params"] // channels, 64, channels),
        "scan_decay": Memory(capacity["scan_decay"] // scan, 16, scan),
        "scan_tables": Memory(256 * capacity["scan_tables"], 16, copies=channels),
        "vector_params": Memory(capacity["vector_params"] // vector, 64, vector, in_luts=True),
        "vector_tables": Memory(256 * capacity["vector_tables"], 16, copies=-(-vector // 2)),
        "state": Memory(capacity["state"] // scan, 24, scan, in_luts=True),
        "reduce": Memory(capacity["reduce"] // lanes, 32 * lanes, in_luts=True),
        "pool_sum": Memory(capacity["features"] // vector, 32 * vector, in_luts=True),
        "pool_maximum": Memory(capacity["features"] // vector, 16 * vector, in_luts=True),
    }


def fifos(build: isa.Build) -> dict[str, tuple[int, int, int]]:
    """(how many, words, bits) of the channels of hls/src/run.cpp."""
    place = 4 + 20 + 2  # of a packet: memory, address, has_data, is_end
    lanes, waits = build.requantize_lanes, 6 * 32
    narrow, wide = 8 * lanes + place, 16 * lanes + place
    # The structs of hls/include/units.h.
    entries = {"stream": 38, "multiply": 91, "output": 92, "vector": 220, "conv": 145, "scan": 255}
    all_entries = sum(entries.values()) + entries["stream"]
    return {
        "queues of fetch": (1, 32, 6 * waits + all_entries + 5 * FIFO_CONTROL),
        "starts": (1, 17, all_entries + 6 * FIFO_CONTROL),
        "packets of the array, int8": (3, 8, narrow),
        "packets of the array, int16": (4, 8, wide),
        "packets of the vector unit that wait": (4, 32, wide),
        "packets of the others": (5, 8, narrow),
        "sums": (1, 16, 32 * build.tile_out),
        "entries inside the vector unit": (1, 17, 2 * entries["vector"] + 167 + FIFO_CONTROL),
        "beats of weights": (1, build.tile_macs // 16, 128),
        "ends, credits, reports, ranges": (16, 17, 16),
    }


def products(build: isa.Build) -> dict[str, int]:
    """DSP48E2 (27 x 18 bits) of the products in the steps."""
    lanes, vector, scan = build.requantize_lanes, build.vector_lanes, build.scan_lanes
    channels = max(scan // 16, 1)
    requantizer = 2  # 32 x 18 bits
    return {
        "array_multiply: two products each": build.tile_macs // 2,
        "array_output: requantizers": requantizer * lanes,
        "vector_reduce: squares": vector,
        "vector_apply: scale, one requantizer for all instructions": (1 + requantizer) * vector,
        "conv: taps, requantizers": (8 + requantizer) * build.conv_lanes,
        "conv: rows of the taps": 8,
        # delta * rate, the two factors of the decay, decay * h, delta * u * B, h * C
        "scan: pairs": 5 * scan,
        # delta * u, skip, gate
        "scan: channels": (3 + requantizer) * channels,
        "fetch: rows of all operands": 26,
        "checks of the loader: ends of operands": 25,
        "checks of the loader: last repeats, tokens and sequences of phases": 4,
    }


class Budget(NamedTuple):
    """What takes how much: {resource: {what: number}}."""

    items: dict[str, dict[str, float]]

    def total(self, resource: str) -> float:
        return sum(self.items[resource].values())

    def share(self, resource: str) -> float:
        return self.total(resource) / DEVICE[resource]


def budget(build: isa.Build) -> Budget:
    """The budget of a build."""
    kinds = memories(build)
    luts = {f"memory {name}": float(m.luts) for name, m in kinds.items() if m.luts}
    for name, (count, words, bits) in fifos(build).items():
        per_bit = -(-words // 32)  # an SRL is a LUT for 32 words of a bit
        luts[f"FIFO {name}"] = float(count * (bits * per_bit + FIFO_CONTROL))
    # Two banks of a bit are one LUT with the choice between them.
    luts["choice of the weights' bank"] = 8.0 * build.tile_macs * (kinds["weights"].banks > 1)
    # Each of 16 digits: sums of 52 and 49 bits, a comparison and a difference of 64.
    luts["logic vector_root, a digit a stage"] = 16.0 * (52 + 49 + 64 + 64)
    scale = build.tile_macs / isa.build("large").tile_macs
    for name, count in RTL_LOGIC.items():
        luts[f"logic {name}"] = count * LOGIC_MARGIN * scale
    return Budget(
        {
            "BRAM": {name: m.block_rams for name, m in kinds.items() if m.block_rams},
            "LUT": luts,
            "DSP": {name: float(count) for name, count in products(build).items()},
        }
    )


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m hls.budget", description="What the HLS core should take of the ZU9EG."
    )
    parser.add_argument("--build", default="default", choices=isa.builds())
    args = parser.parse_args(argv)
    counted = budget(isa.build(args.build))
    fits = True
    for resource, items in counted.items.items():
        for name, count in items.items():
            print(f"{resource:5} {count:9,.1f}  {name}")
        share, limit = counted.share(resource), LIMITS[resource]
        fits = fits and share <= limit
        print(
            f"{resource:5} {counted.total(resource):9,.1f}  all: {share:.1%} of "
            f"{DEVICE[resource]:,}, limit {limit:.0%}{'' if share <= limit else ', TOO MUCH'}\n"
        )
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main())
