"""Arrays as the hardware has them: how they are split into memories, what ports a memory has."""

from dataclasses import dataclass, field

from hls.lint.source import PlacedPragma
from hls.lint.symbols import remainder


@dataclass
class Split:
    """An array_partition or array_reshape of one dimension (0: all of them).

    factor is None for a complete split; unknown where it is no constant that the lint can find.
    """

    is_reshape: bool
    type: str
    dim: int
    factor: int | None
    is_unknown: bool = False


@dataclass(eq=False)
class Array:
    """An array, or a member of a struct that is one.

    dims are its dimensions, bits those of an element, both empty or None for a pointer. kind is
    'memory', 'rom' (a global constant), 'member' (of a local struct), 'axi' (a pointer of the top
    function) or 'unknown' (a parameter of a function that the top does not reach).
    """

    name: str
    dims: tuple[int, ...]
    bits: int | None
    kind: str
    path: str
    line: int
    splits: list[Split] = field(default_factory=list)
    binding: PlacedPragma | None = None

    @property
    def type(self) -> str:
        """The type of its bind_storage; '' without one."""
        return self.binding.parsed.get("type").lower() if self.binding else ""

    @property
    def implementation(self) -> str:
        """The implementation of its bind_storage; '' without one."""
        return self.binding.parsed.get("impl").lower() if self.binding else ""

    def split_of(self, dim: int) -> Split | None:
        """The split of a dimension, 1 being the first."""
        return next((s for s in self.splits if s.dim in (0, dim)), None)

    def memories(self) -> tuple[int, int, int]:
        """How many memories the array becomes, their words, and the bits of a word."""
        count, words, bits = 1, 1, self.bits or 0
        for dim, size in enumerate(self.dims, 1):
            split = self.split_of(dim)
            if split is None:
                words *= size
                continue
            parts = size if split.factor is None else min(split.factor, size)
            words *= -(-size // parts)
            if split.is_reshape:
                bits *= parts
            else:
                count *= parts
        return count, words, bits

    def is_registers(self) -> bool:
        """Whether no memory is left of it.

        UG1399, "Array Partitioning": without a pragma the tool does so with 4 elements and fewer
        (syn.array_partition.complete_threshold).
        """
        if not self.dims:
            return False
        _, words, _ = self.memories()
        elements = 1
        for size in self.dims:
            elements *= size
        return words == 1 or (elements <= 4 and not self.splits and not self.binding)


# UG1399, "pragma HLS bind_storage": what the ports of each type can do. With II cycles for an
# iteration, a port serves II accesses.
def fits_ports(type_: str, ii: int, reads: int, writes: int) -> bool:
    """Whether a memory of a type can do that many reads and writes in II cycles.

    A memory without a type may have two ports, each for reading or writing (UG1399, "Arrays").
    """
    if type_ == "ram_1p":
        return reads + writes <= ii
    if type_ == "ram_2p":
        return writes <= ii and reads + writes <= 2 * ii
    if type_ in ("ram_s2p", "axi"):
        return reads <= ii and writes <= ii
    if type_ == "ram_1wnr":
        return writes <= ii
    if type_ == "rom_1p":
        return reads <= ii
    if type_ == "rom_2p":
        return reads <= 2 * ii
    if type_ in ("rom_np", "fifo"):
        return True
    return reads + writes <= 2 * ii


PORTS = {
    "": "a memory has two ports",
    "axi": "an m_axi port reads and writes once a cycle",
    "ram_1p": "ram_1p has one port",
    "ram_2p": "ram_2p has two ports, one of which writes",
    "ram_s2p": "ram_s2p has a port to read and one to write",
    "ram_t2p": "ram_t2p has two ports",
    "ram_1wnr": "ram_1wnr has one port to write",
    "rom_1p": "rom_1p has one port",
    "rom_2p": "rom_2p has two ports",
}


ANY_BANK = "any"


def locate(array: Array, indices: tuple) -> tuple[tuple, tuple] | None:
    """In which memory of an array an element lies, and at what address; None if it is not known.

    A memory is a tuple of numbers. ANY_BANK, where the index is not constant, stands for all of
    them: the access then needs a port of each.
    """
    banks, address = [], []
    for dim, index in enumerate(indices, 1):
        split = array.split_of(dim)
        if split is None:
            address.append(index)
            continue
        if split.is_unknown:
            return None
        size = array.dims[dim - 1] if dim <= len(array.dims) else None
        if split.factor is None or (size is not None and split.factor >= size):
            bank, row = index, None
        elif split.type == "cyclic":
            bank = remainder(index, split.factor)
            bank = ANY_BANK if bank is None else bank
            row = index // split.factor if isinstance(index, int) else ("/", index, split.factor)
        else:
            part = -(-size // split.factor) if size else split.factor
            bank = index // part if isinstance(index, int) else ANY_BANK
            row = index % part if isinstance(index, int) else ("%", index, part)
        if row is not None:
            address.append(row)
        if not split.is_reshape:
            banks.append(bank if isinstance(bank, int) else ANY_BANK)
            if not isinstance(bank, int):
                address.append(index)  # a reader of its own of every bank
    return tuple(banks), tuple(address)
