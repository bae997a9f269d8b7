// Generated from isa/isa.toml by `make isa`. Do not edit.
#pragma once

#include "types.h"

namespace cmamba {

constexpr int kVersionMajor = 2;
constexpr int kVersionMinor = 0;
constexpr unsigned kMagic = 0x31424D43;
constexpr int kHeaderBytes = 256;
constexpr int kSectionAlign = 64;
constexpr int kInstructionBits = 512;
constexpr int kUnits = 6;
constexpr int kSpaces = 11;
constexpr int kSections = 14;

// What a loader allows.
constexpr int kMaxShift = 48;
constexpr int kMaxBiasBits = 30;
constexpr int kMaxSkipWeightBits = 17;
constexpr int kMaxArrayInputs = 65535;
constexpr int kMaxExecuted = 2147483647;
constexpr int kMaxLog2Split = 2;
constexpr int kMaxTaps = 8;
constexpr int kMaxLog2State = 6;
constexpr int kMaxStateShift = 16;
constexpr int kMaxSkipShift = 20;
constexpr int kMaxYShift = 40;

// Instructions.
enum Opcode {
  OP_RECV = 1,
  OP_LINEAR = 2,
  OP_CONV = 3,
  OP_SCAN = 4,
  OP_NORM = 5,
  OP_POOL = 6,
  OP_SCALE = 7,
  OP_SEND = 8,
  OP_POOL_FEATURES = 9,
  OP_MODULATE = 10,
};

// Execution units.
enum Unit {
  UNIT_STREAM_IN = 0,
  UNIT_ARRAY = 1,
  UNIT_VECTOR = 2,
  UNIT_CONV = 3,
  UNIT_SCAN = 4,
  UNIT_STREAM_OUT = 5,
};

// Activation memories.
enum Space {
  SPACE_PATCH = 0,
  SPACE_NORM = 1,
  SPACE_CONV_IN = 2,
  SPACE_GATE = 3,
  SPACE_CONV = 4,
  SPACE_PROJ = 5,
  SPACE_STEP = 6,
  SPACE_SCAN = 7,
  SPACE_LOGIT = 8,
  SPACE_RESID = 9,
  SPACE_HEAD = 10,
};

// Parts of the package.
enum SectionId {
  SECTION_INSTRUCTIONS = 0,
  SECTION_PHASES = 1,
  SECTION_SCHEDULE = 2,
  SECTION_WEIGHTS = 3,
  SECTION_ARRAY_PARAMS = 4,
  SECTION_CONV_PARAMS = 5,
  SECTION_CONV_TABLES = 6,
  SECTION_SCAN_PARAMS = 7,
  SECTION_SCAN_DECAY = 8,
  SECTION_SCAN_TABLES = 9,
  SECTION_VECTOR_PARAMS = 10,
  SECTION_VECTOR_TABLES = 11,
  SECTION_RESID_IMAGE = 12,
  SECTION_METADATA = 13,
};

// Error codes.
enum Error {
  ERROR_OK = 0,
  ERROR_BAD_MODE = 1,
  ERROR_NOT_LOADED = 2,
  ERROR_BAD_MAGIC = 3,
  ERROR_BAD_VERSION = 4,
  ERROR_BAD_CRC = 5,
  ERROR_BAD_SECTION = 6,
  ERROR_BAD_TILE = 7,
  ERROR_BAD_OPCODE = 8,
  ERROR_BAD_OPERAND = 9,
  ERROR_BAD_SHAPE = 10,
  ERROR_BAD_SCHEDULE = 11,
  ERROR_TLAST_EARLY = 12,
  ERROR_TLAST_LATE = 13,
  ERROR_TIMEOUT = 14,
  ERROR_BUS_ERROR = 15,
};

// Bytes of one element of each section.
constexpr int kSectionElementBytes[] = {64, 32, 16, 1, 8, 16, 256, 8, 2, 512, 8, 512, 2, 1};
// Bits of one element of each activation memory.
constexpr int kSpaceBits[kSpaces] = {8, 8, 8, 8, 8, 8, 8, 8, 8, 16, 16};

// Rows of an activation memory: row i starts at addr + (i mod 2^log2_rows) * stride.
struct Operand {
  uint_t<20> addr;
  uint_t<16> stride;
  uint_t<4> log2_rows;
  uint_t<4> space;
};
template <int Lsb, class Word>
inline Operand decode_operand(const Word& w) {
  Operand f;
  f.addr = bits<Lsb + 19, Lsb + 0>(w);
  f.stride = bits<Lsb + 35, Lsb + 20>(w);
  f.log2_rows = bits<Lsb + 39, Lsb + 36>(w);
  f.space = bits<Lsb + 43, Lsb + 40>(w);
  return f;
}

// Run one instruction on one token.
struct ScheduleEntry {
  uint_t<10> instruction;
  uint_t<12> token;
  uint_t<12> position;
  uint_t<10> sequence;
  int_t<14> wait[6];
};
inline ScheduleEntry decode_schedule_entry(const word_t<128>& w) {
  ScheduleEntry f;
  f.instruction = bits<9, 0>(w);
  f.token = bits<21, 10>(w);
  f.position = bits<33, 22>(w);
  f.sequence = bits<43, 34>(w);
  f.wait[0] = sbits<57, 44>(w);
  f.wait[1] = sbits<71, 58>(w);
  f.wait[2] = sbits<85, 72>(w);
  f.wait[3] = sbits<99, 86>(w);
  f.wait[4] = sbits<113, 100>(w);
  f.wait[5] = sbits<127, 114>(w);
  return f;
}

// Entries of the schedule, executed several times.
struct Phase {
  uint_t<16> entries;
  uint_t<16> repeats;
  uint_t<12> token_step;
  uint_t<12> position_step;
  uint_t<10> sequence_step;
  uint_t<16> unit_entries[6];
};
constexpr int kPhaseUsedBits = 162;
inline Phase decode_phase(const word_t<256>& w) {
  Phase f;
  f.entries = bits<15, 0>(w);
  f.repeats = bits<31, 16>(w);
  f.token_step = bits<43, 32>(w);
  f.position_step = bits<55, 44>(w);
  f.sequence_step = bits<65, 56>(w);
  f.unit_entries[0] = bits<81, 66>(w);
  f.unit_entries[1] = bits<97, 82>(w);
  f.unit_entries[2] = bits<113, 98>(w);
  f.unit_entries[3] = bits<129, 114>(w);
  f.unit_entries[4] = bits<145, 130>(w);
  f.unit_entries[5] = bits<161, 146>(w);
  return f;
}

// Requantization parameters.
struct ParamWord {
  int_t<32> bias;
  int_t<18> multiplier;
  uint_t<6> shift;
  int_t<8> zero_point;
};
inline ParamWord decode_param_word(const word_t<64>& w) {
  ParamWord f;
  f.bias = sbits<31, 0>(w);
  f.multiplier = sbits<49, 32>(w);
  f.shift = bits<55, 50>(w);
  f.zero_point = sbits<63, 56>(w);
  return f;
}

// Receive one token of int8 patches from s_axis.
struct RecvInstruction {
  uint_t<12> n_positions;
  Operand dst;
  uint_t<16> n;
};
constexpr int kRecvInstructionUsedBits = 80;
inline RecvInstruction decode_recv_instruction(const word_t<512>& w) {
  RecvInstruction f;
  f.n_positions = bits<19, 8>(w);
  f.dst = decode_operand<20>(w);
  f.n = bits<79, 64>(w);
  return f;
}

// Matrix-vector product of one token, requantized to int8 or int16.
struct LinearInstruction {
  uint_t<12> n_positions;
  Operand src;
  Operand dst;
  Operand add;
  uint_t<20> weight_addr;
  uint_t<16> weight_stride;
  uint_t<20> param_addr;
  uint_t<16> n_in;
  uint_t<16> n_out;
  uint_t<2> log2_split;
  uint_t<1> wide;
  uint_t<1> relu;
  uint_t<1> reduce;
  uint_t<1> add_enable;
  uint_t<1> add_position;
};
constexpr int kLinearInstructionUsedBits = 247;
inline LinearInstruction decode_linear_instruction(const word_t<512>& w) {
  LinearInstruction f;
  f.n_positions = bits<19, 8>(w);
  f.src = decode_operand<20>(w);
  f.dst = decode_operand<64>(w);
  f.add = decode_operand<108>(w);
  f.weight_addr = bits<171, 152>(w);
  f.weight_stride = bits<187, 172>(w);
  f.param_addr = bits<207, 188>(w);
  f.n_in = bits<223, 208>(w);
  f.n_out = bits<239, 224>(w);
  f.log2_split = bits<241, 240>(w);
  f.wide = bits<242, 242>(w);
  f.relu = bits<243, 243>(w);
  f.reduce = bits<244, 244>(w);
  f.add_enable = bits<245, 245>(w);
  f.add_position = bits<246, 246>(w);
  return f;
}

// Causal depthwise convolution over tokens, requantized, through an int8 activation table.
struct ConvInstruction {
  uint_t<12> n_positions;
  Operand src;
  Operand dst;
  uint_t<20> param_addr;
  uint_t<8> table;
  uint_t<16> n;
  uint_t<4> kernel;
  int_t<8> pad;
};
constexpr int kConvInstructionUsedBits = 164;
inline ConvInstruction decode_conv_instruction(const word_t<512>& w) {
  ConvInstruction f;
  f.n_positions = bits<19, 8>(w);
  f.src = decode_operand<20>(w);
  f.dst = decode_operand<64>(w);
  f.param_addr = bits<127, 108>(w);
  f.table = bits<135, 128>(w);
  f.n = bits<151, 136>(w);
  f.kernel = bits<155, 152>(w);
  f.pad = sbits<163, 156>(w);
  return f;
}

// One token of the selective scan: softplus, decay, state update, output, skip, gate.
struct ScanInstruction {
  uint_t<12> n_positions;
  Operand u;
  Operand z;
  Operand dt;
  Operand bc;
  Operand dst;
  uint_t<20> state_addr;
  uint_t<20> decay_addr;
  uint_t<20> param_addr;
  uint_t<8> softplus_table;
  uint_t<8> silu_table;
  uint_t<16> n;
  uint_t<3> log2_state;
  int_t<8> u_zero_point;
  uint_t<5> exp_shift;
  uint_t<5> state_shift;
  uint_t<5> skip_shift;
  uint_t<6> y_shift;
  uint_t<1> skip_enable;
  int_t<8> skip_zero_point;
  uint_t<16> skip_offset;
};
constexpr int kScanInstructionUsedBits = 389;
inline ScanInstruction decode_scan_instruction(const word_t<512>& w) {
  ScanInstruction f;
  f.n_positions = bits<19, 8>(w);
  f.u = decode_operand<20>(w);
  f.z = decode_operand<64>(w);
  f.dt = decode_operand<108>(w);
  f.bc = decode_operand<152>(w);
  f.dst = decode_operand<196>(w);
  f.state_addr = bits<259, 240>(w);
  f.decay_addr = bits<279, 260>(w);
  f.param_addr = bits<299, 280>(w);
  f.softplus_table = bits<307, 300>(w);
  f.silu_table = bits<315, 308>(w);
  f.n = bits<331, 316>(w);
  f.log2_state = bits<334, 332>(w);
  f.u_zero_point = sbits<342, 335>(w);
  f.exp_shift = bits<347, 343>(w);
  f.state_shift = bits<352, 348>(w);
  f.skip_shift = bits<357, 353>(w);
  f.y_shift = bits<363, 358>(w);
  f.skip_enable = bits<364, 364>(w);
  f.skip_zero_point = sbits<372, 365>(w);
  f.skip_offset = bits<388, 373>(w);
  return f;
}

// RMSNorm of one token.
struct NormInstruction {
  uint_t<12> n_positions;
  Operand src;
  Operand dst;
  uint_t<20> param_addr;
  uint_t<16> n;
  uint_t<32> eps;
  uint_t<1> wide;
};
constexpr int kNormInstructionUsedBits = 177;
inline NormInstruction decode_norm_instruction(const word_t<512>& w) {
  NormInstruction f;
  f.n_positions = bits<19, 8>(w);
  f.src = decode_operand<20>(w);
  f.dst = decode_operand<64>(w);
  f.param_addr = bits<127, 108>(w);
  f.n = bits<143, 128>(w);
  f.eps = bits<175, 144>(w);
  f.wide = bits<176, 176>(w);
  return f;
}

// Mean and maximum over the tokens of a sequence; both rows are written at the last position.
struct PoolInstruction {
  uint_t<12> n_positions;
  Operand src;
  Operand dst;
  uint_t<20> param_addr;
  uint_t<16> n;
};
constexpr int kPoolInstructionUsedBits = 144;
inline PoolInstruction decode_pool_instruction(const word_t<512>& w) {
  PoolInstruction f;
  f.n_positions = bits<19, 8>(w);
  f.src = decode_operand<20>(w);
  f.dst = decode_operand<64>(w);
  f.param_addr = bits<127, 108>(w);
  f.n = bits<143, 128>(w);
  return f;
}

// Multiply the residual stream by a table of the channel attention's logit.
struct ScaleInstruction {
  uint_t<12> n_positions;
  Operand src;
  Operand logit;
  Operand dst;
  uint_t<8> table;
  uint_t<16> n;
};
constexpr int kScaleInstructionUsedBits = 176;
inline ScaleInstruction decode_scale_instruction(const word_t<512>& w) {
  ScaleInstruction f;
  f.n_positions = bits<19, 8>(w);
  f.src = decode_operand<20>(w);
  f.logit = decode_operand<64>(w);
  f.dst = decode_operand<108>(w);
  f.table = bits<159, 152>(w);
  f.n = bits<175, 160>(w);
  return f;
}

// Send one sequence's int16 forecast to m_axis.
struct SendInstruction {
  uint_t<12> n_positions;
  Operand src;
  uint_t<16> n;
};
constexpr int kSendInstructionUsedBits = 80;
inline SendInstruction decode_send_instruction(const word_t<512>& w) {
  SendInstruction f;
  f.n_positions = bits<19, 8>(w);
  f.src = decode_operand<20>(w);
  f.n = bits<79, 64>(w);
  return f;
}

// Mean and maximum over the features of a token: an element each of a row that all sequences share.
struct PoolFeaturesInstruction {
  uint_t<12> n_positions;
  Operand src;
  Operand dst;
  uint_t<20> param_addr;
  uint_t<16> n;
  uint_t<16> columns;
};
constexpr int kPoolFeaturesInstructionUsedBits = 160;
inline PoolFeaturesInstruction decode_pool_features_instruction(const word_t<512>& w) {
  PoolFeaturesInstruction f;
  f.n_positions = bits<19, 8>(w);
  f.src = decode_operand<20>(w);
  f.dst = decode_operand<64>(w);
  f.param_addr = bits<127, 108>(w);
  f.n = bits<143, 128>(w);
  f.columns = bits<159, 144>(w);
  return f;
}

// Scale and shift a token by tables of two logits of its own, add a row, requantize.
struct ModulateInstruction {
  uint_t<12> n_positions;
  Operand src;
  Operand logit;
  Operand dst;
  Operand add;
  uint_t<20> param_addr;
  uint_t<16> n;
  uint_t<16> columns;
  uint_t<8> scale_table;
  uint_t<8> shift_table;
  uint_t<1> wide;
};
constexpr int kModulateInstructionUsedBits = 265;
inline ModulateInstruction decode_modulate_instruction(const word_t<512>& w) {
  ModulateInstruction f;
  f.n_positions = bits<19, 8>(w);
  f.src = decode_operand<20>(w);
  f.logit = decode_operand<64>(w);
  f.dst = decode_operand<108>(w);
  f.add = decode_operand<152>(w);
  f.param_addr = bits<215, 196>(w);
  f.n = bits<231, 216>(w);
  f.columns = bits<247, 232>(w);
  f.scale_table = bits<255, 248>(w);
  f.shift_table = bits<263, 256>(w);
  f.wide = bits<264, 264>(w);
  return f;
}

// Package header: byte offsets of its 32-bit and 16-bit fields.
constexpr int kHeaderMagicAt = 0;
constexpr int kHeaderVersionMajorAt = 4;
constexpr int kHeaderVersionMinorAt = 6;
constexpr int kHeaderTotalBytesAt = 8;
constexpr int kHeaderTileInAt = 12;
constexpr int kHeaderTileOutAt = 14;
constexpr int kHeaderNSequencesAt = 16;
constexpr int kHeaderIterationsAt = 18;
constexpr int kHeaderNPositionsAt = 20;
constexpr int kHeaderTokenBytesAt = 22;
constexpr int kHeaderForecastElementsAt = 24;
// The section table: offset, bytes and CRC of each section, 32 bits each.
constexpr int kHeaderSectionTableAt = 28;
constexpr int kHeaderSectionEntryBytes = 12;
constexpr int kHeaderCrcAt = 252;

}  // namespace cmamba
