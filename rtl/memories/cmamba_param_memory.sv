// Memory of a section of parameters: the loader writes beats of the section, a unit reads a word
// for each of its lanes.
//
// Word w of the section belongs to lane w mod Lanes, row w / Lanes. The memory has a bank for each
// lane if lanes have addresses of their own, and otherwise for each beat of a row. A bank of beats
// that hold several rows (few short lanes) is read whole.

`default_nettype none

module cmamba_param_memory #(
    // Bits of a word, a divisor of 128.
    parameter int unsigned WordBits = 64,
    // Words of a row, a power of two.
    parameter int unsigned Lanes = 16,
    // Words of the section.
    parameter int unsigned Words = 16384,
    // Addresses of a read: 1, or one for each lane.
    parameter int unsigned Addresses = 1,
    // RAM of the device, as in ram_1w.
    parameter RamStyle = "block",
    localparam int unsigned RowAddrBits = $clog2(Words / Lanes),
    localparam int unsigned BeatAddrBits = $clog2(Words * WordBits / 128)
) (
    input wire logic clk_i,

    // A beat of the section, and a row of it below: not behind its end.
    input wire logic wr_en_i,
    input wire logic [BeatAddrBits-1:0] wr_addr_i,
    input wire logic [127:0] wr_data_i,

    // Data two cycles after the address.
    input wire logic rd_en_i,
    input wire logic [Addresses-1:0][RowAddrBits-1:0] rd_addr_i,
    output logic [Lanes-1:0][WordBits-1:0] rd_data_o
);

  localparam int unsigned BeatWords = 128 / WordBits;
  localparam int unsigned Banks = Addresses > 1 ? Lanes : (Lanes + BeatWords - 1) / BeatWords;
  localparam int unsigned BankBits = Addresses > 1 ? WordBits : 128;
  localparam int unsigned Beats = Words * WordBits / 128;
  // Beats of a row, rows of a beat.
  localparam int unsigned RowBeats = Lanes > BeatWords ? Lanes / BeatWords : 1;
  localparam int unsigned BeatRows = Lanes < BeatWords ? BeatWords / Lanes : 1;
  localparam int unsigned Depth = Beats / RowBeats;
  localparam int unsigned DepthBits = $clog2(Depth);

  if (WordBits < 1 || 128 % WordBits != 0) begin : gen_check_bits
    $fatal(1, "param_memory: WordBits is %0d, expected a divisor of 128", WordBits);
  end
  if (Lanes < 1 || Lanes != 1 << $clog2(Lanes)) begin : gen_check_lanes
    $fatal(1, "param_memory: Lanes is %0d, expected a power of two", Lanes);
  end
  if (Addresses != 1 && (Addresses != Lanes || BeatRows > 1)) begin : gen_check_addresses
    $fatal(1, "param_memory: Addresses is %0d, expected 1, or Lanes that fill a beat", Addresses);
  end
  if (Words * WordBits % (128 * RowBeats) != 0 || Depth < 2) begin : gen_check_words
    $fatal(1, "param_memory: Words is %0d, expected at least two whole rows or beats", Words);
  end

  logic [Banks-1:0][BankBits-1:0] words;

  for (genvar b = 0; b < Banks; b++) begin : gen_bank
    // The place of its word in a beat.
    localparam int unsigned Lsb = BankBits * b % 128;
    logic [RowAddrBits-1:0] rd_row;
    assign rd_row = rd_addr_i[Addresses>1?b : 0];
    cmamba_ram_1w #(
        .Width(BankBits),
        .Depth(Depth),
        .RamStyle(RamStyle)
    ) u_ram (
        .clk_i,
        .wr_en_i  (wr_en_i && 32'(wr_addr_i) % RowBeats == BankBits * b / 128),
        .wr_addr_i(DepthBits'(32'(wr_addr_i) / RowBeats)),
        .wr_data_i(wr_data_i[Lsb+:BankBits]),
        .rd_en_i,
        .rd_addr_i(DepthBits'(32'(rd_row) / BeatRows)),
        .rd_data_o(words[b])
    );
  end

  if (BeatRows == 1) begin : gen_whole
    assign rd_data_o = words;
  end else begin : gen_part
    localparam int unsigned PartBits = $clog2(BeatRows);
    logic [1:0][PartBits-1:0] part_q;
    always_ff @(posedge clk_i) part_q <= {part_q[0], rd_addr_i[0][PartBits-1:0]};
    assign rd_data_o = words[0][part_q[1]*Lanes*WordBits+:Lanes*WordBits];
  end

`ifndef SYNTHESIS
  default clocking @(posedge clk_i);
  endclocking

  logic live;
  cmamba_quiet u_quiet (
      .clk_i,
      .active_i(wr_en_i || rd_en_i),
      .live_o  (live)
  );

  write_fits :
  assert property (disable iff (!live) wr_en_i |-> 32'(wr_addr_i) < Beats)
  else $error("param_memory: beat %0d is written, of %0d", wr_addr_i, Beats);

  // A lane of its own address may have no word in the row behind the last one.
  read_fits :
  assert property (disable iff (!live) rd_en_i && Addresses == 1 |->
      32'(rd_addr_i[0]) < Words / Lanes)
  else $error("param_memory: row %0d is read, of %0d", rd_addr_i[0], Words / Lanes);
`endif

endmodule

`default_nettype wire
