"""Values that the lint does not know."""

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Symbol:
    """A value that is not known. since is the time of the newest value that it depends on."""

    key: tuple
    since: int


Value = int | Symbol


def remainder(a: Value, b: int) -> int | None:
    """a % b where it follows from how `a` was computed, from numbers that are not negative."""
    if isinstance(a, int):
        return a % b if a >= 0 else None
    operator, *operands = a.key
    if operator == "*":
        return 0 if any(isinstance(o, int) and o % b == 0 for o in operands) else None
    if operator == "<<":
        shift = operands[1]
        return 0 if isinstance(shift, int) and (1 << shift) % b == 0 else None
    if operator == "+":
        rests = [remainder(o, b) for o in operands]
        return None if None in rests else sum(rests) % b
    return None
