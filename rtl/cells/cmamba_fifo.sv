// First-in first-out queue with valid/ready on both sides.
//
// A word that is written comes out two cycles later at the earliest: the memory is read into an
// output register, so that it can be block or distributed RAM.

`default_nettype none

module cmamba_fifo #(
    // Bits of a word.
    parameter int unsigned Width = 32,
    // Words in the memory, a power of two; one more is in the output register.
    parameter int unsigned Depth = 16,
    // RAM of the device: "auto", "block" or "distributed".
    parameter RamStyle = "auto",
    localparam int unsigned LevelWidth = $clog2(Depth + 2)
) (
    input wire logic clk_i,
    input wire logic rst_i,

    input  wire logic             valid_i,
    output logic ready_o,
    input  wire logic [Width-1:0] data_i,

    output logic valid_o,
    input  wire logic             ready_i,
    output logic [Width-1:0] data_o,

    // Words inside, 0 to Depth + 1.
    output logic [LevelWidth-1:0] level_o
);

  if (Width < 1) begin : gen_check_width
    $fatal(1, "fifo: Width is %0d, expected at least 1", Width);
  end
  if (Depth < 2 || Depth != 1 << $clog2(Depth)) begin : gen_check_depth
    $fatal(1, "fifo: Depth is %0d, expected a power of two from 2", Depth);
  end

  // verilator lint_off WIDTHEXPAND
  // Texts are as wide as they are long.
  if (RamStyle != "auto" && RamStyle != "block" && RamStyle != "distributed") begin : gen_check_ram
    $fatal(1, "fifo: RamStyle is %s, expected auto, block or distributed", RamStyle);
  end
  // verilator lint_on WIDTHEXPAND

  localparam int unsigned AddrWidth = $clog2(Depth);

  (* ram_style = RamStyle *)
  logic [Width-1:0] memory[Depth];

  logic [AddrWidth-1:0] write_q, read_q;
  // Words inside. To tell empty and full by it takes less than to compare addresses, and it does
  // not wait for `load`, which all bits of a word depend on.
  logic [LevelWidth-1:0] level_q;
  logic valid_q;
  logic [Width-1:0] data_q;

  logic empty, write, load, pop;
  assign empty = level_q == LevelWidth'(valid_q);
  assign ready_o = level_q != LevelWidth'(Depth) + LevelWidth'(valid_q);
  assign write = valid_i && ready_o;
  // The output register takes a word when it is free or becomes free.
  assign load = !empty && (!valid_q || ready_i);
  assign pop = valid_q && ready_i;

  always_ff @(posedge clk_i) begin
    if (write) memory[write_q] <= data_i;
    if (load) data_q <= memory[read_q];
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      write_q <= '0;
      read_q  <= '0;
      level_q <= '0;
      valid_q <= 1'b0;
    end else begin
      if (write) write_q <= write_q + 1'b1;
      if (load) read_q <= read_q + 1'b1;
      if (write != pop) level_q <= level_q + (pop ? '1 : LevelWidth'(1));
      valid_q <= !empty || (valid_q && !ready_i);
    end
  end

  assign valid_o = valid_q;
  assign data_o  = data_q;
  assign level_o = level_q;

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
  assert property (disable iff (!live) valid_o && !ready_i |=> $stable({valid_o, data_o}))
  else $error("fifo: the word went or changed before it was taken");

  level_fits :
  assert property (disable iff (!live) level_o <= LevelWidth'(Depth + 1))
  else $error("fifo: level_o is %0d, expected at most Depth + 1, %0d", level_o, Depth + 1);
`endif

endmodule

`default_nettype wire
