// The csim that checks dependences (dependences.h). The sources of the accelerator are compiled
// with -fsanitize=thread, which makes g++ call a function at every access to memory. Here are these
// functions, in place of those of the thread sanitizer.
#ifdef CMAMBA_CHECK_DEPENDENCES

#include "dependences.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace cmamba {

namespace {

// Of each process, what it knows; steps[process] is the number of its own step, from 1 on.
Knowledge knowledge[Knowledge::kProcesses];
// Of each process, its last step that another one has answered to.
int64_t answered[Knowledge::kProcesses];
// Who takes a step; -1: nobody. Accesses of others are none of hardware.
int current = -1;
std::vector<StepLog*> logs;

}  // namespace

class StepLog {
 public:
  StepLog(const char* array, const char* file, int line)
      : array_(array), file_(file), line_(line) {}

  void begin(uintptr_t address, size_t bytes, int distance, bool counts_reads) {
    process_ = current;
    begin_ = address;
    written_.resize(bytes, 0);
    distance_ = distance;
    counts_reads_ = checks_reads_ = counts_reads;
  }
  void count_reads(bool are_used) { checks_reads_ = counts_reads_ && are_used; }
  void forget() { written_.clear(); }

  bool has(uintptr_t address) const {
    return address >= begin_ && address - begin_ < written_.size();
  }

  // An access. Ends the program with a message where it breaks the promise.
  void record(uintptr_t address, size_t bytes, bool is_write) {
    if (process_ != current || !has(address)) return;
    const int64_t now = knowledge[current].steps[current];
    const size_t first = address - begin_;
    const size_t end = std::min(first + bytes, written_.size());
    for (size_t i = first; i < end; ++i) {
      const bool is_checked = is_write ? !counts_reads_ : checks_reads_;
      if (is_checked && is_close(written_[i], now)) refuse(i, is_write, now - written_[i]);
      if (is_write) written_[i] = now;
    }
  }

 private:
  // Whether a step (0: none) is another one, and one that the promise is about.
  bool is_close(int64_t step, int64_t now) const {
    if (step == 0 || step == now) return false;
    return distance_ > 0 ? now - step < distance_ : step > answered[current];
  }

  void refuse(size_t byte, bool is_write, int64_t steps) const {
    std::fprintf(stderr,
                 "%s:%d: error: the dependence of '%s' is not false: a step %s byte %zu, which the "
                 "step %lld before it has written%s\n",
                 file_, line_, array_, is_write ? "writes" : "reads", byte,
                 static_cast<long long>(steps),
                 distance_ > 0 ? "" : ", and no other process has answered since");
    std::exit(1);
  }

  const char* array_;
  const char* file_;
  int line_;
  int process_ = -1;
  uintptr_t begin_ = 0;
  int distance_ = 0;
  bool counts_reads_ = true;  // in general
  bool checks_reads_ = true;  // in what is left of this step
  // Of each byte, the last step that has written it.
  std::vector<int64_t> written_;
};

namespace {

// The linker may have taken a function of std::vector from an object that reports its accesses.
bool is_busy = false;

void record(const void* address, size_t bytes, bool is_write) {
  if (is_busy || current < 0) return;
  is_busy = true;
  for (StepLog* log : logs) log->record(reinterpret_cast<uintptr_t>(address), bytes, is_write);
  is_busy = false;
}

}  // namespace

void forget_steps() {
  is_busy = true;
  std::fill(knowledge, knowledge + Knowledge::kProcesses, Knowledge());
  std::fill(answered, answered + Knowledge::kProcesses, 0);
  for (StepLog* log : logs) log->forget();
  is_busy = false;
}

void begin_step(int process) {
  current = process;
  knowledge[process].process = process;
  ++knowledge[process].steps[process];
}

void end_step(bool counts) {
  if (!counts) --knowledge[current].steps[current];
  current = -1;
}

const Knowledge& current_knowledge() { return knowledge[current]; }

void learn(const Knowledge& other) {
  if (other.process == current) return;  // that a process has written to itself is no answer
  for (int p = 0; p < Knowledge::kProcesses; ++p) {
    int64_t& step = p == current ? answered[p] : knowledge[current].steps[p];
    step = std::max(step, other.steps[p]);
  }
}

StepLog* log_steps(const char* array, const char* file, int line) {
  is_busy = true;
  logs.push_back(new StepLog(array, file, line));
  is_busy = false;
  return logs.back();
}

void log_step(StepLog* log, const void* array, size_t bytes, int distance, bool counts_reads) {
  is_busy = true;
  log->begin(reinterpret_cast<uintptr_t>(array), bytes, distance, counts_reads);
  is_busy = false;
}

void count_reads(const void* array, bool are_used) {
  for (StepLog* log : logs) {
    if (log->has(reinterpret_cast<uintptr_t>(array))) log->count_reads(are_used);
  }
}

}  // namespace cmamba

extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
// Of a std::shared_ptr; there is one thread.
int __tsan_atomic32_fetch_add(volatile int* value, int addend, int) {
  const int before = *value;
  *value = before + addend;
  return before;
}

#define CMAMBA_ACCESS(bytes)                                                                  \
  void __tsan_read##bytes(void* address) { cmamba::record(address, bytes, false); }           \
  void __tsan_write##bytes(void* address) { cmamba::record(address, bytes, true); }           \
  void __tsan_unaligned_read##bytes(void* address) { cmamba::record(address, bytes, false); } \
  void __tsan_unaligned_write##bytes(void* address) { cmamba::record(address, bytes, true); }
CMAMBA_ACCESS(1)
CMAMBA_ACCESS(2)
CMAMBA_ACCESS(4)
CMAMBA_ACCESS(8)
CMAMBA_ACCESS(16)

void __tsan_read_range(void* address, size_t bytes) { cmamba::record(address, bytes, false); }
void __tsan_write_range(void* address, size_t bytes) { cmamba::record(address, bytes, true); }

}  // extern "C"

#endif
