// What a loaded package says about itself; from the loader to whoever runs or checks its program.
package cmamba_loader_pkg;

  // Not everybody uses every field.
  // verilator lint_off UNUSEDSIGNAL

  typedef struct packed {
    // The sizes of docs/package.md, "Header".
    logic [15:0] n_sequences;
    logic [15:0] iterations;
    logic [15:0] n_positions;
    logic [15:0] token_bytes;
    logic [15:0] forecast_elements;
    // Elements of each section, by cmamba_pkg::section_e; weights in tiles.
    logic [cmamba_pkg::NumSections-1:0][31:0] elements;
    // Byte address of the weights in memory.
    logic [63:0] weights_addr;
  } facts_t;

  // verilator lint_on UNUSEDSIGNAL

endpackage
