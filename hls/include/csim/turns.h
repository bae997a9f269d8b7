// The processes of a run in a simulation: they take turns in one thread. Not part of the hardware.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "steps.h"

namespace cmamba {

template <class Unit>
struct Name;
#define NAME(Unit)                              \
  template <>                                   \
  struct Name<Unit> {                           \
    static const char* text() { return #Unit; } \
  }
NAME(Fetch);
NAME(Dispatch);
NAME(StreamIn);
NAME(RangeReader);
NAME(ArrayMultiply);
NAME(ArrayOutput);
NAME(VectorReduce);
NAME(VectorRoot);
NAME(VectorApply);
NAME(Conv);
NAME(Scan);
NAME(StreamOut);
#undef NAME

// With an order_seed of 0 each process takes as many steps as it can, one process after the other.
// Else chance picks the process and the number of steps.
//
// A process takes a step only while everything that it may write to has room, as a pipeline stands
// still in front of a full FIFO. So where no process can take a step, the hardware would hang.
class Turns : public Observer {
 public:
  explicit Turns(Memory& memory) : memory_(memory), chance_(memory.order_seed) {
    memory_.standstill[0] = '\0';
#ifdef CMAMBA_CHECK_DEPENDENCES
    forget_steps();
#endif
    int entry = 0;
    for (unsigned p = 0; p < memory.package.elements[SECTION_PHASES]; ++p) {
      phases_.push_back({decode_phase(memory.phases[p]), {}});
      for (int i = 0; i < int(phases_[p].phase.entries); ++i, ++entry) {
        const ScheduleEntry e = decode_schedule_entry(memory.schedule[entry]);
        const int unit = unit_of(bits<7, 0>(memory.instructions[int(e.instruction)]));
        phases_[p].entries[unit].push_back(entry);
      }
    }
  }

  // A depth of 1 to `depth`, where order is random.
  int random_depth(int depth) { return is_shuffled() ? 1 + int(chance_.below(depth)) : depth; }

  // Where order is random, gives a queue a random depth, and reads that fail now and then. Where
  // each process goes on as long as it can, lets it go on longer.
  void disturb(Queue& queue) {
    if (is_shuffled()) {
      queue.disturb(random_depth(queue.depth()), &chance_);
    } else if (memory_.cycles == nullptr) {
      queue.deepen();
    }
  }

  // The same for a queue whose writer counts up to `depth`.
  void limit(Queue& queue, int depth) {
    if (is_shuffled()) queue.disturb(depth, &chance_);
  }

  template <class Unit, class... Arguments>
  std::shared_ptr<Unit> add(Arguments&... arguments) {
    const auto unit = std::make_shared<Unit>();
    Process process;
    process.name = Name<Unit>::text();
    const int number = int(processes_.size());
    process.take_turn = [this, unit, number, &arguments...](int steps, const Process& self) {
      int taken = 0;
      while (taken < steps) {
        // A step writes once to a queue at most.
        const int end = std::min(steps, taken + room(self));
        if (end <= taken) return taken;
        for (; taken < end; ++taken) {
          if (unit->is_finished || !take_step(number, *unit, arguments...)) return taken;
        }
      }
      return taken;
    };
    process.is_finished = [unit] { return unit->is_finished; };
    processes_.push_back(std::move(process));
    return unit;
  }

  // The process that knows how far the run is, and where to put what it has come to.
  template <class... Arguments>
  void add_dispatch(Error& error, Counters& counters, Arguments&... arguments) {
    dispatch_ = add<Dispatch>(arguments...);
    if (memory_.trace != nullptr) dispatch_->observer = this;
    error_ = &error;
    counters_ = &counters;
  }

  // Where a process puts its results and its answers. It takes a step only while all of these have
  // room but for `counted`, whose places it counts itself.
  template <class Unit>
  void writes(std::initializer_list<Queue*> results, std::initializer_list<Queue*> answers = {},
              std::initializer_list<Queue*> counted = {},
              std::initializer_list<Queue*> counted_answers = {}) {
    for (Process& process : processes_) {
      if (process.name != Name<Unit>::text()) continue;
      process.outputs.assign(results.begin(), results.end());
      process.outputs.insert(process.outputs.end(), answers.begin(), answers.end());
      if (memory_.cycles == nullptr) continue;
      const Cycles::Process& timing = timing_of(process.name);
      process.interval = timing.interval;
      for (Queue* queue : results) queue->delay(timing.results, &clock_);
      for (Queue* queue : counted) queue->delay(timing.results, &clock_);
      for (Queue* queue : answers) queue->delay(timing.answers, &clock_);
      for (Queue* queue : counted_answers) queue->delay(timing.answers, &clock_);
    }
  }

  // Until every process has finished.
  void run() {
    Dispatch& dispatch = *dispatch_;
    while (true) {
      const bool is_active = memory_.cycles != nullptr ? take_cycles()
                             : is_shuffled()           ? shuffle()
                                                       : take_turns();
      if (is_finished()) break;
      if (is_active) continue;
      // Nothing will ever happen again: the watchdog's time passes.
      if (dispatch.is_expired) throw std::logic_error("the processes of a run are at a standstill");
      describe(dispatch);
      dispatch.is_expired = true;
    }
    *error_ = dispatch.error;
    *counters_ = dispatch.counters();
  }

  void completed(int unit) override {
    Progress& at = progress_[unit];
    while (at.completed == phases_[at.phase].executed(unit)) {
      at.completed = 0;
      ++at.phase;
      if (at.phase == phases_.size()) {
        at.phase = 0;
        ++at.iteration;
      }
    }
    const std::vector<int>& entries = phases_[at.phase].entries[unit];
    const Phase& phase = phases_[at.phase].phase;
    const int index = entries[at.completed % entries.size()];
    const int repeat = int(at.completed / entries.size());
    ++at.completed;
    const RepeatedEntry e = repeat_entry(
        decode_schedule_entry(memory_.schedule[index]), repeat * int(phase.token_step),
        repeat * int(phase.position_step), repeat * int(phase.sequence_step));
    trace_entry(memory_, at.iteration, index, memory_.instructions[int(e.instruction)], e);
  }

 private:
  struct Process {
    const char* name;
    std::function<int(int, const Process&)> take_turn;
    std::function<bool()> is_finished;
    std::vector<const Queue*> outputs;
    int interval = 1;
    uint64_t free = 0;  // when it can take the next step
  };

  // A phase, with where its entries are in the schedule, by unit.
  struct PhaseEntries {
    Phase phase;
    std::vector<int> entries[kUnits];

    size_t executed(int unit) const { return entries[unit].size() * size_t(phase.repeats); }
  };
  // Up to where a unit's entries have completed.
  struct Progress {
    uint64_t iteration = 0;
    size_t phase = 0;
    size_t completed = 0;  // of the phase, in all repeats
  };

  static constexpr int kIdleCycles = 1000;

  // Whether the process has done something.
  template <class Unit, class... Arguments>
  static bool take_step(int number, Unit& unit, Arguments&... arguments) {
#ifdef CMAMBA_CHECK_DEPENDENCES
    begin_step(number);
    const bool is_active = step(unit, arguments...);
    end_step(is_active);
    return is_active;
#else
    (void)number;
    return step(unit, arguments...);
#endif
  }

  bool is_shuffled() const { return memory_.order_seed != 0; }

  // Words that each queue has room for.
  static int room(const Process& process) {
    int least = std::numeric_limits<int>::max() / 2;
    for (const Queue* queue : process.outputs) least = std::min(least, queue->room());
    return least;
  }

  bool is_finished() const {
    for (const Process& process : processes_) {
      if (!process.is_finished()) return false;
    }
    return true;
  }

  bool take_turns() {
    bool is_active = false;
    for (Process& process : processes_) {
      is_active |= process.take_turn(1 << 20, process) > 0;
    }
    return is_active;
  }

  const Cycles::Process& timing_of(const char* name) const {
    for (int i = 0; i < memory_.cycles->n_processes; ++i) {
      if (std::strcmp(memory_.cycles->processes[i].name, name) == 0) {
        return memory_.cycles->processes[i];
      }
    }
    throw std::invalid_argument(std::string("cycles of ") + name + " are not given");
  }

  // Cycles until one in which a process did something, or for longer than anything takes.
  bool take_cycles() {
    for (int idle = 0; idle < kIdleCycles; ++idle) {
      bool is_active = false;
      for (Process& process : processes_) {
        if (clock_ < process.free) continue;
        if (process.take_turn(1, process) > 0) {
          is_active = true;
          process.free = clock_ + process.interval;
          if (process.name == Name<StreamOut>::text()) memory_.cycles->last_beat = clock_;
        }
      }
      ++clock_;
      if (is_active) return true;
    }
    return false;
  }

  // Some turns by chance. False if then no process can take a step, also without a pause.
  bool shuffle() {
    for (size_t i = 0; i < 8 * processes_.size(); ++i) {
      Process& process = processes_[chance_.below(unsigned(processes_.size()))];
      if (process.take_turn(1 + int(chance_.below(8)), process) > 0) return true;
    }
    chance_.allow_stalls(false);
    bool is_active = false;
    for (Process& process : processes_) is_active |= process.take_turn(1, process) > 0;
    chance_.allow_stalls(true);
    return is_active;
  }

  template <class Entry>
  void describe_head(const Head<Entry>& head, const Dispatch& dispatch, const char* name) {
    if (!head.is_full || head.is_end) return;
    static const char* const names[kUnits] = {"stream_in", "array", "vector",
                                              "conv",      "scan",  "stream_out"};
    for (int v = 0; v < kUnits; ++v) {
      const int64_t wanted = int64_t(uint32_t(head.queued.waits.completed[v]));
      const int64_t have = int64_t(uint32_t(dispatch.completed[v]));
      if (int32_t(uint32_t(have - wanted)) < 0) {
        say("%s waits for %lld completed entries of %s, of which there are %lld; ", name,
            (long long)wanted, names[v], (long long)have);
      }
    }
  }

  void describe(const Dispatch& dispatch) {
    describe_head(dispatch.stream_in, dispatch, "stream_in");
    describe_head(dispatch.array, dispatch, "array");
    describe_head(dispatch.vector, dispatch, "vector");
    describe_head(dispatch.conv, dispatch, "conv");
    describe_head(dispatch.scan, dispatch, "scan");
    describe_head(dispatch.stream_out, dispatch, "stream_out");
    for (const Process& process : processes_) {
      for (const Queue* queue : process.outputs) {
        if (!queue->has_room()) say("%s waits for room in %s; ", process.name, queue->name());
      }
    }
  }

  template <class... Arguments>
  void say(const char* format, Arguments... arguments) {
    const size_t used = std::strlen(memory_.standstill);
    std::snprintf(memory_.standstill + used, sizeof memory_.standstill - used, format,
                  arguments...);
  }

  Memory& memory_;
  Chance chance_;
  std::shared_ptr<Dispatch> dispatch_;
  Error* error_ = nullptr;
  Counters* counters_ = nullptr;
  std::vector<Process> processes_;
  uint64_t clock_ = 0;
  std::vector<PhaseEntries> phases_;
  Progress progress_[kUnits];
};

}  // namespace cmamba
