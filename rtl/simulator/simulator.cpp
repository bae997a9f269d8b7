#include "simulator.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace {

constexpr unsigned kOkay = 0, kSlaveError = 2, kDecodeError = 3;
constexpr unsigned kIncrementing = 1, kSixteenBytes = 4;
constexpr uint64_t kBoundary = 4096;  // no burst crosses a multiple of it
constexpr size_t kMaxBursts = 16;     // that the memory takes before it answers the first
constexpr unsigned kResetCycles = 8;
constexpr unsigned kMaxControlCycles = 1000;

std::string hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof(text), "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

uint32_t threshold(double probability) {
  return static_cast<uint32_t>(std::clamp(probability, 0.0, 1.0) * UINT32_MAX);
}

}  // namespace

AddressSpace::AddressSpace(uint64_t base, size_t bytes) : base_(base), bytes_(bytes) {
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) throw std::bad_alloc();
  data_ = static_cast<uint8_t*>(data);
}

AddressSpace::~AddressSpace() { munmap(data_, bytes_); }

const uint8_t* AddressSpace::beat(uint64_t address) const {
  const uint64_t offset = address - base_;
  return offset <= bytes_ - kBeatBytes ? data_ + offset : nullptr;
}

Simulator::Simulator(uint64_t memory_base, size_t memory_bytes,
                     const std::vector<std::string>& arguments, uint64_t seed)
    : memory_(memory_base, memory_bytes), context_(new VerilatedContext), random_(seed | 1) {
  std::vector<const char*> argv = {"cmamba"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  context_->commandArgs(int(argv.size()), argv.data());
  context_->fatalOnError(false);
  top_ = std::make_unique<Vcmamba>(context_.get());
  reset();
}

Simulator::~Simulator() { top_->final(); }

void Simulator::reset() {
  withdraw();
  top_->s_axi_control_AWVALID = 0;
  top_->s_axi_control_WVALID = 0;
  top_->s_axi_control_BREADY = 0;
  top_->s_axi_control_ARVALID = 0;
  top_->s_axi_control_RREADY = 0;
  top_->ap_rst_n = 0;
  for (unsigned i = 0; i < kResetCycles; i++) tick();
  // What the accelerator was still doing when the reset came.
  received_.clear();
  packets_ = 0;
  bursts_.clear();
  top_->m_axi_gmem_RVALID = 0;
  // AXI lets nobody start before a rising edge has seen the end of the reset.
  top_->ap_rst_n = 1;
  tick();
}

// ---------------------------------------------------------------------------------- a cycle

bool Simulator::stalled(uint32_t threshold) {
  if (threshold == 0) return false;
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return static_cast<uint32_t>(random_ >> 32) < threshold;
}

void Simulator::tick() {
  Vcmamba& top = *top_;

  // The inputs were set after the last rising edge. What is offered stays until it is taken.
  top.ap_clk = 0;
  top.eval();

  const bool sent = top.s_axis_TVALID && top.s_axis_TREADY;
  const bool received = top.m_axis_TVALID && top.m_axis_TREADY;
  const bool read = top.m_axi_gmem_RVALID && top.m_axi_gmem_RREADY;
  if (top.m_axi_gmem_ARVALID && top.m_axi_gmem_ARREADY) take_burst();
  if (received) {
    Beat& beat = received_.emplace_back();
    std::memcpy(beat.data, top.m_axis_TDATA.data(), kBeatBytes);
    beat.last = top.m_axis_TLAST;
    beat.cycle = cycles_;
    packets_ += beat.last;
    room_ = beat.last && stop_at_last_ ? 0 : room_ == UINT64_MAX ? room_ : room_ - 1;
  }
  control_ = {top.s_axi_control_AWVALID && top.s_axi_control_AWREADY,
              top.s_axi_control_WVALID && top.s_axi_control_WREADY,
              top.s_axi_control_BVALID && top.s_axi_control_BREADY,
              top.s_axi_control_ARVALID && top.s_axi_control_ARREADY,
              top.s_axi_control_RVALID && top.s_axi_control_RREADY,
              top.s_axi_control_BRESP,
              top.s_axi_control_RRESP,
              top.s_axi_control_RDATA};

  top.ap_clk = 1;
  top.eval();
  cycles_++;

  if (sent) {
    if (at_packet_start_) packet_start_ = cycles_ - 1;
    at_packet_start_ = source_.front().last;
    source_.pop_front();
    top.s_axis_TVALID = 0;
  }
  if (!top.s_axis_TVALID && !source_.empty() && !stalled(stall_in_)) {
    const InputBeat& beat = source_.front();
    std::memcpy(top.s_axis_TDATA.data(), beat.data, kBeatBytes);
    top.s_axis_TKEEP = top.s_axis_TSTRB = beat.keep;
    top.s_axis_TLAST = beat.last;
    top.s_axis_TVALID = 1;
  }
  top.m_axis_TREADY = room_ > 0 && !stalled(stall_out_);

  top.m_axi_gmem_ARREADY = bursts_.size() < kMaxBursts && !stalled(stall_ar_);
  if (read) {
    Burst& burst = bursts_.front();
    burst.address += kBeatBytes;
    beats_read_++;
    if (--burst.beats == 0) bursts_.pop_front();
    top.m_axi_gmem_RVALID = 0;
  }
  if (!top.m_axi_gmem_RVALID && !bursts_.empty() && bursts_.front().ready <= cycles_ &&
      !stalled(stall_r_)) {
    offer_beat();
  }
}

void Simulator::take_burst() {
  const uint64_t address = top_->m_axi_gmem_ARADDR;
  const unsigned beats = top_->m_axi_gmem_ARLEN + 1u;
  if (top_->m_axi_gmem_ARBURST != kIncrementing || top_->m_axi_gmem_ARSIZE != kSixteenBytes ||
      address % kBeatBytes != 0 || address % kBoundary + beats * kBeatBytes > kBoundary) {
    throw ProtocolError("m_axi: burst of " + std::to_string(beats) + " beats at " + hex(address) +
                        " is not of the kind that memory takes: incrementing, 16 bytes a beat, "
                        "within 4 KiB");
  }
  bursts_.push_back({address, beats, cycles_ + memory_latency_});
}

void Simulator::offer_beat() {
  const Burst& burst = bursts_.front();
  const uint8_t* data = memory_.beat(burst.address);
  if (data != nullptr) std::memcpy(top_->m_axi_gmem_RDATA.data(), data, kBeatBytes);
  // A beat fails if any of its bytes is one of those that do.
  const bool fails = burst.address < failing_from_ + failing_bytes_ &&
                     burst.address + kBeatBytes > failing_from_ && failing_bytes_ != 0;
  top_->m_axi_gmem_RRESP = data == nullptr ? kDecodeError : fails ? kSlaveError : kOkay;
  top_->m_axi_gmem_RLAST = burst.beats == 1;
  top_->m_axi_gmem_RVALID = 1;
}

// ---------------------------------------------------------------------------------- from outside

unsigned Simulator::state() const {
  return (interrupt() ? kInterrupt : 0) | (source_.empty() ? kSent : 0) |
         (packets_ != 0 ? kPacket : 0) | (room_ == 0 ? kFull : 0);
}

unsigned Simulator::run(uint64_t max_cycles, unsigned events) {
  for (uint64_t i = 0; i < max_cycles && !(state() & events); i++) tick();
  if (context_->gotError() || context_->gotFinish()) {
    throw ProtocolError("the simulation stopped itself: an assertion failed, see the output");
  }
  return state() & events;
}

void Simulator::control_timeout(const char* what, uint32_t address) {
  throw ProtocolError(std::string("s_axi_control: ") + what + " " + hex(address) +
                      " is not answered");
}

void Simulator::write_register(uint32_t address, uint32_t value, unsigned strobe) {
  Vcmamba& top = *top_;
  top.s_axi_control_AWADDR = address;
  top.s_axi_control_AWVALID = 1;
  top.s_axi_control_WDATA = value;
  top.s_axi_control_WSTRB = strobe;
  top.s_axi_control_WVALID = 1;
  top.s_axi_control_BREADY = 1;
  for (unsigned i = 0; i < kMaxControlCycles; i++) {
    tick();
    if (control_.aw) top.s_axi_control_AWVALID = 0;
    if (control_.w) top.s_axi_control_WVALID = 0;
    if (control_.b) {
      top.s_axi_control_BREADY = 0;
      if (control_.bresp != kOkay) throw ProtocolError("s_axi_control: write refused");
      return;
    }
  }
  control_timeout("write of", address);
}

uint32_t Simulator::read_register(uint32_t address) {
  Vcmamba& top = *top_;
  top.s_axi_control_ARADDR = address;
  top.s_axi_control_ARVALID = 1;
  top.s_axi_control_RREADY = 1;
  for (unsigned i = 0; i < kMaxControlCycles; i++) {
    tick();
    if (control_.ar) top.s_axi_control_ARVALID = 0;
    if (control_.r) {
      top.s_axi_control_RREADY = 0;
      if (control_.rresp != kOkay) throw ProtocolError("s_axi_control: read refused");
      return control_.rdata;
    }
  }
  control_timeout("read of", address);
  return 0;
}

void Simulator::send(const uint8_t* data, size_t bytes, bool last) {
  for (size_t at = 0; at < bytes; at += kBeatBytes) {
    const size_t n = std::min(kBeatBytes, bytes - at);
    InputBeat& beat = source_.emplace_back();
    std::memset(beat.data, 0, kBeatBytes);
    std::memcpy(beat.data, data + at, n);
    beat.keep = uint16_t((1u << n) - 1);
    beat.last = last && at + n == bytes;
  }
}

void Simulator::withdraw() {
  source_.clear();
  at_packet_start_ = true;
  top_->s_axis_TVALID = 0;
}

std::vector<Beat> Simulator::receive(size_t limit, bool packet) {
  std::vector<Beat> beats;
  while (!received_.empty() && beats.size() < limit) {
    beats.push_back(received_.front());
    received_.pop_front();
    if (beats.back().last) packets_--;
    if (packet && beats.back().last) break;
  }
  return beats;
}

void Simulator::set_failing(uint64_t address, uint64_t bytes) {
  failing_from_ = address;
  failing_bytes_ = bytes;
}

void Simulator::set_stalls(const Stalls& stalls) {
  stall_ar_ = threshold(stalls.ar);
  stall_r_ = threshold(stalls.r);
  stall_in_ = threshold(stalls.in);
  stall_out_ = threshold(stalls.out);
}
