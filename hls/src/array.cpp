// LINEAR. array_multiply: one weight tile a cycle. array_output: kRequantizeLanes results of an
// output tile a cycle.
#include "arithmetic.h"
#include "dependences.h"
#include "lanes.h"
#include "resid.h"
#include "steps.h"

namespace cmamba {

namespace {

// The lanes form four quarters, the groups of the widest split.
constexpr int kQuarters = 4;
constexpr int kQuarterLanes = kTileOut / kQuarters;
static_assert(kQuarterLanes % 2 == 0, "neighbours have the same inputs");
static_assert(kTileIn < 128, "select_inputs counts them in 8 bits");
// The place of a tile from DDR.
constexpr int kLastTile = kMaxWeights - 1;

// acc[lane] += sum_j tile[lane][j] * x[quarter of the lane][j], or = where `clear`.
void multiply_accumulate(const int_t<8> tile[kTileOut][kTileIn],
                         const dot_input_t x[kQuarters][kTileIn], bool clear,
                         dot_sum_t acc[kTileOut]) {
#pragma HLS inline
multiply_quarters:
  for (int q = 0; q < kQuarters; ++q) {
#pragma HLS unroll
  multiply_pairs:
    for (int l = 0; l < kQuarterLanes; l += 2) {
#pragma HLS unroll
      const int lane = q * kQuarterLanes + l;
      dot_pair<kTileIn>(tile[lane], tile[lane + 1], x[q], clear, acc[lane], acc[lane + 1]);
    }
  }
}

// The inputs that meet an input tile: quarter q of the lanes belongs to group q >> (2 - log2_split)
// of the split, and the groups follow each other in the row. All of them lie in `word`, from part
// `part` on. `left` inputs are left: neither what the row nor what the weights hold behind them
// counts.
void select_inputs(const int_t<8> word[1][kRowAlign], int part, int log2_split, int left,
                   dot_input_t selected[kQuarters][kTileIn]) {
#pragma HLS inline
select_quarters:
  for (int q = 0; q < kQuarters; ++q) {
#pragma HLS unroll
    const int first_group = q >> (2 - log2_split);
    const int group = part + first_group;
    const int_t<8> inside = minimum(left - first_group * kTileIn, kTileIn);
    int_t<8> inputs[kTileIn];
#pragma HLS array_partition variable = inputs complete
    read_part<kRowAlign, kTileIn>(word, group * kTileIn, inputs);
    take_first<kTileIn>(inputs, inside, selected[q]);
  }
}

// Adds up the groups of the split: lane l of the first group gets the sum of all lanes of its
// output.
void combine_groups(const dot_sum_t acc[kTileOut], int log2_split, Sums& sums) {
#pragma HLS inline
  int_t<32> lanes[kTileOut];
#pragma HLS array_partition variable = lanes complete
add_parts:
  for (int l = 0; l < kTileOut; ++l) {
#pragma HLS unroll
    lanes[l] = total(acc[l]);
  }
combine_lanes:
  for (int l = 0; l < kTileOut; ++l) {
#pragma HLS unroll
    const int_t<32> half = log2_split == 1 && l < 2 * kQuarterLanes
                               ? lanes[(l + 2 * kQuarterLanes) % kTileOut]
                               : int_t<32>(0);
    const int_t<32> quarters = log2_split == 2 && l < kQuarterLanes
                                   ? int_t<32>(lanes[(l + kQuarterLanes) % kTileOut] +
                                               lanes[(l + 2 * kQuarterLanes) % kTileOut] +
                                               lanes[(l + 3 * kQuarterLanes) % kTileOut])
                                   : int_t<32>(0);
    sums.lane[l] = lanes[l] + half + quarters;
  }
}

}  // namespace

bool step(ArrayMultiply& u, channel<MultiplyEntry, kStartDepth>& starts,
          channel<PatchPacket, kPacketDepth>& from_stream_in,
          channel<ArrayPacket8, kPacketDepth>& from_array,
          channel<PartPacket, kPacketDepth>& from_vector,
          channel<ConvPacket, kPacketDepth>& from_conv,
          channel<ScanPacket, kPacketDepth>& from_scan, channel<Ends, kAckDepth>& ends,
          channel<BeatRange, kStartDepth>& ranges, channel<beat_t, kTileBeats>& beats,
          channel<Sums, kSumsDepth>& sums, channel<Credit, kSumsDepth>& credits, Patch& patch,
          Norm& norm, ConvWords& conv, Proj& proj, ScanRows& scan, Weights& weights,
          int resident_tiles, int weights_beat, int sums_depth) {
#pragma HLS inline
// No entry reads rows that are still being written: it starts after their end has been seen.
// Nor a tile from DDR before it has been there for kTileDistance steps.
#pragma HLS dependence variable = patch type = inter direction = RAW false
#pragma HLS dependence variable = norm type = inter direction = RAW false
#pragma HLS dependence variable = conv type = inter direction = RAW false
#pragma HLS dependence variable = proj type = inter direction = RAW false
#pragma HLS dependence variable = scan type = inter direction = RAW false
#pragma HLS dependence variable = weights type = inter direction = RAW false
  CMAMBA_ANSWERED(patch, Patch);
  CMAMBA_ANSWERED(norm, Norm);
  CMAMBA_ANSWERED(conv, ConvWords);
  CMAMBA_ANSWERED(proj, Proj);
  CMAMBA_ANSWERED(scan, ScanRows);
  CMAMBA_APART(weights, Weights, kTileDistance);
// A tile is unpacked at once.
#pragma HLS array_partition variable = u.gathered complete
  bool is_active = false;

  // What comes for the memories.
  Ends done = 0;
  PatchPacket patch_packet;
  if (from_stream_in.read_nb(patch_packet)) {
    is_active = true;
    if (patch_packet.has_data) {
      write_part<kRowAlign, kBeatBytes>(patch, patch_packet.address, patch_packet.value);
    }
    if (patch_packet.is_end) done |= Ends(1 << UNIT_STREAM_IN);
  }
  ArrayPacket8 proj_packet;
  if (from_array.read_nb(proj_packet)) {
    is_active = true;
    if (proj_packet.has_data) {
      write_part<kRowAlign, kRequantizeLanes>(proj, proj_packet.address, proj_packet.value);
    }
    if (proj_packet.is_end) done |= Ends(1 << UNIT_ARRAY);
  }
  PartPacket norm_packet;
  if (from_vector.read_nb(norm_packet)) {
    is_active = true;
    if (norm_packet.has_data) {
      write_part<kRowAlign, kVectorLanes>(norm, norm_packet.address, norm_packet.value,
                                          norm_packet.begin, norm_packet.end);
    }
    if (norm_packet.is_end) done |= Ends(1 << UNIT_VECTOR);
  }
  ConvPacket conv_packet;
  if (from_conv.read_nb(conv_packet)) {
    is_active = true;
    if (conv_packet.has_data) {
      write_row_part<kRowAlign / kConvLanes, kConvLanes>(conv, conv_packet.address,
                                                         conv_packet.value);
    }
    if (conv_packet.is_end) done |= Ends(1 << UNIT_CONV);
  }
  ScanPacket scan_packet;
  if (from_scan.read_nb(scan_packet)) {
    is_active = true;
    if (scan_packet.has_data) {
      write_part<kRowAlign, kScanChannels>(scan, scan_packet.address, scan_packet.value);
    }
    if (scan_packet.is_end) done |= Ends(1 << UNIT_SCAN);
  }
  if (done != 0) ends.write(done);
  Credit credit;
  if (credits.read_nb(credit)) {
    is_active = true;
    --u.taken;
  }

  // A tile from DDR: the last place of the weights is its own.
  beat_t beat;
  if (u.tile_age == 0 && beats.read_nb(beat)) {
    is_active = true;
    u.gathered[u.gathered_beats] = beat;
    ++u.gathered_beats;
    if (u.gathered_beats == kTileBeats) {
      unpack_tile(u.gathered, weights[kLastTile / kBankTiles][kLastTile % kBankTiles]);
      u.gathered_beats = 0;
      u.tile_age = 1;
    }
  } else if (u.tile_age > 0 && u.tile_age <= kTileDistance) {
    is_active = true;
    ++u.tile_age;
  }

  if (u.is_busy) {
    const int log2_split = u.entry.log2_split;
    const int log2_inputs = kLog2TileIn + log2_split;  // of an input tile
    const int input = u.step << log2_inputs;
    const bool is_last_input = input + (1 << log2_inputs) >= int(u.entry.n_in);
    const bool is_resident = u.tile < resident_tiles;
    const bool has_tile = is_resident || u.tile_age > kTileDistance;
    const bool has_place = !is_last_input || u.taken < sums_depth;
    if (has_tile && has_place) {
      is_active = true;
      const int at = int(u.entry.source) + input;
      int_t<8> word[1][kRowAlign];
#pragma HLS array_partition variable = word complete dim = 0
      switch (int(u.entry.space)) {
        case SPACE_PATCH:
          read_part<kRowAlign, kRowAlign>(patch, at, word[0]);
          break;
        case SPACE_NORM:
          read_part<kRowAlign, kRowAlign>(norm, at, word[0]);
          break;
        case SPACE_CONV:
          read_row<kRowAlign / kConvLanes, kConvLanes>(conv, at, word[0]);
          break;
        case SPACE_PROJ:
          read_part<kRowAlign, kRowAlign>(proj, at, word[0]);
          break;
        default:
          read_part<kRowAlign, kRowAlign>(scan, at, word[0]);
          break;
      }
      dot_input_t selected[kQuarters][kTileIn];
#pragma HLS array_partition variable = selected complete dim = 0
      select_inputs(word, at % kRowAlign / kTileIn, log2_split, int(u.entry.n_in) - input,
                    selected);
      const unsigned place = is_resident ? u.tile : kLastTile;
      multiply_accumulate(weights[place / kBankTiles][place % kBankTiles], selected, u.step == 0,
                          u.acc);
      if (!is_resident) u.tile_age = 0;
      ++u.tile;
      if (is_last_input) {
        Sums tile_sums;
        combine_groups(u.acc, log2_split, tile_sums);
        sums.write(tile_sums);
        ++u.taken;
        u.step = 0;
        u.first += 1 << (kLog2TileOut - log2_split);
        u.is_busy = u.first < int(u.entry.n_out);
      } else {
        ++u.step;
      }
    }
  }
  if (!u.is_busy && starts.read_nb(u.entry)) {
    is_active = true;
    BeatRange range;
    if (u.entry.is_end) {
      u.is_finished = true;
      range.first = 0;
      range.count = 0;
      ranges.write(range);
    } else {
      u.is_busy = true;
      u.step = 0;
      u.first = 0;
      u.tile = u.entry.tile;
      const int log2_split = u.entry.log2_split;
      const int log2_inputs = kLog2TileIn + log2_split;
      const int log2_outputs = kLog2TileOut - log2_split;
      const int end = u.tile + ((int(u.entry.n_in) + (1 << log2_inputs) - 1) >> log2_inputs) *
                                   ((int(u.entry.n_out) + (1 << log2_outputs) - 1) >> log2_outputs);
      if (end > resident_tiles) {
        const int first = maximum(u.tile, resident_tiles);
        range.first = weights_beat + first * kTileBeats;
        range.count = (end - first) * kTileBeats;
        ranges.write(range);
      }
    }
  }
  return is_active;
}

bool step(ArrayOutput& u, channel<OutputEntry, kStartDepth>& starts,
          channel<Sums, kSumsDepth>& sums, channel<Credit, kSumsDepth>& credits,
          channel<ArrayPacket16, kPacketDepth>& from_array,
          channel<VectorPacket16, kWaitingDepth>& from_vector,
          channel<Credit, kWaitingDepth>& vector_credits, channel<Ends, kAckDepth>& ends,
          channel<ArrayPacket8, kPacketDepth>& to_multiply,
          channel<ArrayPacket16, kPacketDepth>& to_output,
          channel<ArrayPacket16, kPacketDepth>& to_reduce,
          channel<ArrayPacket16, kPacketDepth>& to_apply,
          channel<ArrayPacket8, kPacketDepth>& to_conv,
          channel<ArrayPacket8, kPacketDepth>& to_scan,
          channel<ArrayPacket16, kPacketDepth>& to_stream_out, Resid& resid, ArrayParams& params,
          Reduce& reduce) {
#pragma HLS inline
// No entry reads rows that are still being written: it starts after their end has been seen.
#pragma HLS dependence variable = resid type = inter direction = RAW false
// A running sum is read kSumDistance steps after it is written, or later.
#pragma HLS dependence variable = reduce type = inter direction = RAW false
  CMAMBA_ANSWERED(resid, Resid);
  CMAMBA_APART(reduce, Reduce, kSumDistance);
  Ends done = 0;
  bool is_active = take_resid(from_array, from_vector, vector_credits, resid, done);
  if (done != 0) ends.write(done);

  if (u.age < kSumDistance) {
    is_active = true;
    ++u.age;
  }
  const bool has_running_sums = !u.entry.reads_sums || u.first > 0 || u.age == kSumDistance;
  if (u.is_busy && u.has_sums && has_running_sums) {
    is_active = true;
    const OutputEntry e = u.entry;
    const int n_out = e.n_out;
    word_t<64> words[kRequantizeLanes];
#pragma HLS array_partition variable = words complete
    read_lanes<kMaxArrayParams / kRequantizeLanes, kRequantizeLanes>(
        params, int(e.param_addr) + u.first, words);
    CMAMBA_READS_IF(resid, e.add_enable);
    int_t<16> addends[kRequantizeLanes];
#pragma HLS array_partition variable = addends complete
    read_part<kWideWidth, kRequantizeLanes>(resid, int(e.addend) + u.first, addends);
    CMAMBA_READS_IF(reduce, e.reads_sums);
    int_t<32> running[kRequantizeLanes];
#pragma HLS array_partition variable = running complete
    const int sums_at = u.first % kMaxReduce;
    read_part<kRequantizeLanes, kRequantizeLanes>(reduce, sums_at, running);
    ArrayPacket8 packet8;
    ArrayPacket16 packet16;
    // What an entry does not use is masked: g++ vectorizes no loop with such a choice in it.
    const int_t<32> sums_mask = e.reads_sums ? -1 : 0;
    const int_t<16> addend_mask = e.add_enable ? -1 : 0;
    const int_t<16> relu_mask = e.relu ? -1 : 0;
    const int_t<16> wide_mask = e.wide ? -1 : 0;
  requantize_lanes:
    for (int l = 0; l < kRequantizeLanes; ++l) {
#pragma HLS unroll
      const ParamWord p = decode_param_word(words[l]);
      const int_t<32> sum = add_modulo<32>(u.sums.lane[l], running[l] & sums_mask);
      running[l] = sum;
      const int_t<52> q = requantize(add_modulo<32>(sum, p.bias), p) +
                          int_t<52>(addends[l] & addend_mask);
      // The least result there is, where nothing is clamped.
      const int_t<16> floor = int_t<16>((int_t<16>(p.zero_point) & relu_mask) |
                                        (int_t<16>(-(1 << 15)) & ~relu_mask));
      const int_t<52> result = q < floor ? int_t<52>(floor) : q;
      const int_t<8> narrow = saturate<8>(result);
      packet8.value[l] = narrow;
      packet16.value[l] = int_t<16>((saturate<16>(result) & wide_mask) |
                                    (int_t<16>(narrow) & ~wide_mask));
    }
    if (e.writes_sums) {
      write_part<kRequantizeLanes, kRequantizeLanes>(reduce, sums_at, running);
      u.age = 0;
    }

    // Everyone sees the end of an entry; the data go to those who read that memory.
    const int space = e.space;
    const bool has_result = e.has_result;
    const bool is_end = u.first + kRequantizeLanes >= n_out;
    packet8.space = packet16.space = e.space;
    packet8.address = packet16.address = int(e.result) + u.first;
    packet8.is_end = packet16.is_end = is_end;
    packet8.has_data = has_result && space == SPACE_PROJ;
    if (packet8.has_data || is_end) to_multiply.write(packet8);
    packet8.has_data = has_result && space == SPACE_CONV_IN;
    if (packet8.has_data || is_end) to_conv.write(packet8);
    packet8.has_data = has_result &&
                       (space == SPACE_PROJ || space == SPACE_GATE || space == SPACE_STEP);
    if (packet8.has_data || is_end) to_scan.write(packet8);
    packet16.has_data = has_result && space == SPACE_RESID;
    if (packet16.has_data || is_end) to_output.write(packet16);
    if (packet16.has_data || is_end) to_reduce.write(packet16);
    packet16.has_data = has_result && (space == SPACE_RESID || space == SPACE_LOGIT);
    if (packet16.has_data || is_end) to_apply.write(packet16);
    packet16.has_data = has_result && space == SPACE_HEAD;
    if (packet16.has_data || is_end) to_stream_out.write(packet16);

  shift_sums:
    for (int l = 0; l + kRequantizeLanes < kTileOut; ++l) {
#pragma HLS unroll
      u.sums.lane[l] = u.sums.lane[l + kRequantizeLanes];
    }
    u.first += kRequantizeLanes;
    u.lane += kRequantizeLanes;
    if (is_end || u.lane == kTileOut >> int(e.log2_split)) {
      u.has_sums = false;
      u.lane = 0;
    }
    if (is_end) u.is_busy = false;
  }
  if (!u.has_sums && sums.read_nb(u.sums)) {
    is_active = true;
    u.has_sums = true;
    credits.write(1);
  }
  if (!u.is_busy && starts.read_nb(u.entry)) {
    is_active = true;
    u.is_finished = u.entry.is_end;
    u.is_busy = !u.entry.is_end;
    u.first = 0;
  }
  return is_active;
}

}  // namespace cmamba
