// The rules of docs/instruction_set.md, "What a loader checks", for what a package holds.
#pragma once

#include "memory.h"

namespace cmamba {

// Elements that a section's memory holds. Weights beyond theirs stay in DDR, metadata are not
// copied: those two are not bounded.
unsigned section_capacity(int section);

// Whether beat `b` of a section has in its first `bytes` parameter words that an instruction may
// use, or its part of a phase that executes something; true for the other sections.
bool are_words(int section, int b, const beat_t& beat, int bytes);

// The code of the first rule that an instruction, then a schedule entry, breaks. Reads of `memory`
// only what the sections in memory.package have filled.
Error validate_program(const Memory& memory);

}  // namespace cmamba
