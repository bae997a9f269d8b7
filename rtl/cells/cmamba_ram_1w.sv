// Memory with one write port and any number of read ports, each of which has a copy of the memory.
//
// A read takes two cycles: the address of cycle t gives rd_data_o in cycle t + 2. The second
// register is the output register of block RAM. A read in the cycle of a write to its address gives
// the old word.
//
// RAM in LUTs has no register at its inputs, and a LUT for each bit or two, so that an address
// drives many of them. There the first of the two registers is that of address, enables and data, a
// copy of it for each 64 bits of the word.
//
// In LUTs a copy is one array for each bit of the write mask, or for each 64 bits where one mask
// bit is for all: write enables of bytes are documented for block RAM only. There are two
// descriptions of an array: the templates of UG901 (simple dual port, byte write enable, optional
// output register), from which tools infer RAM, and the macro XPM_MEMORY_SDPRAM of UG974, which
// leaves no choice. The suite of this module compares them.

`default_nettype none

module cmamba_ram_1w #(
    // Bits of a word.
    parameter int unsigned Width = 64,
    // Words.
    parameter int unsigned Depth = 256,
    // Bits that a bit of the write mask stands for, a divisor of Width. A mask costs block RAM its
    // ninth bits, unless it is one bit; otherwise it stands for whole bytes there.
    parameter int unsigned MaskedWidth = Width,
    // Read ports.
    parameter int unsigned ReadPorts = 1,
    // RAM of the device: "auto", "block" or "distributed".
    parameter RamStyle = "auto",
    // What a port shows two cycles after a cycle without rd_en_i: 0 its last word, 1 zeros. Words
    // of several memories of which one is read can then be ORed. (Block RAM can reset its output
    // register.)
    parameter bit ZeroIdle = 0,
    // Instantiate the macro.
    parameter bit Macro = cmamba_cells_pkg::UseRamMacros,
    localparam int unsigned AddrWidth = $clog2(Depth),
    localparam int unsigned MaskWidth = Width / MaskedWidth
) (
    input wire logic clk_i,

    input wire logic wr_en_i,
    input wire logic [AddrWidth-1:0] wr_addr_i,
    input wire logic [MaskWidth-1:0] wr_mask_i = '1,
    input wire logic [Width-1:0] wr_data_i,

    input wire logic [ReadPorts-1:0] rd_en_i,
    input wire logic [ReadPorts-1:0][AddrWidth-1:0] rd_addr_i,
    output logic [ReadPorts-1:0][Width-1:0] rd_data_o
);

  // verilator lint_off WIDTHEXPAND
  // Texts are as wide as they are long.
  localparam bit InLuts = RamStyle == "distributed";
  localparam bit IsRam = InLuts || RamStyle == "auto" || RamStyle == "block";
  // verilator lint_on WIDTHEXPAND

  // Bits of an array; arrays of a copy. In LUTs an array has at most 64 bits where one mask bit is
  // for all, since each has the address in registers of its own.
  localparam int unsigned ColumnWidth = !InLuts ? Width : MaskWidth > 1 ? MaskedWidth :
      Width < 64 ? Width : 64;
  localparam int unsigned Columns = (Width + ColumnWidth - 1) / ColumnWidth;
  // Write enables of an array: of bytes where block RAM has a mask.
  localparam bit HasBytes = !InLuts && MaskWidth > 1;
  // Columns that share the registers in front of RAM in LUTs.
  localparam int unsigned PartColumns = ColumnWidth < 64 ? 64 / ColumnWidth : 1;

  if (MaskedWidth < 1 || Width % MaskedWidth != 0) begin : gen_check_mask
    $fatal(1, "ram_1w: MaskedWidth is %0d, expected a divisor of Width %0d", MaskedWidth, Width);
  end
  if (HasBytes && MaskedWidth % 8 != 0) begin : gen_check_bytes
    $fatal(1, "ram_1w: MaskedWidth is %0d, expected whole bytes in %s RAM", MaskedWidth, RamStyle);
  end
  if (Depth < 2) begin : gen_check_depth
    $fatal(1, "ram_1w: Depth is %0d, expected at least 2", Depth);
  end
  if (ReadPorts < 1) begin : gen_check_ports
    $fatal(1, "ram_1w: ReadPorts is %0d, expected at least 1", ReadPorts);
  end
  if (!IsRam) begin : gen_check_ram
    $fatal(1, "ram_1w: RamStyle is %s, expected auto, block or distributed", RamStyle);
  end

  for (genvar p = 0; p < ReadPorts; p++) begin : gen_copy
    for (genvar c = 0; c < Columns; c++) begin : gen_column
      localparam int unsigned Rest = Width - c * ColumnWidth;
      localparam int unsigned Bits = Rest < ColumnWidth ? Rest : ColumnWidth;
      localparam int unsigned Enables = HasBytes ? Bits / 8 : 1;
      localparam int unsigned ByteWidth = Bits / Enables;

      logic [Enables-1:0] enables;
      logic [Bits-1:0] wr_data, rd_data;
      assign rd_data_o[p][c*ColumnWidth+:Bits] = rd_data;

      // What the array gets, and the enable of its output register.
      logic wr_en, rd_en, take;
      logic [AddrWidth-1:0] wr_addr, rd_addr;
      if (InLuts) begin : gen_luts
        localparam int unsigned Part = c - c % PartColumns;
        if (c == Part) begin : gen_part
          (* keep = "true" *) logic [AddrWidth-1:0] wr_addr_q;
          (* keep = "true" *) logic [AddrWidth-1:0] rd_addr_q;
          (* keep = "true" *) logic rd_en_q;
          always_ff @(posedge clk_i) begin
            wr_addr_q <= wr_addr_i;
            rd_addr_q <= rd_addr_i[p];
            rd_en_q   <= rd_en_i[p];
          end
        end
        logic wr_en_q;
        logic [Bits-1:0] wr_data_q;
        always_ff @(posedge clk_i) begin
          wr_en_q   <= wr_en_i && wr_mask_i[MaskWidth>1?c : 0];
          wr_data_q <= wr_data_i[c*ColumnWidth+:Bits];
        end
        assign enables = '1;
        assign wr_en   = wr_en_q;
        assign wr_data = wr_data_q;
        assign wr_addr = gen_column[Part].gen_luts.gen_part.wr_addr_q;
        assign rd_addr = gen_column[Part].gen_luts.gen_part.rd_addr_q;
        assign rd_en   = gen_column[Part].gen_luts.gen_part.rd_en_q;
        assign take    = rd_en;
      end else begin : gen_direct
        for (genvar e = 0; e < Enables; e++) begin : gen_enable
          assign enables[e] = wr_mask_i[e*ByteWidth/MaskedWidth];
        end
        assign wr_en   = wr_en_i;
        assign wr_data = wr_data_i;
        assign wr_addr = wr_addr_i;
        assign rd_addr = rd_addr_i[p];
        assign rd_en   = rd_en_i[p];
        logic rd_en_q;
        always_ff @(posedge clk_i) rd_en_q <= rd_en_i[p];
        assign take = rd_en_q;
      end

      if (Macro) begin : gen_macro
        xpm_memory_sdpram #(
            .MEMORY_SIZE       (Bits * Depth),
            .MEMORY_PRIMITIVE  (RamStyle),
            .CLOCKING_MODE     ("common_clock"),
            .WRITE_DATA_WIDTH_A(Bits),
            .BYTE_WRITE_WIDTH_A(ByteWidth),
            .ADDR_WIDTH_A      (AddrWidth),
            .READ_DATA_WIDTH_B (Bits),
            .ADDR_WIDTH_B      (AddrWidth),
            .READ_LATENCY_B    (InLuts ? 1 : 2),
            .READ_RESET_VALUE_B("0"),
            .WRITE_MODE_B      ("read_first")
        ) u_ram (
            .sleep         (1'b0),
            .clka          (clk_i),
            .ena           (wr_en),
            .wea           (enables),
            .addra         (wr_addr),
            .dina          (wr_data),
            .injectsbiterra(1'b0),
            .injectdbiterra(1'b0),
            .clkb          (clk_i),
            .rstb          (ZeroIdle && !take),
            .enb           (rd_en),
            .regceb        (take),
            .addrb         (rd_addr),
            .doutb         (rd_data),
            // verilator lint_off PINCONNECTEMPTY
            // Without ECC there are no errors.
            .sbiterrb      (),
            .dbiterrb      ()
            // verilator lint_on PINCONNECTEMPTY
        );
      end else begin : gen_inferred
        (* ram_style = RamStyle *)
        logic [Bits-1:0] memory[Depth];
        logic [Bits-1:0] word;

        always_ff @(posedge clk_i) begin
          if (wr_en) begin
            for (int unsigned e = 0; e < Enables; e++) begin
              if (enables[e]) begin
                memory[wr_addr][e*ByteWidth+:ByteWidth] <= wr_data[e*ByteWidth+:ByteWidth];
              end
            end
          end
        end

        if (InLuts) begin : gen_word
          assign word = memory[rd_addr];
        end else begin : gen_latch
          logic [Bits-1:0] word_q;
          always_ff @(posedge clk_i) begin
            if (rd_en) word_q <= memory[rd_addr];
          end
          assign word = word_q;
        end

        if (ZeroIdle) begin : gen_zero
          always_ff @(posedge clk_i) begin
            if (!take) rd_data <= '0;
            else rd_data <= word;
          end
        end else begin : gen_hold
          always_ff @(posedge clk_i) begin
            if (take) rd_data <= word;
          end
        end
      end
    end
  end

endmodule

`default_nettype wire
