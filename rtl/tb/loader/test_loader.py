"""loader: every write of every section, every rule of header and sections, errors of the bus.

Packages of compiled and random models are loaded whole; the rules are tried on small packages whose
sections hold random bytes, because the loader does not look into a program. A few lines stand for
program_check.
"""

import os
import random
import zlib
from functools import cache
from itertools import repeat
from pathlib import Path

import cocotb
import numpy as np
import pytest
import torch
from cocotb.triggers import ClockCycles, RisingEdge

import isa
from compiler.estimate import random_package as compiled_package
from golden.random_programs import random_package
from isa.errors import PackageError
from isa.package import Package
from model.args import ModelArgs
from rtl.tb.axi_memory import BEAT, AxiMemory
from rtl.tb.packages import Packages
from rtl.tb.simulate import simulate
from rtl.tb.streams import PATTERNS, always, in_bursts, randomly, rarely, reset, start

torch.set_num_threads(1)
TOP = 1 << 64
FACTS = Packages("small").structs["facts_t"]  # the same in all builds
ERRORS = isa.ERRORS
SECTIONS = [s.name for s in isa.SECTIONS]
TABLES = {"conv_tables": 1, "scan_tables": 2, "vector_tables": 2}  # bytes of an entry
PHASE_BYTES = isa.PHASE.bits // 8
PARAMS = {"array_params": 8, "conv_params": 16, "scan_params": 8, "vector_params": 8}
SIZES = ("n_sequences", "iterations", "n_positions", "token_bytes", "forecast_elements")
AT_LEAST_ONE = ("entries", "repeats")  # of a phase
WATCHDOG = 400
CRC_AT = isa.HEADER_BYTES - 4

MODEL = ModelArgs(
    num_channels=3,
    n_layer=1,
    seq_len=24,
    patch_len=8,
    stride=4,
    forecast_len=8,
    d_model=16,
    d_state=4,
)


def build():
    return isa.build(os.environ["BUILD"])


def element_bytes(name):
    tile = build().tile_in * build().tile_out
    return tile if name == "weights" else isa.SECTIONS[SECTIONS.index(name)].element_bytes


def capacity(name):
    return build().spaces["resid"] if name == "resid_image" else build().capacity[name]


def good_word(skip=False):
    """A parameter word within its bounds, often at them."""
    limit = (1 << (17 if skip else 30)) - 1
    fields = {
        "bias": random.choice([-limit, limit, 0, random.randint(-limit, limit)]),
        "multiplier": random.randint(-(1 << 17), (1 << 17) - 1),
        "shift": random.choice([0, 48, random.randint(0, 48)]),
        "zero_point": random.randint(-128, 127),
    }
    return fields


def word_bytes(fields):
    return isa.PARAM.encode(fields).to_bytes(8, "little")


def good_params(name, count):
    words = [word_bytes(good_word(name == "scan_params")) for _ in range(count)]
    return b"".join(w + random.randbytes(PARAMS[name] - 8) for w in words)


def good_phases(count):
    """Phases of one entry and one repeat at least, and anything else."""
    return b"".join(phase_bytes(good_phase()) for _ in range(count))


def good_phase():
    fields = {
        f.name: random.getrandbits(f.bits) for f in isa.PHASE.fields if f.name != "unit_entries"
    }
    fields["unit_entries"] = [random.getrandbits(16) for _ in isa.UNITS]
    return fields | {name: random.choice([1, random.randint(1, 0xFFFF)]) for name in AT_LEAST_ONE}


def phase_bytes(fields):
    return isa.PHASE.encode(fields).to_bytes(PHASE_BYTES, "little")


class Image:
    """A package as its sections' bytes and its header's fields; ``fields`` override the header."""

    def __init__(self, sections, header):
        self.sections, self.header, self.fields = dict(sections), dict(header), {}

    @classmethod
    def of(cls, data):
        """The parts of a package file."""
        header = isa.HEADER.decode(int.from_bytes(data[:CRC_AT], "little"))
        sections = {
            name: data[(at := header[f"{name}_offset"]) : at + header[f"{name}_bytes"]]
            for name in SECTIONS
        }
        return cls(sections, header)

    @classmethod
    def random(cls, tables=()):
        """A few elements in every section; of the tables, only in those of ``tables``."""
        sections = {
            name: random.randbytes(element_bytes(name) * random.randint(1, 3)) for name in SECTIONS
        }
        sections |= {name: good_params(name, random.randint(1, 6)) for name in PARAMS}
        sections |= {
            name: random.randbytes(256 * size * (name in tables)) for name, size in TABLES.items()
        }
        sections["phases"] = good_phases(random.randint(1, 3))
        sections["metadata"] = random.randbytes(random.randint(1, 70))
        sections["resid_image"] = random.randbytes(2 * random.randint(1, 40))
        header = {name: random.randint(1, 0xFFFF) for name in SIZES}
        header |= {"magic": isa.MAGIC, "reserved": 0, "total_bytes": None}
        header |= {"tile_in": build().tile_in, "tile_out": build().tile_out}
        header["version_major"], header["version_minor"] = isa.VERSION
        return cls(sections, header)

    def offset(self, name):
        """Where a section begins."""
        return self._layout()[0][f"{name}_offset"]

    def to_bytes(self):
        """The file, with checksums that are right except where ``fields`` say otherwise."""
        header, body = self._layout()
        header |= {k: v for k, v in self.fields.items() if k != "header_crc"}
        head = isa.HEADER.encode(header).to_bytes(CRC_AT, "little")
        crc = self.fields.get("header_crc", zlib.crc32(head))
        return head + crc.to_bytes(4, "little") + body

    def _layout(self):
        header, body = dict(self.header), b""
        for name in SECTIONS:
            body += bytes(-len(body) % isa.SECTION_ALIGN)
            header[f"{name}_offset"] = isa.HEADER_BYTES + len(body)
            header[f"{name}_bytes"] = len(self.sections[name])
            header[f"{name}_crc"] = zlib.crc32(self.sections[name])
            body += self.sections[name]
        header["total_bytes"] = isa.HEADER_BYTES + len(body)
        return header, body


def golden_code(data):
    """The error of the golden reader."""
    try:
        Package.from_bytes(data, build=build(), any_padding=True)
    except PackageError as error:
        return error.code
    return ERRORS["OK"]


class Bench:
    """The loader with a memory that holds one package, and a stand-in for program_check."""

    def __init__(self, dut, ar=always, r=always):
        self.dut = dut
        self.data, self.base = b"", 0
        self.memory = AxiMemory(dut, self._content, ar, r)
        self.verdict = ERRORS["OK"]  # of the program
        self.pace = always  # of the checker
        self.max_weights = dut.MaxWeights.value.to_unsigned()
        dut.start_i.value = 0
        dut.check_word_ready_i.value = 0
        dut.check_busy_i.value = 0
        dut.check_error_i.value = 0
        dut.watchdog_cycles_i.value = WATCHDOG
        self._clear()
        cocotb.start_soon(self._watch_writes())
        cocotb.start_soon(self._check())

    def _content(self, address):
        """A beat of memory; around the package there is something else."""
        at = address - self.base
        beat = self.data[at : at + BEAT] if at >= 0 else b""
        return beat + random.randbytes(BEAT - len(beat))

    def _clear(self):
        self.writes = {name: [] for name in SECTIONS}
        self.instructions, self.phases, self.entries = [], [], []
        self.checks = 0

    async def load(self, data, base=None, beats=None):
        """Load a package that lies at ``base``; the error code."""
        dut = self.dut
        self._clear()
        self.data = data
        self.base = random.getrandbits(50) << 4 if base is None else base
        self.beats = -(-len(data) // BEAT) if beats is None else beats
        self.memory.bursts.clear()
        pending = int(dut.m_axi_arvalid.value)
        dut.package_addr_i.value = self.base
        dut.package_beats_i.value = self.beats
        dut.start_i.value = 1
        await RisingEdge(dut.clk_i)
        dut.start_i.value = 0
        self.cycles = 0
        while True:
            await RisingEdge(dut.clk_i)
            self.cycles += 1
            if dut.done_o.value:
                break
            assert self.cycles < 400_000
        error = int(dut.error_o.value)
        assert bool(dut.loaded_o.value) == (error == ERRORS["OK"])
        await RisingEdge(dut.clk_i)
        assert not dut.busy_o.value and not dut.done_o.value
        assert int(dut.error_o.value) == error
        # Nothing outside the package was asked for, but for a request that was still waiting.
        for address, count in self.memory.bursts[pending:]:
            assert self.base <= address
            assert address + count * BEAT <= self.base + self.beats * BEAT
        return error

    async def load_right(self, image):
        """Load a package that is right, and compare everything."""
        assert await self.load(image.to_bytes()) == ERRORS["OK"]
        self.check_facts(image)
        for name in SECTIONS:
            self.check_writes(name, image.sections[name])
        assert self.checks == 1
        assert b"".join(self.instructions) == image.sections["instructions"]
        assert b"".join(self.phases) == image.sections["phases"]
        assert b"".join(self.entries) == image.sections["schedule"]

    def check_facts(self, image):
        facts = self.facts()
        for name in SIZES:
            assert facts[name] == image.header[name], name
        sizes = [len(image.sections[name]) // element_bytes(name) for name in SECTIONS]
        assert facts["elements"] == sizes
        assert facts["weights_addr"] == self.base + image.offset("weights")

    def facts(self):
        return FACTS.unpack(int(self.dut.facts_o.value))

    def check_writes(self, name, data):
        """Each beat or entry once, in order."""
        size = TABLES.get(name, BEAT)
        words = [data[i : i + size] for i in range(0, len(data), size)]
        if name == "metadata":
            words = []
        if name == "weights":
            words = words[: self.max_weights * element_bytes(name) // BEAT]
        writes = self.writes[name]
        assert [address for address, _ in writes] == list(range(len(words))), name
        for word, (_, written) in zip(words, writes, strict=True):
            assert written[: len(word)] == word, name

    async def _watch_writes(self):
        dut = self.dut
        while True:
            await RisingEdge(dut.clk_i)
            enable = int(dut.wr_en_o.value)
            if enable:
                assert enable & (enable - 1) == 0
                word = int(dut.wr_data_o.value).to_bytes(BEAT, "little")
                name = SECTIONS[enable.bit_length() - 1]
                self.writes[name].append((int(dut.wr_addr_o.value), word))

    def _taken(self):
        return [len(self.instructions), len(self.phases), len(self.entries)]

    async def _check(self):
        """Takes instructions and phases at its own pace and entries at once; the verdict some
        cycles later."""
        dut = self.dut
        expected = None
        busy = delay = ready = 0
        waiting = None
        pace = self.pace()
        while True:
            await RisingEdge(dut.clk_i)
            if dut.check_start_o.value:
                self.checks += 1
                self.instructions, self.phases, self.entries = [], [], []
                expected = self.facts()["elements"][:3]
                busy, delay = 1, random.randint(1, 40)
                waiting, pace = None, self.pace()
            if dut.check_word_valid_o.value:
                word = int(dut.check_word_o.value)
                # A phase is in the upper half.
                is_phase = len(self.instructions) == expected[0]
                word = word >> 256 if is_phase else word
                assert waiting in (None, word), "an instruction or a phase changed"
                waiting = None if ready else word
                if ready and is_phase:
                    self.phases.append(word.to_bytes(PHASE_BYTES, "little"))
                elif ready:
                    self.instructions.append(word.to_bytes(64, "little"))
            else:
                assert waiting is None or not dut.busy_o.value or dut.rst_i.value
                waiting = None
            if dut.check_schedule_valid_o.value:
                assert expected and self._taken()[:2] == expected[:2]
                self.entries.append(int(dut.check_schedule_o.value).to_bytes(16, "little"))
            if busy and self._taken() == expected:
                delay -= 1
                busy = delay > 0
            ready = next(pace)
            dut.check_word_ready_i.value = ready
            dut.check_busy_i.value = busy
            dut.check_error_i.value = random.randrange(16) if busy else self.verdict


@cache
def images():
    """Packages of real programs."""
    rng = np.random.default_rng(random.getrandbits(32))
    packages = [compiled_package(MODEL, build()), random_package(rng, build(), largest=5)]
    return [Image.of(p.to_bytes()) for p in packages]


async def prepared(dut, ar=always, r=always):
    bench = Bench(dut, ar, r)
    await start(dut)
    return bench


@cocotb.test()
@cocotb.parametrize(r=PATTERNS, which=(0, 1))
async def run_packages(dut, r, which):
    """Packages of real programs: facts, every write, what the checker sees."""
    bench = await prepared(dut, random.choice(PATTERNS), r)
    bench.pace = random.choice(PATTERNS)
    await bench.load_right(images()[which])


@cocotb.test()
@cocotb.parametrize(r=(always, in_bursts))
async def run_random(dut, r):
    """Random sections, one package right after the other."""
    bench = await prepared(dut, always, r)
    bench.pace = randomly
    for _ in range(3):
        await bench.load_right(Image.random(TABLES))


@cocotb.test()
async def run_pace(dut):
    """A beat a cycle, and an entry of a table a cycle."""
    bench = await prepared(dut)
    image = Image.random(TABLES)
    image.sections["weights"] = random.randbytes(1024 * BEAT)
    assert await bench.load(image.to_bytes()) == ERRORS["OK"]
    entries = 256 * len(TABLES)
    beats = sum(-(-len(image.sections[name]) // BEAT) for name in SECTIONS if name not in TABLES)
    beside = bench.cycles - entries - beats
    dut._log.info("%d beats, %d entries of tables, %d cycles beside", beats, entries, beside)
    assert beside < 600


# ----------------------------------------------------------------------------- the rules


def wrong_header(image, field):
    """A wrong value of a field."""
    if field in SIZES:
        return 0
    if field == "version_minor":
        return isa.VERSION[1] + random.randint(1, 9)
    right = image.header[field]
    return random.choice([0, right ^ 1 << random.randrange(16), right + 1])


@cocotb.test()
async def run_header(dut):
    """Wrong fields, one or several; the codes are those of the golden reader."""
    bench = await prepared(dut)
    fields = ["magic", "version_major", "version_minor", "tile_in", "tile_out", *SIZES]
    seen = set()
    for number in range(60):
        image = Image.random()
        chosen = fields[number : number + 1] or random.sample(fields, random.randint(1, 3))
        image.fields = {field: wrong_header(image, field) for field in chosen}
        if number >= 2 * len(fields) and random.random() < 0.3:
            image.fields["header_crc"] = random.getrandbits(32)
        data = image.to_bytes()
        expected = golden_code(data)
        assert await bench.load(data) == expected, chosen
        assert not any(bench.writes.values()) and not bench.checks
        seen.add(expected)
    names = ("BAD_MAGIC", "BAD_VERSION", "BAD_CRC", "BAD_TILE", "BAD_SHAPE")
    assert seen == {ERRORS[name] for name in names}
    await bench.load_right(Image.random())


@cocotb.test()
async def run_header_bits(dut):
    """Any bit of the header that is flipped is found."""
    bench = await prepared(dut)
    data = Image.random().to_bytes()
    for _ in range(40):
        bit = random.randrange(8 * isa.HEADER_BYTES)
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << (bit % 8)
        assert await bench.load(bytes(damaged)) == golden_code(bytes(damaged)), bit
    await bench.load_right(Image.random())


@cocotb.test()
async def run_length(dut):
    """Packages that end too early, or of which less is given."""
    bench = await prepared(dut)
    image = Image.random()
    data = image.to_bytes()
    beats = -(-len(data) // BEAT)
    assert await bench.load(data, beats=0) == ERRORS["BAD_MAGIC"]
    assert not bench.memory.bursts
    for given in (1, 2, 15):
        assert await bench.load(data, beats=given) == ERRORS["BAD_CRC"]
        assert await bench.load(bytes(4) + data[4:], beats=given) == ERRORS["BAD_MAGIC"]
    for given in (16, beats // 2, beats - 1):
        assert await bench.load(data, beats=given) == ERRORS["BAD_SECTION"]
    assert await bench.load(data, beats=beats + 3) == ERRORS["OK"]
    for total in (len(data) - 1, len(data) - 70, isa.HEADER_BYTES, 0):
        image.fields = {"total_bytes": total}
        assert await bench.load(image.to_bytes()) == ERRORS["BAD_SECTION"]
    image.fields = {"total_bytes": 0xFFFFFFFF}
    assert await bench.load(image.to_bytes()) == ERRORS["BAD_SECTION"]
    assert await bench.load(image.to_bytes(), beats=0xFFFFFFFF) == ERRORS["OK"]
    await bench.load_right(Image.random())


@cocotb.test()
async def run_sections(dut):
    """Misplaced, oversized and damaged sections; what comes before is loaded, nothing behind."""
    bench = await prepared(dut)
    for name in SECTIONS:
        image = Image.random([name])
        right, end = image.offset(name), len(image.to_bytes())
        size = len(image.sections[name])
        crc = zlib.crc32(image.sections[name])
        wrong = [
            {"offset": right + random.choice([1, 2, 16, 32, 48, 63])},
            {"offset": right - isa.SECTION_ALIGN},
            {"offset": random.choice([0, isa.HEADER_BYTES - isa.SECTION_ALIGN])},
            {"offset": (end + 63) & ~63},
            {"offset": 0xFFFFFFC0},
            {"bytes": end - right + element_bytes(name)},
            {"bytes": 0xFFFFFFFF & -element_bytes(name)},
            {"crc": crc ^ 1 << random.randrange(32)},
        ]
        if element_bytes(name) > 1:
            wrong.append({"bytes": size - random.randint(1, element_bytes(name) - 1)})
        for fields in random.sample(wrong, 3):
            image.fields = {f"{name}_{field}": value for field, value in fields.items()}
            expected = ERRORS["BAD_CRC" if "crc" in fields else "BAD_SECTION"]
            data = image.to_bytes()
            assert golden_code(data) in (expected, ERRORS["BAD_SECTION"])
            assert await bench.load(data) == expected, image.fields
            for other in SECTIONS[: SECTIONS.index(name)]:
                bench.check_writes(other, image.sections[other])
            for other in SECTIONS[SECTIONS.index(name) + 1 :]:
                assert not bench.writes[other]
        image.fields = {}
        damaged = bytearray(image.to_bytes())
        damaged[right + random.randrange(size)] ^= 1 << random.randrange(8)
        assert await bench.load(bytes(damaged)) == ERRORS["BAD_CRC"], name
    await bench.load_right(Image.random())


@cocotb.test()
async def run_capacity(dut):
    """A section as large as its memory is taken, one that is larger is not."""
    bench = await prepared(dut)
    for name in SECTIONS:
        if name in ("weights", "metadata"):
            continue
        image = Image.random()
        for excess in (0, 1):
            size = (capacity(name) + excess) * element_bytes(name)
            image.fields = {f"{name}_bytes": size, "total_bytes": 0xFFFFFFFF}
            # Behind the package there is anything: the checksum differs, once it is read.
            bench.memory.errors = {bench.base + image.offset(name)}
            base = bench.base
            code = await bench.load(image.to_bytes(), base=base, beats=1 << 28)
            assert code == ERRORS["BAD_SECTION" if excess else "BUS_ERROR"], name
    bench.memory.errors.clear()
    await bench.load_right(Image.random())


@cocotb.test()
async def run_tails(dut):
    """Sections whose last beat is not full: every length; what is behind them does not matter."""
    bench = await prepared(dut)
    for tail in range(17):
        image = Image.random()
        image.sections["metadata"] = random.randbytes(BEAT * random.randrange(3) + tail)
        image.sections["scan_decay"] = random.randbytes(2 * (tail + 8 * random.randrange(2)))
        image.sections["resid_image"] = random.randbytes(2 * (16 - tail))
        for name in ("array_params", "scan_params", "vector_params"):
            image.sections[name] = good_params(name, random.randint(0, 4))
        data = bytearray(image.to_bytes())
        for name, section in image.sections.items():
            at = image.offset(name) + len(section)
            if at < len(data):
                data[at : at + -at % BEAT] = b"\xff" * (-at % BEAT)
        assert await bench.load(bytes(data)) == ERRORS["OK"]
        for name in SECTIONS:
            bench.check_writes(name, image.sections[name])
        if not tail:
            continue
        # The very last byte counts.
        for name in ("metadata", "scan_decay"):
            at = image.offset(name) + len(image.sections[name]) - 1
            damaged = bytearray(data)
            damaged[at] ^= 0x10
            assert await bench.load(bytes(damaged)) == ERRORS["BAD_CRC"], (name, tail)


@cocotb.test()
async def run_empty(dut):
    """Sections without elements, whose checksum is zero."""
    bench = await prepared(dut)
    for name in [*SECTIONS, None]:
        image = Image.random(TABLES if name is None else ())
        for other in SECTIONS:
            if name in (other, None):
                image.sections[other] = b""
        await bench.load_right(image)
        if name:
            image.fields = {f"{name}_crc": 1 << random.randrange(32)}
            assert await bench.load(image.to_bytes()) == ERRORS["BAD_CRC"], name


@cocotb.test()
@cocotb.parametrize(name=tuple(PARAMS))
async def run_params(dut, name):
    """A parameter word out of its bounds, anywhere; a wrong checksum comes first."""
    bench = await prepared(dut)
    limit = 1 << (17 if name == "scan_params" else 30)
    edges = [("bias", limit), ("bias", -limit), ("shift", 49)]
    others = [("bias", limit + 1), ("bias", -limit - 1), ("bias", 1 << 30), ("bias", -(1 << 30))]
    others += [("bias", -(1 << 31)), ("bias", (1 << 31) - 1), ("bias", 1 - 2 * limit)]
    others += [("shift", shift) for shift in (50, 56, 63)]
    for field, value in edges + random.sample(others, 4):
        image = Image.random()
        count = random.randint(1, 7)
        at = random.randrange(count) * PARAMS[name]
        data = bytearray(good_params(name, count))
        data[at : at + 8] = word_bytes(good_word(name == "scan_params") | {field: value})
        image.sections[name] = bytes(data)
        bench.verdict = random.choice([0, ERRORS["BAD_OPCODE"]])
        assert await bench.load(image.to_bytes()) == ERRORS["BAD_SHAPE"], (field, value)
        assert not bench.writes[SECTIONS[SECTIONS.index(name) + 1]]
        image.fields = {f"{name}_crc": 0}
        assert await bench.load(image.to_bytes()) == ERRORS["BAD_CRC"]
    bench.verdict = ERRORS["OK"]
    await bench.load_right(Image.random())


@cocotb.test()
async def run_phases(dut):
    """A phase without entries or repeats, or with a reserved bit; a wrong checksum comes first."""
    bench = await prepared(dut)
    reserved = range(sum(f.total_bits for f in isa.PHASE.fields), isa.PHASE.bits)
    bits = [reserved[0], reserved[-1], *random.sample(reserved, 4)]
    faults = [lambda phase, name=name: {**phase, name: 0} for name in AT_LEAST_ONE]
    for fault in [*faults, *bits]:
        image = Image.random()
        phases = [good_phase() for _ in range(random.randint(1, 5))]
        at = random.randrange(len(phases))
        if callable(fault):
            phases[at] = fault(phases[at])
        data = bytearray(b"".join(map(phase_bytes, phases)))
        if not callable(fault):
            data[at * PHASE_BYTES + fault // 8] |= 1 << fault % 8
        image.sections["phases"] = bytes(data)
        bench.verdict = random.choice([0, ERRORS["BAD_OPCODE"]])
        assert golden_code(image.to_bytes()) == ERRORS["BAD_SHAPE"]
        assert await bench.load(image.to_bytes()) == ERRORS["BAD_SHAPE"], fault
        assert not bench.writes["schedule"]
        image.fields = {"phases_crc": 0}
        assert await bench.load(image.to_bytes()) == ERRORS["BAD_CRC"]
    bench.verdict = ERRORS["OK"]
    await bench.load_right(Image.random())


@cocotb.test()
async def run_program_error(dut):
    """The program's error counts when all sections are good."""
    bench = await prepared(dut)
    bench.pace = rarely
    for code in ("BAD_OPCODE", "BAD_OPERAND", "BAD_SHAPE", "BAD_SCHEDULE"):
        bench.verdict = ERRORS[code]
        image = Image.random()
        assert await bench.load(image.to_bytes()) == ERRORS[code]
        for name in SECTIONS:
            bench.check_writes(name, image.sections[name])
        image.fields = {"metadata_crc": 0}
        assert await bench.load(image.to_bytes()) == ERRORS["BAD_CRC"]
    bench.verdict = ERRORS["OK"]
    await bench.load_right(Image.random())


@cocotb.test()
async def run_weights_beyond(dut):
    """Tiles that the memory has no room for are read for their checksum and not written."""
    bench = await prepared(dut)
    tiles = min(bench.max_weights, 70) + 3
    image = Image.random()
    image.sections["weights"] = random.randbytes(tiles * element_bytes("weights"))
    await bench.load_right(image)
    assert len(bench.writes["weights"]) <= bench.max_weights * element_bytes("weights") // BEAT
    image.fields = {"weights_crc": 0}
    assert await bench.load(image.to_bytes()) == ERRORS["BAD_CRC"]


# ----------------------------------------------------------------------------- the bus


@cocotb.test()
@cocotb.parametrize(r=(always, in_bursts))
async def run_bus_error(dut, r):
    """An error in any beat that is read; the next load comes at once and is right."""
    bench = await prepared(dut, always, r)
    for _ in range(15):
        image = Image.random()
        data = image.to_bytes()
        name = random.choice(["header", *(s for s in SECTIONS if image.sections[s])])
        at, size = 0, isa.HEADER_BYTES
        if name != "header":
            at, size = image.offset(name), len(image.sections[name])
        base = random.getrandbits(50) << 4
        bench.memory.errors = {base + (at + random.randrange(size)) // BEAT * BEAT}
        assert await bench.load(data, base=base) == ERRORS["BUS_ERROR"], name
        bench.memory.errors.clear()
        if random.random() < 0.3:
            await bench.load_right(Image.random())


@cocotb.test()
async def run_addresses(dut):
    """Packages that are misaligned or run over the end of the address space."""
    bench = await prepared(dut)
    data = Image.random().to_bytes()
    beats = -(-len(data) // BEAT)
    for offset in (1, 2, 4, 8, 15):
        assert await bench.load(data, base=0x1000 + offset) == ERRORS["BAD_SECTION"]
        assert not bench.memory.bursts
    for inside in (1, 15, 16, 17, 40, beats // 2, beats - 1):
        assert await bench.load(data, base=TOP - inside * BEAT) == ERRORS["BUS_ERROR"]
    assert await bench.load(data, base=TOP - beats * BEAT) == ERRORS["OK"]
    for base in (0, 0xFFFFFFF0 - 0x100, 0xFFFFFFFF0 - 0x2F0):
        assert await bench.load(data, base=base) == ERRORS["OK"]


@cocotb.test()
@cocotb.parametrize(channel=("ar", "r"))
async def run_silence(dut, channel):
    """A bus that stops answering: TIMEOUT in time, again and again; nothing old comes later."""
    bench = await prepared(dut)
    for _ in range(4):
        load = cocotb.start_soon(bench.load(Image.random().to_bytes()))
        await ClockCycles(dut.clk_i, random.randint(1, 700))
        bench.memory.fall_silent()
        if channel == "ar":
            bench.memory.set_patterns(lambda: repeat(False), always)
        silent = bench.cycles
        error = await load
        if error == ERRORS["OK"]:  # it was over
            error = await bench.load(Image.random().to_bytes())
            silent = 0
        assert error == ERRORS["TIMEOUT"]
        assert bench.cycles - silent <= 2 * WATCHDOG + 300
        assert await bench.load(Image.random().to_bytes()) == ERRORS["TIMEOUT"]
        bench.memory.set_patterns(always, always)
        bench.memory.speak()
        await bench.load_right(Image.random())


@cocotb.test()
async def run_slow(dut):
    """A bus that is slow, but faster than the watchdog, is no error; the checker's time is free."""
    bench = await prepared(dut, lambda: gaps(40), lambda: gaps(40))
    bench.pace = lambda: gaps(200)
    dut.watchdog_cycles_i.value = 100
    await bench.load_right(Image.random())


def gaps(cycles):
    """One active cycle, then so many idle ones."""
    while True:
        yield True
        yield from repeat(False, cycles)


@cocotb.test()
async def run_reset(dut):
    """A reset in the middle of a load; the next one is right."""
    bench = await prepared(dut, always, randomly)
    for _ in range(8):
        load = cocotb.start_soon(bench.load(Image.random().to_bytes()))
        await ClockCycles(dut.clk_i, random.randint(1, 1200))
        load.cancel()
        dut.start_i.value = 0
        await reset(dut)
        assert not dut.busy_o.value and not dut.loaded_o.value
        await bench.load_right(Image.random())


SOURCES = [Path(__file__).parent / "loader_bench.sv"]


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        # So few tiles that a small package has more.
        ("small", {"MaxWeights": 8}),
        pytest.param("small", {}, marks=pytest.mark.slow),
        pytest.param("default", {}, marks=pytest.mark.slow),
    ],
)
def test_loader(build, parameters):
    simulate(
        "loader_bench",
        parameters,
        build=build,
        sources=SOURCES,
        suite="test_loader",
        extra_env={"BUILD": build},
    )


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"TileIn": 3}, "loader: TileIn * TileOut is 48"),
        ({"MaxWeights": 1 << 24}, "loader: MaxWeights is"),
    ],
)
def test_bad_parameters(bad, message, capfd):
    with pytest.raises(RuntimeError):
        simulate("cmamba_loader", bad)
    assert message in capfd.readouterr().err
