// The rules of docs/instruction_set.md, "What a loader checks", for a program that has been copied.
#pragma once

#include "memory.h"

namespace cmamba {

// Elements that a section's memory holds. Weights beyond theirs stay in DDR, metadata are not
// copied: those two are not bounded.
unsigned section_capacity(int section);

// The code of the first rule that an instruction, then a schedule entry, breaks. Reads of `memory`
// only what the sections in memory.package have filled.
Error validate_program(const Memory& memory);

}  // namespace cmamba
