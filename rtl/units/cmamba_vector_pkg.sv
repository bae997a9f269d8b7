// Sizes of the vector unit, from those of the build, and what its parts hand to each other.
package cmamba_vector_pkg;

  // Not everybody uses every size.
  // verilator lint_off UNUSEDPARAM

  // Elements a cycle, and of a word of the activation memories.
  localparam int unsigned Lanes = cmamba_build_pkg::VectorLanes;
  localparam int unsigned RowAlign = cmamba_build_pkg::RowAlign;
  localparam int unsigned LaneWidth = $clog2(Lanes);
  // A beat is `Lanes` elements of a row. Beats of a word, of the longest row.
  localparam int unsigned Slots = RowAlign / Lanes;
  localparam int unsigned SlotWidth = $clog2(Slots);
  localparam int unsigned FeatureWidth = $clog2(cmamba_build_pkg::MaxFeatures / Lanes);
  // Words of the memories, of any of them, of those that are written.
  localparam int unsigned ResidWidth = $clog2(cmamba_build_pkg::ResidElements / RowAlign);
  localparam int unsigned NormWidth = $clog2(cmamba_build_pkg::NormElements / RowAlign);
  localparam int unsigned LogitWidth = $clog2(cmamba_build_pkg::LogitElements / RowAlign);
  localparam int unsigned ConvInWidth = $clog2(cmamba_build_pkg::ConvInElements / RowAlign);
  localparam int unsigned DstWidth = cmamba_cells_pkg::larger(
      ResidWidth, cmamba_cells_pkg::larger(NormWidth, ConvInWidth)
  );
  localparam int unsigned WordWidth = cmamba_cells_pkg::larger(DstWidth, LogitWidth);
  // An element of a row that all sequences share, and the beat that it would be in.
  localparam int unsigned ElementWidth = $clog2(
      cmamba_cells_pkg::larger(cmamba_build_pkg::NormElements, cmamba_build_pkg::LogitElements)
  );
  localparam int unsigned BeatWidth = cmamba_cells_pkg::larger(
      FeatureWidth, ElementWidth - LaneWidth
  );
  // Words of vector_params, tables of vector_tables.
  localparam int unsigned ParamWidth = $clog2(cmamba_build_pkg::MaxVectorParams);
  localparam int unsigned TableWidth = $clog2(cmamba_build_pkg::MaxVectorTables);
  // Sums of up to 4,096 int16.
  localparam int unsigned SumWidth = 28;
  // Beats of the back on their way; one needs about 20 cycles from its issue to its write.
  localparam int unsigned ResultDepth = 32;
  // Entries between front and back of which something is on its way, places for that.
  localparam int unsigned MaxWaiting = 3;
  localparam int unsigned WaitingDepth = 4;

  // verilator lint_on UNUSEDPARAM

  // What of an entry is on its way from front to back, which waits for it.
  typedef enum logic [1:0] {
    WayNone,
    WayRoot,
    WayScalars,
    WayFactors
  } way_e;

  // What the back has to know of an entry.
  typedef struct packed {
    logic                         is_norm;
    logic                         is_pool;
    logic                         is_pool_features;
    logic                         is_modulate;
    way_e                         way;
    logic                         passes;            // POOL before the last position: no result
    logic                         wide;
    logic                         one_beat;
    logic [FeatureWidth:0]        beats;
    logic [LaneWidth-1:0]         last_lane;         // of the last beat
    logic [ResidWidth-1:0]        src_word;
    logic [LogitWidth-1:0]        logit_word;
    logic [DstWidth-1:0]          dst_word;
    logic [DstWidth-1:0]          second_word;       // POOL: the maximum. MODULATE: the addend
    logic [ParamWidth-1:0]        param_addr;
    logic [TableWidth-1:0]        table_index;
    // Of a row that all sequences share: mean and maximum, or scale and shift.
    logic [1:0][ElementWidth-1:0] elements;
  } context_t;

  typedef enum logic [3:0] {
    BeatSquare,    // front
    BeatPool,
    BeatReduce,    // POOL_FEATURES
    BeatNorm,      // back
    BeatScale,
    BeatMean,
    BeatMaximum,
    BeatScalar,    // POOL_FEATURES
    BeatAddend,    // MODULATE, first read
    BeatModulate,  // second read
    BeatNothing
  } kind_e;

  // A beat of the front.
  typedef struct packed {
    kind_e                   kind;
    logic                    first;      // BeatPool: of the sequence. Others: of the row
    logic                    last;       // of the row
    logic [31:0]             eps;
    logic [ResidWidth-1:0]   word;       // that is read
    logic [FeatureWidth-1:0] feature;    // number of the beat in its row
    logic [LaneWidth-1:0]    last_lane;  // that belongs to the row
  } front_beat_t;

  // A beat of the back.
  typedef struct packed {
    kind_e                   kind;
    logic                    last;         // of the entry
    logic [SumWidth-1:0]     operand;      // r << j, twice the scale, the shift, a scalar
    logic [3:0]              left_shift;   // k
    logic [ResidWidth-1:0]   word;         // that is read
    logic [FeatureWidth-1:0] feature;
    logic [LaneWidth-1:0]    lane;         // the last that belongs to the row; BeatScalar: the only
    logic [LogitWidth-1:0]   logit_word;
    logic [TableWidth-1:0]   table_index;
    logic [ParamWidth-1:0]   param_addr;
    logic [DstWidth-1:0]     dst_word;
    logic                    wide;
  } back_beat_t;

  // A look-up of all lanes.
  typedef struct packed {
    logic [LogitWidth-1:0] logit_word;
    logic [TableWidth-1:0] table_index;
    logic [SlotWidth-1:0]  slot;
    logic [LaneWidth-1:0]  lane;         // MODULATE: the only one that counts
    logic                  is_shift;     // MODULATE: of the shift, not of the scale
  } lookup_t;

  // Where the parameters of a beat come from.
  typedef enum logic [1:0] {
    ParamsOfRow,   // a word for each lane
    ParamOfEntry,  // one for all lanes
    ParamsOfTable  // multipliers from the table, with 16 fraction bits
  } param_source_e;

  // The part of a beat in the sums of its row.
  typedef struct packed {
    logic             squares;  // whose root is wanted
    logic             first;
    logic             last;
    logic [31:0]      eps;      // NORM
    logic [Lanes-1:0] lanes;    // that belong to the row
  } part_t;

  typedef enum logic [1:0] {
    ToNothing,
    ToNorm,
    ToResid,
    ToConvIn
  } target_e;

  // Where a beat is written.
  typedef struct packed {
    target_e              target;
    logic                 last;      // of the entry
    logic [SlotWidth-1:0] slot;
    logic [Lanes-1:0]     lanes;
    logic [DstWidth-1:0]  dst_word;
  } result_t;

  // The beat of a row that an element is in.
  function automatic logic [BeatWidth-1:0] beat_of(logic [ElementWidth-1:0] element);
    return BeatWidth'(element >> LaneWidth);
  endfunction

endpackage
