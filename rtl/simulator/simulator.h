// The Verilated accelerator with everything it is connected to: clock, reset, a processor's view of
// its registers, memory behind m_axi, and the two streams.
//
// Time passes in tick() only. Whoever uses the class sets something up (registers, beats to send)
// and lets the clock run until something has happened, so that no call is made per cycle.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "Vcmamba.h"
#include "verilated.h"

constexpr size_t kBeatBytes = 16;

// The accelerator did what its interfaces do not allow, or answered nothing.
struct ProtocolError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Probability of a stall in a cycle, of each handshake that the outside can delay.
struct Stalls {
  double ar = 0;   // ARREADY of m_axi
  double r = 0;    // RVALID of m_axi
  double in = 0;   // TVALID of s_axis
  double out = 0;  // TREADY of m_axis
};

// A beat of m_axis.
struct Beat {
  uint32_t data[4];
  bool last;
  uint64_t cycle;  // in which it was taken
};

// Memory that the accelerator sees, filled with zeros; pages that nobody touches take no room.
class AddressSpace {
 public:
  AddressSpace(uint64_t base, size_t bytes);
  ~AddressSpace();
  AddressSpace(const AddressSpace&) = delete;
  AddressSpace& operator=(const AddressSpace&) = delete;

  // The beat at an address, nullptr outside the memory.
  const uint8_t* beat(uint64_t address) const;

  uint64_t base() const { return base_; }
  size_t bytes() const { return bytes_; }
  uint8_t* data() { return data_; }

 private:
  uint64_t base_;
  size_t bytes_;
  uint8_t* data_;
};

class Simulator {
 public:
  // What run() may wait for. All are states, not moments: a run ends at once if one holds already.
  enum Event {
    kInterrupt = 1,  // the interrupt output is high
    kSent = 2,       // every beat that was to be sent has been taken
    kPacket = 4,     // the beats received hold a TLAST
    kFull = 8,       // the sink has no room left
  };

  // `arguments` are plusargs of the simulation.
  Simulator(uint64_t memory_base, size_t memory_bytes, const std::vector<std::string>& arguments,
            uint64_t seed);
  ~Simulator();

  // Holds the reset for some cycles. Beats to send and beats received are forgotten.
  void reset();

  // One transfer on s_axi_control. Throws ProtocolError if it is not answered.
  void write_register(uint32_t address, uint32_t value, unsigned strobe);
  uint32_t read_register(uint32_t address);

  // Runs until one of `events` holds, at most `max_cycles`, and returns those that hold.
  unsigned run(uint64_t max_cycles, unsigned events);

  // Queues beats for s_axis; TLAST accompanies the last one if `last`. Bytes that fill up the last
  // beat are zero, and its TKEEP says so.
  void send(const uint8_t* data, size_t bytes, bool last);
  // Forgets the beats to send, that on the pins as well.
  void withdraw();
  size_t to_send() const { return source_.size(); }

  // Takes the oldest beats received, at most `limit`, and none behind a TLAST if `packet`.
  std::vector<Beat> receive(size_t limit, bool packet);
  size_t received() const { return received_.size(); }
  // Beats that the sink takes before it holds TREADY low.
  void set_room(uint64_t beats) { room_ = beats; }
  uint64_t room() const { return room_; }
  // Whether a TLAST leaves the sink without room, as the end of a packet does in a DMA.
  void set_stop_at_last(bool stop) { stop_at_last_ = stop; }

  AddressSpace& memory() { return memory_; }
  // Cycles from an address to the first beat of its answer.
  void set_memory_latency(uint64_t cycles) { memory_latency_ = cycles; }
  // Reads of these bytes are answered with SLVERR, those outside the memory always with DECERR.
  void set_failing(uint64_t address, uint64_t bytes);
  void set_stalls(const Stalls& stalls);

  uint64_t cycles() const { return cycles_; }
  uint64_t beats_read() const { return beats_read_; }
  // Cycle in which the first beat of the latest packet on s_axis was taken.
  uint64_t packet_start() const { return packet_start_; }
  // (Verilator takes `interrupt` for a reserved word.)
  bool interrupt() const { return top_->__SYM__interrupt != 0; }

 private:
  struct InputBeat {
    uint32_t data[4];
    uint16_t keep;
    bool last;
  };
  struct Burst {
    uint64_t address;
    unsigned beats;
    uint64_t ready;  // cycle from which it may be answered
  };
  // Handshakes on s_axi_control in the latest cycle.
  struct ControlTransfers {
    bool aw, w, b, ar, r;
    unsigned bresp, rresp;
    uint32_t rdata;
  };

  void tick();
  unsigned state() const;
  void take_burst();
  void offer_beat();
  void control_timeout(const char* what, uint32_t address);
  bool stalled(uint32_t threshold);

  AddressSpace memory_;
  std::unique_ptr<VerilatedContext> context_;
  std::unique_ptr<Vcmamba> top_;
  uint64_t cycles_ = 0;
  ControlTransfers control_{};

  std::deque<InputBeat> source_;
  bool at_packet_start_ = true;
  uint64_t packet_start_ = 0;

  std::deque<Beat> received_;
  size_t packets_ = 0;
  uint64_t room_ = UINT64_MAX;
  bool stop_at_last_ = false;

  std::deque<Burst> bursts_;
  uint64_t memory_latency_ = 40;
  uint64_t beats_read_ = 0;
  uint64_t failing_from_ = 0, failing_bytes_ = 0;

  // Thresholds of a 32-bit random number, and the state of the generator.
  uint32_t stall_ar_ = 0, stall_r_ = 0, stall_in_ = 0, stall_out_ = 0;
  uint64_t random_;
};
