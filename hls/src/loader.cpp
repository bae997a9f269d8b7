// Loading a package: checks the header, copies section after section onto the chip, checks the
// program. Every size comes from outside: nothing is read before the rules have bounded it.
#include "cmamba.h"
#include "crc32.h"
#include "lanes.h"
#include "validate.h"

namespace cmamba {

namespace {

constexpr int kHeaderBeats = kHeaderBytes / kBeatBytes;

// Memories whose words are wider than a beat are written a word at a time, from beats gathered in
// registers: a part of a word would need byte enables, with which block RAM gives up its ninth
// bits.
constexpr int kInstructionBeats = kInstructionBits / 8 / kBeatBytes;
constexpr int kResidBeats = kWideWidth * 2 / kBeatBytes;
constexpr int kGatherBeats = maximum(kTileBeats, maximum(kInstructionBeats, kResidBeats));
static_assert(kPhaseBeats <= kInstructionBeats, "a phase is gathered as well");
static_assert(kWideWidth * 2 % kBeatBytes == 0, "a word of resid is a whole number of beats");

// A section as the header has it.
struct SectionEntry {
  unsigned offset;
  unsigned bytes;
  unsigned crc;
};

// log2 of the bytes of each section's elements, all powers of two; weights in tiles. Sizes are
// divided by shifts.
struct ElementSizes {
  int log2_bytes[kSections];
};

constexpr ElementSizes element_sizes() {
  ElementSizes sizes = {};
  for (int s = 0; s < kSections; ++s) sizes.log2_bytes[s] = log2_exact(kSectionElementBytes[s]);
  sizes.log2_bytes[SECTION_WEIGHTS] = kLog2TileOut + kLog2TileIn;
  return sizes;
}

constexpr ElementSizes kElementSizes = element_sizes();

unsigned header_byte(const beat_t header[kHeaderBeats], int at) {
#pragma HLS inline
  return unsigned(get_byte(header[at / kBeatBytes], at % kBeatBytes));
}

unsigned header_u16(const beat_t header[kHeaderBeats], int at) {
#pragma HLS inline
  return header_byte(header, at) | header_byte(header, at + 1) << 8;
}

unsigned header_u32(const beat_t header[kHeaderBeats], int at) {
#pragma HLS inline
  return header_u16(header, at) | header_u16(header, at + 2) << 16;
}

SectionEntry section_entry(const beat_t header[kHeaderBeats], int section) {
#pragma HLS inline
  const int at = kHeaderSectionTableAt + section * kHeaderSectionEntryBytes;
  SectionEntry entry;
  entry.offset = header_u32(header, at);
  entry.bytes = header_u32(header, at + 4);
  entry.crc = header_u32(header, at + 8);
  return entry;
}

// Reads and checks the header, in the order of the rules.
Error read_header(const beat_t* package, unsigned package_beats, beat_t header[kHeaderBeats],
                  PackageFacts& facts) {
#pragma HLS inline off
  const unsigned beats = package_beats < kHeaderBeats ? package_beats : kHeaderBeats;
clear_beats:
  for (int b = 0; b < kHeaderBeats; ++b) {
#pragma HLS unroll
    header[b] = zero_word<8 * kBeatBytes>();
  }
// Without a condition around the read, so that it is a burst.
read_beats:
  for (unsigned b = 0; b < beats; ++b) {
#pragma HLS loop_tripcount min = 0 max = 16
#pragma HLS pipeline II = 1
    header[b] = package[b];
  }
  if (header_u32(header, kHeaderMagicAt) != kMagic) return ERROR_BAD_MAGIC;
  if (beats < kHeaderBeats) return ERROR_BAD_CRC;
  if (header_u16(header, kHeaderVersionMajorAt) != kVersionMajor ||
      header_u16(header, kHeaderVersionMinorAt) > kVersionMinor) {
    return ERROR_BAD_VERSION;
  }

  unsigned crc = kCrcInitial;
header_crc:
  for (int at = 0; at < kHeaderCrcAt; ++at) {
#pragma HLS pipeline II = 1
    crc = crc32_byte(crc, uint_t<8>(header_byte(header, at)));
  }
  if (~crc != header_u32(header, kHeaderCrcAt)) return ERROR_BAD_CRC;

  facts.n_sequences = header_u16(header, kHeaderNSequencesAt);
  facts.iterations = header_u16(header, kHeaderIterationsAt);
  facts.n_positions = header_u16(header, kHeaderNPositionsAt);
  facts.token_bytes = header_u16(header, kHeaderTokenBytesAt);
  facts.forecast_elements = header_u16(header, kHeaderForecastElementsAt);
  facts.n_tokens = unsigned(facts.n_sequences) * unsigned(facts.n_positions);
  const bool is_tile = header_u16(header, kHeaderTileInAt) == kTileIn &&
                       header_u16(header, kHeaderTileOutAt) == kTileOut;
  const uint64_t total_bytes = header_u32(header, kHeaderTotalBytesAt);
  if (!is_tile) return ERROR_BAD_TILE;
  if (facts.n_sequences == 0 || facts.iterations == 0 || facts.n_positions == 0 ||
      facts.token_bytes == 0 || facts.forecast_elements == 0) {
    return ERROR_BAD_SHAPE;
  }
  if (total_bytes > uint64_t(package_beats) * kBeatBytes) return ERROR_BAD_SECTION;
  return ERROR_OK;
}

// The rules for the place and size of a section; `end` is where the one before ends.
bool is_section(const SectionEntry& entry, int section, unsigned end, unsigned total_bytes) {
#pragma HLS inline
  const int log2_bytes = kElementSizes.log2_bytes[section];
  const unsigned elements = entry.bytes >> log2_bytes;
  return entry.offset % kSectionAlign == 0 && entry.offset >= end &&
         uint64_t(entry.offset) + entry.bytes <= total_bytes &&
         elements << log2_bytes == entry.bytes && elements <= section_capacity(section);
}

uint_t<16> beat_u16(const beat_t& beat, int i) {
#pragma HLS inline
  return uint_t<16>(uint_t<16>(get_byte(beat, 2 * i)) |
                    uint_t<16>(uint_t<16>(get_byte(beat, 2 * i + 1)) << 8));
}

// Two parameter words.
template <int Rows, int Lanes>
void store_params(word_t<64> params[Rows][Lanes], int b, const beat_t& beat) {
#pragma HLS inline
  static_assert(Rows * Lanes % 2 == 0, "the second word of the last beat has a place");
  constexpr int kPart = minimum(Lanes, 2);
store_words:
  for (int w = 0; w < 2; w += kPart) {
#pragma HLS unroll
    word_t<64> words[kPart];
#pragma HLS array_partition variable = words complete
  store_lanes:
    for (int l = 0; l < kPart; ++l) {
#pragma HLS unroll
      words[l] = get_part<64>(beat, w + l);
    }
    write_part<Lanes, kPart>(params, 2 * b + w, words);
  }
}

// Entry `at` of a section of tables, into every copy.
template <int Copies, int Tables, class T>
void store_entry(T tables[Copies][Tables][kTableEntries], int at, T value) {
#pragma HLS inline
store_copies:
  for (int c = 0; c < Copies; ++c) {
#pragma HLS unroll
    tables[c][at / kTableEntries][at % kTableEntries] = value;
  }
}

// Beat b of a section goes to its memory.
void store_beat(Memory& memory, int section, int b, bool is_last, const beat_t& beat,
                beat_t gathered[kGatherBeats]) {
#pragma HLS inline
  switch (section) {
    case SECTION_INSTRUCTIONS: {
      gathered[b % kInstructionBeats] = beat;
      if (b % kInstructionBeats == kInstructionBeats - 1) {
        word_t<512> word = zero_word<512>();
      store_parts:
        for (int i = 0; i < kInstructionBeats; ++i) {
#pragma HLS unroll
          set_part(word, i, gathered[i]);
        }
        memory.instructions[b / kInstructionBeats] = word;
      }
      break;
    }
    case SECTION_PHASES: {
      gathered[b % kPhaseBeats] = beat;
      if (b % kPhaseBeats == kPhaseBeats - 1) {
        word_t<256> word = zero_word<256>();
      store_halves:
        for (int i = 0; i < kPhaseBeats; ++i) {
#pragma HLS unroll
          set_part(word, i, gathered[i]);
        }
        memory.phases[b / kPhaseBeats] = word;
      }
      break;
    }
    case SECTION_SCHEDULE:
      memory.schedule[b] = beat;
      break;
    case SECTION_WEIGHTS:
      gathered[b % kTileBeats] = beat;
      if (b % kTileBeats == kTileBeats - 1 && b / kTileBeats < kMaxWeights) {
        const unsigned tile = b / kTileBeats;
        unpack_tile(gathered, memory.weights[tile / kBankTiles][tile % kBankTiles]);
      }
      break;
    case SECTION_ARRAY_PARAMS:
      store_params<kMaxArrayParams / kRequantizeLanes, kRequantizeLanes>(memory.array_params, b,
                                                                         beat);
      break;
    case SECTION_CONV_PARAMS:
      memory.conv_params[b / kConvLanes][b % kConvLanes] = beat;
      break;
    case SECTION_SCAN_PARAMS:
      store_params<kMaxScanParams / kScanChannels, kScanChannels>(memory.scan_params, b, beat);
      break;
    case SECTION_SCAN_DECAY: {
      constexpr int kBeatRates = kBeatBytes / 2;
      uint_t<16> rates[kBeatRates];
#pragma HLS array_partition variable = rates complete
    store_rates:
      for (int i = 0; i < kBeatRates; ++i) {
#pragma HLS unroll
        rates[i] = beat_u16(beat, i);
      }
      write_part<kScanLanes, kBeatRates>(memory.scan_decay, b * kBeatRates, rates);
      break;
    }
    case SECTION_VECTOR_PARAMS:
      store_params<kMaxVectorParams / kVectorLanes, kVectorLanes>(memory.vector_params, b, beat);
      break;
    case SECTION_RESID_IMAGE:
      gathered[b % kResidBeats] = beat;
      if (b % kResidBeats == kResidBeats - 1 || is_last) {
      store_resid:
        for (int i = 0; i < kWideWidth; ++i) {
#pragma HLS unroll
          constexpr int kBeatElements = kBeatBytes / 2;
          const bool is_there = i / kBeatElements <= b % kResidBeats;
          const int_t<16> element = is_there ? int_t<16>(beat_u16(gathered[i / kBeatElements],
                                                                  i % kBeatElements))
                                             : int_t<16>(0);
          memory.resid_output[b / kResidBeats][i] = element;
          memory.resid_reduce[b / kResidBeats][i] = element;
          memory.resid_apply[b / kResidBeats][i] = element;
        }
      }
      break;
    default:  // metadata are for the host
      break;
  }
}

// Copies a section of words, a beat a cycle, checks parameter words and phases, and returns its
// CRC-32.
unsigned copy_words(const beat_t* package, const SectionEntry& entry, int section, Memory& memory,
                    bool& are_words_right) {
#pragma HLS inline off
  const int first_beat = entry.offset / kBeatBytes;
  const int whole_beats = entry.bytes / kBeatBytes;
  const int tail_bytes = entry.bytes % kBeatBytes;
  const int beats = whole_beats + (tail_bytes > 0 ? 1 : 0);
  beat_t gathered[kGatherBeats];
#pragma HLS array_partition variable = gathered complete
  beat_t beat = zero_word<8 * kBeatBytes>();
  unsigned crc = kCrcInitial;
copy_beats:
  for (int b = 0; b < beats; ++b) {
#pragma HLS loop_tripcount min = 1 max = 212992
#pragma HLS pipeline II = 1
    beat = package[first_beat + b];
    if (b < whole_beats) crc = crc32_beat(crc, beat);
    const bool are_right = are_words(section, b, beat, b < whole_beats ? kBeatBytes : tail_bytes);
    are_words_right = are_words_right && are_right;
    store_beat(memory, section, b, b == beats - 1, beat, gathered);
  }
copy_tail:
  for (int i = 0; i < tail_bytes; ++i) {
#pragma HLS loop_tripcount min = 0 max = 15
#pragma HLS pipeline II = 1
    crc = crc32_byte(crc, get_byte(beat, i));
  }
  return ~crc;
}

bool is_table_section(int section) {
#pragma HLS inline
  return section == SECTION_CONV_TABLES || section == SECTION_SCAN_TABLES ||
         section == SECTION_VECTOR_TABLES;
}

// Copies a section of tables, which are whole beats, and returns its CRC-32. An entry a cycle:
// memories as wide as a beat, to take it at once, would need several times the block RAM.
unsigned copy_tables(const beat_t* package, const SectionEntry& entry, int section,
                     Memory& memory) {
#pragma HLS inline off
  const int first_beat = entry.offset / kBeatBytes;
  const int beats = entry.bytes / kBeatBytes;
  const int beat_entries = section == SECTION_CONV_TABLES ? kBeatBytes : kBeatBytes / 2;
  unsigned crc = kCrcInitial;
copy_table_beats:
  for (int b = 0; b < beats; ++b) {
#pragma HLS loop_tripcount min = 16 max = 2048
    const beat_t beat = package[first_beat + b];
    crc = crc32_beat(crc, beat);
  copy_entries:
    for (int i = 0; i < beat_entries; ++i) {
#pragma HLS loop_tripcount min = 8 max = 16
#pragma HLS pipeline II = 1
      const int at = b * beat_entries + i;
      if (section == SECTION_CONV_TABLES) {
        store_entry<table_copies(kConvLanes), kMaxConvTables>(memory.conv_tables, at,
                                                              int_t<8>(get_byte(beat, i)));
      } else if (section == SECTION_SCAN_TABLES) {
        store_entry<kScanChannels, kMaxScanTables>(memory.scan_tables, at, beat_u16(beat, i));
      } else {
        store_entry<table_copies(kVectorLanes), kMaxVectorTables>(memory.vector_tables, at,
                                                                  beat_u16(beat, i));
      }
    }
  }
  return ~crc;
}

}  // namespace

Error load_package(const beat_t* package, unsigned package_beats, Memory& memory) {
#pragma HLS inline off
  memory.loaded = false;
  beat_t header[kHeaderBeats];
#pragma HLS array_partition variable = header complete
  const Error header_error = read_header(package, package_beats, header, memory.package);
  if (header_error != ERROR_OK) return header_error;

  const unsigned total_bytes = header_u32(header, kHeaderTotalBytesAt);
  unsigned end = kHeaderBytes;
load_sections:
  for (int s = 0; s < kSections; ++s) {
    const SectionEntry entry = section_entry(header, s);
    if (!is_section(entry, s, end, total_bytes)) return ERROR_BAD_SECTION;
    bool are_words_right = true;
    const unsigned crc = is_table_section(s)
                             ? copy_tables(package, entry, s, memory)
                             : copy_words(package, entry, s, memory, are_words_right);
    if (crc != entry.crc) return ERROR_BAD_CRC;
    if (!are_words_right) return ERROR_BAD_SHAPE;
    memory.package.elements[s] = entry.bytes >> kElementSizes.log2_bytes[s];
    if (s == SECTION_WEIGHTS) memory.package.weights_beat = entry.offset / kBeatBytes;
    end = entry.offset + entry.bytes;
  }

  const Error error = validate_program(memory);
  memory.loaded = error == ERROR_OK;
  return error;
}

}  // namespace cmamba
