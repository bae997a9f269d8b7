// Checks a program while it is loaded: docs/instruction_set.md, "What a loader checks", from the
// instructions on. The limits are those of the build.
//
// Almost every rule is a sum that must stay within a limit:
//
//   base + count + a * b <= limit      a row:      addr + n + stride * (2^log2_rows - 1) <= memory
//                                      parameters: param_addr + n <= section
//                                      state:      state_addr + n * 2^log2_state <= memory
//
// so that one multiplier does for all. Each opcode has its list of checks, in the order of the
// rules: an instruction takes a cycle for each, SCAN and MODULATE, which have most, 16. What is
// checked goes into the pipeline below, together with the error that it is if it fails; the first
// failure is the program's error.
//
// Phases have a list, too, with products that are kept: what their last repeat adds to positions
// and sequences goes to schedule_check, the entries of the streams are summed up. After the last
// entry of the schedule the sums are checked in the same way.
//
//   list of checks --> kind, operand --> sum and limit --> product, limit - base - count
//       --> what is left of the limit --> fails? --> error_o

`default_nettype none

module cmamba_program_check
  import cmamba_pkg::*;
(
    input wire logic clk_i,
    input wire logic rst_i,

    // A program begins; one before it is forgotten. The facts stay until it has been checked.
    input wire logic                      start_i,
    // verilator lint_off UNUSEDSIGNAL
    // Some facts are not about the program.
    input wire cmamba_loader_pkg::facts_t facts_i,
    // verilator lint_on UNUSEDSIGNAL

    // The instructions in order, then the phases, each in the upper half of a word; then, two
    // cycles later at the earliest, the entries of the schedule. As many as the facts say. A word
    // stays until it is taken, or until the load ends by an error: what was checked of it then does
    // not count. Entries may follow each other every cycle.
    input  wire logic                       word_valid_i,
    output logic                            word_ready_o,
    input  wire logic [InstructionBits-1:0] word_i,
    input  wire logic                       schedule_valid_i,
    input  wire logic [ScheduleBits-1:0]    schedule_i,

    // High from `start_i` until the whole program has been checked.
    output logic   busy_o,
    // The first error so far.
    output error_e error_o
);

  import cmamba_build_pkg::*;

  localparam int unsigned TableWidth = $clog2(MaxInstructions);
  localparam int unsigned PhaseWidth = $clog2(MaxPhases);
  localparam int unsigned EntriesWidth = $clog2(MaxSchedule + 1);
  localparam int unsigned Log2TileIn = $clog2(TileIn);
  localparam int unsigned Log2TileOut = $clog2(TileOut);

  // Of what an address may be a multiple, at most.
  localparam int unsigned MaxAlign = 256;
  localparam int unsigned AlignWidth = $clog2(MaxAlign);
  // What an address in array_params, in scan_params is a multiple of.
  localparam int unsigned ArrayParamAlign = RequantizeLanes < 2 ? 1 : RequantizeLanes / 2;
  localparam int unsigned ScanParamAlign = ScanLanes < 16 ? 1 : ScanLanes / 16;

  localparam int unsigned Sizes[6] = '{
      TileIn,
      TileOut,
      RowAlign,
      RequantizeLanes,
      ConvLanes,
      ScanLanes
  };
  for (genvar i = 0; i < 6; i++) begin : gen_check_sizes
    if (Sizes[i] != 1 << $clog2(Sizes[i]) || Sizes[i] > MaxAlign) begin : gen_fail
      $fatal(1, "program_check: size %0d is %0d, expected a power of two up to 256", i, Sizes[i]);
    end
  end
  // What an iteration executes is within LimitExecuted, as long as its phases are right.
  if (MaxSchedule > LimitExecuted / 65535) begin : gen_check_schedule
    $fatal(1, "program_check: MaxSchedule is %0d, expected at most 32768", MaxSchedule);
  end
  if (TileOut < 8) begin : gen_check_tile
    $fatal(1, "program_check: TileOut is %0d, expected at least 8", TileOut);
  end

  typedef enum logic [1:0] {
    StIdle,
    StProgram,
    StCounts,
    StVerdict   // the last checks are in the pipeline
  } state_e;

  typedef enum logic [5:0] {
    KindNone,
    KindTaken,                // all checks of the word are under way
    KindOpcode,
    KindRows,                 // an operand's rows of n elements
    KindInputRows,            // LINEAR reads whole tiles
    KindStateRows,            // B and C of SCAN
    KindSkipRows,             // skip weights behind them
    KindSharedRows,           // two elements for each sequence
    KindSourceOverlap,
    KindResultOverlap,
    KindAddendOverlap,
    KindAddendResultOverlap,
    KindSize,
    KindTokenBytes,
    KindForecast,
    KindInputs,
    KindArrayParams,
    KindWeights,
    KindTiles,                // of one position, goes on from KindWeights
    KindConvParams,
    KindConvTable,
    KindScanParams,
    KindSoftplusTable,
    KindSiluTable,
    KindState,
    KindDecay,
    KindVectorParams,
    KindPoolParams,
    KindModulateParams,
    KindVectorTable,
    KindScaleTable,
    KindShiftTable,
    KindPositions,            // of a phase
    KindSequences,
    KindReceived,
    KindSent,
    KindPhases,               // of all
    KindTokens,
    KindForecasts
  } kind_e;
  localparam int unsigned NumKinds = 32'(KindForecasts) + 1;

  localparam int unsigned RoomWidth = 34;

  // What becomes of a product, beside the check.
  typedef enum logic [2:0] {
    UseNone,
    UsePositions,  // that the last repeat adds
    UseSequences,
    UseReceived,   // RECVs, of a sum
    UseSent
  } use_e;

  typedef struct packed {
    error_e                error;         // what a failure is
    use_e                  product_use;
    logic                  holds;         // whatever needs no sum
    logic                  exact;         // the sum must be the limit
    logic                  continues;     // the sum goes on from the check before
    logic                  either;        // this check or the next one: a failure of both counts
    logic                  spares_image;  // base lies behind the constants of resid
    logic [AlignWidth-1:0] base_align;    // bits of base that must be zero
    logic [AlignWidth-1:0] a_align;       // bits of a that must be zero
    logic [31:0]           limit;
    logic [19:0]           base;
    logic [16:0]           count;
    logic [15:0]           a;
    logic [15:0]           b;
  } check_t;

  // base + count + a * b <= limit
  function automatic check_t at_most(logic [31:0] limit, logic [19:0] base, logic [16:0] count,
                                     logic [15:0] a = '0, logic [15:0] b = '0);
    check_t check;
    check = '0;
    check.error = ErrorBadShape;
    check.holds = 1'b1;
    check.limit = limit;
    check.base = base;
    check.count = count;
    check.a = a;
    check.b = b;
    return check;
  endfunction

  // Bits that are zero in a multiple of `n`, a power of two.
  function automatic logic [AlignWidth-1:0] multiple_of(int unsigned n);
    return AlignWidth'(n - 1);
  endfunction

  state_e state_q;

  // ---------------------------------------------------------------- the word

  // A phase, which is checked by little.
  // verilator lint_off UNUSEDSIGNAL
  phase_t phase;
  // verilator lint_on UNUSEDSIGNAL
  assign phase = phase_t'(word_i[InstructionBits/2+:PhaseBits]);

  // Views of the word, which stays while its steps last.
  // verilator lint_off UNUSEDSIGNAL
  // Opcode, n_positions and operands are in the same places in all.
  recv_instruction_t recv;
  linear_instruction_t linear;
  conv_instruction_t conv;
  scan_instruction_t scan;
  norm_instruction_t norm;
  pool_instruction_t pool;
  scale_instruction_t scale;
  send_instruction_t send;
  pool_features_instruction_t pool_features;
  modulate_instruction_t modulate;
  // verilator lint_on UNUSEDSIGNAL
  assign recv = decode_recv(word_i);
  assign linear = decode_linear(word_i);
  assign conv = decode_conv(word_i);
  assign scan = decode_scan(word_i);
  assign norm = decode_norm(word_i);
  assign pool = decode_pool(word_i);
  assign scale = decode_scale(word_i);
  assign send = decode_send(word_i);
  assign pool_features = decode_pool_features(word_i);
  assign modulate = decode_modulate(word_i);

  // Whether a bit above the fields is set. The formats share the work, from the longest down.
  typedef struct packed {
    logic scan;
    logic modulate;
    logic linear;
    logic norm;
    logic scale;
    logic conv;
    logic pool_features;
    logic pool;
    logic recv;
  } above_t;
  above_t above;
  always_comb begin
    above.scan = |word_i[InstructionBits-1:ScanInstructionBits];
    above.modulate = above.scan || (|word_i[ScanInstructionBits-1:ModulateInstructionBits]);
    above.linear = above.modulate || (|word_i[ModulateInstructionBits-1:LinearInstructionBits]);
    above.norm = above.linear || (|word_i[LinearInstructionBits-1:NormInstructionBits]);
    above.scale = above.norm || (|word_i[NormInstructionBits-1:ScaleInstructionBits]);
    above.conv = above.scale || (|word_i[ScaleInstructionBits-1:ConvInstructionBits]);
    above.pool_features = above.conv ||
        (|word_i[ConvInstructionBits-1:PoolFeaturesInstructionBits]);
    above.pool = above.pool_features ||
        (|word_i[PoolFeaturesInstructionBits-1:PoolInstructionBits]);
    above.recv = above.pool || (|word_i[PoolInstructionBits-1:RecvInstructionBits]);
  end

  // The first cycle looks at the whole word, the second one at what its opcode makes of that, a
  // third one goes on from there. The checks look at the result from the fourth cycle on.
  // verilator lint_off UNUSEDSIGNAL
  logic [255:0] opcode_q;  // one of them
  // verilator lint_on UNUSEDSIGNAL
  above_t above_q;

  always_ff @(posedge clk_i) begin
    opcode_q <= 256'd1 << word_i[7:0];
    above_q  <= above;
  end

  unit_e unit, unit_q;
  logic is_opcode, is_opcode_q;
  logic fields_hold, format_holds_q, fields_hold_q;
  logic [15:0] n, n_q;  // features of the result
  logic [15:0] n_limit, n_limit_q;

  always_comb begin
    unit = UnitVector;
    is_opcode = 1'b0;
    fields_hold = 1'b1;
    n = recv.n;  // of no interest without an opcode
    n_limit = 16'(MaxFeatures);
    unique case (1'b1)
      opcode_q[OpRecv]: begin
        unit = UnitStreamIn;
        is_opcode = !above_q.recv;
      end
      opcode_q[OpLinear]: begin
        unit = UnitArray;
        is_opcode = !above_q.linear;
        fields_hold = linear.n_in != '0 && 32'(linear.log2_split) <= LimitLog2Split;
        n = linear.n_out;
        if (linear.reduce) n_limit = 16'(MaxReduce);
      end
      opcode_q[OpConv]: begin
        unit = UnitConv;
        is_opcode = !above_q.conv;
        fields_hold = conv.kernel != '0 && 32'(conv.kernel) <= LimitTaps &&
            16'(conv.kernel) <= 16'd1 << conv.src.log2_rows;
        n = conv.n;
      end
      opcode_q[OpScan]: begin
        unit = UnitScan;
        is_opcode = !above_q.scan;
        fields_hold = 32'(scan.log2_state) <= LimitLog2State &&
            32'(scan.state_shift) <= LimitStateShift && 32'(scan.skip_shift) <= LimitSkipShift &&
            32'(scan.y_shift) <= LimitYShift &&
            (!scan.skip_enable || scan.skip_offset % 16'(RowAlign) == '0);
        n = scan.n;
      end
      opcode_q[OpNorm]: begin
        is_opcode = !above_q.norm;
        fields_hold = norm.eps != '0;
        n = norm.n;
      end
      opcode_q[OpPool]: begin
        is_opcode = !above_q.pool;
        n = pool.n;
      end
      opcode_q[OpScale]: begin
        is_opcode = !above_q.scale;
        n = scale.n;
      end
      opcode_q[OpPoolFeatures]: begin
        is_opcode = !above_q.pool_features;
        n = pool_features.n;
      end
      opcode_q[OpModulate]: begin
        is_opcode = !above_q.modulate;
        n = modulate.n;
      end
      opcode_q[OpSend]: begin
        unit = UnitStreamOut;
        is_opcode = !above_q.recv;
        n = send.n;
        n_limit = '1;  // its row lies in a memory
      end
      default: ;
    endcase
  end

  // Elements of rows: of SCAN with the skip weights, and of those that all sequences share.
  logic [15:0] columns;
  logic [16:0] skips_q, shared_q;
  assign columns = opcode_q[OpModulate] ? modulate.columns : pool_features.columns;

  // LINEAR: weight tiles along inputs and outputs, inputs that are read; positions with weights of
  // their own.
  logic [3:0] log2_inputs, log2_outputs;  // of a tile
  logic [16:0] inputs_up_q, outputs_up_q;  // a tile more, less one
  logic [15:0] input_tiles_q, output_tiles_q;
  logic [16:0] inputs_q;
  logic [11:0] rows_q, last_row_q;
  assign log2_inputs  = 4'(Log2TileIn) + 4'(linear.log2_split);
  assign log2_outputs = 4'(Log2TileOut) - 4'(linear.log2_split);

  always_ff @(posedge clk_i) begin
    unit_q <= unit;
    is_opcode_q <= is_opcode;
    format_holds_q <= fields_hold;
    n_q <= n;
    fields_hold_q <= format_holds_q && n_q != '0 && scan.n_positions != '0;
    n_limit_q <= n_limit;
    skips_q <= scan.skip_enable ? 17'(scan.skip_offset) + 17'(scan.n) : '0;
    shared_q <= 17'(columns) + 17'(facts_i.n_sequences);
    inputs_up_q <= 17'(linear.n_in) + (17'd1 << log2_inputs) - 1'b1;
    outputs_up_q <= 17'(linear.n_out) + (17'd1 << log2_outputs) - 1'b1;
    input_tiles_q <= 16'(inputs_up_q >> log2_inputs);
    output_tiles_q <= 16'(outputs_up_q >> log2_outputs);
    inputs_q <= 17'(input_tiles_q) << log2_inputs;
    rows_q <= linear.reduce ? linear.n_positions : 12'd1;
    last_row_q <= linear.reduce ? linear.n_positions - 1'b1 : '0;
  end

  // ---------------------------------------------------------------- operands

  // Operand k is at the same place in every instruction that has one; SCAN has all.
  localparam int unsigned NumOperands = 5;

  typedef struct packed {
    logic        used;
    logic        written;
    logic [15:0] spaces;   // the memories that it may use
  } role_t;

  function automatic role_t reads(logic [15:0] spaces);
    return '{used: 1'b1, written: 1'b0, spaces: spaces};
  endfunction

  function automatic role_t writes(logic [15:0] spaces);
    return '{used: 1'b1, written: 1'b1, spaces: spaces};
  endfunction

  localparam logic [15:0] InPatch = 16'd1 << SpacePatch;
  localparam logic [15:0] InNorm = 16'd1 << SpaceNorm;
  localparam logic [15:0] InConvIn = 16'd1 << SpaceConvIn;
  localparam logic [15:0] InGate = 16'd1 << SpaceGate;
  localparam logic [15:0] InConv = 16'd1 << SpaceConv;
  localparam logic [15:0] InProj = 16'd1 << SpaceProj;
  localparam logic [15:0] InStep = 16'd1 << SpaceStep;
  localparam logic [15:0] InScan = 16'd1 << SpaceScan;
  localparam logic [15:0] InLogit = 16'd1 << SpaceLogit;
  localparam logic [15:0] InResid = 16'd1 << SpaceResid;
  localparam logic [15:0] InHead = 16'd1 << SpaceHead;
  localparam logic [15:0] LinearSources = InPatch | InNorm | InConv | InProj | InScan;
  localparam logic [15:0] LinearResults = InConvIn | InGate | InProj | InStep | InLogit;

  operand_t operands[NumOperands];
  role_t roles[NumOperands], roles_q[NumOperands];
  assign operands = '{scan.u, scan.z, scan.dt, scan.bc, scan.dst};

  always_comb begin
    roles = '{default: '0};
    unique case (1'b1)
      opcode_q[OpRecv]: roles[0] = writes(InPatch);
      opcode_q[OpLinear]: begin
        roles[0] = reads(LinearSources);
        roles[1] = writes(linear.wide ? InResid | InHead : LinearResults);
        if (linear.add_enable) roles[2] = reads(InResid);
      end
      opcode_q[OpConv]: begin
        roles[0] = reads(InConvIn);
        roles[1] = writes(InConv);
      end
      opcode_q[OpScan]: begin
        roles[0] = reads(InConv);
        roles[1] = reads(InGate);
        roles[2] = reads(InStep);
        roles[3] = reads(InProj);
        roles[4] = writes(InScan);
      end
      opcode_q[OpNorm]: begin
        roles[0] = reads(InResid);
        roles[1] = writes(norm.wide ? InResid : InNorm);
      end
      opcode_q[OpPool], opcode_q[OpPoolFeatures]: begin
        roles[0] = reads(InResid);
        roles[1] = writes(InNorm);
      end
      opcode_q[OpScale]: begin
        roles[0] = reads(InResid);
        roles[1] = reads(InLogit);
        roles[2] = writes(InResid);
      end
      opcode_q[OpModulate]: begin
        roles[0] = reads(InResid);
        roles[1] = reads(InLogit);
        roles[2] = writes(modulate.wide ? InResid : InConvIn);
        roles[3] = reads(InResid);
      end
      opcode_q[OpSend]: roles[0] = reads(InHead);
      default: ;
    endcase
  end

  // NORM, SCALE and MODULATE write the rows that they read, or none that overlap them.
  operand_t source, addend, result_q;
  logic result_is_third_q, may_overlap_q, addend_may_overlap_q;
  assign source = operands[0];
  assign addend = operands[3];

  always_ff @(posedge clk_i) begin
    roles_q <= roles;
    result_is_third_q <= word_i[7:0] == OpScale || word_i[7:0] == OpModulate;
    result_q <= result_is_third_q ? operands[2] : operands[1];
    may_overlap_q <= source.space == result_q.space && source != result_q;
    addend_may_overlap_q <= addend.space == result_q.space && addend != result_q;
  end

  // ---------------------------------------------------------------- the checks of an instruction

  typedef struct packed {
    kind_e      kind;
    logic [2:0] k;     // of which operand
    logic       last;  // KindTaken
  } item_t;

  // As a vector: not every tool knows a constant function that returns a struct.
  typedef logic [$bits(item_t)-1:0] item_bits_t;

  function automatic item_bits_t item(kind_e kind, logic [2:0] k = '0);
    return {kind, k, kind == KindTaken};
  endfunction

  // The list of checks of an opcode.
  function automatic item_bits_t item_of(logic [7:0] opcode, logic [3:0] step);
    logic [11:0] place;
    place = {opcode, step};
    unique case (place)
      {OpRecv, 4'd0} : return item(KindRows, 3'd0);
      {OpRecv, 4'd1} : return item(KindSize);
      {OpRecv, 4'd2} : return item(KindTokenBytes);

      {OpLinear, 4'd0} : return item(KindInputRows, 3'd0);
      {OpLinear, 4'd1} : return item(KindRows, 3'd1);
      {OpLinear, 4'd2} : return item(KindRows, 3'd2);
      {OpLinear, 4'd3} : return item(KindSize);
      {OpLinear, 4'd4} : return item(KindInputs);
      {OpLinear, 4'd5} : return item(KindArrayParams);
      {OpLinear, 4'd6} : return item(KindWeights);
      {OpLinear, 4'd7} : return item(KindTiles);

      {OpConv, 4'd0} : return item(KindRows, 3'd0);
      {OpConv, 4'd1} : return item(KindRows, 3'd1);
      {OpConv, 4'd2} : return item(KindSize);
      {OpConv, 4'd3} : return item(KindConvParams);
      {OpConv, 4'd4} : return item(KindConvTable);

      {OpScan, 4'd0} :  return item(KindRows, 3'd0);
      {OpScan, 4'd1} :  return item(KindRows, 3'd1);
      {OpScan, 4'd2} :  return item(KindRows, 3'd2);
      {OpScan, 4'd3} :  return item(KindStateRows, 3'd3);
      {OpScan, 4'd4} :  return item(KindSkipRows, 3'd3);
      {OpScan, 4'd5} :  return item(KindRows, 3'd4);
      {OpScan, 4'd6} :  return item(KindSize);
      {OpScan, 4'd7} :  return item(KindScanParams);
      {OpScan, 4'd8} :  return item(KindSoftplusTable);
      {OpScan, 4'd9} :  return item(KindSiluTable);
      {OpScan, 4'd10} : return item(KindState);
      {OpScan, 4'd11} : return item(KindDecay);

      {OpNorm, 4'd0} : return item(KindRows, 3'd0);
      {OpNorm, 4'd1} : return item(KindRows, 3'd1);
      {OpNorm, 4'd2} : return item(KindSourceOverlap, 3'd0);
      {OpNorm, 4'd3} : return item(KindResultOverlap, 3'd1);
      {OpNorm, 4'd4} : return item(KindSize);
      {OpNorm, 4'd5} : return item(KindVectorParams);

      {OpPool, 4'd0} : return item(KindRows, 3'd0);
      {OpPool, 4'd1} : return item(KindRows, 3'd1);
      {OpPool, 4'd2} : return item(KindSize);
      {OpPool, 4'd3} : return item(KindPoolParams);

      {OpScale, 4'd0} : return item(KindRows, 3'd0);
      {OpScale, 4'd1} : return item(KindRows, 3'd1);
      {OpScale, 4'd2} : return item(KindRows, 3'd2);
      {OpScale, 4'd3} : return item(KindSourceOverlap, 3'd0);
      {OpScale, 4'd4} : return item(KindResultOverlap, 3'd2);
      {OpScale, 4'd5} : return item(KindSize);
      {OpScale, 4'd6} : return item(KindVectorTable);

      {OpPoolFeatures, 4'd0} : return item(KindRows, 3'd0);
      {OpPoolFeatures, 4'd1} : return item(KindSharedRows, 3'd1);
      {OpPoolFeatures, 4'd2} : return item(KindSize);
      {OpPoolFeatures, 4'd3} : return item(KindPoolParams);

      {OpModulate, 4'd0} :  return item(KindRows, 3'd0);
      {OpModulate, 4'd1} :  return item(KindSharedRows, 3'd1);
      {OpModulate, 4'd2} :  return item(KindRows, 3'd2);
      {OpModulate, 4'd3} :  return item(KindRows, 3'd3);
      {OpModulate, 4'd4} :  return item(KindSourceOverlap, 3'd0);
      {OpModulate, 4'd5} :  return item(KindResultOverlap, 3'd2);
      {OpModulate, 4'd6} :  return item(KindAddendOverlap, 3'd3);
      {OpModulate, 4'd7} :  return item(KindAddendResultOverlap, 3'd2);
      {OpModulate, 4'd8} :  return item(KindSize);
      {OpModulate, 4'd9} :  return item(KindScaleTable);
      {OpModulate, 4'd10} : return item(KindShiftTable);
      {OpModulate, 4'd11} : return item(KindModulateParams);

      {OpSend, 4'd0} : return item(KindRows, 3'd0);
      {OpSend, 4'd1} : return item(KindSize);
      {OpSend, 4'd2} : return item(KindForecast);

      default: ;
    endcase
    return item(KindTaken);
  endfunction

  // That of a phase, which is taken when its products are there; that of StCounts.
  typedef item_bits_t [5:0] phase_items_t;
  typedef item_bits_t [2:0] count_items_t;
  localparam phase_items_t PhaseItems = {
    item(KindTaken),
    item(KindNone),
    item(KindSent),
    item(KindReceived),
    item(KindSequences),
    item(KindPositions)
  };
  localparam count_items_t CountItems = {item(KindForecasts), item(KindTokens), item(KindPhases)};
  localparam int unsigned NumPhaseItems = 6;
  localparam int unsigned NumCounts = 3;

  // All lists in one table, so that a check is found by few bits: where a word is waited for, then
  // the check of the opcode, for all; the lists of the opcodes; those of a phase and of StCounts.
  localparam int unsigned PlaceWidth = 7;
  localparam logic [PlaceWidth-1:0] PlaceWait = 0;
  localparam logic [PlaceWidth-1:0] PlaceOpcode = 1;

  typedef item_bits_t [2**PlaceWidth-1:0] items_t;
  typedef logic [15:0][31:0] lists_t;

  // Items of an opcode's list, with the one that ends it.
  function automatic int unsigned length_of(logic [7:0] opcode);
    int unsigned length;
    length = 1;
    for (int unsigned step = 0; step < 15; step++) begin
      if (item_of(opcode, 4'(step)) != item(KindTaken)) length = step + 2;
    end
    return length;
  endfunction

  // Where each opcode's list begins.
  function automatic lists_t all_lists();
    lists_t lists;
    int unsigned place;
    place = 32'(PlaceOpcode) + 1;
    for (int unsigned opcode = 0; opcode < 16; opcode++) begin
      lists[opcode] = place;
      place = place + length_of(8'(opcode));
    end
    return lists;
  endfunction

  localparam lists_t Lists = all_lists();
  localparam int unsigned Phases = Lists[15] + length_of(8'd15);
  localparam int unsigned Counts = Phases + NumPhaseItems;
  localparam logic [PlaceWidth-1:0] PlacePhase = PlaceWidth'(Phases);
  localparam logic [PlaceWidth-1:0] PlaceCounts = PlaceWidth'(Counts);
  localparam logic [PlaceWidth-1:0] PlaceLast = PlaceWidth'(Counts + NumCounts - 1);

  if (Counts + NumCounts > 2 ** PlaceWidth) begin : gen_check_lists
    $fatal(1, "program_check: %0d checks, expected at most 128", Counts + NumCounts);
  end

  function automatic items_t all_items();
    items_t items;
    int unsigned length;
    items = '0;
    items[PlaceWait] = item(KindNone);
    items[PlaceOpcode] = item(KindOpcode);
    for (int unsigned opcode = 0; opcode < 16; opcode++) begin
      length = length_of(8'(opcode));
      for (int unsigned step = 0; step < 16; step++) begin
        if (step < length) items[Lists[opcode]+step] = item_of(8'(opcode), 4'(step));
      end
    end
    for (int unsigned step = 0; step < NumPhaseItems; step++) begin
      items[Phases+step] = PhaseItems[step];
    end
    for (int unsigned step = 0; step < NumCounts; step++) items[Counts+step] = CountItems[step];
    return items;
  endfunction

  localparam items_t Items = all_items();

  // In the table; where the list of the opcode begins.
  logic [PlaceWidth-1:0] place_q, list_q;
  item_t item_q;

  // ---------------------------------------------------------------- the schedule, and its counts

  // Elements of the sections.
  // verilator lint_off UNUSEDSIGNAL
  // Nothing is asked of the metadata.
  logic [NumSections-1:0][31:0] elements;
  // verilator lint_on UNUSEDSIGNAL
  assign elements = facts_i.elements;

  logic [TableWidth:0] instructions_q;  // taken
  logic [PhaseWidth:0] phases_q;
  logic [EntriesWidth-1:0] entries;
  logic is_phase, schedule_busy, schedule_bad, schedule_complete;
  // Of the phase; of all so far. Where the sums do not fit, so many entries are not in the schedule.
  logic [11:0] positions_q;
  logic [ 9:0] sequences_q;
  logic [31:0] received_q, sent_q;
  assign is_phase = 32'(instructions_q) == elements[SectionInstructions];

  cmamba_schedule_check u_schedule_check (
      .clk_i,
      .rst_i,
      .clear_i                  (start_i),
      .instruction_wr_en_i      (word_ready_o && !is_phase),
      .instruction_wr_addr_i    (instructions_q[TableWidth-1:0]),
      .instruction_unit_i       (unit_q),
      .instruction_n_positions_i(scan.n_positions),
      .phase_wr_en_i            (word_ready_o && is_phase),
      .phase_entries_i          (phase.entries),
      .phase_positions_i        (positions_q),
      .phase_sequences_i        (sequences_q),
      .phase_unit_entries_i     (phase.unit_entries),
      .instructions_i           (elements[SectionInstructions]),
      .n_sequences_i            (facts_i.n_sequences),
      .valid_i                  (schedule_valid_i),
      .entry_i                  (schedule_i),
      .busy_o                   (schedule_busy),
      .bad_o                    (schedule_bad),
      .complete_o               (schedule_complete),
      .entries_o                (entries)
  );

  // ---------------------------------------------------------------- control

  logic stepping, all_received;
  logic [5:0] valid_q;  // a check in item_q, kind_q, check_q and behind
  assign stepping = state_q == StCounts || (state_q == StProgram && word_valid_i);
  assign word_ready_o = valid_q[0] && item_q.last;
  assign all_received = is_phase && 32'(phases_q) == elements[SectionPhases] &&
      32'(entries) == elements[SectionSchedule];
  assign busy_o = state_q != StIdle;

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      state_q <= StIdle;
    end else if (start_i) begin
      state_q <= StProgram;
    end else begin
      unique case (state_q)
        StProgram: if (all_received && !schedule_busy) state_q <= StCounts;
        StCounts:  if (place_q == PlaceLast) state_q <= StVerdict;
        StVerdict: if (valid_q == '0) state_q <= StIdle;
        default:   ;
      endcase
    end

    if (rst_i || start_i || !stepping || word_ready_o) place_q <= PlaceWait;
    else if (place_q == PlaceWait) begin
      place_q <= state_q == StCounts ? PlaceCounts : is_phase ? PlacePhase : PlaceOpcode;
    end else if (place_q == PlaceOpcode) place_q <= list_q;
    else place_q <= place_q + 1'b1;
    // A word that is no instruction may go through any list: its error is known by then.
    list_q <= PlaceWidth'(Lists[word_i[3:0]]);
    item_q <= item_t'(Items[place_q]);

    if (start_i) begin
      instructions_q <= '0;
      phases_q <= '0;
    end else if (word_ready_o) begin
      if (is_phase) phases_q <= phases_q + 1'b1;
      else instructions_q <= instructions_q + 1'b1;
    end

    if (rst_i || start_i) valid_q <= '0;
    else valid_q <= {valid_q[4:0], stepping && !word_ready_o};
  end

  // ---------------------------------------------------------------- kind, operand

  // An operand's rows, unless the instruction does not use it; two rows that might overlap.
  logic of_rows, of_rows_q, of_overlap, of_overlap_q;
  always_comb begin
    of_rows = 1'b0;
    of_overlap = 1'b0;
    unique case (item_q.kind)
      KindRows, KindInputRows, KindStateRows, KindSkipRows, KindSharedRows:
      of_rows = roles_q[item_q.k].used;
      KindSourceOverlap, KindResultOverlap: of_overlap = may_overlap_q;
      KindAddendOverlap, KindAddendResultOverlap: of_overlap = addend_may_overlap_q;
      default: ;
    endcase
  end

  // verilator lint_off UNUSEDSIGNAL
  // Of some kinds, and of an operand that is not used, of_rows_q says it.
  logic [NumKinds-1:0] kind_q;  // one of them
  role_t role_q;
  // verilator lint_on UNUSEDSIGNAL
  operand_t operand_q;

  always_ff @(posedge clk_i) begin
    kind_q <= NumKinds'(1) << item_q.kind;
    of_rows_q <= of_rows;
    of_overlap_q <= of_overlap;
    operand_q <= operands[item_q.k];
    role_q <= roles_q[item_q.k];
  end

  // ---------------------------------------------------------------- sum and limit

  logic [31:0] space_elements;
  always_comb begin
    space_elements = '0;
    for (int unsigned s = 0; s < NumSpaces; s++) begin
      if (operand_q.space == 4'(s)) space_elements = SpaceElements[s];
    end
  end

  check_t check, rows;

  // The end of the operand's last row.
  always_comb begin
    rows = at_most('0, operand_q.addr, 17'(n_q), operand_q.stride,
                   16'((17'd1 << operand_q.log2_rows) - 1'b1));
    rows.error = ErrorBadOperand;
  end

  always_comb begin
    check = at_most('0, '0, '0);

    unique case (1'b1)
      kind_q[KindOpcode]: begin
        check.error = ErrorBadOpcode;
        check.holds = is_opcode_q;
      end
      of_rows_q: begin
        check = rows;
        check.limit = space_elements;
        check.holds = role_q.spaces[operand_q.space];
        check.spares_image = role_q.written && operand_q.space == SpaceResid;
        check.base_align = multiple_of(RowAlign);
        check.a_align = multiple_of(RowAlign);
        if (kind_q[KindInputRows]) begin
          check.count = inputs_q;
          check.base_align &= ~({AlignWidth{1'b1}} << log2_inputs);  // may begin within a word
        end
        if (kind_q[KindStateRows]) check.count = 17'd2 << scan.log2_state;
        if (kind_q[KindSkipRows]) check.count = skips_q;
        if (kind_q[KindSharedRows]) check.count = shared_q;
      end
      // The last row of one ends before the first of the other begins.
      of_overlap_q: begin
        check = rows;
        check.limit = 32'(result_q.addr);
        check.either = kind_q[KindSourceOverlap] || kind_q[KindAddendOverlap];
        if (kind_q[KindResultOverlap]) check.limit = 32'(source.addr);
        if (kind_q[KindAddendResultOverlap]) check.limit = 32'(addend.addr);
      end
      kind_q[KindSize]: begin
        check = at_most(32'(n_limit_q), '0, 17'(n_q));
        check.holds = fields_hold_q;
      end

      kind_q[KindTokenBytes]: begin
        check = at_most(32'(facts_i.token_bytes), '0, 17'(n_q));
        check.exact = 1'b1;
      end
      kind_q[KindForecast]: begin
        check = at_most(32'(facts_i.forecast_elements), '0, 17'(n_q));
        check.exact = 1'b1;
      end

      kind_q[KindInputs]: check = at_most(LimitArrayInputs, '0, '0, linear.n_in, 16'(rows_q));
      kind_q[KindArrayParams]: begin
        check = at_most(elements[SectionArrayParams], linear.param_addr, 17'(n_q));
        check.base_align = multiple_of(ArrayParamAlign);
      end
      kind_q[KindWeights]: begin
        check = at_most(elements[SectionWeights], linear.weight_addr, '0, linear.weight_stride,
                        16'(last_row_q));
      end
      kind_q[KindTiles]: begin
        check = at_most('0, '0, '0, output_tiles_q, input_tiles_q);
        check.continues = 1'b1;
      end

      kind_q[KindConvParams]: begin
        check = at_most(elements[SectionConvParams], conv.param_addr, 17'(n_q));
        check.base_align = multiple_of(ConvLanes);
      end
      kind_q[KindConvTable]: begin
        check = at_most(elements[SectionConvTables], 20'(conv.table_index), 17'd1);
      end

      kind_q[KindScanParams]: begin
        check = at_most(elements[SectionScanParams], scan.param_addr, 17'(n_q));
        check.base_align = multiple_of(ScanParamAlign);
      end
      kind_q[KindSoftplusTable]: begin
        check = at_most(elements[SectionScanTables], 20'(scan.softplus_table), 17'd1);
      end
      kind_q[KindSiluTable]: begin
        check = at_most(elements[SectionScanTables], 20'(scan.silu_table), 17'd1);
      end
      kind_q[KindState]: begin
        check = at_most(MaxState, scan.state_addr, '0, n_q, 16'd1 << scan.log2_state);
        check.base_align = multiple_of(ScanLanes);
      end
      kind_q[KindDecay]: begin
        check =
            at_most(elements[SectionScanDecay], scan.decay_addr, '0, n_q, 16'd1 << scan.log2_state);
        check.base_align = multiple_of(ScanLanes);
      end

      kind_q[KindVectorParams]: begin
        check = at_most(elements[SectionVectorParams], norm.param_addr, 17'(n_q));
      end
      kind_q[KindPoolParams]: begin  // mean and maximum
        check = at_most(elements[SectionVectorParams], pool.param_addr, 17'd2);
      end
      kind_q[KindModulateParams]: begin
        check = at_most(elements[SectionVectorParams], modulate.param_addr, 17'd1);
      end
      kind_q[KindVectorTable]: begin
        check = at_most(elements[SectionVectorTables], 20'(scale.table_index), 17'd1);
      end
      kind_q[KindScaleTable]: begin
        check = at_most(elements[SectionVectorTables], 20'(modulate.scale_table), 17'd1);
      end
      kind_q[KindShiftTable]: begin
        check = at_most(elements[SectionVectorTables], 20'(modulate.shift_table), 17'd1);
      end

      // If it is more than the field holds, every entry is beyond its limit.
      kind_q[KindPositions]: begin
        check = at_most(32'hFFF, '0, '0, phase.repeats - 1'b1, 16'(phase.position_step));
        check.error = ErrorBadSchedule;
        check.product_use = UsePositions;
      end
      kind_q[KindSequences]: begin
        check = at_most(32'h3FF, '0, '0, phase.repeats - 1'b1, 16'(phase.sequence_step));
        check.error = ErrorBadSchedule;
        check.product_use = UseSequences;
      end
      kind_q[KindReceived]: begin
        check = at_most('1, '0, '0, phase.repeats, phase.unit_entries[UnitStreamIn]);
        check.product_use = UseReceived;
      end
      kind_q[KindSent]: begin
        check = at_most('1, '0, '0, phase.repeats, phase.unit_entries[UnitStreamOut]);
        check.product_use = UseSent;
      end
      kind_q[KindPhases]: begin
        check.holds = phases_q != '0 && schedule_complete;
        check.error = ErrorBadSchedule;
      end
      kind_q[KindTokens]: begin
        check = at_most(received_q, '0, '0, facts_i.n_sequences, facts_i.n_positions);
        check.exact = 1'b1;
        check.error = ErrorBadSchedule;
      end
      kind_q[KindForecasts]: begin
        check = at_most(sent_q, '0, 17'(facts_i.n_sequences));
        check.exact = 1'b1;
        check.error = ErrorBadSchedule;
      end
      default: ;
    endcase
  end

  // ---------------------------------------------------------------- the pipeline

  typedef struct packed {
    error_e error;
    logic   holds;
    logic   exact;
    logic   either;
  } verdict_t;

  check_t check_q;
  verdict_t sum_verdict_q, verdict_q;  // beside the product, beside what is left
  logic continues_q;
  use_e use_q;
  logic [31:0] product_q;
  logic signed [RoomWidth-1:0] left_q, room_q;  // of the limit: without and with the product
  logic aligned, spared;
  error_e error_q;
  logic fails_q, failed_q, either_q;
  assign aligned = (check_q.base[AlignWidth-1:0] & check_q.base_align) == '0 &&
      (check_q.a[AlignWidth-1:0] & check_q.a_align) == '0;
  assign spared = !check_q.spares_image || 32'(check_q.base) >= elements[SectionResidImage];

  always_ff @(posedge clk_i) begin
    check_q <= check;

    left_q <= RoomWidth'(check_q.limit) - RoomWidth'(check_q.base) - RoomWidth'(check_q.count);
    product_q <= check_q.a * check_q.b;
    continues_q <= check_q.continues;
    use_q <= check_q.product_use;
    sum_verdict_q <= '{
        error: check_q.error,
        holds: check_q.holds && aligned && spared,
        exact: check_q.exact,
        either: check_q.either
    };

    if (start_i) begin
      received_q <= '0;
      sent_q <= '0;
    end else if (valid_q[3]) begin
      if (use_q == UsePositions) positions_q <= product_q[11:0];
      if (use_q == UseSequences) sequences_q <= product_q[9:0];
      if (use_q == UseReceived) received_q <= received_q + product_q;
      if (use_q == UseSent) sent_q <= sent_q + product_q;
    end

    room_q <= (continues_q ? room_q : left_q) - RoomWidth'(product_q);
    verdict_q <= sum_verdict_q;

    fails_q <= !verdict_q.holds || room_q < 0 || (verdict_q.exact && room_q != '0);
    error_q <= verdict_q.error;
    either_q <= verdict_q.either;

    // Of two, only a failure of both counts.
    failed_q <= fails_q || !either_q;
    if (rst_i || start_i) error_o <= ErrorOk;
    else if (error_o == ErrorOk) begin
      if (valid_q[5] && fails_q && failed_q && !either_q) error_o <= error_q;
      else if (schedule_bad) error_o <= ErrorBadSchedule;
    end
  end

`ifndef SYNTHESIS
  default clocking @(posedge clk_i);
  endclocking

  logic live;
  cmamba_live u_live (
      .clk_i,
      .rst_i,
      .live_o(live)
  );

  word_stays :
  assert property (disable iff (!live) word_valid_i && !word_ready_o |=> !word_valid_i || $stable(
      word_i
  ))
  else $error("program_check: the instruction or phase changed before it was taken");

  program_in_order :
  assert property (disable iff (!live) schedule_valid_i |->
      !word_valid_i && is_phase && 32'(phases_q) == elements[SectionPhases])
  else $error("program_check: an entry of the schedule before the last instruction or phase");

  facts_stay :
  assert property (disable iff (!live)
      word_valid_i || schedule_valid_i || state_q == StCounts || state_q == StVerdict |->
      $stable(
      {
        facts_i.elements,
        facts_i.n_sequences,
        facts_i.n_positions,
        facts_i.token_bytes,
        facts_i.forecast_elements
      }
  ))
  else $error("program_check: the facts changed before the program was checked");
`endif

endmodule

`default_nettype wire
