// What the array is given, and what its parts hand to each other. Widths are those of the formats,
// whatever the tile: each module takes the bits that its parameters give a meaning.
package cmamba_array_pkg;

  // Number of a word of an activation memory: no more than addresses of elements.
  typedef logic [19:0] word_t;

  // An entry of the sequencer.
  typedef struct packed {
    cmamba_pkg::linear_instruction_t instruction;
    logic [11:0]                     position;
    word_t                           src_word;     // where the rows of its operands begin
    word_t                           dst_word;
    word_t                           add_word;
  } linear_entry_t;

  // A weight tile that is read.
  typedef struct packed {
    logic        first;       // of its output tile
    logic        last;
    logic [1:0]  part;        // the first of the four parts of the word of inputs
    logic [1:0]  log2_split;
    logic [15:0] end_at;      // the last input that the matrix has, where it has not all
  } tile_t;

  // What becomes of the sums of an entry.
  typedef struct packed {
    cmamba_pkg::linear_instruction_t instruction;
    word_t                           dst_word;
    word_t                           add_word;
    logic                            is_first;     // position of a sequence
    logic                            is_last;
  } linear_result_t;

  // Weight tiles from `first` up to, not including, `beyond`: at most 2^32 bytes.
  typedef struct packed {
    logic [31:0] first;
    logic [31:0] beyond;
  } tile_range_t;

endpackage
