// LINEAR: one weight tile a cycle, and kRequantizeLanes results of the output tile before.
#include "arithmetic.h"
#include "kernels.h"
#include "lanes.h"

namespace cmamba {

namespace {

// The lanes form four quarters, the groups of the widest split.
constexpr int kQuarters = 4;
constexpr int kQuarterLanes = kTileOut / kQuarters;
constexpr int kTileBeats = kTileOut * kTileIn / kBeatBytes;
static_assert(kTileOut * kTileIn % kBeatBytes == 0, "a tile is a whole number of beats");

typedef int_t<8> Tile[kTileOut][kTileIn];

// ceil(x / 2^shift)
int divide_up(int x, int shift) { return (x + (1 << shift) - 1) >> shift; }

// A tile that does not fit the chip: one burst from DDR.
void fetch_tile(const beat_t* package, int first_beat, Tile tile) {
#pragma HLS inline
fetch_beats:
  for (int b = 0; b < kTileBeats; ++b) {
#pragma HLS pipeline II = 1
    const beat_t beat = package[first_beat + b];
  fetch_bytes:
    for (int i = 0; i < kBeatBytes; ++i) {
#pragma HLS unroll
      const int at = b * kBeatBytes + i;
      tile[at / kTileIn][at % kTileIn] = int_t<8>(get_byte(beat, i));
    }
  }
}

// acc[lane] += sum_j tile[lane][j] * x[quarter of the lane][j], or = where `clear`.
void multiply_accumulate(const Weights weights, const Tile fetched, int tile, bool is_fetched,
                         const int_t<8> x[kQuarters][kTileIn], bool clear,
                         int_t<32> acc[kTileOut]) {
#pragma HLS inline
multiply_lanes:
  for (int lane = 0; lane < kTileOut; ++lane) {
#pragma HLS unroll
    int_t<32> sum = 0;
  multiply_inputs:
#ifdef CMAMBA_NATIVE
// g++ would unroll the loop before it comes to vectorize it.
#pragma GCC unroll 1
#endif
    for (int j = 0; j < kTileIn; ++j) {
#pragma HLS unroll
      // Both are read: a choice between two memories would be one of pointers.
      const int_t<8> from_chip = weights[tile][lane][j];
      const int_t<8> from_package = fetched[lane][j];
      const int_t<8> w = is_fetched ? from_package : from_chip;
      sum += product<16>(w, x[lane / kQuarterLanes][j]);
    }
    acc[lane] = clear ? sum : int_t<32>(acc[lane] + sum);
  }
}

// The inputs that meet an input tile: quarter q of the lanes belongs to group q >> (2 - log2_split)
// of the split, and the groups follow each other in the row. All of them lie in one word of it.
void select_inputs(const InputRow x, int part, int log2_split,
                   int_t<8> selected[kQuarters][kTileIn]) {
#pragma HLS inline
  int_t<8> word[kRowAlign];
#pragma HLS array_partition variable = word complete
  read_part<kRowAlign, kRowAlign>(x, part / kQuarters * kRowAlign, word);
select_quarters:
  for (int q = 0; q < kQuarters; ++q) {
#pragma HLS unroll
    const int group = part % kQuarters + (q >> (2 - log2_split));
  select_groups:
    for (int g = 0; g < kQuarters; ++g) {
#pragma HLS unroll
      if (g == group) {
      select_elements:
        for (int j = 0; j < kTileIn; ++j) {
#pragma HLS unroll
          selected[q][j] = word[g * kTileIn + j];
        }
      }
    }
  }
}

// Adds up the groups of the split: lane l of the first group gets the sum of all lanes of its
// output.
void combine_groups(const int_t<32> acc[kTileOut], int log2_split, int_t<32> sums[kTileOut]) {
#pragma HLS inline
combine_lanes:
  for (int l = 0; l < kTileOut; ++l) {
#pragma HLS unroll
    int_t<32> sum = acc[l];
    if (log2_split == 1 && l < 2 * kQuarterLanes) sum += acc[l + 2 * kQuarterLanes];
    if (log2_split == 2 && l < kQuarterLanes) {
      sum += acc[l + kQuarterLanes] + acc[l + 2 * kQuarterLanes] + acc[l + 3 * kQuarterLanes];
    }
    sums[l] = sum;
  }
}

}  // namespace

void linear_int8(const LinearInstruction& f, int position, const InputRow x, int x_offset,
                 const Row16 addend, const Weights weights, const beat_t* package, int weights_beat,
                 const ArrayParams params, Reduce reduce, Row16 y) {
#pragma HLS inline off
  const int n_out = f.n_out;
  const int log2_split = f.log2_split;
  const int log2_outputs = kLog2TileOut - log2_split;  // of a tile
  const int input_tiles = divide_up(f.n_in, kLog2TileIn + log2_split);
  const int output_tiles = divide_up(n_out, log2_outputs);
  const int chunks = (1 << log2_outputs) / kRequantizeLanes;
  const int first_part = x_offset / kTileIn;
  const int first_tile = f.weight_addr + (f.reduce ? position * int(f.weight_stride) : 0);
  const bool is_final = !f.reduce || position == f.n_positions - 1;

  // A pass takes the input tiles of one output tile, a tile a step; meanwhile the sums of the
  // output tile before leave through the requantizer, a chunk of kRequantizeLanes a step. One more
  // pass drains it.
  const int pass_steps = maximum(input_tiles, chunks);
  const int steps = output_tiles * pass_steps + chunks;

  // Where all weights are on the chip, all steps form one span that is pipelined without a break.
  // Else a span is one step, before which its tile is fetched: DDR is the limit then anyway.
  const bool is_resident = first_tile + input_tiles * output_tiles <= kMaxWeights;
  const int span_steps = is_resident ? steps : 1;
  const int spans = is_resident ? 1 : steps;

  Tile fetched;
#pragma HLS array_partition variable = fetched complete dim = 0
  int_t<32> acc[kTileOut];
#pragma HLS array_partition variable = acc complete
  int_t<32> sums[kTileOut];
#pragma HLS array_partition variable = sums complete
clear_sums:
  for (int l = 0; l < kTileOut; ++l) {
#pragma HLS unroll
    acc[l] = 0;
    sums[l] = 0;
  }

  int output_tile = 0;
  int step = 0;
  int tile = first_tile;
linear_spans:
  for (int span = 0; span < spans; ++span) {
#pragma HLS loop_tripcount min = 1 max = 1
    const bool is_fetched = tile >= kMaxWeights;
    if (is_fetched && output_tile < output_tiles && step < input_tiles) {
      fetch_tile(package, weights_beat + tile * kTileBeats, fetched);
    }

  linear_steps:
    for (int i = 0; i < span_steps; ++i) {
#pragma HLS loop_tripcount min = 5 max = 1028
#pragma HLS pipeline II = 1
// Every element of `reduce` is read and written in one step only, so that no step reads what
// another has written. The tool cannot see that the address, which follows from two counters, never
// comes back.
#pragma HLS dependence variable = reduce type = inter false
      // Results of the output tile before.
      const int first = (output_tile << log2_outputs) - (1 << log2_outputs) +
                        step * kRequantizeLanes;
      if (output_tile > 0 && step < chunks && first < n_out) {
        word_t<64> words[kRequantizeLanes];
#pragma HLS array_partition variable = words complete
        read_lanes<kMaxArrayParams / kRequantizeLanes, kRequantizeLanes>(
            params, int(f.param_addr) + first, words);
        int_t<16> addends[kRequantizeLanes];
#pragma HLS array_partition variable = addends complete
        read_part<kRowAlign, kRequantizeLanes>(addend, first, addends);
        int_t<16> results[kRequantizeLanes];
#pragma HLS array_partition variable = results complete
      requantize_lanes:
        for (int l = 0; l < kRequantizeLanes; ++l) {
#pragma HLS unroll
          results[l] = 0;
          if (first + l < n_out) {
            const ParamWord p = decode_param_word(words[l]);
            int_t<32> sum = sums[l];
            if (f.reduce && position > 0) {
              sum = add_modulo<32>(sum, reduce[first / kRequantizeLanes][l]);
            }
            if (f.reduce) reduce[first / kRequantizeLanes][l] = sum;
            int_t<52> q = requantize(add_modulo<32>(sum, p.bias), p);
            if (f.add_enable) q += addends[l];
            if (f.relu && q < p.zero_point) q = p.zero_point;
            results[l] = f.wide ? saturate<16>(q) : int_t<16>(saturate<8>(q));
          }
        }
        if (is_final) write_part<kRowAlign, kRequantizeLanes>(y, first, results);
      }
    shift_sums:
      for (int l = 0; l + kRequantizeLanes < kTileOut; ++l) {
#pragma HLS unroll
        sums[l] = sums[l + kRequantizeLanes];
      }

      // The next tile of this pass.
      if (output_tile < output_tiles && step < input_tiles) {
        int_t<8> selected[kQuarters][kTileIn];
#pragma HLS array_partition variable = selected complete dim = 0
        select_inputs(x, first_part + (step << log2_split), log2_split, selected);
        multiply_accumulate(weights, fetched, tile, is_fetched, selected, step == 0, acc);
        ++tile;
      }
      if (step == pass_steps - 1) {
        combine_groups(acc, log2_split, sums);
        step = 0;
        ++output_tile;
      } else {
        ++step;
      }
    }
  }
}

}  // namespace cmamba
