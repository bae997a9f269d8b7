// The rules for parameter words, phases, instructions and schedule, docs/instruction_set.md:
// whatever passes can be executed without an access outside a memory and without an overflow.
#include "validate.h"

namespace cmamba {

unsigned section_capacity(int section) {
#pragma HLS inline
  switch (section) {
    case SECTION_INSTRUCTIONS:
      return kMaxInstructions;
    case SECTION_PHASES:
      return kMaxPhases;
    case SECTION_SCHEDULE:
      return kMaxSchedule;
    case SECTION_ARRAY_PARAMS:
      return kMaxArrayParams;
    case SECTION_CONV_PARAMS:
      return kMaxConvParams;
    case SECTION_CONV_TABLES:
      return kMaxConvTables;
    case SECTION_SCAN_PARAMS:
      return kMaxScanParams;
    case SECTION_SCAN_DECAY:
      return kMaxScanDecay;
    case SECTION_SCAN_TABLES:
      return kMaxScanTables;
    case SECTION_VECTOR_PARAMS:
      return kMaxVectorParams;
    case SECTION_VECTOR_TABLES:
      return kMaxVectorTables;
    case SECTION_RESID_IMAGE:
      return kSpaceResid;
    default:
      return 0xFFFFFFFF;
  }
}

namespace {

template <int N>
bool are_reserved_bits_zero(const word_t<N>& word, int used) {
#pragma HLS inline
  bool ok = true;
check_limbs:
  for (int i = 0; i < N / 64; ++i) {
#pragma HLS unroll
    const int used_here = used - 64 * i;
    const uint_t<64> limb = get_u64(word, i);
    if (used_here <= 0) {
      ok = ok && limb == 0;
    } else if (used_here < 64) {
      ok = ok && (limb >> used_here) == 0;
    }
  }
  return ok;
}

bool is_param_word(const word_t<64>& word, int bias_limit) {
#pragma HLS inline
  const ParamWord p = decode_param_word(word);
  return p.shift <= kMaxShift && p.bias > -bias_limit && p.bias < bias_limit;
}

// Part `part` of a phase, which is longer than a beat.
bool is_phase_part(int part, const beat_t& beat) {
#pragma HLS inline
  word_t<256> word = zero_word<256>();
  set_part(word, part, beat);
  const Phase phase = decode_phase(word);
  const bool executes = part > 0 || (phase.entries != 0 && phase.repeats != 0);
  return executes && are_reserved_bits_zero(word, kPhaseUsedBits);
}

}  // namespace

bool are_words(int section, int b, const beat_t& beat, int bytes) {
#pragma HLS inline
  // conv_params has taps in the other half of the beat.
  const bool has_second = section != SECTION_CONV_PARAMS && bytes > kBeatBytes / 2;
  switch (section) {
    case SECTION_PHASES:
      return is_phase_part(b % kPhaseBeats, beat);
    case SECTION_ARRAY_PARAMS:
    case SECTION_CONV_PARAMS:
    case SECTION_SCAN_PARAMS:
    case SECTION_VECTOR_PARAMS: {
      const int bias_limit = 1 << (section == SECTION_SCAN_PARAMS ? kMaxSkipWeightBits
                                                                  : kMaxBiasBits);
      return is_param_word(get_part<64>(beat, 0), bias_limit) &&
             (!has_second || is_param_word(get_part<64>(beat, 1), bias_limit));
    }
    default:
      return true;
  }
}

namespace {

// Sets of activation memories.
constexpr unsigned in_set(Space space) { return 1u << space; }
constexpr unsigned kLinearSources = in_set(SPACE_PATCH) | in_set(SPACE_NORM) | in_set(SPACE_CONV) |
                                    in_set(SPACE_PROJ) | in_set(SPACE_SCAN);
constexpr unsigned kLinearResults = in_set(SPACE_CONV_IN) | in_set(SPACE_GATE) |
                                    in_set(SPACE_PROJ) | in_set(SPACE_STEP) | in_set(SPACE_LOGIT);
constexpr unsigned kLinearWideResults = in_set(SPACE_RESID) | in_set(SPACE_HEAD);

// Elements of an activation memory; 0 if there is no such memory.
int space_elements(int space) {
#pragma HLS inline
  switch (space) {
    case SPACE_PATCH:
      return kSpacePatch;
    case SPACE_NORM:
      return kSpaceNorm;
    case SPACE_CONV_IN:
      return kSpaceConvIn;
    case SPACE_GATE:
      return kSpaceGate;
    case SPACE_CONV:
      return kSpaceConv;
    case SPACE_PROJ:
      return kSpaceProj;
    case SPACE_STEP:
      return kSpaceStep;
    case SPACE_SCAN:
      return kSpaceScan;
    case SPACE_LOGIT:
      return kSpaceLogit;
    case SPACE_RESID:
      return kSpaceResid;
    case SPACE_HEAD:
      return kSpaceHead;
    default:
      return 0;
  }
}

// Where the last row of an operand ends, n elements long.
uint64_t operand_end(const Operand& o, int n) {
#pragma HLS inline
  const uint64_t last_row = (uint64_t(1) << int(o.log2_rows)) - 1;
  return uint64_t(o.addr) + last_row * uint64_t(o.stride) + uint64_t(n);
}

// An operand whose rows of n elements lie in a memory of the set, from a multiple of `start` on.
bool is_operand(const Operand& o, unsigned allowed, int n, int start) {
#pragma HLS inline
  if (((allowed >> int(o.space)) & 1) == 0) return false;
  // `start` is a power of two.
  if ((int(o.addr) & (start - 1)) != 0 || int(o.stride) % kRowAlign != 0) return false;
  return operand_end(o, n) <= uint64_t(space_elements(o.space));
}

bool is_operand(const Operand& o, unsigned allowed, int n) {
#pragma HLS inline
  return is_operand(o, allowed, n, kRowAlign);
}

// A destination moreover keeps off the constants at the beginning of resid.
bool is_result(const Memory& memory, const Operand& o, unsigned allowed, int n) {
#pragma HLS inline
  const bool spares_image = o.space != SPACE_RESID ||
                            unsigned(o.addr) >= memory.package.elements[SECTION_RESID_IMAGE];
  return is_operand(o, allowed, n) && spares_image;
}

bool is_size(int n, int limit) { return n >= 1 && n <= limit; }

// Sizes that most instructions have: rows of n elements.
bool is_shape(int n_positions, int n) { return n_positions >= 1 && is_size(n, kMaxFeatures); }

// Elements first to first + count - 1 lie in a memory of `size`, and begin at a multiple of
// `align`.
bool is_range(unsigned first, unsigned count, unsigned size, int align) {
#pragma HLS inline
  return first % align == 0 && uint64_t(first) + count <= size;
}

// The same in the memory of a section, as far as the section fills it.
bool is_in_section(const Memory& memory, SectionId section, unsigned first, unsigned count,
                   int align = 1) {
#pragma HLS inline
  return is_range(first, count, memory.package.elements[section], align);
}

// A unit that writes n elements of `dst` while it reads those of `src`, both right operands, reads
// what it is meant to read: they are the same rows, or have no element in common.
bool are_rows_apart(const Operand& src, const Operand& dst, int n) {
#pragma HLS inline
  const bool is_same = src.addr == dst.addr && src.stride == dst.stride &&
                       src.log2_rows == dst.log2_rows;
  return src.space != dst.space || is_same || unsigned(dst.addr) >= operand_end(src, n) ||
         unsigned(src.addr) >= operand_end(dst, n);
}

Error check_recv(const Memory& memory, const word_t<512>& word) {
#pragma HLS inline off
  if (!are_reserved_bits_zero(word, kRecvInstructionUsedBits)) return ERROR_BAD_OPCODE;
  const RecvInstruction f = decode_recv_instruction(word);
  if (!is_result(memory, f.dst, in_set(SPACE_PATCH), f.n)) return ERROR_BAD_OPERAND;
  if (!is_shape(f.n_positions, f.n) || f.n != memory.package.token_bytes) {
    return ERROR_BAD_SHAPE;
  }
  return ERROR_OK;
}

Error check_linear(const Memory& memory, const word_t<512>& word) {
#pragma HLS inline off
  if (!are_reserved_bits_zero(word, kLinearInstructionUsedBits)) return ERROR_BAD_OPCODE;
  const LinearInstruction f = decode_linear_instruction(word);
  const int n_in = f.n_in;
  const int n_out = f.n_out;
  const int granule = kTileIn << int(f.log2_split);
  const int padded_in = (n_in + granule - 1) & -granule;
  if (!is_operand(f.src, kLinearSources, padded_in, minimum(granule, kRowAlign)) ||
      !is_result(memory, f.dst, f.wide != 0 ? kLinearWideResults : kLinearResults, n_out) ||
      (f.add_enable != 0 && !is_operand(f.add, in_set(SPACE_RESID), n_out))) {
    return ERROR_BAD_OPERAND;
  }
  const int rows = f.reduce != 0 ? int(f.n_positions) : 1;
  if (f.n_positions == 0 || n_in == 0 || n_in * rows > kMaxArrayInputs ||
      !is_size(n_out, f.reduce != 0 ? kMaxReduce : kMaxFeatures) || f.log2_split > kMaxLog2Split) {
    return ERROR_BAD_SHAPE;
  }
  const int log2_outputs = kLog2TileOut - int(f.log2_split);
  const int output_tiles = (n_out + (1 << log2_outputs) - 1) >> log2_outputs;
  const int input_tiles = padded_in >> (kLog2TileIn + int(f.log2_split));
  const int tiles = (rows - 1) * int(f.weight_stride) + output_tiles * input_tiles;
  if (!is_in_section(memory, SECTION_WEIGHTS, f.weight_addr, tiles) ||
      !is_in_section(memory, SECTION_ARRAY_PARAMS, f.param_addr, n_out, kArrayParamsAlign)) {
    return ERROR_BAD_SHAPE;
  }
  return ERROR_OK;
}

Error check_conv(const Memory& memory, const word_t<512>& word) {
#pragma HLS inline off
  if (!are_reserved_bits_zero(word, kConvInstructionUsedBits)) return ERROR_BAD_OPCODE;
  const ConvInstruction f = decode_conv_instruction(word);
  const int n = f.n;
  if (!is_operand(f.src, in_set(SPACE_CONV_IN), n) ||
      !is_result(memory, f.dst, in_set(SPACE_CONV), n)) {
    return ERROR_BAD_OPERAND;
  }
  const int kernel = f.kernel;
  if (!is_shape(f.n_positions, n) || !is_size(kernel, kMaxTaps) ||
      kernel > 1 << int(f.src.log2_rows) ||
      !is_in_section(memory, SECTION_CONV_TABLES, f.table, 1) ||
      !is_in_section(memory, SECTION_CONV_PARAMS, f.param_addr, n, kConvLanes)) {
    return ERROR_BAD_SHAPE;
  }
  return ERROR_OK;
}

Error check_scan(const Memory& memory, const word_t<512>& word) {
#pragma HLS inline off
  if (!are_reserved_bits_zero(word, kScanInstructionUsedBits)) return ERROR_BAD_OPCODE;
  const ScanInstruction f = decode_scan_instruction(word);
  const int n = f.n;
  const int states_end = 2 << int(f.log2_state);
  const int skip_end = f.skip_enable != 0 ? int(f.skip_offset) + n : 0;
  if (!is_operand(f.u, in_set(SPACE_CONV), n) || !is_operand(f.z, in_set(SPACE_GATE), n) ||
      !is_operand(f.dt, in_set(SPACE_STEP), n) ||
      !is_operand(f.bc, in_set(SPACE_PROJ), maximum(states_end, skip_end)) ||
      !is_result(memory, f.dst, in_set(SPACE_SCAN), n)) {
    return ERROR_BAD_OPERAND;
  }
  const int pairs = n << int(f.log2_state);
  if (!is_shape(f.n_positions, n) || f.log2_state > kMaxLog2State ||
      f.state_shift > kMaxStateShift || f.skip_shift > kMaxSkipShift || f.y_shift > kMaxYShift ||
      (f.skip_enable != 0 && int(f.skip_offset) % kRowAlign != 0) ||
      !is_in_section(memory, SECTION_SCAN_TABLES, f.softplus_table, 1) ||
      !is_in_section(memory, SECTION_SCAN_TABLES, f.silu_table, 1) ||
      !is_range(f.state_addr, pairs, kMaxState, kScanLanes) ||
      !is_in_section(memory, SECTION_SCAN_DECAY, f.decay_addr, pairs, kScanLanes) ||
      !is_in_section(memory, SECTION_SCAN_PARAMS, f.param_addr, n, kScanChannels)) {
    return ERROR_BAD_SHAPE;
  }
  return ERROR_OK;
}

Error check_norm(const Memory& memory, const word_t<512>& word) {
#pragma HLS inline off
  if (!are_reserved_bits_zero(word, kNormInstructionUsedBits)) return ERROR_BAD_OPCODE;
  const NormInstruction f = decode_norm_instruction(word);
  const int n = f.n;
  if (!is_operand(f.src, in_set(SPACE_RESID), n) ||
      !is_result(memory, f.dst, in_set(f.wide != 0 ? SPACE_RESID : SPACE_NORM), n) ||
      !are_rows_apart(f.src, f.dst, n)) {
    return ERROR_BAD_OPERAND;
  }
  if (!is_shape(f.n_positions, n) || f.eps == 0 ||
      !is_in_section(memory, SECTION_VECTOR_PARAMS, f.param_addr, n)) {
    return ERROR_BAD_SHAPE;
  }
  return ERROR_OK;
}

Error check_pool(const Memory& memory, const word_t<512>& word) {
#pragma HLS inline off
  if (!are_reserved_bits_zero(word, kPoolInstructionUsedBits)) return ERROR_BAD_OPCODE;
  const PoolInstruction f = decode_pool_instruction(word);
  const int n = f.n;
  if (!is_operand(f.src, in_set(SPACE_RESID), n) ||
      !is_result(memory, f.dst, in_set(SPACE_NORM), n)) {
    return ERROR_BAD_OPERAND;
  }
  if (!is_shape(f.n_positions, n) ||
      !is_in_section(memory, SECTION_VECTOR_PARAMS, f.param_addr, 2)) {
    return ERROR_BAD_SHAPE;
  }
  return ERROR_OK;
}

Error check_scale(const Memory& memory, const word_t<512>& word) {
#pragma HLS inline off
  if (!are_reserved_bits_zero(word, kScaleInstructionUsedBits)) return ERROR_BAD_OPCODE;
  const ScaleInstruction f = decode_scale_instruction(word);
  const int n = f.n;
  if (!is_operand(f.src, in_set(SPACE_RESID), n) || !is_operand(f.logit, in_set(SPACE_LOGIT), n) ||
      !is_result(memory, f.dst, in_set(SPACE_RESID), n) || !are_rows_apart(f.src, f.dst, n)) {
    return ERROR_BAD_OPERAND;
  }
  if (!is_shape(f.n_positions, n) || !is_in_section(memory, SECTION_VECTOR_TABLES, f.table, 1)) {
    return ERROR_BAD_SHAPE;
  }
  return ERROR_OK;
}

Error check_pool_features(const Memory& memory, const word_t<512>& word) {
#pragma HLS inline off
  if (!are_reserved_bits_zero(word, kPoolFeaturesInstructionUsedBits)) return ERROR_BAD_OPCODE;
  const PoolFeaturesInstruction f = decode_pool_features_instruction(word);
  const int columns_end = int(f.columns) + memory.package.n_sequences;
  if (!is_operand(f.src, in_set(SPACE_RESID), f.n) ||
      !is_result(memory, f.dst, in_set(SPACE_NORM), columns_end)) {
    return ERROR_BAD_OPERAND;
  }
  if (!is_shape(f.n_positions, f.n) ||
      !is_in_section(memory, SECTION_VECTOR_PARAMS, f.param_addr, 2)) {
    return ERROR_BAD_SHAPE;
  }
  return ERROR_OK;
}

Error check_modulate(const Memory& memory, const word_t<512>& word) {
#pragma HLS inline off
  if (!are_reserved_bits_zero(word, kModulateInstructionUsedBits)) return ERROR_BAD_OPCODE;
  const ModulateInstruction f = decode_modulate_instruction(word);
  const int n = f.n;
  const int columns_end = int(f.columns) + memory.package.n_sequences;
  if (!is_operand(f.src, in_set(SPACE_RESID), n) ||
      !is_operand(f.logit, in_set(SPACE_LOGIT), columns_end) ||
      !is_result(memory, f.dst, in_set(f.wide != 0 ? SPACE_RESID : SPACE_CONV_IN), n) ||
      !is_operand(f.add, in_set(SPACE_RESID), n) || !are_rows_apart(f.src, f.dst, n) ||
      !are_rows_apart(f.add, f.dst, n)) {
    return ERROR_BAD_OPERAND;
  }
  if (!is_shape(f.n_positions, n) ||
      !is_in_section(memory, SECTION_VECTOR_TABLES, f.scale_table, 1) ||
      !is_in_section(memory, SECTION_VECTOR_TABLES, f.shift_table, 1) ||
      !is_in_section(memory, SECTION_VECTOR_PARAMS, f.param_addr, 1)) {
    return ERROR_BAD_SHAPE;
  }
  return ERROR_OK;
}

Error check_send(const Memory& memory, const word_t<512>& word) {
#pragma HLS inline off
  if (!are_reserved_bits_zero(word, kSendInstructionUsedBits)) return ERROR_BAD_OPCODE;
  const SendInstruction f = decode_send_instruction(word);
  if (!is_operand(f.src, in_set(SPACE_HEAD), f.n)) return ERROR_BAD_OPERAND;
  if (f.n_positions == 0 || f.n == 0 || f.n != memory.package.forecast_elements) {
    return ERROR_BAD_SHAPE;
  }
  return ERROR_OK;
}

Error check_instruction(const Memory& memory, const word_t<512>& word) {
#pragma HLS inline
  switch (int(bits<7, 0>(word))) {
    case OP_RECV:
      return check_recv(memory, word);
    case OP_LINEAR:
      return check_linear(memory, word);
    case OP_CONV:
      return check_conv(memory, word);
    case OP_SCAN:
      return check_scan(memory, word);
    case OP_NORM:
      return check_norm(memory, word);
    case OP_POOL:
      return check_pool(memory, word);
    case OP_SCALE:
      return check_scale(memory, word);
    case OP_POOL_FEATURES:
      return check_pool_features(memory, word);
    case OP_MODULATE:
      return check_modulate(memory, word);
    case OP_SEND:
      return check_send(memory, word);
    default:
      return ERROR_BAD_OPCODE;
  }
}

// The entries of a phase, from entry `first` of the schedule on, in its last repeat.
bool is_phase(const Memory& memory, const Phase& phase, unsigned first) {
#pragma HLS inline off
  const PackageFacts& package = memory.package;
  const int last_repeat = int(phase.repeats) - 1;
  const int position_steps = last_repeat * int(phase.position_step);
  const int sequence_steps = last_repeat * int(phase.sequence_step);
  int entries[kUnits];
#pragma HLS array_partition variable = entries complete
clear_units:
  for (int u = 0; u < kUnits; ++u) {
#pragma HLS unroll
    entries[u] = 0;
  }
check_entries:
  for (unsigned i = 0; i < unsigned(phase.entries); ++i) {
#pragma HLS loop_tripcount min = 1 max = 8192
    const ScheduleEntry e = decode_schedule_entry(memory.schedule[first + i]);
    if (e.instruction >= package.elements[SECTION_INSTRUCTIONS]) return false;
    const word_t<512> word = memory.instructions[int(e.instruction)];
    // All instructions have n_positions in the same place.
    const int n_positions = decode_recv_instruction(word).n_positions;
    if (int(e.position) + position_steps >= n_positions ||
        int(e.sequence) + sequence_steps >= package.n_sequences ||
        int(e.sequence) + sequence_steps >= kSequences) {
      return false;
    }
    ++entries[unit_of(bits<7, 0>(word))];
  }
  bool ok = true;
check_units:
  for (int u = 0; u < kUnits; ++u) {
#pragma HLS unroll
    ok = ok && entries[u] == int(phase.unit_entries[u]);
  }
  return ok;
}

Error check_schedule(const Memory& memory) {
#pragma HLS inline off
  const unsigned schedule_entries = memory.package.elements[SECTION_SCHEDULE];
  unsigned first = 0;
  static_assert(uint64_t(kMaxSchedule) * 65535 <= kMaxExecuted,
                "a full memory cannot execute more, so that nobody has to look");
  unsigned received = 0;
  unsigned sent = 0;
check_phases:
  for (unsigned i = 0; i < memory.package.elements[SECTION_PHASES]; ++i) {
#pragma HLS loop_tripcount min = 1 max = 64
    const Phase phase = decode_phase(memory.phases[i]);
    if (unsigned(phase.entries) > schedule_entries - first || !is_phase(memory, phase, first)) {
      return ERROR_BAD_SCHEDULE;
    }
    first += unsigned(phase.entries);
    received += unsigned(phase.unit_entries[UNIT_STREAM_IN]) * unsigned(phase.repeats);
    sent += unsigned(phase.unit_entries[UNIT_STREAM_OUT]) * unsigned(phase.repeats);
  }
  // A header asks for a token at least: here it also shows that there is a phase.
  const bool ok = first == schedule_entries && received == memory.package.n_tokens &&
                  sent == unsigned(memory.package.n_sequences);
  return ok ? ERROR_OK : ERROR_BAD_SCHEDULE;
}

}  // namespace

Error validate_program(const Memory& memory) {
#pragma HLS inline off
check_instructions:
  for (unsigned i = 0; i < memory.package.elements[SECTION_INSTRUCTIONS]; ++i) {
#pragma HLS loop_tripcount min = 1 max = 256
    const Error error = check_instruction(memory, memory.instructions[i]);
    if (error != ERROR_OK) return error;
  }
  return check_schedule(memory);
}

}  // namespace cmamba
