// Simulation model of rtl/cells/cmamba_multiply_lut.sv.

`default_nettype none

module cmamba_multiply_lut (
    input  wire logic signed [ 7:0] a_i,
    input  wire logic signed [ 7:0] b_i,
    output logic signed      [15:0] product_o
);

  assign product_o = a_i * b_i;

endmodule

`default_nettype wire
