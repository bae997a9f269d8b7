// AXI4-Lite to the requests of a register block (PeakRDL's "passthrough"): one access at a time.
//
//            idle          request          answer       respond
//   AR ------ valid ------- ready, req ----- rd_ack ----- R until it is taken
//   AW, W --- both valid -- ready, req ----- wr_ack ----- B until it is taken
//
// Everything that leaves the module comes from registers, and the answer of the block goes into
// one, so that the block has a cycle for its decoder. It may acknowledge in the cycle of the
// request or later. Of a read and a write that wait, the one goes first that did not go last.

`default_nettype none

module cmamba_axi_lite #(
    // Bits of a byte address.
    parameter int unsigned AddrWidth = 9
) (
    input wire logic clk_i,
    input wire logic rst_i,

    input  wire logic                 s_axil_awvalid,
    output logic                      s_axil_awready,
    input  wire logic [AddrWidth-1:0] s_axil_awaddr,
    input  wire logic                 s_axil_wvalid,
    output logic                      s_axil_wready,
    input  wire logic [31:0]          s_axil_wdata,
    input  wire logic [3:0]           s_axil_wstrb,
    output logic                      s_axil_bvalid,
    input  wire logic                 s_axil_bready,
    output logic [1:0]                s_axil_bresp,
    input  wire logic                 s_axil_arvalid,
    output logic                      s_axil_arready,
    input  wire logic [AddrWidth-1:0] s_axil_araddr,
    output logic                      s_axil_rvalid,
    input  wire logic                 s_axil_rready,
    output logic [31:0]               s_axil_rdata,
    output logic [1:0]                s_axil_rresp,

    // For one cycle, with address and data; the address is that of a word.
    output logic                 req_o,
    output logic                 req_is_wr_o,
    output logic [AddrWidth-1:0] addr_o,
    output logic [31:0]          wr_data_o,
    output logic [31:0]          wr_biten_o,
    input  wire logic            rd_ack_i,
    input  wire logic            rd_err_i,
    input  wire logic [31:0]     rd_data_i,
    input  wire logic            wr_ack_i,
    input  wire logic            wr_err_i
);

  localparam logic [1:0] RespOkay = 2'b00;
  localparam logic [1:0] RespSlverr = 2'b10;

  if (AddrWidth < 3) begin : gen_check_addr
    $fatal(1, "axi_lite: AddrWidth is %0d, expected at least 3", AddrWidth);
  end

  typedef enum logic [1:0] {
    StIdle,
    StRequest,
    StAnswer,
    StRespond
  } state_e;

  state_e state_q;
  logic is_wr_q, error_q;
  logic [AddrWidth-1:2] word_q;
  logic [31:0] data_q;  // to write, then what has been read
  logic [3:0] strobe_q;
  logic writes, write, ack, taken;

  assign writes = s_axil_awvalid && s_axil_wvalid;
  assign write = writes && (!s_axil_arvalid || !is_wr_q);
  assign ack = is_wr_q ? wr_ack_i : rd_ack_i;
  assign taken = is_wr_q ? s_axil_bready : s_axil_rready;

  logic unused_byte;
  assign unused_byte = ^{s_axil_awaddr[1:0], s_axil_araddr[1:0]};

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      state_q <= StIdle;
      is_wr_q <= 1'b0;
    end else begin
      unique case (state_q)
        StIdle: begin
          if (writes || s_axil_arvalid) begin
            state_q <= StRequest;
            is_wr_q <= write;
          end
        end
        StRequest: state_q <= ack ? StRespond : StAnswer;
        StAnswer:  if (ack) state_q <= StRespond;
        StRespond: if (taken) state_q <= StIdle;
      endcase
    end

    if (state_q == StIdle) begin
      word_q   <= write ? s_axil_awaddr[AddrWidth-1:2] : s_axil_araddr[AddrWidth-1:2];
      data_q   <= s_axil_wdata;
      strobe_q <= s_axil_wstrb;
    end else if (state_q != StRespond && rd_ack_i) begin
      data_q <= rd_data_i;
    end
    if (state_q != StRespond) error_q <= is_wr_q ? wr_err_i : rd_err_i;
  end

  assign s_axil_arready = state_q == StRequest && !is_wr_q;
  assign s_axil_awready = state_q == StRequest && is_wr_q;
  assign s_axil_wready = s_axil_awready;
  assign s_axil_rvalid = state_q == StRespond && !is_wr_q;
  assign s_axil_bvalid = state_q == StRespond && is_wr_q;
  assign s_axil_rdata = data_q;
  assign s_axil_rresp = error_q ? RespSlverr : RespOkay;
  assign s_axil_bresp = s_axil_rresp;

  assign req_o = state_q == StRequest;
  assign req_is_wr_o = is_wr_q;
  assign addr_o = {word_q, 2'b00};
  assign wr_data_o = data_q;
  always_comb begin
    for (int unsigned i = 0; i < 4; i++) wr_biten_o[8*i+:8] = {8{strobe_q[i]}};
  end

`ifndef SYNTHESIS
  default clocking @(posedge clk_i);
  endclocking

  logic live;
  cmamba_live u_live (
      .clk_i,
      .rst_i,
      .live_o(live)
  );

  response_stays :
  assert property (disable iff (!live) state_q == StRespond && !taken |=> $stable(
      {s_axil_rvalid, s_axil_bvalid, s_axil_rdata, s_axil_rresp}
  ))
  else $error("axi_lite: the response went or changed before it was taken");

  request_is_short :
  assert property (disable iff (!live) req_o |=> !req_o)
  else $error("axi_lite: req_o is high for more than a cycle");

  ack_is_awaited :
  assert property (disable iff (!live) rd_ack_i || wr_ack_i |->
      state_q == StRequest || state_q == StAnswer)
  else $error("axi_lite: an acknowledgement without a request");
`endif

endmodule

`default_nettype wire
