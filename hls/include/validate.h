// The rules of docs/instruction_set.md, "What a loader checks", for what a package holds.
#pragma once

#include "memory.h"

namespace cmamba {

// Elements that a section's memory holds. Weights beyond theirs stay in DDR, metadata are not
// copied: those two are not bounded.
unsigned section_capacity(int section);

// Whether the parameter words in the first `bytes` of a section's beat are ones that an instruction
// may use; true for the sections that hold no parameter words.
bool are_param_words(int section, const beat_t& beat, int bytes);

// The code of the first rule that an instruction, then a schedule entry, breaks. Reads of `memory`
// only what the sections in memory.package have filled.
Error validate_program(const Memory& memory);

}  // namespace cmamba
