// Python module of the accelerator and its kernels. Compiled twice for each build, with AMD's types
// and with standard integers; CMAMBA_MODULE is the name. hls/bindings/__init__.py is the interface
// to use.
//
// All arrays are checked before anything touches them: a mistake in Python is a ValueError.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "arithmetic.h"
#include "cmamba.h"

namespace py = pybind11;

namespace {

using namespace cmamba;  // NOLINT: this file is about nothing else

constexpr py::ssize_t kAny = -1;  // a dimension of any size
// Of no meaning in a simulation.
constexpr unsigned kWatchdogCycles = 1000000;

// ------------------------------------------------------------------------------- arrays

// The data of an array that has this dtype and shape, contiguous.
template <class T>
class Array {
 public:
  Array(const py::object& object, const char* name, const std::vector<py::ssize_t>& shape) {
    if (!py::isinstance<py::array_t<T>>(object)) {
      throw py::value_error(std::string(name) + ": expected an array of " +
                            std::string(py::str(py::dtype::of<T>())));
    }
    array_ = py::array_t<T, py::array::c_style | py::array::forcecast>(object);
    bool matches = array_.ndim() == py::ssize_t(shape.size());
    for (size_t i = 0; matches && i < shape.size(); i++) {
      matches = shape[i] == kAny || shape[i] == array_.shape(i);
    }
    if (!matches) {
      std::string expected, found;
      for (py::ssize_t n : shape) expected += (n == kAny ? "n" : std::to_string(n)) + " ";
      for (py::ssize_t i = 0; i < array_.ndim(); i++)
        found += std::to_string(array_.shape(i)) + " ";
      throw py::value_error(std::string(name) + ": expected shape [ " + expected + "], found [ " +
                            found + "]");
    }
  }

  py::ssize_t size(int dimension) const { return array_.shape(dimension); }
  py::ssize_t size() const { return array_.size(); }
  T operator[](py::ssize_t i) const { return array_.data()[i]; }

 private:
  py::array_t<T> array_;
};

void require(bool condition, const std::string& message) {
  if (!condition) throw py::value_error(message);
}

// Elements first to first + count lie inside a memory of `size`.
void require_range(const char* name, int64_t first, int64_t count, int64_t size) {
  require(first >= 0 && count >= 0 && first + count <= size,
          std::string(name) + ": expected elements " + std::to_string(first) + " to " +
              std::to_string(first + count) + " inside " + std::to_string(size));
}

// The same, from a multiple of `align` on.
void require_aligned_range(const char* name, int64_t first, int64_t count, int64_t size,
                           int align) {
  require(first % align == 0, std::string(name) + ": expected a multiple of " +
                                  std::to_string(align) + ", found " + std::to_string(first));
  require_range(name, first, count, size);
}

// ------------------------------------------------------------------------------- words and rows

word_t<512> instruction_word(const py::bytes& bytes, Opcode opcode) {
  const std::string text = bytes;
  require(text.size() == kInstructionBits / 8, "instruction: expected 64 bytes");
  word_t<512> word = zero_word<512>();
  for (size_t i = 0; i < text.size(); i++) set_byte(word, int(i), uint8_t(text[i]));
  require(int(get_byte(word, 0)) == opcode,
          "instruction: expected opcode " + std::to_string(opcode));
  return word;
}

// 64-bit words as they lie in the package, into a memory of lanes; an instruction's begin at a
// multiple of `align`.
template <int Rows, int Lanes>
void set_words(word_t<64> (&memory)[Rows][Lanes], const py::object& object, int first, int count,
               int align) {
  const Array<uint64_t> words(object, "params", {kAny});
  require_range("params", 0, words.size(), Rows * Lanes);
  require_aligned_range("param_addr", first, count, words.size(), align);
  for (int i = 0; i < words.size(); i++) {
    for (int b = 0; b < 8; b++) {
      set_byte(memory[i / Lanes][i % Lanes], b, uint8_t(words[i] >> (8 * b)));
    }
  }
}

// Elements `first` to first + count - 1 of values, from element `at` of a memory on.
template <class T, class Source, int Rows, int Width>
void set_row(T (&row)[Rows][Width], const Source& values, py::ssize_t first, py::ssize_t count,
             int at = 0) {
  for (int i = 0; i < count; i++) row[(at + i) / Width][(at + i) % Width] = values[first + i];
}

// Tables [tables, 256] of a section into every copy; `used` are those that an instruction names.
template <int Copies, int Tables>
void set_tables(uint_t<16> (&memory)[Copies][Tables][kTableEntries], const py::object& object,
                const std::vector<std::pair<const char*, int>>& used) {
  const Array<uint16_t> entries(object, "tables", {kAny, kTableEntries});
  require_range("tables", 0, entries.size(0), Tables);
  for (const auto& [field, table] : used) require_range(field, table, 1, entries.size(0));
  for (auto& copy : memory) set_row(copy, entries, 0, entries.size());
}

template <class T, int Rows, int Width, class Element>
py::array_t<T> get_row(const Element (&rows)[Rows][Width], int n, int at = 0) {
  py::array_t<T> values(n);
  for (int i = 0; i < n; i++) {
    values.mutable_data()[i] = T(int(rows[(at + i) / Width][(at + i) % Width]));
  }
  return values;
}

void require_features(int n) { require_range("n", 1, n - 1, kMaxFeatures + 1); }

// ------------------------------------------------------------------------------- kernels
//
// A kernel is driven by a run of one entry: its instruction, with operands in places that this file
// chooses. Parameters, tables and weights are those of one section of the package; the
// instruction's addresses count from its beginning.

constexpr int kOperandAt[] = {20, 64, 108, 152, 196};  // the same places in all instructions
constexpr int kUnitEntriesAt = 66;
constexpr int kScanSkipOffsetAt = 373;
constexpr int kPoolFeaturesColumnsAt = 144;
constexpr int kModulateColumnsAt = 232;
constexpr int kNoWait = -(1 << 13);
// Where rows of resid lie that are results.
constexpr int kResultAt = kSpaceResid / 2;
constexpr int kPoolStride = kSpaceNorm / 2;
constexpr int kTapRows = kMaxTaps;
constexpr int kTapStride = kSpaceConvIn / kTapRows;
constexpr int kSkipAt = (2 * kMaxStates + kRowAlign - 1) / kRowAlign * kRowAlign;
static_assert(kResultAt >= kMaxFeatures && kResultAt >= kMaxReduce && kPoolStride >= kMaxFeatures &&
                  kSpaceGate >= kMaxReduce && kTapStride % kRowAlign == 0,
              "rows of any length have their places");

// Bits lsb to lsb + n - 1 of a word become those of a number.
template <int N>
void set_bits(word_t<N>& word, int lsb, int n, int64_t value) {
  for (int i = 0; i < n; i++) {
    const int at = lsb + i, bit = 1 << (at % 8);
    const int byte = int(get_byte(word, at / 8)) & ~bit;
    set_byte(word, at / 8, uint8_t((value >> i) & 1 ? byte | bit : byte));
  }
}

class OneEntry {
 public:
  OneEntry(const py::bytes& instruction, Opcode opcode)
      : word(instruction_word(instruction, opcode)) {
    // What lies behind the last element of a row must not matter, and is not zero.
    Memory& m = memory();
    std::memset(static_cast<void*>(&m), 0x55,
                reinterpret_cast<char*>(&m.instructions) - reinterpret_cast<char*>(&m));
    m.loaded = true;
  }

  Memory& memory() { return *memory_; }

  // Operand `index` of the instruction: rows of `space` from `addr` on.
  void place(int index, Space space, int addr, int stride = 0, int log2_rows = 0) {
    set_bits(word, kOperandAt[index], 20, addr);
    set_bits(word, kOperandAt[index] + 20, 16, stride);
    set_bits(word, kOperandAt[index] + 36, 4, log2_rows);
    set_bits(word, kOperandAt[index] + 40, 4, space);
  }

  void run(Unit unit, int position, int token = 0, const beat_t* package = nullptr,
           unsigned tiles = 0) {
    Memory& m = memory();
    m.instructions[0] = word;
    word_t<128> entry = zero_word<128>();
    set_bits(entry, 10, 12, token);
    set_bits(entry, 22, 12, position);
    for (int v = 0; v < kUnits; v++) set_bits(entry, 44 + 14 * v, 14, kNoWait);
    m.schedule[0] = entry;
    m.package = {};
    m.package.iterations = 1;
    word_t<256> phase = zero_word<256>();
    set_bits(phase, 0, 16, 1);   // entries
    set_bits(phase, 16, 16, 1);  // repeats
    set_bits(phase, kUnitEntriesAt + 16 * unit, 16, 1);
    m.phases[0] = phase;
    m.package.elements[SECTION_PHASES] = 1;
    m.package.elements[SECTION_SCHEDULE] = 1;
    m.package.elements[SECTION_WEIGHTS] = tiles;
    hls::stream<axis_t> s_axis("s_axis"), m_axis("m_axis");
    Counters counters;
    const Error error = run_forecasts(package, s_axis, m_axis, 1, false, kWatchdogCycles, m,
                                      counters);
    if (error != ERROR_OK || get_u64(counters, 0) != 1)
      throw std::logic_error("the entry did not complete");
  }

  word_t<512> word;

 private:
  std::unique_ptr<Memory> memory_ = std::make_unique<Memory>();
};

// Every copy of rows of resid.
void set_resid(Memory& memory, const Array<int16_t>& values, py::ssize_t first, int at, int n) {
  for (auto* rows : {&memory.resid_output, &memory.resid_reduce, &memory.resid_apply}) {
    set_row(*rows, values, first, n, at);
  }
}

// Result [n_out] for x [positions, elements]: one position, or with reduce n_positions of them.
py::array_t<int16_t> run_linear(const py::bytes& instruction, const py::object& x, int x_offset,
                                const py::object& addend, const py::object& weights,
                                const py::object& params) {
  OneEntry entry(instruction, OP_LINEAR);
  Memory& memory = entry.memory();
  const LinearInstruction f = decode_linear_instruction(entry.word);
  const int positions = f.reduce ? int(f.n_positions) : 1;
  const int n_out = f.n_out, n_in = f.n_in, log2_split = f.log2_split;
  require(log2_split <= 2, "log2_split: expected 0 to 2");
  require(n_in > 0 && positions > 0, "n_in, n_positions: expected at least 1");
  require_range("n_out", 1, n_out - 1, (f.reduce ? kMaxReduce : kMaxFeatures) + 1);
  const int granule = kTileIn << log2_split;
  const int input_tiles = (n_in + granule - 1) / granule;
  const int output_tiles = (n_out + (kTileOut >> log2_split) - 1) / (kTileOut >> log2_split);
  require(x_offset >= 0 && x_offset < kRowAlign && x_offset % granule == 0,
          "x_offset: expected a multiple of " + std::to_string(granule) + " inside a row word");

  const Array<int8_t> inputs(x, "x", {positions, kAny});
  require_range("x", x_offset, int64_t(input_tiles) * granule, inputs.size(1));
  require_range("x", 0, inputs.size(1), kSpacePatch);
  const Array<int8_t> tiles(weights, "weights", {kAny, kTileOut, kTileIn});
  require_range("weight_addr", f.weight_addr + int64_t(positions - 1) * f.weight_stride,
                int64_t(input_tiles) * output_tiles, tiles.size(0));

  set_words(memory.array_params, params, f.param_addr, n_out, kArrayParamsAlign);
  if (f.add_enable) {
    set_resid(memory, Array<int16_t>(addend, "addend", {n_out}), 0, 0, n_out);
  }
  constexpr int kTileBytes = kTileOut * kTileIn;
  std::vector<beat_t> package(tiles.size() / kBeatBytes, zero_word<8 * kBeatBytes>());
  for (py::ssize_t i = 0; i < tiles.size(); i++) {
    set_byte(package[i / kBeatBytes], int(i % kBeatBytes), uint8_t(tiles[i]));
    if (i / kTileBytes < kMaxWeights) {
      const py::ssize_t tile = i / kTileBytes;
      memory.weights[tile / kBankTiles][tile % kBankTiles][i % kTileBytes / kTileIn]
                    [i % kTileIn] = tiles[i];
    }
  }
  entry.place(0, SPACE_PATCH, x_offset);
  entry.place(1, f.wide ? SPACE_RESID : SPACE_GATE, f.wide ? kResultAt : 0);
  entry.place(2, SPACE_RESID, 0);
  for (int position = 0; position < positions; position++) {
    set_row(memory.patch, inputs, position * inputs.size(1), inputs.size(1));
    entry.run(UNIT_ARRAY, position, 0, package.data(), unsigned(tiles.size(0)));
  }
  return f.wide ? get_row<int16_t>(memory.resid_output, n_out, kResultAt)
                : get_row<int16_t>(memory.gate, n_out);
}

// Result [n] for the window x [kernel, n] at `position`.
py::array_t<int8_t> run_conv(const py::bytes& instruction, int position, const py::object& x,
                             const py::object& params, const py::object& tables) {
  OneEntry entry(instruction, OP_CONV);
  Memory& memory = entry.memory();
  const ConvInstruction f = decode_conv_instruction(entry.word);
  const int n = f.n, kernel = f.kernel;
  require_range("n", 1, n - 1, kTapStride + 1);
  require(kernel >= 1 && kernel <= kMaxTaps, "kernel: expected 1 to 8");
  require(position >= 0, "position: expected at least 0");
  const Array<int8_t> window(x, "x", {kernel, n});
  const Array<uint64_t> words(params, "params", {kAny, 2});
  require_range("params", 0, words.size(0), kMaxConvParams);
  require_aligned_range("param_addr", f.param_addr, n, words.size(0), kConvLanes);
  const Array<int8_t> entries(tables, "tables", {kAny, kTableEntries});
  require_range("tables", 0, entries.size(0), kMaxConvTables);
  require_range("table", f.table, 1, entries.size(0));

  for (py::ssize_t i = 0; i < words.size(0); i++) {
    for (int b = 0; b < 16; b++) {
      set_byte(memory.conv_params[i / kConvLanes][i % kConvLanes], b,
               uint8_t(words[2 * i + b / 8] >> (8 * (b % 8))));
    }
  }
  for (auto& copy : memory.conv_tables) set_row(copy, entries, 0, entries.size());
  for (auto& copy : memory.conv_in) {
    for (int k = 0; k < kernel; k++) set_row(copy, window, k * n, n, k * kTapStride);
  }
  entry.place(0, SPACE_CONV_IN, 0, kTapStride, log2_exact(kTapRows));
  entry.place(1, SPACE_CONV, 0);
  entry.run(UNIT_CONV, position, kernel - 1);
  return get_row<int8_t>(memory.conv_scan, n);
}

// Results [positions, n] and the state after them [n, states]; u, z, dt are [positions, n], bc is
// [positions, 2 * states], skip, where skip_enable, [positions, n].
py::tuple run_scan(const py::bytes& instruction, const py::object& u, const py::object& z,
                   const py::object& dt, const py::object& bc, const py::object& skip,
                   const py::object& decay_rates, const py::object& params,
                   const py::object& tables) {
  OneEntry entry(instruction, OP_SCAN);
  Memory& memory = entry.memory();
  set_bits(entry.word, kScanSkipOffsetAt, 16, kSkipAt);
  const ScanInstruction f = decode_scan_instruction(entry.word);
  const int n = f.n;
  require_features(n);
  require(
      f.log2_state <= kMaxLog2State && f.state_shift <= 16 && f.skip_shift <= 20 && f.y_shift <= 40,
      "log2_state, state_shift, skip_shift, y_shift: expected at most 6, 16, 20, 40");
  const int states = 1 << int(f.log2_state);
  const Array<int8_t> rows_u(u, "u", {kAny, n});
  const py::ssize_t positions = rows_u.size(0);
  const Array<int8_t> rows_z(z, "z", {positions, n}), rows_dt(dt, "dt", {positions, n});
  const Array<int8_t> rows_bc(bc, "bc", {positions, 2 * states});
  const Array<uint16_t> rates(decay_rates, "decay", {kAny});
  require_range("decay", 0, rates.size(), kMaxScanDecay);
  require_aligned_range("decay_addr", f.decay_addr, n * states, rates.size(), kScanLanes);
  require_aligned_range("state_addr", f.state_addr, n * states, kMaxState, kScanLanes);
  if (f.skip_enable) require_range("n", kSkipAt, n, kSpaceProj);

  set_words(memory.scan_params, params, f.param_addr, n, kScanChannels);
  set_row(memory.scan_decay, rates, 0, rates.size());
  set_tables(memory.scan_tables, tables,
             {{"softplus_table", f.softplus_table}, {"silu_table", f.silu_table}});
  entry.place(0, SPACE_CONV, 0);
  entry.place(1, SPACE_GATE, 0);
  entry.place(2, SPACE_STEP, 0);
  entry.place(3, SPACE_PROJ, 0);
  entry.place(4, SPACE_SCAN, 0);
  py::array_t<int8_t> results({positions, py::ssize_t(n)});
  for (py::ssize_t t = 0; t < positions; t++) {
    set_row(memory.conv_scan, rows_u, t * n, n);
    set_row(memory.gate, rows_z, t * n, n);
    set_row(memory.step, rows_dt, t * n, n);
    set_row(memory.proj_scan, rows_bc, t * 2 * states, 2 * states);
    if (f.skip_enable) {
      const Array<int8_t> weights(skip, "skip", {positions, n});
      set_row(memory.proj_skip, weights, t * n, n, kSkipAt);
    }
    entry.run(UNIT_SCAN, int(t));
    for (int e = 0; e < n; e++) {
      results.mutable_at(t, e) = int8_t(int(memory.scan[e / kRowAlign][e % kRowAlign]));
    }
  }
  py::array_t<int32_t> state({n, states});
  for (int i = 0; i < n * states; i++) {
    const int at = int(f.state_addr) + i;
    state.mutable_data()[i] = int(memory.state[at / kScanLanes][at % kScanLanes]);
  }
  return py::make_tuple(results, state);
}

py::array_t<int16_t> run_norm(const py::bytes& instruction, const py::object& x,
                              const py::object& params) {
  OneEntry entry(instruction, OP_NORM);
  Memory& memory = entry.memory();
  const NormInstruction f = decode_norm_instruction(entry.word);
  const int n = f.n;
  require_features(n);
  require(f.eps != 0, "eps: expected at least 1");
  set_resid(memory, Array<int16_t>(x, "x", {n}), 0, 0, n);
  set_words(memory.vector_params, params, f.param_addr, n, 1);
  entry.place(0, SPACE_RESID, 0);
  entry.place(1, f.wide ? SPACE_RESID : SPACE_NORM, f.wide ? kResultAt : 0);
  entry.run(UNIT_VECTOR, 0);
  return f.wide ? get_row<int16_t>(memory.resid_apply, n, kResultAt)
                : get_row<int16_t>(memory.norm, n);
}

// (mean [n], maximum [n]) of x [n_positions, n].
py::tuple run_pool(const py::bytes& instruction, const py::object& x, const py::object& params) {
  OneEntry entry(instruction, OP_POOL);
  Memory& memory = entry.memory();
  const PoolInstruction f = decode_pool_instruction(entry.word);
  const int n = f.n, positions = f.n_positions;
  require_features(n);
  const Array<int16_t> tokens(x, "x", {positions, n});
  set_words(memory.vector_params, params, f.param_addr, 2, 1);
  entry.place(0, SPACE_RESID, 0);
  entry.place(1, SPACE_NORM, 0, kPoolStride, 1);
  for (int t = 0; t < positions; t++) {
    set_resid(memory, tokens, t * n, 0, n);
    entry.run(UNIT_VECTOR, t);
  }
  return py::make_tuple(get_row<int8_t>(memory.norm, n),
                        get_row<int8_t>(memory.norm, n, kPoolStride));
}

py::array_t<int16_t> run_scale(const py::bytes& instruction, const py::object& x,
                               const py::object& logit, const py::object& tables) {
  OneEntry entry(instruction, OP_SCALE);
  Memory& memory = entry.memory();
  const ScaleInstruction f = decode_scale_instruction(entry.word);
  const int n = f.n;
  require_range("n", 1, n - 1, minimum(kMaxFeatures, kSpaceLogit) + 1);
  set_resid(memory, Array<int16_t>(x, "x", {n}), 0, 0, n);
  set_row(memory.logit, Array<int8_t>(logit, "logit", {n}), 0, n);
  set_tables(memory.vector_tables, tables, {{"table", f.table}});
  entry.place(0, SPACE_RESID, 0);
  entry.place(1, SPACE_LOGIT, 0);
  entry.place(2, SPACE_RESID, kResultAt);
  entry.run(UNIT_VECTOR, 0);
  return get_row<int16_t>(memory.resid_apply, n, kResultAt);
}

// (mean, maximum) of x [n].
py::tuple run_pool_features(const py::bytes& instruction, const py::object& x,
                            const py::object& params) {
  OneEntry entry(instruction, OP_POOL_FEATURES);
  Memory& memory = entry.memory();
  set_bits(entry.word, kPoolFeaturesColumnsAt, 16, 1);
  const PoolFeaturesInstruction f = decode_pool_features_instruction(entry.word);
  const int n = f.n;
  require_features(n);
  set_words(memory.vector_params, params, f.param_addr, 2, 1);
  set_resid(memory, Array<int16_t>(x, "x", {n}), 0, 0, n);
  entry.place(0, SPACE_RESID, 0);
  entry.place(1, SPACE_NORM, 0);
  entry.run(UNIT_VECTOR, 0);
  return py::make_tuple(int(memory.norm[0][0]), int(memory.norm[0][1]));
}

py::array_t<int16_t> run_modulate(const py::bytes& instruction, const py::object& x,
                                  int8_t scale_logit, int8_t shift_logit, const py::object& addend,
                                  const py::object& params, const py::object& tables) {
  OneEntry entry(instruction, OP_MODULATE);
  Memory& memory = entry.memory();
  set_bits(entry.word, kModulateColumnsAt, 16, 1);
  const ModulateInstruction f = decode_modulate_instruction(entry.word);
  const int n = f.n;
  require_features(n);
  set_tables(memory.vector_tables, tables,
             {{"scale_table", f.scale_table}, {"shift_table", f.shift_table}});
  set_words(memory.vector_params, params, f.param_addr, 1, 1);
  set_resid(memory, Array<int16_t>(x, "x", {n}), 0, 0, n);
  set_resid(memory, Array<int16_t>(addend, "addend", {n}), 0, kMaxFeatures, n);
  memory.logit[0][0] = scale_logit;
  memory.logit[0][1] = shift_logit;
  entry.place(0, SPACE_RESID, 0);
  entry.place(1, SPACE_LOGIT, 0);
  entry.place(2, f.wide ? SPACE_RESID : SPACE_CONV_IN, f.wide ? kResultAt : 0);
  entry.place(3, SPACE_RESID, kMaxFeatures);
  entry.run(UNIT_VECTOR, 0);
  return f.wide ? get_row<int16_t>(memory.resid_apply, n, kResultAt)
                : get_row<int16_t>(memory.conv_in[0], n);
}

// Primitives, one value at a time; the numbers of bits are those of the kernels.
int64_t run_rne_shift(int64_t x, int shift) {
  require(shift >= 0 && shift <= 48 && x >= -(int64_t(1) << 48) && x <= int64_t(1) << 48,
          "rne_shift: expected |x| <= 2^48 and a shift of 0 to 48");
  return int64_t(rne_shift<50>(int_t<50>(x), shift));
}

int64_t run_requantize(int64_t a, int64_t multiplier, int shift, int zero_point) {
  require(a >= INT32_MIN && a <= INT32_MAX && multiplier >= -(1 << 17) && multiplier < 1 << 17 &&
              shift >= 0 && shift <= kMaxShift && zero_point >= -128 && zero_point <= 127,
          "requantize: expected int32 a, int18 multiplier, shift 0 to 48, int8 zero_point");
  ParamWord p;
  p.bias = 0;
  p.multiplier = multiplier;
  p.shift = shift;
  p.zero_point = zero_point;
  return int64_t(requantize(int_t<32>(a), p));
}

int64_t run_decay(int64_t t) {
  require(t >= 0 && t <= UINT32_MAX, "decay: expected t of 0 to 2^32 - 1");
  uint_t<32> lanes[kScanLanes];
  uint_t<17> results[kScanLanes];
  for (auto& lane : lanes) lane = uint_t<32>(t);
  decay_lanes<kScanLanes>(lanes, results);
  return int64_t(results[kScanLanes - 1]);
}

int64_t run_reciprocal_sqrt(int64_t m) {
  require(m >= int64_t(1) << 30 && m <= UINT32_MAX,
          "reciprocal_sqrt: expected m of 2^30 to 2^32 - 1");
  return int64_t(reciprocal_sqrt(uint_t<32>(m)));
}

// ------------------------------------------------------------------------------- streams

using Stream = hls::stream<axis_t>;

std::vector<beat_t> to_beats(const Array<uint8_t>& bytes) {
  std::vector<beat_t> beats(bytes.size() / kBeatBytes, zero_word<8 * kBeatBytes>());
  for (py::ssize_t i = 0; i < bytes.size(); i++) {
    set_byte(beats[i / kBeatBytes], int(i % kBeatBytes), bytes[i]);
  }
  return beats;
}

// Beats and their TLAST, checked and copied while Python may still change them.
class Input {
 public:
  Input(const py::object& beats, const py::object& last)
      : beats_(to_beats(Array<uint8_t>(beats, "beats", {kAny, kBeatBytes}))) {
    const Array<bool> flags(last, "last", {py::ssize_t(beats_.size())});
    for (size_t i = 0; i < beats_.size(); i++) last_.push_back(flags[i]);
  }

  void write_to(Stream& stream) const {
    for (size_t i = 0; i < beats_.size(); i++) {
      axis_t beat;
      beat.data = beats_[i];
      beat.keep = 0xFFFF;
      beat.strb = 0xFFFF;
      beat.last = last_[i];
      stream.write(beat);
    }
  }

 private:
  std::vector<beat_t> beats_;
  std::vector<bool> last_;
};

// What a run sent: (beats uint8 [n, 16], TLAST bool [n]).
py::tuple drain(Stream& stream) {
  std::vector<uint8_t> bytes;
  std::vector<uint8_t> last;
  while (!stream.empty()) {
    const axis_t beat = stream.read();
    for (int i = 0; i < kBeatBytes; i++) bytes.push_back(uint8_t(get_byte(beat.data, i)));
    last.push_back(bool(beat.last));
  }
  const py::ssize_t n = last.size();
  py::array_t<uint8_t> beats({n, py::ssize_t(kBeatBytes)});
  std::copy(bytes.begin(), bytes.end(), beats.mutable_data());
  py::array_t<bool> flags(n);
  std::copy(last.begin(), last.end(), flags.mutable_data());
  return py::make_tuple(beats, flags);
}

// ------------------------------------------------------------------------------- accelerator

// Results of one instruction, [iterations][rows][n].
struct Trace {
  bool wide = false;
  py::ssize_t rows = 0;
  py::ssize_t n = 0;
  std::vector<int16_t> values;
};

// The registers of 32 bits that a word holds.
template <int N>
std::vector<uint32_t> words(const word_t<N>& word) {
  std::vector<uint32_t> values;
  for (int i = 0; i < N / 64; i++) {
    const uint64_t pair = get_u64(word, i);
    values.push_back(uint32_t(pair));
    values.push_back(uint32_t(pair >> 32));
  }
  return values;
}

class Accelerator {
 public:
  int load(const py::object& package) {
    std::vector<beat_t> beats = to_beats(Array<uint8_t>(package, "package", {kAny, kBeatBytes}));
    const std::lock_guard<std::mutex> lock(mutex_);
    package_ = std::move(beats);
    error_ = load_package(package_.data(), unsigned(package_.size()), *memory_);
    return error_;
  }

  // `order`: 0, or the number of a random order of the processes (memory.h).
  py::tuple run(const py::object& beats, const py::object& last, int64_t n_forecasts,
                bool tlast_each, uint64_t order) {
    return execute(beats, last, n_forecasts, tlast_each, order, nullptr);
  }

  // The same under a timing of the processes, with the cycles from the start to the last beat:
  // (name, interval, results, answers) of each process (memory.h).
  py::tuple run_timed(const py::object& beats, const py::object& last, int64_t n_forecasts,
                      bool tlast_each,
                      const std::vector<std::tuple<std::string, int, int, int>>& timing) {
    std::vector<Cycles::Process> processes;
    for (const auto& [name, interval, results, answers] : timing) {
      require(interval >= 1 && results >= 1 && answers >= 1 && results <= 64 && answers <= 64,
              "timing of " + name + ": expected an interval from 1 and delays of 1 to 64 cycles");
      processes.push_back({name.c_str(), interval, results, answers});
    }
    Cycles cycles = {};
    cycles.processes = processes.data();
    cycles.n_processes = int(processes.size());
    const py::tuple result = execute(beats, last, n_forecasts, tlast_each, 0, nullptr, &cycles);
    return py::make_tuple(result[0], result[1], result[2], cycles.last_beat);
  }

  py::tuple run_traced(const py::object& beats, const py::object& last, int64_t n_forecasts,
                       bool tlast_each, uint64_t order) {
    std::map<int, Trace> traces;
    const py::tuple result = execute(beats, last, n_forecasts, tlast_each, order, &traces);
    py::dict arrays;
    for (const auto& [index, trace] : traces) {
      const py::ssize_t iterations = trace.values.size() / (trace.rows * trace.n);
      const std::vector<py::ssize_t> shape = {iterations, trace.rows, trace.n};
      if (trace.wide) {
        py::array_t<int16_t> array(shape);
        std::copy(trace.values.begin(), trace.values.end(), array.mutable_data());
        arrays[py::int_(index)] = array;
      } else {
        py::array_t<int8_t> array(shape);
        std::copy(trace.values.begin(), trace.values.end(), array.mutable_data());
        arrays[py::int_(index)] = array;
      }
    }
    return py::make_tuple(result[0], result[1], result[2], arrays);
  }

  // What the processes of the last run waited for where it came to a standstill, or nothing.
  std::string standstill() const { return memory_->standstill; }

  // The registers that the last call has left.
  std::vector<uint32_t> status() const { return words(status_of(error_, counters_)); }

 private:
  struct TraceContext {
    Accelerator* accelerator;
    uint64_t iterations;
    std::map<int, Trace>* traces;
  };

  py::tuple execute(const py::object& beats, const py::object& last, int64_t n_forecasts,
                    bool tlast_each, uint64_t order, std::map<int, Trace>* traces,
                    Cycles* cycles = nullptr) {
    require(n_forecasts >= 0 && n_forecasts <= UINT32_MAX, "n_forecasts: expected a 32-bit number");
    const Input input(beats, last);
    Stream s_axis("s_axis"), m_axis("m_axis");
    Error error;
    {
      const py::gil_scoped_release release;
      const std::lock_guard<std::mutex> lock(mutex_);
      input.write_to(s_axis);
      TraceContext context = {this, uint64_t(n_forecasts) * memory_->package.iterations, traces};
      memory_->trace = traces ? record_result : nullptr;
      memory_->trace_context = &context;
      memory_->order_seed = order;
      memory_->cycles = cycles;
      error = run_forecasts(package_.data(), s_axis, m_axis, unsigned(n_forecasts), tlast_each,
                            kWatchdogCycles, *memory_, counters_);
      error_ = error;
      memory_->trace = nullptr;
      memory_->cycles = nullptr;
      while (!s_axis.empty()) s_axis.read();
    }
    const py::tuple sent = drain(m_axis);
    return py::make_tuple(int(error), sent[0], sent[1]);
  }

  static void record_result(void* untyped, const TraceRecord& record) {
    const auto& context = *static_cast<TraceContext*>(untyped);
    const Memory& memory = *context.accelerator->memory_;
    Trace& trace = (*context.traces)[record.instruction];
    if (trace.values.empty()) {
      trace.wide = kSpaceBits[record.space] == 16;
      trace.n = record.n;
      trace.rows = sequences(memory, record.instruction) *
                   rows_per_sequence(memory.instructions[record.instruction]);
      trace.values.resize(context.iterations * trace.rows * trace.n);
    }
    const size_t at = (record.iteration * trace.rows + record.row) * trace.n;
    for (int i = 0; i < record.n; i++) {
      trace.values.at(at +
                      i) = int16_t(peek(memory, record.space, record.address + i * record.stride));
    }
  }

  // Sequences that an instruction works on: one where it serves a single one, or all.
  static int sequences(const Memory& memory, int instruction) {
    int count = 0;
    int entry = 0;
    for (unsigned p = 0; p < memory.package.elements[SECTION_PHASES]; p++) {
      const Phase phase = decode_phase(memory.phases[p]);
      const int steps = (int(phase.repeats) - 1) * int(phase.sequence_step);
      for (unsigned i = 0; i < phase.entries; i++, entry++) {
        const ScheduleEntry e = decode_schedule_entry(memory.schedule[entry]);
        if (int(e.instruction) == instruction) count = std::max(count, int(e.sequence) + steps + 1);
      }
    }
    return count;
  }

  static int rows_per_sequence(const word_t<512>& word) {
    switch (int(get_byte(word, 0))) {
      case OP_POOL:
        return 2;
      case OP_SEND:
        return 1;
      case OP_LINEAR: {
        const LinearInstruction f = decode_linear_instruction(word);
        return f.reduce ? 1 : int(f.n_positions);
      }
      default:
        return decode_recv_instruction(word).n_positions;  // the same bits in all instructions
    }
  }

  std::mutex mutex_;
  std::vector<beat_t> package_;
  std::unique_ptr<Memory> memory_ = std::make_unique<Memory>();
  // Of the last call, and of the last run.
  Error error_ = ERROR_OK;
  Counters counters_ = zero_word<64 * (2 + kUnits)>();
};

// One call of the top function, whose memories are its own and last as long as the process.
py::dict run_top(const py::object& package, const py::object& beats, const py::object& last,
                 unsigned mode, unsigned n_forecasts) {
  const std::vector<beat_t> gmem = to_beats(Array<uint8_t>(package, "package", {kAny, kBeatBytes}));
  const Input input(beats, last);
  Stream s_axis("s_axis"), m_axis("m_axis");
  input.write_to(s_axis);
  status_t status;
  capabilities_t capabilities;
  spaces_t spaces;
  cmamba_top(gmem.data(), s_axis, m_axis, mode, unsigned(gmem.size()), n_forecasts, kWatchdogCycles,
             &status, &capabilities, &spaces);
  const size_t left = s_axis.size();
  while (!s_axis.empty()) s_axis.read();
  const py::tuple sent = drain(m_axis);
  py::dict registers;
  registers["status"] = words(status);
  registers["capabilities"] = words(capabilities);
  registers["spaces"] = words(spaces);
  registers["beats"] = sent[0];
  registers["last"] = sent[1];
  registers["unread"] = left;
  return registers;
}

// Elements of each memory, for the budget of the hardware (hls/budget.py).
py::dict memory_elements() {
  py::dict elements;
#define COUNT(name) \
  elements[#name] = sizeof(Memory::name) / sizeof(std::remove_all_extents_t<decltype(Memory::name)>)
  COUNT(patch);
  COUNT(norm);
  COUNT(conv_in);
  COUNT(gate);
  COUNT(conv_multiply);
  COUNT(conv_scan);
  COUNT(proj_multiply);
  COUNT(proj_scan);
  COUNT(proj_skip);
  COUNT(step);
  COUNT(scan);
  COUNT(logit);
  COUNT(resid_output);
  COUNT(resid_reduce);
  COUNT(resid_apply);
  COUNT(head);
  COUNT(instructions);
  COUNT(phases);
  COUNT(schedule);
  COUNT(weights);
  COUNT(array_params);
  COUNT(conv_params);
  COUNT(conv_tables);
  COUNT(scan_params);
  COUNT(scan_decay);
  COUNT(scan_tables);
  COUNT(vector_params);
  COUNT(vector_tables);
  COUNT(state);
  COUNT(reduce);
  COUNT(pool_sum);
  COUNT(pool_maximum);
#undef COUNT
  return elements;
}

}  // namespace

PYBIND11_MODULE(CMAMBA_MODULE, m) {
  m.def("memory_elements", &memory_elements);
  // Both builds may be loaded at once, so that their types stay apart.
  py::class_<Accelerator>(m, "Accelerator", py::module_local())
      .def(py::init<>())
      .def("load", &Accelerator::load, py::arg("package"))
      .def("run", &Accelerator::run, py::arg("beats"), py::arg("last"), py::arg("n_forecasts"),
           py::arg("tlast_each"), py::arg("order") = 0)
      .def("run_traced", &Accelerator::run_traced, py::arg("beats"), py::arg("last"),
           py::arg("n_forecasts"), py::arg("tlast_each"), py::arg("order") = 0)
      .def("run_timed", &Accelerator::run_timed, py::arg("beats"), py::arg("last"),
           py::arg("n_forecasts"), py::arg("tlast_each"), py::arg("timing"))
      .def_property_readonly("standstill", &Accelerator::standstill)
      .def_property_readonly("status", &Accelerator::status);
  m.def("capabilities", [] { return words(capabilities_of_build()); });
  m.def("spaces", [] { return words(spaces_of_build()); });
  m.def("top", &run_top, py::arg("package"), py::arg("beats"), py::arg("last"), py::arg("mode"),
        py::arg("n_forecasts"));

  m.def("linear", &run_linear, py::arg("instruction"), py::arg("x"), py::arg("x_offset"),
        py::arg("addend"), py::arg("weights"), py::arg("params"));
  m.def("conv", &run_conv, py::arg("instruction"), py::arg("position"), py::arg("x"),
        py::arg("params"), py::arg("tables"));
  m.def("scan", &run_scan, py::arg("instruction"), py::arg("u"), py::arg("z"), py::arg("dt"),
        py::arg("bc"), py::arg("skip"), py::arg("decay"), py::arg("params"), py::arg("tables"));
  m.def("norm", &run_norm, py::arg("instruction"), py::arg("x"), py::arg("params"));
  m.def("pool", &run_pool, py::arg("instruction"), py::arg("x"), py::arg("params"));
  m.def("scale", &run_scale, py::arg("instruction"), py::arg("x"), py::arg("logit"),
        py::arg("tables"));
  m.def("pool_features", &run_pool_features, py::arg("instruction"), py::arg("x"),
        py::arg("params"));
  m.def("modulate", &run_modulate, py::arg("instruction"), py::arg("x"), py::arg("scale_logit"),
        py::arg("shift_logit"), py::arg("addend"), py::arg("params"), py::arg("tables"));

  m.def("rne_shift", &run_rne_shift, py::arg("x"), py::arg("shift"));
  m.def("requantize", &run_requantize, py::arg("a"), py::arg("multiplier"), py::arg("shift"),
        py::arg("zero_point"));
  m.def("decay", &run_decay, py::arg("t"));
  m.def("reciprocal_sqrt", &run_reciprocal_sqrt, py::arg("m"));
}
