// Loads a package: checks the header, copies section after section into the memories, has the
// program checked. The rules and their order are those of docs/instruction_set.md, "What a loader
// checks".
//
//   header --> sizes of all sections --> section 0 --> section 1 --> ... --> program_check
//              (facts)                    place, read, CRC, parameter words and phases
//
// A section is read by one command, a beat a cycle:
//
//   beat --> hold --+--------------> write bus --> parameter words --> bad?
//            | ^    +--> gather ---> program_check (instructions of four beats, phases of two)
//            shift  +--> CRC-32
//
// A beat of a table is held and shifted: its entries go to the write bus one a cycle; so are the
// bytes behind the last whole beat, which go to the CRC-32. The last beat of an instruction or of a
// phase is held until that is taken.
//
// The header is read in the same way, as if it were a section of 252 bytes.

`default_nettype none

module cmamba_loader
  import cmamba_pkg::*;
#(
    // Bytes of a weight tile: TileOut lanes of TileIn weights.
    parameter int unsigned TileIn = cmamba_build_pkg::TileIn,
    parameter int unsigned TileOut = cmamba_build_pkg::TileOut,
    // Elements of each section's memory. Weight tiles beyond theirs are checked but not written.
    parameter int unsigned MaxInstructions = cmamba_build_pkg::MaxInstructions,
    parameter int unsigned MaxPhases = cmamba_build_pkg::MaxPhases,
    parameter int unsigned MaxSchedule = cmamba_build_pkg::MaxSchedule,
    parameter int unsigned MaxWeights = cmamba_build_pkg::MaxWeights,
    parameter int unsigned MaxArrayParams = cmamba_build_pkg::MaxArrayParams,
    parameter int unsigned MaxConvParams = cmamba_build_pkg::MaxConvParams,
    parameter int unsigned MaxConvTables = cmamba_build_pkg::MaxConvTables,
    parameter int unsigned MaxScanParams = cmamba_build_pkg::MaxScanParams,
    parameter int unsigned MaxScanDecay = cmamba_build_pkg::MaxScanDecay,
    parameter int unsigned MaxScanTables = cmamba_build_pkg::MaxScanTables,
    parameter int unsigned MaxVectorParams = cmamba_build_pkg::MaxVectorParams,
    parameter int unsigned MaxVectorTables = cmamba_build_pkg::MaxVectorTables,
    parameter int unsigned ResidElements = cmamba_build_pkg::ResidElements
) (
    input wire logic clk_i,
    input wire logic rst_i,

    // `start_i` is looked at while `busy_o` is low; the arguments stay until `done_o`.
    input  wire logic         start_i,
    input  wire logic [63:0]  package_addr_i,
    input  wire logic [31:0]  package_beats_i,
    // Cycles without a beat after which the load ends with ErrorTimeout. Zero stands for 2^32.
    input  wire logic [31:0]  watchdog_cycles_i,
    output logic              busy_o,
    output logic              done_o,
    // Of the last load, from `done_o` on.
    output error_e            error_o,

    // The facts are those of the loaded package while `loaded_o`.
    output logic                       loaded_o,
    output cmamba_loader_pkg::facts_t  facts_o,

    // Commands to axi_read and its beats.
    output logic              cmd_valid_o,
    input  wire logic         cmd_ready_i,
    output logic [63:0]       cmd_addr_o,
    output logic [31:0]       cmd_beats_o,
    input  wire logic         beat_valid_i,
    output logic              beat_ready_o,
    input  wire logic [127:0] beat_data_i,
    input  wire logic         beat_last_i,
    input  wire logic         beat_error_i,
    output logic              read_abort_o,
    input  wire logic         read_busy_i,

    // Writes to the memories, one section at a time. The address is the beat within the section; in
    // a section of tables, which goes out entry by entry, 256 * table + entry. An entry is in the
    // lowest 8 (conv_tables) or 16 bits of the data. Metadata are not written.
    output logic [NumSections-1:0]    wr_en_o,
    output logic [23:0]               wr_addr_o,
    output logic [127:0]              wr_data_o,

    // To program_check: its start, with the facts of the header; then the program in order. A word
    // is an instruction, or a phase in its upper half. It stays until it is taken, or until the
    // load ends by an error.
    output logic              check_start_o,
    output logic              check_word_valid_o,
    input  wire logic         check_word_ready_i,
    output logic [InstructionBits-1:0] check_word_o,
    output logic              check_schedule_valid_o,
    output logic [ScheduleBits-1:0]    check_schedule_o,
    // The error is final when the checker is not busy after the last entry.
    input  wire logic         check_busy_i,
    input  wire error_e       check_error_i
);

  localparam int unsigned BeatBytes = 16;
  localparam int unsigned HeaderBeats = HeaderBytes / BeatBytes;
  localparam int unsigned TileBytes = TileIn * TileOut;
  // Beats of the weight memory.
  localparam int unsigned WeightBeats = MaxWeights * (TileBytes / BeatBytes);
  localparam int unsigned IndexWidth = 28;  // of the beats of 4 GiB
  localparam int unsigned NoLimit = 32'hFFFFFFFF;

  // Elements that each section may have, in the order of section_e.
  localparam int unsigned Capacity[NumSections] = '{
      MaxInstructions,
      MaxPhases,
      MaxSchedule,
      NoLimit,
      MaxArrayParams,
      MaxConvParams,
      MaxConvTables,
      MaxScanParams,
      MaxScanDecay,
      MaxScanTables,
      MaxVectorParams,
      MaxVectorTables,
      ResidElements,
      NoLimit
  };

  typedef logic [NumSections-1:0][4:0] shifts_t;

  // Elements have 2^ElementShift bytes.
  function automatic shifts_t element_shifts();
    for (int unsigned s = 0; s < NumSections; s++) begin
      element_shifts[s] = 5'($clog2(SectionElementBytes[s]));
    end
    element_shifts[SectionWeights] = 5'($clog2(TileBytes));
  endfunction

  localparam shifts_t ElementShift = element_shifts();

  if (TileBytes < BeatBytes || TileBytes != 1 << $clog2(TileBytes)) begin : gen_check_tile
    $fatal(1, "loader: TileIn * TileOut is %0d, expected a power of two from 16", TileBytes);
  end
  if (WeightBeats > 1 << 24) begin : gen_check_weights
    $fatal(1, "loader: MaxWeights is %0d, expected 2^24 beats at most", MaxWeights);
  end

  // Bits of state_q, of which one is set.
  typedef enum logic [3:0] {
    StIdle,
    StBegin,    // the header's command
    StCommand,
    StCopy,
    StSettle,   // the last beats are in the pipelines
    StHeader,   // verdict on the header
    StFetch,    // a section's three words from the header
    StSize,     // its elements and its end
    StCheck,    // verdict on its place
    StPlace,
    StVerdict,  // on what has been read
    StProgram,  // waits for program_check
    StAccept,
    StAbort,
    StDrain,    // beats that were asked for
    StDone
  } state_e;

  // A section as the header has it.
  typedef struct packed {
    logic [31:0] crc;
    logic [31:0] bytes;
    logic [31:0] offset;
  } section_t;

  localparam int unsigned NumStates = 32'(StDone) + 1;
  typedef logic [NumStates-1:0] states_t;

  function automatic states_t only(state_e state);
    return states_t'(1) << state;
  endfunction

  states_t state_q, state_d;
  error_e error_q, error_d;
  // The header is read.
  logic header_q;
  // Of two passes over the header's sections, the first, which notes their elements.
  logic sizing_q;
  logic [3:0] section_q;
  section_t entry_q;
  logic is_last_section, is_empty, has_tail;
  assign is_last_section = 32'(section_q) == NumSections - 1;
  assign is_empty = entry_q.bytes == '0;
  assign has_tail = entry_q.bytes[3:0] != '0;

  // ---------------------------------------------------------------- order of events

  logic expired_q, settled, copied, accept, arrived_q, arrived_error_q;
  logic section_bad_q, wraps_q, crc_good_q, words_bad_q, word_valid_q;
  logic [2:0] fetch_q;
  error_e header_error;

  always_comb begin
    state_d = state_q;
    error_d = error_q;
    unique case (1'b1)
      state_q[StIdle]:   if (start_i) state_d = only(StBegin);
      state_q[StBegin]: begin
        error_d = package_addr_i[3:0] != '0 ? ErrorBadSection :
            package_beats_i == '0 ? ErrorBadMagic : ErrorOk;
        state_d = only(StCommand);
      end
      state_q[StCommand]: begin
        if (wraps_q) error_d = ErrorBusError;
        else if (expired_q) error_d = ErrorTimeout;
        else if (cmd_ready_i) state_d = only(StCopy);
      end
      state_q[StCopy]: begin
        if (arrived_q && arrived_error_q) error_d = ErrorBusError;
        else if (expired_q) error_d = ErrorTimeout;
        else if (copied) state_d = only(StSettle);
      end
      state_q[StSettle]: if (settled) state_d = only(header_q ? StHeader : StVerdict);
      state_q[StHeader]: begin
        error_d = header_error;
        state_d = only(StFetch);
      end
      state_q[StFetch]:  if (fetch_q == 3'd4) state_d = only(StSize);
      state_q[StSize]:   state_d = only(StCheck);
      state_q[StCheck]:  state_d = only(sizing_q ? StFetch : StPlace);
      state_q[StPlace]: begin
        if (section_bad_q) error_d = ErrorBadSection;
        state_d = only(is_empty ? StSettle : StCommand);
      end
      state_q[StVerdict]: begin
        error_d = !crc_good_q ? ErrorBadCrc : words_bad_q ? ErrorBadShape : ErrorOk;
        state_d = only(is_last_section ? StProgram : StFetch);
      end
      state_q[StProgram]: begin
        if (!check_busy_i) begin
          error_d = check_error_i;
          state_d = only(StAccept);
        end
      end
      state_q[StAccept]: state_d = only(StDone);
      state_q[StAbort]:  state_d = only(StDrain);
      state_q[StDrain]:  if (!read_busy_i || expired_q) state_d = only(StDone);
      default:           state_d = only(StIdle);
    endcase
  end

  // An error ends the load a cycle after it is known, but not its own end.
  logic failed_q, abort;
  assign abort = failed_q &&
      !(state_q[StIdle] || state_q[StAbort] || state_q[StDrain] || state_q[StDone]);

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      state_q  <= only(StIdle);
      error_q  <= ErrorOk;
      failed_q <= 1'b0;
      loaded_o <= 1'b0;
    end else begin
      state_q <= abort ? only(StAbort) : state_d;
      if (!abort) begin
        error_q  <= error_d;
        failed_q <= error_d != ErrorOk && !state_q[StIdle];  // where it is of the load before
      end
      if (state_q[StBegin]) loaded_o <= 1'b0;
      else if (state_q[StAccept] && !failed_q) loaded_o <= 1'b1;
    end
  end

  assign busy_o = !state_q[StIdle];
  assign done_o = state_q[StDone];
  assign error_o = error_q;
  assign read_abort_o = state_q[StAbort];

  // Cycles in which the bus has done nothing.
  logic waiting_q;
  logic [31:0] idle_q;

  always_ff @(posedge clk_i) begin
    waiting_q <= state_q[StCommand] && !cmd_ready_i ||
        state_q[StCopy] && beat_ready_o && !beat_valid_i || state_q[StDrain];
    idle_q <= (waiting_q ? idle_q : watchdog_cycles_i) - 1'b1;
    expired_q <= waiting_q && idle_q == '0;
  end

  // From the last beat to the verdict: hold, the CRC and its comparison; parameter words and phases
  // need less.
  localparam int unsigned SettleCycles = cmamba_cells_pkg::Crc32Latency + 2;
  logic [2:0] settle_q;
  assign settled = settle_q == 3'(SettleCycles) && !word_valid_q;

  always_ff @(posedge clk_i) begin
    if (!state_q[StSettle]) settle_q <= '0;
    else if (settle_q != 3'(SettleCycles)) settle_q <= settle_q + 1'b1;
  end

  // ---------------------------------------------------------------- which section

  // The header's words, four a row.
  logic [5:0] word_q;
  logic [1:0][1:0] lane_q;
  logic [3:0][31:0] header_row;
  logic [IndexWidth-1:0] index_q;
  logic [127:0] hold_q;

  cmamba_ram_1w #(
      .Width(128),
      .Depth(HeaderBeats),
      .RamStyle("distributed")
  ) u_header (
      .clk_i,
      .wr_en_i  (arrived_q && header_q),
      .wr_addr_i(index_q[3:0]),
      .wr_data_i(hold_q),
      .rd_en_i  (1'b1),
      .rd_addr_i(word_q[5:2]),
      .rd_data_o(header_row)
  );

  always_ff @(posedge clk_i) begin
    lane_q <= {lane_q[0], word_q[1:0]};

    if (state_q[StBegin]) begin
      header_q  <= 1'b1;
      sizing_q  <= 1'b1;
      section_q <= '0;
    end else if (state_q[StHeader]) begin
      header_q <= 1'b0;
    end else if (state_q[StCheck] && sizing_q || state_q[StVerdict]) begin
      section_q <= is_last_section ? '0 : section_q + 1'b1;
      if (is_last_section) sizing_q <= 1'b0;
    end

    // Three words are asked for in three cycles; each comes two cycles later.
    if (!state_q[StFetch]) fetch_q <= '0;
    else fetch_q <= fetch_q + 1'b1;
    if (state_q[StHeader] || state_q[StCheck] && sizing_q && is_last_section) begin
      word_q <= 6'(HeaderSectionTableAt / 4);
    end else if (state_q[StFetch] && fetch_q < 3'd3) begin
      word_q <= word_q + 1'b1;
    end
    if (state_q[StBegin]) begin
      entry_q.bytes <= HeaderCrcAt;
    end else if (arrived_q && header_q) begin
      entry_q.crc <= hold_q[8*(HeaderCrcAt%BeatBytes)+:32];
    end else if (state_q[StFetch] && fetch_q >= 3'd2) begin
      entry_q <= {header_row[lane_q[1]], entry_q.crc, entry_q.bytes};
    end
  end

  // Its place and size.
  logic [31:0] end_q, total_bytes_q, elements_q, address_low;
  logic [32:0] section_end_q;
  logic partial_q, carry, carry_q;
  logic [4:0] element_shift;
  assign element_shift = ElementShift[section_q];
  assign {carry, address_low} = {1'b0, package_addr_i[31:0]} + {1'b0, entry_q.offset};

  always_ff @(posedge clk_i) begin
    if (state_q[StSize]) begin
      section_end_q <= {1'b0, entry_q.offset} + {1'b0, entry_q.bytes};
      elements_q <= entry_q.bytes >> element_shift;
      partial_q <= (entry_q.bytes & ~(32'hFFFFFFFF << element_shift)) != '0;
    end
    section_bad_q <= entry_q.offset % SectionAlign != '0 || entry_q.offset < end_q ||
        section_end_q > {1'b0, total_bytes_q} || partial_q || elements_q > Capacity[section_q];

    if (state_q[StHeader]) end_q <= HeaderBytes;
    else if (state_q[StVerdict]) end_q <= section_end_q[31:0];

    // The sum of 64 bits in two steps.
    if (state_q[StBegin]) begin
      cmd_addr_o <= package_addr_i;
      cmd_beats_o <= package_beats_i < HeaderBeats ? package_beats_i : HeaderBeats;
      wraps_q <= 1'b0;
    end else if (state_q[StSize]) begin
      {carry_q, cmd_addr_o[31:0]} <= {carry, address_low};
      cmd_beats_o <= 32'(entry_q.bytes[31:4]) + 32'(has_tail);
    end else if (state_q[StCheck]) begin
      {wraps_q, cmd_addr_o[63:32]} <= {1'b0, package_addr_i[63:32]} + 33'(carry_q);
    end
  end

  assign cmd_valid_o = state_q[StCommand] && !wraps_q && !failed_q;

  // ---------------------------------------------------------------- the header

  logic is_magic_q, is_version_q, is_tile_q, is_zero_q, is_long_q;

  // The beat's fields of 16 bits.
  logic [7:0][15:0] half;
  assign half = hold_q;

  function automatic int unsigned place(int unsigned at);
    return at % BeatBytes / 2;
  endfunction

  logic [15:0] major, minor, tile_in, tile_out;
  assign major = half[place(HeaderVersionMajorAt)];
  assign minor = half[place(HeaderVersionMinorAt)];
  assign tile_in = half[place(HeaderTileInAt)];
  assign tile_out = half[place(HeaderTileOutAt)];

  function automatic logic is_beat(logic [IndexWidth-1:0] index, int unsigned at);
    return index == IndexWidth'(at / BeatBytes);
  endfunction

  always_ff @(posedge clk_i) begin
    if (arrived_q && header_q) begin
      if (is_beat(index_q, HeaderMagicAt)) begin
        is_magic_q <= hold_q[8*HeaderMagicAt+:32] == Magic;
        is_version_q <= major == 16'(VersionMajor) && minor <= 16'(VersionMinor);
        total_bytes_q <= hold_q[8*HeaderTotalBytesAt+:32];
        is_tile_q <= tile_in == 16'(TileIn) && tile_out == 16'(TileOut);
      end
      if (is_beat(index_q, HeaderNSequencesAt)) begin
        facts_o.n_sequences <= half[place(HeaderNSequencesAt)];
        facts_o.iterations <= half[place(HeaderIterationsAt)];
        facts_o.n_positions <= half[place(HeaderNPositionsAt)];
        facts_o.token_bytes <= half[place(HeaderTokenBytesAt)];
        facts_o.forecast_elements <= half[place(HeaderForecastElementsAt)];
      end
    end
    is_zero_q <= facts_o.n_sequences == '0 || facts_o.iterations == '0 ||
        facts_o.n_positions == '0 || facts_o.token_bytes == '0 || facts_o.forecast_elements == '0;
    is_long_q <= {4'd0, total_bytes_q} > {package_beats_i, 4'd0};

    if (state_q[StCheck] && sizing_q) facts_o.elements[section_q] <= elements_q;
    if (state_q[StVerdict] && section_q == SectionWeights) facts_o.weights_addr <= cmd_addr_o;
    check_start_o <= !rst_i && state_q[StCheck] && sizing_q && is_last_section;
  end

  always_comb begin
    if (!is_magic_q) header_error = ErrorBadMagic;
    else if (package_beats_i < HeaderBeats) header_error = ErrorBadCrc;
    else if (!is_version_q) header_error = ErrorBadVersion;
    else if (!crc_good_q) header_error = ErrorBadCrc;
    else if (!is_tile_q) header_error = ErrorBadTile;
    else if (is_zero_q) header_error = ErrorBadShape;
    else if (is_long_q) header_error = ErrorBadSection;
    else header_error = ErrorOk;
  end

  // ---------------------------------------------------------------- beats

  // What `hold_q` still has to give: entries of tables, or bytes of the tail.
  logic [4:0] held_q;
  logic holds_q;  // more than nothing
  logic is_wide_q, is_table_q, is_instruction_q, is_phase_q, last_q;
  // Beats of an instruction or a phase that have been accepted.
  logic [1:0] part_q;
  logic word_ends, stops, ready_q;
  assign accept = beat_valid_i && ready_q;
  assign copied = last_q && !holds_q;
  assign beat_ready_o = ready_q;
  // No beat is taken behind this one for a while.
  assign word_ends = is_instruction_q && part_q == 2'd3 || is_phase_q && part_q[0];
  assign stops = accept && (beat_last_i || is_table_q || word_ends);

  always_ff @(posedge clk_i) begin
    is_wide_q <= section_q == SectionScanTables || section_q == SectionVectorTables;
    is_table_q <= !header_q && (section_q == SectionConvTables ||
        section_q == SectionScanTables || section_q == SectionVectorTables);
    is_instruction_q <= !header_q && section_q == SectionInstructions;
    is_phase_q <= !header_q && section_q == SectionPhases;

    // The next beat may come when the last entry of a table leaves.
    ready_q <= state_q[StCopy] && !rst_i && !stops && !last_q && held_q <= 5'd2 &&
        (!word_valid_q || check_word_ready_i);
    arrived_q <= accept && !rst_i;
    arrived_error_q <= beat_error_i;

    if (!state_q[StCopy]) begin
      part_q  <= '0;
      last_q  <= 1'b0;
      held_q  <= '0;
      holds_q <= 1'b0;
    end else if (accept) begin
      part_q <= part_q + 1'b1;
      last_q <= beat_last_i;
      if (is_table_q) held_q <= is_wide_q ? 5'd8 : 5'd16;
      else held_q <= beat_last_i ? 5'(entry_q.bytes[3:0]) : '0;
      holds_q <= is_table_q || (beat_last_i && has_tail);
    end else if (holds_q) begin
      held_q  <= held_q - 1'b1;
      holds_q <= held_q != 5'd1;
    end

    if (ready_q) hold_q <= beat_data_i;
    else if (holds_q) hold_q <= hold_q >> (is_table_q && is_wide_q ? 16 : 8);
  end

  logic [31:0] crc;

  cmamba_crc32 u_crc (
      .clk_i,
      .clear_i     (state_q[StBegin] || state_q[StSize]),
      .beat_valid_i(arrived_q && !(last_q && has_tail)),
      .byte_valid_i(holds_q && !is_table_q),
      .beat_i      (hold_q),
      .byte_i      (hold_q[7:0]),
      .crc_o       (crc)
  );

  always_ff @(posedge clk_i) crc_good_q <= crc == entry_q.crc;

  // ---------------------------------------------------------------- the memories

  logic write, half_q;
  assign write = !rst_i && !header_q && (is_table_q ? holds_q : arrived_q);

  always_ff @(posedge clk_i) begin
    if (state_q[StCommand]) index_q <= '0;
    else if (write || arrived_q && header_q) index_q <= index_q + 1'b1;

    for (int unsigned s = 0; s < NumSections; s++) begin
      wr_en_o[s] <= write && 32'(section_q) == s && s != 32'(SectionMetadata) &&
          (s != 32'(SectionWeights) || index_q < IndexWidth'(WeightBeats));
    end
    wr_addr_o <= index_q[23:0];
    wr_data_o <= hold_q;
    // Only the lower half belongs to the section.
    half_q <= last_q && has_tail;
  end

  // Parameter words: two in a beat, or one and taps.
  logic [1:0] param_valid, param_bad_q, param_valid_q;
  param_word_t [1:0] words;
  logic is_pair, unused_fields;
  assign words = wr_data_o;
  assign is_pair = wr_en_o[SectionArrayParams] || wr_en_o[SectionScanParams] ||
      wr_en_o[SectionVectorParams];
  assign param_valid = {is_pair && !half_q, is_pair || wr_en_o[SectionConvParams]};
  assign unused_fields = ^{words[0], words[1]};

  // |bias| < 2^bits
  function automatic logic is_below(logic signed [31:0] bias, int unsigned bits);
    return bias < signed'(32'd1 << bits) && bias > -signed'(32'd1 << bits);
  endfunction

  // Phases: entries and repeats in the first beat, reserved bits in the second one.
  phase_t phase;
  logic phase_bad_q, unused_phase;
  assign phase = phase_t'(PhaseBits'(wr_data_o));
  assign unused_phase = ^phase;

  always_ff @(posedge clk_i) begin
    phase_bad_q <= wr_en_o[SectionPhases] && (wr_addr_o[0] ?
        wr_data_o[127:PhaseBits-128] != '0 : phase.entries == '0 || phase.repeats == '0);
    param_valid_q <= param_valid;
    for (int unsigned w = 0; w < 2; w++) begin
      param_bad_q[w] <= words[w].shift > 6'(LimitShift) || !is_below(words[w].bias, LimitBiasBits)
          || section_q == SectionScanParams && !is_below(words[w].bias, LimitSkipWeightBits);
    end
    if (state_q[StSize]) words_bad_q <= 1'b0;
    else if ((param_valid_q & param_bad_q) != '0 || phase_bad_q) words_bad_q <= 1'b1;
  end

  // ---------------------------------------------------------------- the program

  // The beats of an instruction or a phase but the last one, which is in hold_q.
  logic [InstructionBits-129:0] gather_q;

  always_ff @(posedge clk_i) begin
    if (rst_i || !(state_q[StCopy] || state_q[StSettle])) begin
      word_valid_q <= 1'b0;
    end else if (accept && word_ends) begin
      word_valid_q <= 1'b1;
    end else if (check_word_ready_i) begin
      word_valid_q <= 1'b0;
    end
    if (arrived_q && !(is_phase_q ? index_q[0] : index_q[1:0] == 2'd3))
      gather_q <= {hold_q, gather_q[InstructionBits-129:128]};
  end

  assign check_word_valid_o = word_valid_q;
  assign check_word_o = {hold_q, gather_q};
  assign check_schedule_valid_o = wr_en_o[SectionSchedule];
  assign check_schedule_o = wr_data_o;

`ifndef SYNTHESIS
  default clocking @(posedge clk_i);
  endclocking

  logic live;
  cmamba_live u_live (
      .clk_i,
      .rst_i,
      .live_o(live)
  );

  one_state :
  assert property (disable iff (!live) $onehot(state_q))
  else $error("loader: state_q is %b, expected one state", state_q);

  arguments_stay :
  assert property (disable iff (!live) busy_o |-> $stable(
      {package_addr_i, package_beats_i, watchdog_cycles_i}
  ))
  else $error("loader: the arguments changed before done_o");

  command_has_beats :
  assert property (disable iff (!live) cmd_valid_o |-> cmd_beats_o != '0)
  else $error("loader: a command of no beats");

  hold_is_free :
  assert property (disable iff (!live) accept |-> held_q <= 5'd1 && !word_valid_q)
  else $error("loader: a beat is taken while another one is held");

  one_section :
  assert property (disable iff (!live) $onehot0(wr_en_o))
  else $error("loader: wr_en_o is %b, expected one section", wr_en_o);

  word_stays :
  assert property (disable iff (!live)
      check_word_valid_o && !check_word_ready_i && (state_q[StCopy] || state_q[StSettle]) |=>
      $stable(
      {check_word_valid_o, check_word_o}
  ))
  else $error("loader: the instruction or phase went or changed before it was taken");
`endif

endmodule

`default_nettype wire
