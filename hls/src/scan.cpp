// SCAN: kScanLanes (channel, state) pairs a cycle.
//
// Pair p = channel * states + state is element p of the instruction's states and decay rates, which
// begin with a row: lane l works on element l of a row. A step takes consecutive pairs of one row:
// `channels` whole channels, or, where a channel has more states than there are lanes, one part of
// it. The lanes of other channels work in vain.
#include "arithmetic.h"
#include "dependences.h"
#include "lanes.h"
#include "steps.h"

namespace cmamba {

namespace {

constexpr int kLog2Lanes = log2_exact(kScanLanes);
constexpr int kLog2Channels = log2_exact(kScanChannels);
// Steps of the channel with most states.
constexpr int kMaxParts = maximum(kMaxStates / kScanLanes, 1);

// What all pairs of a channel share.
struct Channel {
  uint_t<16> delta;
  int_t<9> w;         // u without its zero point
  int_t<26> delta_w;  // delta * w
};

// An adder tree that stops at the level of whole channels: of 2^levels lanes each, sums[c] becomes
// the sum of channel c.
#ifdef CMAMBA_NATIVE
template <int Lanes>
void add_states(int_t<48> sums[kScanLanes], int levels) {
  const int states = minimum(1 << levels, Lanes);
  for (int c = 0; c < Lanes / states; ++c) {
    int_t<48> sum = 0;
    for (int l = 0; l < states; ++l) sum += sums[c * states + l];
    sums[c] = sum;
  }
}
#else
template <int Lanes>
void add_states(int_t<48> sums[kScanLanes], int levels) {
#pragma HLS inline
  if (levels > 0) {
  add_pairs:
    for (int i = 0; i < Lanes / 2; ++i) {
#pragma HLS unroll
      sums[i] = sums[2 * i] + sums[2 * i + 1];
    }
    add_states<Lanes / 2>(sums, levels - 1);
  }
}
template <>
void add_states<1>(int_t<48>[kScanLanes], int) {}
#endif

// Of a row of `states` B and then C, what lane l of a part takes: written so that it chooses
// between the few places that its state can have, one for each size of the state.
void spread_states(const int_t<8> bc[2 * kMaxStates], int log2_state, int part,
                   int_t<8> b[kScanLanes], int_t<8> c[kScanLanes]) {
#pragma HLS inline
spread_sizes:
  for (int m = 0; m <= kMaxLog2State; ++m) {
#pragma HLS unroll
    if (m == 0 || m == log2_state) {
    spread_parts:
      for (int q = 0; q < kMaxParts; ++q) {
#pragma HLS unroll
        if (q == 0 || q == part) {
        spread_lanes:
          for (int l = 0; l < kScanLanes; ++l) {
#pragma HLS unroll
            const int at = (q * kScanLanes + l) & ((1 << m) - 1);
            b[l] = bc[at];
            c[l] = bc[at + (1 << m)];
          }
        }
      }
    }
  }
}

}  // namespace

bool step(Scan& u, channel<ScanEntry, kStartDepth>& starts,
          channel<ArrayPacket8, kPacketDepth>& from_array,
          channel<ConvPacket, kPacketDepth>& from_conv, channel<Ends, kAckDepth>& ends,
          channel<ScanPacket, kPacketDepth>& to_multiply, Gate& gate, ConvRows& conv, Proj& proj,
          SkipRows& skip_rows, StepRows& step_rows, Decay& decay_rates, ScanParams& params,
          ScanTables& tables, State& state) {
#pragma HLS inline
// No entry reads rows that are still being written: it starts after their end has been seen.
#pragma HLS dependence variable = gate type = inter direction = RAW false
#pragma HLS dependence variable = conv type = inter direction = RAW false
#pragma HLS dependence variable = proj type = inter direction = RAW false
#pragma HLS dependence variable = skip_rows type = inter direction = RAW false
#pragma HLS dependence variable = step_rows type = inter direction = RAW false
// Within an entry every pair is read and written in one step only. An entry of the same states
// starts after dispatch has seen the end of the one before.
#pragma HLS dependence variable = state type = inter direction = RAW false
  CMAMBA_ANSWERED(gate, Gate);
  CMAMBA_ANSWERED(conv, ConvRows);
  CMAMBA_ANSWERED(proj, Proj);
  CMAMBA_ANSWERED(skip_rows, SkipRows);
  CMAMBA_ANSWERED(step_rows, StepRows);
  // Of a row, the lanes of other channels are read and not used.
  CMAMBA_ANSWERED_WRITES(state, State);
  bool is_active = false;

  Ends done = 0;
  ArrayPacket8 array_packet;
  if (from_array.read_nb(array_packet)) {
    is_active = true;
    const int at = array_packet.address;
    if (array_packet.has_data && array_packet.space == SPACE_GATE) {
      write_part<kRequantizeLanes, kRequantizeLanes>(gate, at, array_packet.value);
    }
    if (array_packet.has_data && array_packet.space == SPACE_STEP) {
      write_part<kRequantizeLanes, kRequantizeLanes>(step_rows, at, array_packet.value);
    }
    if (array_packet.has_data && array_packet.space == SPACE_PROJ) {
      write_part<kRowAlign, kRequantizeLanes>(proj, at, array_packet.value);
      write_part<kRequantizeLanes, kRequantizeLanes>(skip_rows, at, array_packet.value);
    }
    if (array_packet.is_end) done |= Ends(1 << UNIT_ARRAY);
  }
  ConvPacket conv_packet;
  if (from_conv.read_nb(conv_packet)) {
    is_active = true;
    if (conv_packet.has_data) {
      write_part<kConvLanes, kConvLanes>(conv, conv_packet.address, conv_packet.value);
    }
    if (conv_packet.is_end) done |= Ends(1 << UNIT_CONV);
  }
  if (done != 0) ends.write(done);

  if (u.is_busy) {
    is_active = true;
    const ScanEntry e = u.entry;
    const int n = e.n;
    const int log2_state = e.log2_state;
    const int log2_channels = maximum(minimum(kLog2Lanes - log2_state, kLog2Channels), 0);
    const int log2_parts = maximum(log2_state - kLog2Lanes, 0);
    const int channels = 1 << log2_channels;

    // B and C come a word a step; the first step of the channels takes the last of them.
    const int bc_elements = 2 << log2_state;
    if (u.words * kRowAlign < bc_elements) {
      int_t<8> word[kRowAlign];
#pragma HLS array_partition variable = word complete
      read_part<kRowAlign, kRowAlign>(proj, int(e.bc) + u.words * kRowAlign, word);
    keep_words:
      for (int w = 0; w < maximum(2 * kMaxStates / kRowAlign, 1); ++w) {
#pragma HLS unroll
        if (w == u.words) {
        keep_lanes:
          for (int l = 0; l < minimum(kRowAlign, 2 * kMaxStates); ++l) {
#pragma HLS unroll
            u.bc[w * kRowAlign + l] = word[l];
          }
        }
      }
      ++u.words;
    }
    if (u.words * kRowAlign >= bc_elements) {
      if (u.first == 0 || log2_parts > 0) {
        spread_states(u.bc, log2_state, u.part, u.lane_b, u.lane_c);
      }

      // The step's channels are all or some of those of a group that rows are read by.
      const int offset = u.first % kScanChannels;
      const int group = u.first - offset;
      int_t<8> group_u[kScanChannels];
#pragma HLS array_partition variable = group_u complete
      int_t<8> group_z[kScanChannels];
#pragma HLS array_partition variable = group_z complete
      int_t<8> group_dt[kScanChannels];
#pragma HLS array_partition variable = group_dt complete
      int_t<8> group_skip[kScanChannels];
#pragma HLS array_partition variable = group_skip complete
      read_part<kConvLanes, kScanChannels>(conv, int(e.u) + group, group_u);
      read_part<kRequantizeLanes, kScanChannels>(gate, int(e.z) + group, group_z);
      read_part<kRequantizeLanes, kScanChannels>(step_rows, int(e.dt) + group, group_dt);
      CMAMBA_READS_IF(skip_rows, e.skip_enable);
      read_part<kRequantizeLanes, kScanChannels>(skip_rows, int(e.skip) + group, group_skip);

      Channel channel[kScanChannels];
#pragma HLS array_partition variable = channel complete
    begin_channels:
      for (int c = 0; c < kScanChannels; ++c) {
#pragma HLS unroll
        const int g = (offset + c) % kScanChannels;
        const int entry = int(group_dt[g]) + kTableEntries / 2;
        channel[c].delta = tables[c][int(e.softplus_table)][entry];
        channel[c].w = int_t<9>(group_u[g] - e.u_zero_point);
        channel[c].delta_w = product<26>(channel[c].delta, channel[c].w);
      }

      uint_t<16> rates[kScanLanes];
#pragma HLS array_partition variable = rates complete
      int_t<24> h[kScanLanes];
#pragma HLS array_partition variable = h complete
      const int first_pair = (u.first << log2_state) + u.part * kScanLanes;
      const int valid_pairs = minimum(minimum(channels, n - u.first) << log2_state, kScanLanes);
      const int first_lane = first_pair % kScanLanes;
      const int row_pair = first_pair - first_lane;
      read_part<kScanLanes, kScanLanes>(decay_rates, int(e.decay_addr) + row_pair, rates);
      read_part<kScanLanes, kScanLanes>(state, int(e.state_addr) + row_pair, h);

      // What each lane takes from its channel.
      uint_t<16> delta[kScanLanes];
#pragma HLS array_partition variable = delta complete
      int_t<26> delta_w[kScanLanes];
#pragma HLS array_partition variable = delta_w complete
    spread_channels:
      for (int c = 0; c < kScanChannels; ++c) {
#pragma HLS unroll
        const Channel from = channel[c];
      spread_to_lanes:
        for (int l = 0; l < kScanLanes; ++l) {
#pragma HLS unroll
          const bool is_other = c > 0 && (l >> log2_state) % kScanChannels != c;
          delta[l] = is_other ? delta[l] : from.delta;
          delta_w[l] = is_other ? delta_w[l] : from.delta_w;
        }
      }

      uint_t<32> exponents[kScanLanes];
#pragma HLS array_partition variable = exponents complete
    scale_exponents:
      for (int l = 0; l < kScanLanes; ++l) {
#pragma HLS unroll
        const int_t<34> exponent = product<34>(delta[l], rates[l]);
        exponents[l] = uint_t<32>(rne_shift<34>(exponent, e.exp_shift));
      }
      uint_t<17> kept[kScanLanes];
#pragma HLS array_partition variable = kept complete
      decay_lanes<kScanLanes>(exponents, kept);

      int_t<48> sums[1][kScanLanes];  // a row, of which the step's channels are a part
#pragma HLS array_partition variable = sums complete dim = 0
    update_states:
      for (int l = 0; l < kScanLanes; ++l) {
#pragma HLS unroll
        const int_t<24> before = e.is_first ? int_t<24>(0) : h[l];
        const int_t<48> added = shift_left<48>(product<34>(delta_w[l], u.lane_b[l]),
                                               16 - int(e.state_shift));
        h[l] = saturate<24>(rne_shift<49>(product<48>(kept[l], before) + added, 16));
        sums[0][l] = product<32>(h[l], u.lane_c[l]);
      }
      write_part<kScanLanes, kScanLanes>(state, int(e.state_addr) + row_pair, h, first_lane,
                                         first_lane + valid_pairs);

      add_states<kScanLanes>(sums[0], log2_state);
      int_t<48> channel_sums[kScanChannels];
#pragma HLS array_partition variable = channel_sums complete
      read_part<kScanLanes, kScanChannels>(sums, first_lane >> log2_state, channel_sums);
      channel_sums[0] += u.part > 0 ? u.earlier_parts : int_t<48>(0);
      u.earlier_parts = channel_sums[0];
      const bool is_last_part = u.part == (1 << log2_parts) - 1;

      word_t<64> words[kScanChannels];
#pragma HLS array_partition variable = words complete
      read_part<kScanChannels, kScanChannels>(params, int(e.param_addr) + group, words);
    finish_channels:
      for (int c = 0; c < kScanChannels; ++c) {
#pragma HLS unroll
        if (c < channels) {
          const int g = (offset + c) % kScanChannels;
          const ParamWord p = decode_param_word(words[g]);
          const int_t<18> skip_weight = e.skip_enable ? int_t<18>(group_skip[g] - e.skip_zero_point)
                                                      : int_t<18>(p.bias);
          const int_t<48> skipped = shift_left<48>(product<27>(skip_weight, channel[c].w),
                                                   e.skip_shift);
          const int_t<16> out = saturate<16>(rne_shift<49>(channel_sums[c] + skipped, e.y_shift));
          const int entry = int(group_z[g]) + kTableEntries / 2;
          const int_t<16> silu = int_t<16>(tables[c][int(e.silu_table)][entry]);
          u.results[g] = saturate<8>(requantize(product<32>(out, silu), p));
        }
      }
      if (is_last_part) {
        u.first += channels;
        u.part = 0;
        ScanPacket packet;
      send_channels:
        for (int c = 0; c < kScanChannels; ++c) {
#pragma HLS unroll
          packet.value[c] = u.results[c];
        }
        packet.space = SPACE_SCAN;
        packet.address = int(e.result) + group;
        packet.has_data = true;
        packet.is_end = u.first >= n;
        if (packet.is_end || u.first % kScanChannels == 0) to_multiply.write(packet);
        u.is_busy = !packet.is_end;
      } else {
        ++u.part;
      }
    }
  }
  if (!u.is_busy && starts.read_nb(u.entry)) {
    is_active = true;
    u.first = 0;
    u.part = 0;
    u.words = 0;
    u.is_busy = !u.entry.is_end;
    u.is_finished = u.entry.is_end;
  }
  return is_active;
}

}  // namespace cmamba
