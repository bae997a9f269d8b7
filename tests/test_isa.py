"""The instruction words, the builds, and what is generated from their TOML files."""

import re
import shutil
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import isa
from isa import generate

FORMATS = {
    "operand": isa.OPERAND,
    "schedule": isa.SCHEDULE,
    "param": isa.PARAM,
    "header": isa.HEADER,
    **{name: opcode.format for name, opcode in isa.OPCODES.items()},
}


@st.composite
def values_of(draw: st.DrawFn, fmt: isa.Format) -> dict[str, object]:
    """A value for every field, the extremes often."""

    def number(f: isa.Field) -> int:
        ends = st.sampled_from([f.minimum, f.maximum])
        return draw(st.one_of(ends, st.integers(f.minimum, f.maximum)))

    values: dict[str, object] = {}
    for f in fmt.fields:
        if f.operand:
            values[f.name] = isa.Operand(**{o.name: number(o) for o in isa.OPERAND.fields})
        elif f.count > 1:
            values[f.name] = tuple(number(f) for _ in range(f.count))
        else:
            values[f.name] = number(f)
    return values


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_words_round_trip(name, data):
    fmt = FORMATS[name]
    values = data.draw(values_of(fmt))
    word = fmt.encode(values)
    assert 0 <= word < 1 << fmt.bits
    assert fmt.decode(word) == values


@pytest.mark.parametrize("opcode", isa.OPCODES)
@given(data=st.data())
def test_instructions_round_trip(opcode, data):
    values = data.draw(values_of(isa.OPCODES[opcode].format))
    del values["opcode"]
    instruction = isa.Instruction(opcode, values)
    word = instruction.encode()
    assert len(word) == isa.INSTRUCTION_BITS // 8
    assert word[0] == isa.OPCODES[opcode].code
    decoded = isa.Instruction.decode(word)
    assert decoded == instruction
    assert decoded.encode() == word
    assert decoded.unit == isa.OPCODES[opcode].unit


@pytest.mark.parametrize("name", FORMATS)
def test_fields_do_not_overlap_and_fit_the_word(name):
    fmt = FORMATS[name]
    ends = [0]
    for f in fmt.fields:
        assert f.lsb == ends[-1]
        ends.append(f.lsb + f.total_bits)
    assert ends[-1] <= fmt.bits


@pytest.mark.parametrize("opcode", isa.OPCODES)
def test_what_is_said_of_a_field_agrees_with_its_description(opcode):
    fields = {f.name: f for f in isa.OPCODES[opcode].format.fields}
    memories = {section.name for section in isa.SECTIONS} | set(isa.build().capacity)
    for f in fields.values():
        if f.operand:
            for row in (f.row, *f.row_where.values()):
                assert re.search(rf"\brows? .*\b{row}\b", f.doc), f.name
            assert all(fields[flag].bits == 1 for flag in f.row_where)
            assert f.shared == ("columns" in f.doc) and (not f.shared or "columns" in fields)
        assert f.memory in memories or not f.memory
        assert isinstance(f.elements, int) or f.elements in fields
        assert not f.log2_each or f.log2_each in fields
        # A table and the first of several words say which memory they are in.
        assert not f.memory or f.memory in f.doc or f.memory == "state", f.name


def test_every_address_says_its_memory():
    """But for weights, of which an instruction uses what its shape says."""
    for opcode in isa.OPCODES.values():
        names = {f.name for f in opcode.format.fields if f.name.endswith(("_addr", "table"))}
        said = {f.name for f in opcode.format.fields if f.memory}
        assert said == names - {"weight_addr"}, opcode.name


@pytest.mark.parametrize("opcode", isa.OPCODES)
def test_each_reserved_bit_is_refused(opcode):
    fmt = isa.OPCODES[opcode].format
    used = sum(f.total_bits for f in fmt.fields)
    for bit in range(used, fmt.bits):
        word = isa.OPCODES[opcode].code | 1 << bit
        with pytest.raises(isa.IsaError, match=f"{opcode}: reserved bits from {used}"):
            isa.Instruction.decode(word.to_bytes(isa.INSTRUCTION_BITS // 8, "little"))


def test_unknown_opcodes_are_refused():
    for code in set(range(256)) - set(isa.OPCODE_NAMES):
        with pytest.raises(isa.IsaError, match=f"unknown opcode {code}"):
            isa.Instruction.decode(code.to_bytes(isa.INSTRUCTION_BITS // 8, "little"))


@pytest.mark.parametrize("name", FORMATS)
def test_a_value_that_does_not_fit_is_refused_by_name(name):
    fmt = FORMATS[name]
    plain = {
        f.name: isa.Operand() if f.operand else (0,) * f.count if f.count > 1 else 0
        for f in fmt.fields
    }
    for f in fmt.fields:
        if f.operand:
            continue
        for value in (f.minimum - 1, f.maximum + 1):
            bad = (value,) * f.count if f.count > 1 else value
            with pytest.raises(isa.IsaError, match=rf"\.{f.name}: {value} does not fit"):
                fmt.encode(plain | {f.name: bad})


def test_missing_unknown_and_miscounted_fields_are_refused():
    values = {f.name: 0 for f in isa.PARAM.fields}
    with pytest.raises(isa.IsaError, match=r"unknown fields \['extra'\]"):
        isa.PARAM.encode(values | {"extra": 0})
    del values["shift"]
    with pytest.raises(isa.IsaError, match=r"missing fields \['shift'\]"):
        isa.PARAM.encode(values)
    entry = {f.name: 0 for f in isa.SCHEDULE.fields} | {"wait": (0, 0)}
    with pytest.raises(isa.IsaError, match="wait: expected 6 values, found 2"):
        isa.SCHEDULE.encode(entry)


@given(st.integers(0, 1 << 20), st.integers(0, 1 << 16), st.integers(0, 15), st.integers(0, 4095))
def test_rows_of_an_operand_repeat_as_a_ring(addr, stride, log2_rows, index):
    operand = isa.Operand(addr, stride, log2_rows)
    assert operand.row(index) == addr + index % 2**log2_rows * stride


def test_builds():
    assert {"default", "small"} <= set(isa.builds())
    for build in isa.builds().values():
        assert set(build.spaces) == set(isa.SPACE_NAMES)
        assert build.row_align == 4 * build.tile_in
        assert build.tile_out % 4 == 0  # lanes form up to four groups
        for name, elements in build.spaces.items():
            assert elements % build.row_align == 0, name
    with pytest.raises(ValueError, match=r"no build 'huge', expected one of \['default'"):
        isa.build("huge")


def test_generated_files_are_current():
    run = subprocess.run(
        [sys.executable, "-m", "isa.generate", "--check"],
        cwd=generate.ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


def test_a_stale_file_is_found_and_mended(tmp_path, monkeypatch, capsys):
    for path in generate.outputs():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(generate.ROOT / path, tmp_path / path)
    document = tmp_path / "docs" / "instruction_set.md"
    current = document.read_text()
    document.write_text(current.replace("| `kernel` | 155:152 |", "| `kernel` | 156:152 |"))
    assert document.read_text() != current
    monkeypatch.setattr(generate, "ROOT", tmp_path)

    monkeypatch.setattr(sys, "argv", ["generate", "--check"])
    assert generate.main() == 1
    assert "instruction_set.md" in capsys.readouterr().err
    assert document.read_text() != current  # --check writes nothing
    monkeypatch.setattr(sys, "argv", ["generate"])
    assert generate.main() == 0
    assert document.read_text() == current
