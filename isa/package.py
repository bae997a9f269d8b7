"""The package: one binary file with everything that a run needs (``docs/package.md``).

`Package.to_bytes` and `Package.from_bytes` convert to and from the file, byte for byte;
`Package.validate` applies the rules of ``docs/instruction_set.md``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import isa
from common.atomic_write import atomic_write
from isa import rules
from isa.compiled_program import SIZES, CompiledProgram
from isa.errors import PackageError, raise_first
from isa.package_copies import is_copy, json_copy, npz_copy
from isa.package_file import join_sections, read_header, read_sections
from isa.padding import check_padding
from isa.sections import CODECS

__all__ = ["Package", "PackageError"]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Package(CompiledProgram):
    """A compiled model: the attributes of a `CompiledProgram`, its rules and its file."""

    def validate(self, build: isa.Build | str = "default") -> None:
        """Apply every rule of a loader (``docs/instruction_set.md``, "What a loader checks").

        Raises:
            PackageError: with the code of the first rule that fails.
        """
        raise_first(self.faults(build))

    def faults(self, build: isa.Build | str = "default") -> Iterator[PackageError]:
        """What breaks the rules that `validate` applies, in its order."""
        build = _build(build)
        yield from rules.header_faults(self.sizes, build)
        yield from rules.section_faults(self, build)
        for index, instruction in enumerate(self.instructions):
            yield from rules.instruction_faults(self, index, instruction, build)
        yield from rules.schedule_faults(self)

    # ------------------------------------------------------------------------ bytes

    def to_bytes(self) -> bytes:
        """The file's content; the same package gives the same bytes.

        Raises:
            isa.IsaError: a value does not fit its field.
            ValueError: metadata that JSON cannot hold.
        """
        sections = {"instructions": b"".join(i.encode() for i in self.instructions)}
        sections["weights"] = self.weights.tobytes()
        for name, (to_bytes, _) in CODECS.items():
            sections[name] = to_bytes(getattr(self, name))
        return join_sections(self.sizes, sections)

    @classmethod
    def from_bytes(
        cls,
        data: bytes,
        name: str = "package",
        build: isa.Build | str | None = None,
        *,
        any_padding: bool = False,
    ) -> Package:
        """Read the content of a package file.

        Args:
            data: the whole file.
            name: what error messages call it.
            build: apply the rules of `validate` for this build as well.
            any_padding: take padding that is not zero, as hardware does.

        Raises:
            PackageError: the file is damaged, of another version, or breaks a rule.
        """
        try:
            package = cls._parse(data, None if build is None else _build(build))
            if not any_padding:
                check_padding(package)
            return package
        except PackageError as error:
            raise PackageError(error.code_name, f"{name}: {error.detail}") from error.__cause__

    @classmethod
    def _parse(cls, data: bytes, build: isa.Build | None) -> Package:
        header = read_header(data, build)
        raw = read_sections(data, header, build)
        tile = header["tile_out"], header["tile_in"]
        package = cls(
            **{name: header[name] for name in SIZES},
            instructions=(),  # decoded below, each with the rules that apply to it
            weights=np.frombuffer(raw["weights"], np.int8).reshape(-1, *tile),
            **{name: read(raw[name]) for name, (_, read) in CODECS.items()},
        )
        instructions = []
        size = isa.INSTRUCTION_BITS // 8
        for index in range(len(raw["instructions"]) // size):
            word = raw["instructions"][index * size : (index + 1) * size]
            try:
                instruction = isa.Instruction.decode(word)
            except isa.IsaError as error:
                raise PackageError("BAD_OPCODE", f"instruction {index}: {error}") from None
            if build is not None:
                raise_first(rules.instruction_faults(package, index, instruction, build))
            instructions.append(instruction)
        package = dataclasses.replace(package, instructions=tuple(instructions))
        raise_first(rules.schedule_faults(package))
        return package

    # ------------------------------------------------------------------------ files

    @classmethod
    def read(cls, path: str | Path, build: isa.Build | str | None = None) -> Package:
        """Read a package file; see `from_bytes`. Raises OSError if it cannot be opened."""
        return cls.from_bytes(Path(path).read_bytes(), name=str(path), build=build)

    def write(self, path: str | Path) -> None:
        """Write the package, and beside it ``<stem>.json`` and ``<stem>.npz`` for people.

        Each file appears complete or not at all, and the same package gives the same bytes.

        Raises:
            ValueError: ``path`` ends in .json or .npz, or where one of these two would be written
                lies a file that is no such copy of a package; nothing is written then.
            OSError: one of them cannot be written.
        """
        path = Path(path)
        contents = (json_copy(self), npz_copy(self), self.to_bytes())
        for target, data in zip(files_to_write(path), contents, strict=True):
            with atomic_write(target) as file:
                file.write(data)


def files_to_write(path: Path) -> tuple[Path, ...]:
    """The files that `Package.write` writes: the copies for people, then `path`.

    Raises:
        ValueError: as `Package.write`.
    """
    if path.suffix in (".json", ".npz"):
        raise ValueError(f"{path}: expected another suffix, {path.suffix} is for people's copy")
    copies = (path.with_suffix(".json"), path.with_suffix(".npz"))
    for copy in copies:
        if copy.exists() and not is_copy(copy):
            raise ValueError(
                f"{copy}: expected no file, or the copy of a package; found another file, which "
                f"{path} would overwrite with its own copy"
            )
    return (*copies, path)


def _build(build: isa.Build | str) -> isa.Build:
    return isa.build(build) if isinstance(build, str) else build
