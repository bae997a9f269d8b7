// Tables of an int8 argument: 256 entries each, for -128 to 127, and lookup ports with two cycles
// of latency.
//
// A block RAM has two ports, so that there is a copy of the tables for every two lookups. A write
// goes through the first port of each copy: lookups of that cycle are undefined, and the tables are
// loaded while no unit runs.

`default_nettype none

module cmamba_activation_table #(
    // Tables, at least 2.
    parameter int unsigned Tables = 32,
    // Bits of an entry.
    parameter int unsigned Width = 8,
    // Lookups a cycle.
    parameter int unsigned Lanes = 8,
    localparam int unsigned TableWidth = $clog2(Tables),
    localparam int unsigned AddrWidth = TableWidth + 8
) (
    input wire logic clk_i,

    // Entry i of table t is at 256 t + i and belongs to the argument i - 128.
    input wire logic wr_en_i,
    input wire logic [AddrWidth-1:0] wr_addr_i,
    input wire logic [Width-1:0] wr_data_i,

    // The table that all lanes look into.
    input wire logic [TableWidth-1:0] table_i,
    // Arguments, int8.
    input wire logic [Lanes-1:0][7:0] data_i,
    output logic [Lanes-1:0][Width-1:0] data_o
);

  if (Tables < 2) begin : gen_check_tables
    $fatal(1, "activation_table: Tables is %0d, expected at least 2", Tables);
  end
  if (Lanes < 1) begin : gen_check_lanes
    $fatal(1, "activation_table: Lanes is %0d, expected at least 1", Lanes);
  end

  // Index of the entry: argument + 128.
  function automatic logic [AddrWidth-1:0] entry(logic [AddrWidth-9:0] table_number,
                                                 logic [7:0] argument);
    return {table_number, ~argument[7], argument[6:0]};
  endfunction

  for (genvar c = 0; c < (Lanes + 1) / 2; c++) begin : gen_copy
    (* ram_style = "block" *)
    logic [Width-1:0] memory[Tables*256];
    logic [AddrWidth-1:0] addr;
    logic [Width-1:0] entry_q, data_q;

    assign addr = wr_en_i ? wr_addr_i : entry(table_i, data_i[2*c]);

    always_ff @(posedge clk_i) begin
      if (wr_en_i) memory[addr] <= wr_data_i;
      else entry_q <= memory[addr];
      data_q <= entry_q;
    end
    assign data_o[2*c] = data_q;

    if (2 * c + 1 < Lanes) begin : gen_second
      logic [Width-1:0] second_entry_q, second_data_q;
      always_ff @(posedge clk_i) begin
        second_entry_q <= memory[entry(table_i, data_i[2*c+1])];
        second_data_q  <= second_entry_q;
      end
      assign data_o[2*c+1] = second_data_q;
    end
  end

endmodule

`default_nettype wire
