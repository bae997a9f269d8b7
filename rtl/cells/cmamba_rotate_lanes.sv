// Rotates a word of lanes: data_o[l] = data_i[(l + shift_i) mod Lanes]; combinational.
//
// log2(Lanes) stages of two-way multiplexers, of which two fit a LUT6. With it, Lanes consecutive
// words that begin anywhere come out of a memory whose lane b holds the words b, Lanes + b, ...:
// lanes below the shift are read one row later.

`default_nettype none

module cmamba_rotate_lanes #(
    // Lanes, a power of two.
    parameter int unsigned Lanes = 16,
    // Bits of a lane.
    parameter int unsigned Width = 64,
    localparam int unsigned ShiftWidth = $clog2(Lanes)
) (
    input  wire logic [Lanes-1:0][Width-1:0] data_i,
    input  wire logic [ShiftWidth-1:0]       shift_i,
    output logic [Lanes-1:0][Width-1:0]      data_o
);

  if (Lanes < 2 || Lanes != 1 << ShiftWidth) begin : gen_check_lanes
    $fatal(1, "rotate_lanes: Lanes is %0d, expected a power of two from 2", Lanes);
  end

  for (genvar s = 0; s < ShiftWidth; s++) begin : gen_stage
    logic [Lanes-1:0][Width-1:0] source, rotated;
    if (s == 0) begin : gen_first
      assign source = data_i;
    end else begin : gen_next
      assign source = gen_stage[s-1].rotated;
    end
    for (genvar l = 0; l < Lanes; l++) begin : gen_lane
      assign rotated[l] = shift_i[s] ? source[(l+(1<<s))%Lanes] : source[l];
    end
  end
  assign data_o = gen_stage[ShiftWidth-1].rotated;

endmodule

`default_nettype wire
