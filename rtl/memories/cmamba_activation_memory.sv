// An activation memory: words of RowAlign elements, written element by element, read whole.
//
// Up to `LutWords` words in LUTs: block RAM of 512 words would be mostly empty.

`default_nettype none

module cmamba_activation_memory #(
    // Bits of an element, 8 or 16.
    parameter int unsigned ElementBits = 8,
    // Elements of the memory.
    parameter int unsigned Elements = 16384,
    // Elements of a word.
    parameter int unsigned RowAlign = cmamba_build_pkg::RowAlign,
    // Readers, each of which has a copy.
    parameter int unsigned ReadPorts = 1,
    // Words of the deepest memory in LUTs.
    parameter int unsigned LutWords = 128,
    localparam int unsigned AddrBits = $clog2(Elements / RowAlign)
) (
    input wire logic clk_i,

    input wire logic wr_en_i,
    input wire logic [AddrBits-1:0] wr_addr_i,
    input wire logic [RowAlign-1:0] wr_mask_i,
    input wire logic [RowAlign-1:0][ElementBits-1:0] wr_data_i,

    // Data two cycles after the address. A read in the cycle of a write gives the old word.
    input wire logic [ReadPorts-1:0] rd_en_i,
    input wire logic [ReadPorts-1:0][AddrBits-1:0] rd_addr_i,
    output logic [ReadPorts-1:0][RowAlign-1:0][ElementBits-1:0] rd_data_o
);

  if (ElementBits != 8 && ElementBits != 16) begin : gen_check_bits
    $fatal(1, "activation_memory: ElementBits is %0d, expected 8 or 16", ElementBits);
  end
  if (Elements % RowAlign != 0) begin : gen_check_elements
    $fatal(1, "activation_memory: Elements is %0d, expected a multiple of %0d", Elements, RowAlign);
  end

  // Two instances, since a choice between texts would fill the shorter one with zero bytes.
  if (Elements / RowAlign > LutWords) begin : gen_block
    cmamba_ram_1w #(
        .Width(RowAlign * ElementBits),
        .Depth(Elements / RowAlign),
        .MaskedWidth(ElementBits),
        .ReadPorts(ReadPorts),
        .RamStyle("block")
    ) u_ram (
        .clk_i,
        .wr_en_i,
        .wr_addr_i,
        .wr_mask_i,
        .wr_data_i,
        .rd_en_i,
        .rd_addr_i,
        .rd_data_o
    );
  end else begin : gen_distributed
    cmamba_ram_1w #(
        .Width(RowAlign * ElementBits),
        .Depth(Elements / RowAlign),
        .MaskedWidth(ElementBits),
        .ReadPorts(ReadPorts),
        .RamStyle("distributed")
    ) u_ram (
        .clk_i,
        .wr_en_i,
        .wr_addr_i,
        .wr_mask_i,
        .wr_data_i,
        .rd_en_i,
        .rd_addr_i,
        .rd_data_o
    );
  end

endmodule

`default_nettype wire
