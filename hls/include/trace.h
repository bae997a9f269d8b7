// What the testbench sees of a run, in C only: the rows that each schedule entry has written.
#pragma once

#include "memory.h"

namespace cmamba {

// Calls memory.trace, where it is set, for each row that the entry has just written or sent.
void trace_entry(const Memory& memory, uint64_t iteration, int entry, const word_t<512>& word,
                 const ScheduleEntry& e);

}  // namespace cmamba
