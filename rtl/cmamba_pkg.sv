// Generated from isa/isa.toml by `make isa`. Do not edit.
//
// The formats of docs/instruction_set.md and docs/package.md. A struct has the fields of
// a word without its reserved bits, which lie above them and are zero.
package cmamba_pkg;

  // Nobody uses every constant or every bit of a word.
  // verilator lint_off UNUSEDPARAM
  // verilator lint_off UNUSEDSIGNAL

  localparam int unsigned VersionMajor = 2;
  localparam int unsigned VersionMinor = 0;
  localparam logic [31:0] Magic = 32'h31424D43;
  localparam int unsigned HeaderBytes = 256;
  localparam int unsigned SectionAlign = 64;
  localparam int unsigned InstructionBits = 512;
  localparam int unsigned ScheduleBits = 128;
  localparam int unsigned NumUnits = 6;
  localparam int unsigned NumSpaces = 11;
  localparam int unsigned NumSections = 14;

  // What a loader allows.
  localparam int unsigned LimitShift = 48;
  localparam int unsigned LimitBiasBits = 30;
  localparam int unsigned LimitSkipWeightBits = 17;
  localparam int unsigned LimitArrayInputs = 65535;
  localparam int unsigned LimitExecuted = 2147483647;
  localparam int unsigned LimitLog2Split = 2;
  localparam int unsigned LimitTaps = 8;
  localparam int unsigned LimitLog2State = 6;
  localparam int unsigned LimitStateShift = 16;
  localparam int unsigned LimitSkipShift = 20;
  localparam int unsigned LimitYShift = 40;

  // Instructions.
  typedef enum logic [7:0] {
    OpRecv         = 8'd1,
    OpLinear       = 8'd2,
    OpConv         = 8'd3,
    OpScan         = 8'd4,
    OpNorm         = 8'd5,
    OpPool         = 8'd6,
    OpScale        = 8'd7,
    OpSend         = 8'd8,
    OpPoolFeatures = 8'd9,
    OpModulate     = 8'd10
  } opcode_e;

  // Execution units, in the order of the waits of a schedule entry.
  typedef enum logic [2:0] {
    UnitStreamIn  = 3'd0,
    UnitArray     = 3'd1,
    UnitVector    = 3'd2,
    UnitConv      = 3'd3,
    UnitScan      = 3'd4,
    UnitStreamOut = 3'd5
  } unit_e;

  // Activation memories.
  typedef enum logic [3:0] {
    SpacePatch  = 4'd0,
    SpaceNorm   = 4'd1,
    SpaceConvIn = 4'd2,
    SpaceGate   = 4'd3,
    SpaceConv   = 4'd4,
    SpaceProj   = 4'd5,
    SpaceStep   = 4'd6,
    SpaceScan   = 4'd7,
    SpaceLogit  = 4'd8,
    SpaceResid  = 4'd9,
    SpaceHead   = 4'd10
  } space_e;

  // Parts of the package.
  typedef enum logic [3:0] {
    SectionInstructions = 4'd0,
    SectionPhases       = 4'd1,
    SectionSchedule     = 4'd2,
    SectionWeights      = 4'd3,
    SectionArrayParams  = 4'd4,
    SectionConvParams   = 4'd5,
    SectionConvTables   = 4'd6,
    SectionScanParams   = 4'd7,
    SectionScanDecay    = 4'd8,
    SectionScanTables   = 4'd9,
    SectionVectorParams = 4'd10,
    SectionVectorTables = 4'd11,
    SectionResidImage   = 4'd12,
    SectionMetadata     = 4'd13
  } section_e;

  // Error codes.
  typedef enum logic [3:0] {
    ErrorOk          = 4'd0,
    ErrorBadMode     = 4'd1,
    ErrorNotLoaded   = 4'd2,
    ErrorBadMagic    = 4'd3,
    ErrorBadVersion  = 4'd4,
    ErrorBadCrc      = 4'd5,
    ErrorBadSection  = 4'd6,
    ErrorBadTile     = 4'd7,
    ErrorBadOpcode   = 4'd8,
    ErrorBadOperand  = 4'd9,
    ErrorBadShape    = 4'd10,
    ErrorBadSchedule = 4'd11,
    ErrorTlastEarly  = 4'd12,
    ErrorTlastLate   = 4'd13,
    ErrorTimeout     = 4'd14,
    ErrorBusError    = 4'd15
  } error_e;

  // Bytes of one element of each section.
  localparam int unsigned SectionElementBytes[NumSections] = '{
    64, 32, 16, 1, 8, 16, 256, 8, 2, 512, 8, 512, 2, 1
  };
  // Bits of one element of each activation memory.
  localparam int unsigned SpaceBits[NumSpaces] = '{8, 8, 8, 8, 8, 8, 8, 8, 8, 16, 16};

  // Rows of an activation memory: row i starts at addr + (i mod 2^log2_rows) * stride.
  typedef struct packed {
    logic [3:0]  space;      // which activation memory
    logic [3:0]  log2_rows;  // the buffer is a ring of 2^log2_rows rows
    logic [15:0] stride;     // elements from one row to the next
    logic [19:0] addr;       // first element of row 0
  } operand_t;
  localparam int unsigned OperandBits = $bits(operand_t);

  typedef logic signed [13:0] wait_count_t;
  // Run one instruction on one token.
  typedef struct packed {
    wait_count_t [5:0] wait_count;      // per unit: entries of this repeat that must have
                                        // completed; at or below zero counts back into the repeats
                                        // before
    logic [9:0]        sequence_index;  // index of the sequence among those of this iteration that
                                        // the instruction works on
    logic [11:0]       position;        // position of the token in its sequence; 0 restarts
                                        // convolution, scan and reductions
    logic [11:0]       token;           // row index: any numbering of the tokens of all sequences
    logic [9:0]        instruction;     // index into the instruction table
  } schedule_entry_t;
  localparam int unsigned ScheduleEntryBits = $bits(schedule_entry_t);

  typedef logic [15:0] unit_entries_t;
  // Entries of the schedule, executed several times.
  typedef struct packed {
    unit_entries_t [5:0] unit_entries;   // of the entries, those of each unit
    logic [9:0]          sequence_step;  // added to `sequence` with each repeat
    logic [11:0]         position_step;  // added to `position` with each repeat
    logic [11:0]         token_step;     // added to `token` with each repeat, modulo 4096
    logic [15:0]         repeats;        // how often they are executed
    logic [15:0]         entries;        // schedule entries, from the end of the phase before
  } phase_t;
  localparam int unsigned PhaseBits = $bits(phase_t);

  // Requantization parameters.
  typedef struct packed {
    logic signed [7:0]  zero_point;  // added after rounding
    logic [5:0]         shift;       // scale ratio, exponent: 0 to 48
    logic signed [17:0] multiplier;  // scale ratio, mantissa
    logic signed [31:0] bias;        // added to the accumulator (SCAN: the skip weight D)
  } param_word_t;

  localparam int unsigned ParamWordBits = 64;

  // Receive one token of int8 patches from s_axis.
  typedef struct packed {
    logic [15:0] n;            // elements a token; the stream carries ceil(n / 16) beats
    operand_t    dst;          // row token
    logic [11:0] n_positions;  // tokens in a sequence, as this instruction sees it
    logic [7:0]  opcode;       // which instruction
  } recv_instruction_t;
  localparam int unsigned RecvInstructionBits = $bits(recv_instruction_t);

  function automatic recv_instruction_t decode_recv(
      logic [InstructionBits-1:0] word);
    return recv_instruction_t'(word[RecvInstructionBits-1:0]);
  endfunction

  // Matrix-vector product of one token, requantized to int8 or int16.
  typedef struct packed {
    logic        add_position;   // the addend's row is the position, not the token
    logic        add_enable;     // add an int16 row before saturation
    logic        reduce;         // sum over the positions of a sequence; the result is written at
                                 // the last one
    logic        relu;           // clamp below at the zero point
    logic        wide;           // int16 result
    logic [1:0]  log2_split;     // the array's lanes form 2^log2_split groups that share the
                                 // outputs and split the inputs: 0, 1 or 2
    logic [15:0] n_out;          // output features
    logic [15:0] n_in;           // input features
    logic [19:0] param_addr;     // first word of array_params: a multiple of max(1,
                                 // requantize_lanes / 2)
    logic [15:0] weight_stride;  // tiles from the weights of one position to those of the next
    logic [19:0] weight_addr;    // first weight tile
    operand_t    add;            // int16 addend where add_enable; row token, or row position where
                                 // add_position
    operand_t    dst;            // int8, or int16 where wide; row token, or row sequence where
                                 // reduce
    operand_t    src;            // int8, row token
    logic [11:0] n_positions;    // tokens in a sequence, as this instruction sees it
    logic [7:0]  opcode;         // which instruction
  } linear_instruction_t;
  localparam int unsigned LinearInstructionBits = $bits(linear_instruction_t);

  function automatic linear_instruction_t decode_linear(
      logic [InstructionBits-1:0] word);
    return linear_instruction_t'(word[LinearInstructionBits-1:0]);
  endfunction

  // Causal depthwise convolution over tokens, requantized, through an int8 activation table.
  typedef struct packed {
    logic signed [7:0] pad;          // value before the first token of a sequence: the input's zero
                                     // point
    logic [3:0]        kernel;       // taps: 1 to 8
    logic [15:0]       n;            // channels
    logic [7:0]        table_index;  // index into conv_tables
    logic [19:0]       param_addr;   // first word of conv_params: a multiple of conv_lanes
    operand_t          dst;          // int8, row token
    operand_t          src;          // int8, rows token - kernel + 1 to token
    logic [11:0]       n_positions;  // tokens in a sequence, as this instruction sees it
    logic [7:0]        opcode;       // which instruction
  } conv_instruction_t;
  localparam int unsigned ConvInstructionBits = $bits(conv_instruction_t);

  function automatic conv_instruction_t decode_conv(
      logic [InstructionBits-1:0] word);
    return conv_instruction_t'(word[ConvInstructionBits-1:0]);
  endfunction

  // One token of the selective scan: softplus, decay, state update, output, skip, gate.
  typedef struct packed {
    logic [15:0]       skip_offset;      // elements from the start of row bc to those of D where
                                         // skip_enable: a multiple of 4 * tile_in
    logic signed [7:0] skip_zero_point;  // zero point of D where skip_enable
    logic              skip_enable;      // the skip weights D are the token's, from its row bc, not
                                         // those of the parameter words
    logic [5:0]        y_shift;          // output sum to int16: 0 to 40
    logic [4:0]        skip_shift;       // D * u to the scale of the output sum: left shift, 0 to
                                         // 20
    logic [4:0]        state_shift;      // delta * u * B to the state's scale: 0 to 16
    logic [4:0]        exp_shift;        // delta * decay to an exponent with 12 fraction bits
    logic signed [7:0] u_zero_point;     // zero point of u
    logic [2:0]        log2_state;       // d_state padded to 2^log2_state: 0 to 6
    logic [15:0]       n;                // channels (d_inner)
    logic [7:0]        silu_table;       // index into scan_tables, int16 entries
    logic [7:0]        softplus_table;   // index into scan_tables, uint16 entries
    logic [19:0]       param_addr;       // first word of scan_params: a multiple of max(1,
                                         // scan_lanes / 16)
    logic [19:0]       decay_addr;       // first element of scan_decay: a multiple of scan_lanes
    logic [19:0]       state_addr;       // first element of the state memory: a multiple of
                                         // scan_lanes
    operand_t          dst;              // int8, row token
    operand_t          bc;               // int8, row token: B in elements 0 to 2^log2_state - 1,
                                         // then C
    operand_t          dt;               // int8, row token
    operand_t          z;                // int8, row token
    operand_t          u;                // int8, row token
    logic [11:0]       n_positions;      // tokens in a sequence, as this instruction sees it
    logic [7:0]        opcode;           // which instruction
  } scan_instruction_t;
  localparam int unsigned ScanInstructionBits = $bits(scan_instruction_t);

  function automatic scan_instruction_t decode_scan(
      logic [InstructionBits-1:0] word);
    return scan_instruction_t'(word[ScanInstructionBits-1:0]);
  endfunction

  // RMSNorm of one token.
  typedef struct packed {
    logic        wide;         // int16 result
    logic [31:0] eps;          // n * eps in units of the squared input scale: at least 1
    logic [15:0] n;            // features
    logic [19:0] param_addr;   // first word of vector_params
    operand_t    dst;          // int8, or int16 where wide; row token
    operand_t    src;          // int16, row token
    logic [11:0] n_positions;  // tokens in a sequence, as this instruction sees it
    logic [7:0]  opcode;       // which instruction
  } norm_instruction_t;
  localparam int unsigned NormInstructionBits = $bits(norm_instruction_t);

  function automatic norm_instruction_t decode_norm(
      logic [InstructionBits-1:0] word);
    return norm_instruction_t'(word[NormInstructionBits-1:0]);
  endfunction

  // Mean and maximum over the tokens of a sequence; both rows are written at the last position.
  typedef struct packed {
    logic [15:0] n;            // features
    logic [19:0] param_addr;   // two words of vector_params: mean, maximum
    operand_t    dst;          // int8, rows 2 * sequence (mean) and 2 * sequence + 1 (maximum)
    operand_t    src;          // int16, row token
    logic [11:0] n_positions;  // tokens in a sequence, as this instruction sees it
    logic [7:0]  opcode;       // which instruction
  } pool_instruction_t;
  localparam int unsigned PoolInstructionBits = $bits(pool_instruction_t);

  function automatic pool_instruction_t decode_pool(
      logic [InstructionBits-1:0] word);
    return pool_instruction_t'(word[PoolInstructionBits-1:0]);
  endfunction

  // Multiply the residual stream by a table of the channel attention's logit.
  typedef struct packed {
    logic [15:0] n;            // features
    logic [7:0]  table_index;  // index into vector_tables, uint16 entries of 16 fraction bits
    operand_t    dst;          // int16, row token
    operand_t    logit;        // int8, row sequence
    operand_t    src;          // int16, row token
    logic [11:0] n_positions;  // tokens in a sequence, as this instruction sees it
    logic [7:0]  opcode;       // which instruction
  } scale_instruction_t;
  localparam int unsigned ScaleInstructionBits = $bits(scale_instruction_t);

  function automatic scale_instruction_t decode_scale(
      logic [InstructionBits-1:0] word);
    return scale_instruction_t'(word[ScaleInstructionBits-1:0]);
  endfunction

  // Send one sequence's int16 forecast to m_axis.
  typedef struct packed {
    logic [15:0] n;            // elements; the stream carries ceil(n / 8) beats
    operand_t    src;          // int16, row sequence
    logic [11:0] n_positions;  // tokens in a sequence, as this instruction sees it
    logic [7:0]  opcode;       // which instruction
  } send_instruction_t;
  localparam int unsigned SendInstructionBits = $bits(send_instruction_t);

  function automatic send_instruction_t decode_send(
      logic [InstructionBits-1:0] word);
    return send_instruction_t'(word[SendInstructionBits-1:0]);
  endfunction

  // Mean and maximum over the features of a token: an element each of a row that all sequences
  // share.
  typedef struct packed {
    logic [15:0] columns;      // elements of dst from a sequence's mean to its maximum
    logic [15:0] n;            // features
    logic [19:0] param_addr;   // two words of vector_params: mean, maximum
    operand_t    dst;          // int8, row position: the mean in element sequence, the maximum in
                               // element columns + sequence
    operand_t    src;          // int16, row token
    logic [11:0] n_positions;  // tokens in a sequence, as this instruction sees it
    logic [7:0]  opcode;       // which instruction
  } pool_features_instruction_t;
  localparam int unsigned PoolFeaturesInstructionBits = $bits(pool_features_instruction_t);

  function automatic pool_features_instruction_t decode_pool_features(
      logic [InstructionBits-1:0] word);
    return pool_features_instruction_t'(word[PoolFeaturesInstructionBits-1:0]);
  endfunction

  // Scale and shift a token by tables of two logits of its own, add a row, requantize.
  typedef struct packed {
    logic        wide;         // int16 result
    logic [7:0]  shift_table;  // index into vector_tables, int16 entries
    logic [7:0]  scale_table;  // index into vector_tables, uint16 entries of 16 fraction bits
    logic [15:0] columns;      // elements of logit from a sequence's scale to its shift
    logic [15:0] n;            // features
    logic [19:0] param_addr;   // one word of vector_params
    operand_t    add;          // int16, row token
    operand_t    dst;          // int8, or int16 where wide; row token
    operand_t    logit;        // int8, row position: of the scale in element sequence, of the shift
                               // in element columns + sequence
    operand_t    src;          // int16, row token
    logic [11:0] n_positions;  // tokens in a sequence, as this instruction sees it
    logic [7:0]  opcode;       // which instruction
  } modulate_instruction_t;
  localparam int unsigned ModulateInstructionBits = $bits(modulate_instruction_t);

  function automatic modulate_instruction_t decode_modulate(
      logic [InstructionBits-1:0] word);
    return modulate_instruction_t'(word[ModulateInstructionBits-1:0]);
  endfunction

  // Package header: byte offsets of its fields.
  localparam int unsigned HeaderMagicAt = 0;
  localparam int unsigned HeaderVersionMajorAt = 4;
  localparam int unsigned HeaderVersionMinorAt = 6;
  localparam int unsigned HeaderTotalBytesAt = 8;
  localparam int unsigned HeaderTileInAt = 12;
  localparam int unsigned HeaderTileOutAt = 14;
  localparam int unsigned HeaderNSequencesAt = 16;
  localparam int unsigned HeaderIterationsAt = 18;
  localparam int unsigned HeaderNPositionsAt = 20;
  localparam int unsigned HeaderTokenBytesAt = 22;
  localparam int unsigned HeaderForecastElementsAt = 24;
  // The section table: offset, bytes and CRC of each section, 32 bits each.
  localparam int unsigned HeaderSectionTableAt = 28;
  localparam int unsigned HeaderSectionEntryBytes = 12;
  localparam int unsigned HeaderCrcAt = 252;

  // decay(t), docs/numerics.md: round(65536 * 2^(-i / 64)).
  localparam logic [16:0] DecayHigh[64] = '{
    17'd65536, 17'd64830, 17'd64132, 17'd63441, 17'd62757, 17'd62081, 17'd61413, 17'd60751,
    17'd60097, 17'd59449, 17'd58809, 17'd58176, 17'd57549, 17'd56929, 17'd56316, 17'd55709,
    17'd55109, 17'd54515, 17'd53928, 17'd53347, 17'd52773, 17'd52204, 17'd51642, 17'd51085,
    17'd50535, 17'd49991, 17'd49452, 17'd48920, 17'd48393, 17'd47871, 17'd47356, 17'd46846,
    17'd46341, 17'd45842, 17'd45348, 17'd44859, 17'd44376, 17'd43898, 17'd43425, 17'd42958,
    17'd42495, 17'd42037, 17'd41584, 17'd41136, 17'd40693, 17'd40255, 17'd39821, 17'd39392,
    17'd38968, 17'd38548, 17'd38133, 17'd37722, 17'd37316, 17'd36914, 17'd36516, 17'd36123,
    17'd35734, 17'd35349, 17'd34968, 17'd34591, 17'd34219, 17'd33850, 17'd33486, 17'd33125
  };

  // decay(t), docs/numerics.md: round(65536 * 2^(-i / 4096)).
  localparam logic [16:0] DecayLow[64] = '{
    17'd65536, 17'd65525, 17'd65514, 17'd65503, 17'd65492, 17'd65481, 17'd65469, 17'd65458,
    17'd65447, 17'd65436, 17'd65425, 17'd65414, 17'd65403, 17'd65392, 17'd65381, 17'd65370,
    17'd65359, 17'd65348, 17'd65337, 17'd65326, 17'd65315, 17'd65304, 17'd65292, 17'd65281,
    17'd65270, 17'd65259, 17'd65248, 17'd65237, 17'd65226, 17'd65215, 17'd65204, 17'd65193,
    17'd65182, 17'd65171, 17'd65160, 17'd65149, 17'd65138, 17'd65127, 17'd65116, 17'd65105,
    17'd65094, 17'd65083, 17'd65072, 17'd65061, 17'd65050, 17'd65039, 17'd65028, 17'd65017,
    17'd65006, 17'd64995, 17'd64984, 17'd64973, 17'd64962, 17'd64951, 17'd64940, 17'd64929,
    17'd64918, 17'd64907, 17'd64896, 17'd64885, 17'd64874, 17'd64863, 17'd64852, 17'd64841
  };

  // verilator lint_on UNUSEDSIGNAL
  // verilator lint_on UNUSEDPARAM

endpackage
