// `#pragma HLS dependence ... false` is a promise that the tool believes. A csim with
// CHECK_DEPENDENCES=1 finds out whether it is kept.
//
// Each promise has a line of this file beside its pragma, at the beginning of a process's step:
//
//   CMAMBA_ANSWERED(array, Type)
//     A step reads no element that an earlier one has written, until another process has answered
//     to what the process has sent in the step that wrote it, or later.
//   CMAMBA_ANSWERED_WRITES(array, Type)
//     The same for writes, where an element that is used is also written in the same step. For a
//     step that reads more than it uses.
//   CMAMBA_APART(array, Type, distance)
//     A step reads no element that one of the `distance - 1` steps before has written. Steps in
//     which the process has nothing to do do not count.
//
// CMAMBA_READS_IF(array, condition): what the rest of the step reads of the array is only used if
// the condition holds.
//
// An answer is exact, whatever the order in which the processes take turns: what goes through a
// FIFO carries for each process the last step that it can follow from.
#pragma once

#ifdef CMAMBA_CHECK_DEPENDENCES

#include <cstddef>
#include <cstdint>

namespace cmamba {

// Of a process, and of all others: the last steps that it has heard of, directly or through others.
struct Knowledge {
  static constexpr int kProcesses = 16;
  int process = -1;
  int64_t steps[kProcesses] = {};
};

// A new run, of processes that have done nothing.
void forget_steps();
// `process` takes a step; it counts if the process has done something in it.
void begin_step(int process);
void end_step(bool counts);
// What the process that takes a step knows, and that it has read what another one knew.
const Knowledge& current_knowledge();
void learn(const Knowledge& other);

// What the steps of a process have done to an array: see tb/dependences.cpp.
class StepLog;
StepLog* log_steps(const char* array, const char* file, int line);
// Begins the log of a step. A distance of 0 asks for an answer.
void log_step(StepLog* log, const void* array, size_t bytes, int distance, bool counts_reads);
void count_reads(const void* array, bool are_used);

}  // namespace cmamba

#define CMAMBA_LOG_STEP(array, Type, distance, counts_reads)                               \
  do {                                                                                     \
    static ::cmamba::StepLog* const log = ::cmamba::log_steps(#array, __FILE__, __LINE__); \
    ::cmamba::log_step(log, array, sizeof(Type), distance, counts_reads);                  \
  } while (false)
#define CMAMBA_READS_IF(array, condition) ::cmamba::count_reads(array, condition)

#else

#define CMAMBA_LOG_STEP(array, Type, distance, counts_reads)
#define CMAMBA_READS_IF(array, condition)

#endif

#define CMAMBA_ANSWERED(array, Type) CMAMBA_LOG_STEP(array, Type, 0, true)
#define CMAMBA_ANSWERED_WRITES(array, Type) CMAMBA_LOG_STEP(array, Type, 0, false)
#define CMAMBA_APART(array, Type, distance) CMAMBA_LOG_STEP(array, Type, distance, true)
