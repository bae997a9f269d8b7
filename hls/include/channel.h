// The FIFOs between the processes of a run.
#pragma once

#include "dependences.h"
#include "types.h"

#ifndef __SYNTHESIS__
#include <stdexcept>
#include <string>
#endif

namespace cmamba {

#ifdef __SYNTHESIS__

// Depths are given where the streams are (run.cpp).
template <class T, int Depth>
using channel = hls::stream<T>;

#else

// Random numbers for a simulation; the same seed gives the same numbers everywhere.
class Chance {
 public:
  explicit Chance(uint64_t seed) : state_(seed) { next(); }

  // 0 to n - 1.
  unsigned below(unsigned n) { return unsigned((uint64_t(next()) * n) >> 32); }

  // Whether a read should fail though there is something to read.
  bool stalls() { return may_stall_ && below(4) == 0; }
  void allow_stalls(bool may_stall) { may_stall_ = may_stall; }

 private:
  uint32_t next() {  // a linear congruential generator with Knuth's constants, its upper half
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return uint32_t(state_ >> 32);
  }

  uint64_t state_;
  bool may_stall_ = true;
};

// What a scheduler has to know of a channel.
class Queue {
 public:
  explicit Queue(const char* name, int depth) : name_(name), depth_(depth) {}
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  // A smaller depth, and pauses of the reader.
  void disturb(int depth, Chance* chance) {
    depth_ = depth;
    chance_ = chance;
  }

  // What is written can be read `cycles` of the clock later: the pipeline behind the writer's step
  // and the FIFO. The words in the pipeline take no room in the FIFO.
  void delay(int cycles, const uint64_t* clock) {
    delay_ = cycles;
    clock_ = clock;
    depth_ += cycles;
  }

  // All places that there are.
  void deepen() { depth_ += kMaxDelay; }

  const char* name() const { return name_; }
  int depth() const { return depth_; }
  bool has_room() const { return size_ < depth_; }
  int room() const { return depth_ - size_; }

 protected:
  static constexpr int kMaxDelay = 64;

  // Apart from write(), which is inlined everywhere.
  [[noreturn, gnu::noinline]] void refuse() const {
    throw std::logic_error(std::string(name_) + ": written though it is full");
  }

  const char* name_;
  int depth_;
  int size_ = 0;
  Chance* chance_ = nullptr;
  int delay_ = 0;
  const uint64_t* clock_ = nullptr;
};

// As hls::stream, of a limited depth, for processes that take turns in one thread. A process only
// takes a step while all that it may write to has room.
template <class T, int Depth>
class channel : public Queue {
 public:
  explicit channel(const char* name) : Queue(name, Depth) {}

  bool read_nb(T& value) {
    if (size_ == 0 || (chance_ != nullptr && chance_->stalls())) return false;
    if (clock_ != nullptr && *clock_ < due_[first_]) return false;
    value = data_[first_];
#ifdef CMAMBA_CHECK_DEPENDENCES
    learn(known_[first_]);
#endif
    first_ = first_ + 1 == kPlaces ? 0 : first_ + 1;
    --size_;
    return true;
  }
  void write(const T& value) {
    if (!has_room()) refuse();
    const int end = first_ + size_;
    const int at = end < kPlaces ? end : end - kPlaces;
    data_[at] = value;
#ifdef CMAMBA_CHECK_DEPENDENCES
    known_[at] = current_knowledge();
#endif
    if (clock_ != nullptr) due_[at] = *clock_ + delay_;
    ++size_;
  }

 private:
  static constexpr int kPlaces = Depth + kMaxDelay;

  int first_ = 0;
  T data_[kPlaces];
  uint64_t due_[kPlaces];
#ifdef CMAMBA_CHECK_DEPENDENCES
  Knowledge known_[kPlaces];
#endif
};

#endif

}  // namespace cmamba
