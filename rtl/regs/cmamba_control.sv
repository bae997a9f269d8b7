// The registers of s_axi_control with what belongs to them: start and done, interrupt,
// capabilities.
//
// The protocol is that of Vitis HLS with block control ap_ctrl_hs, in which a kernel is ready for
// its next run when it is done.

`default_nettype none

module cmamba_control
  import cmamba_pkg::*;
(
    input wire logic clk_i,
    input wire logic rst_i,

    input wire logic s_axi_control_awvalid,
    output logic s_axi_control_awready,
    input wire logic [8:0] s_axi_control_awaddr,
    input wire logic [2:0] s_axi_control_awprot,
    input wire logic s_axi_control_wvalid,
    output logic s_axi_control_wready,
    input wire logic [31:0] s_axi_control_wdata,
    input wire logic [3:0] s_axi_control_wstrb,
    output logic s_axi_control_bvalid,
    input wire logic s_axi_control_bready,
    output logic [1:0] s_axi_control_bresp,
    input wire logic s_axi_control_arvalid,
    output logic s_axi_control_arready,
    input wire logic [8:0] s_axi_control_araddr,
    input wire logic [2:0] s_axi_control_arprot,
    output logic s_axi_control_rvalid,
    input wire logic s_axi_control_rready,
    output logic [31:0] s_axi_control_rdata,
    output logic [1:0] s_axi_control_rresp,

    output logic interrupt_o,

    // High for the cycle in which a run begins; the arguments stay from then on until done_i.
    output logic start_o,
    output logic [63:0] package_addr_o,
    output logic [31:0] mode_o,
    output logic [31:0] package_beats_o,
    output logic [31:0] n_forecasts_o,
    output logic [31:0] watchdog_cycles_o,

    // High for the cycle in which the run ends; with the error, which is kept.
    input wire logic done_i,
    input wire error_e error_i,

    // Counters; they stand still when nothing runs.
    input wire logic [63:0] entries_i,
    input wire logic [63:0] cycles_i,
    input wire logic [NumUnits-1:0][63:0] busy_cycles_i
);

  import cmamba_build_pkg::*;

  cmamba_regs_pkg::cmamba_regs__in_t  hwif_in;
  cmamba_regs_pkg::cmamba_regs__out_t hwif_out;

  // ---------------------------------------------------------------- start, done, interrupt

  logic running_q, start_q;
  error_e error_q;
  logic [63:0] package_addr_q;
  logic [31:0] mode_q, package_beats_q, n_forecasts_q, watchdog_cycles_q;

  logic start;
  assign start = hwif_out.ctrl.start.value && !running_q;

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      start_q   <= 1'b0;
      running_q <= 1'b0;
      error_q   <= ErrorOk;
    end else begin
      start_q <= start;
      if (start) begin
        running_q <= 1'b1;
      end else if (done_i) begin
        running_q <= 1'b0;
        error_q   <= error_i;
      end
    end
  end

  // What software writes during a run belongs to the next one.
  always_ff @(posedge clk_i) begin
    if (start) begin
      package_addr_q <= {hwif_out.gmem_hi.value.value, hwif_out.gmem_lo.value.value};
      mode_q <= {
        hwif_out.mode.reserved.value, hwif_out.mode.tlast_each.value, hwif_out.mode.command.value
      };
      package_beats_q <= hwif_out.package_beats.value.value;
      n_forecasts_q <= hwif_out.n_forecasts.value.value;
      watchdog_cycles_q <= hwif_out.watchdog_cycles.value.value;
    end
  end

  assign start_o = start_q;
  assign package_addr_o = package_addr_q;
  assign mode_o = mode_q;
  assign package_beats_o = package_beats_q;
  assign n_forecasts_o = n_forecasts_q;
  assign watchdog_cycles_o = watchdog_cycles_q;

  assign interrupt_o = hwif_out.gie.enable.value &&
      (hwif_out.isr.done.value || hwif_out.isr.ready.value);

  // ---------------------------------------------------------------- what the registers show

  always_comb begin
    hwif_in.ctrl.start.hwclr = done_i && !hwif_out.ctrl.auto_restart.value;
    hwif_in.ctrl.done.hwset = done_i;
    hwif_in.ctrl.ready.hwset = done_i;
    hwif_in.ctrl.idle.next = !running_q;
    hwif_in.ctrl.interrupt.next = interrupt_o;
    hwif_in.isr.done.hwset = done_i && hwif_out.ier.done.value;
    hwif_in.isr.ready.hwset = done_i && hwif_out.ier.ready.value;

    hwif_in.version.major.next = 16'(VersionMajor);
    hwif_in.version.minor.next = 16'(VersionMinor);
    hwif_in.error.code.next = error_q;
    {hwif_in.entries_hi.value.next, hwif_in.entries_lo.value.next} = entries_i;
    {hwif_in.cycles_hi.value.next, hwif_in.cycles_lo.value.next} = cycles_i;
    for (int unsigned u = 0; u < NumUnits; u++) begin
      {hwif_in.busy[u].hi.value.next, hwif_in.busy[u].lo.value.next} = busy_cycles_i[u];
    end

    hwif_in.tile.tile_in.next = 16'(TileIn);
    hwif_in.tile.tile_out.next = 16'(TileOut);
    hwif_in.lanes_0.requantize.next = 16'(RequantizeLanes);
    hwif_in.lanes_0.vector.next = 16'(VectorLanes);
    hwif_in.lanes_1.conv.next = 16'(ConvLanes);
    hwif_in.lanes_1.scan.next = 16'(ScanLanes);
    hwif_in.max_phases.value.next = MaxPhases;
    hwif_in.max_instructions.value.next = MaxInstructions;
    hwif_in.max_schedule.value.next = MaxSchedule;
    hwif_in.max_weights.value.next = MaxWeights;
    hwif_in.max_array_params.value.next = MaxArrayParams;
    hwif_in.max_conv_params.value.next = MaxConvParams;
    hwif_in.max_conv_tables.value.next = MaxConvTables;
    hwif_in.max_scan_params.value.next = MaxScanParams;
    hwif_in.max_scan_decay.value.next = MaxScanDecay;
    hwif_in.max_scan_tables.value.next = MaxScanTables;
    hwif_in.max_vector_params.value.next = MaxVectorParams;
    hwif_in.max_vector_tables.value.next = MaxVectorTables;
    hwif_in.max_state.value.next = MaxState;
    hwif_in.max_reduce.value.next = MaxReduce;
    hwif_in.max_features.value.next = MaxFeatures;
    for (int unsigned m = 0; m < NumSpaces; m++) begin
      hwif_in.space[m].value.next = SpaceElements[m];
    end
  end

  // ---------------------------------------------------------------- AXI4-Lite

  localparam int unsigned AddrWidth = $bits(s_axi_control_awaddr);

  logic req, req_is_wr, rd_ack, rd_err, wr_ack, wr_err;
  logic [AddrWidth-1:0] addr;
  logic [31:0] wr_data, wr_biten, rd_data;
  // The registers take every request at once, and protection is not looked at.
  logic unused, unused_stall_wr, unused_stall_rd;
  assign unused = ^{s_axi_control_awprot, s_axi_control_arprot, unused_stall_wr, unused_stall_rd};

  cmamba_axi_lite #(
      .AddrWidth(AddrWidth)
  ) u_axi_lite (
      .clk_i,
      .rst_i,
      .s_axil_awvalid(s_axi_control_awvalid),
      .s_axil_awready(s_axi_control_awready),
      .s_axil_awaddr (s_axi_control_awaddr),
      .s_axil_wvalid (s_axi_control_wvalid),
      .s_axil_wready (s_axi_control_wready),
      .s_axil_wdata  (s_axi_control_wdata),
      .s_axil_wstrb  (s_axi_control_wstrb),
      .s_axil_bvalid (s_axi_control_bvalid),
      .s_axil_bready (s_axi_control_bready),
      .s_axil_bresp  (s_axi_control_bresp),
      .s_axil_arvalid(s_axi_control_arvalid),
      .s_axil_arready(s_axi_control_arready),
      .s_axil_araddr (s_axi_control_araddr),
      .s_axil_rvalid (s_axi_control_rvalid),
      .s_axil_rready (s_axi_control_rready),
      .s_axil_rdata  (s_axi_control_rdata),
      .s_axil_rresp  (s_axi_control_rresp),
      .req_o         (req),
      .req_is_wr_o   (req_is_wr),
      .addr_o        (addr),
      .wr_data_o     (wr_data),
      .wr_biten_o    (wr_biten),
      .rd_ack_i      (rd_ack),
      .rd_err_i      (rd_err),
      .rd_data_i     (rd_data),
      .wr_ack_i      (wr_ack),
      .wr_err_i      (wr_err)
  );

  cmamba_regs u_regs (
      .clk                 (clk_i),
      .rst                 (rst_i),
      .s_cpuif_req         (req),
      .s_cpuif_req_is_wr   (req_is_wr),
      .s_cpuif_addr        (addr),
      .s_cpuif_wr_data     (wr_data),
      .s_cpuif_wr_biten    (wr_biten),
      .s_cpuif_req_stall_wr(unused_stall_wr),
      .s_cpuif_req_stall_rd(unused_stall_rd),
      .s_cpuif_rd_ack      (rd_ack),
      .s_cpuif_rd_err      (rd_err),
      .s_cpuif_rd_data     (rd_data),
      .s_cpuif_wr_ack      (wr_ack),
      .s_cpuif_wr_err      (wr_err),
      .hwif_in,
      .hwif_out
  );

`ifndef SYNTHESIS
  default clocking @(posedge clk_i);
  endclocking

  logic live;
  cmamba_live u_live (
      .clk_i,
      .rst_i,
      .live_o(live)
  );

  // In the cycle before: an interrupt, the end of a run that shall give one; and no write, which may
  // end the one and forbid the other.
  logic interrupt_q, end_q;
  always_ff @(posedge clk_i) begin
    interrupt_q <= !rst_i && !(req && req_is_wr) && interrupt_o;
    end_q <= !rst_i && !(req && req_is_wr) && done_i && hwif_out.gie.enable.value &&
        hwif_out.ier.done.value;
  end

  start_is_short :
  assert property (disable iff (!live) start_o |=> !start_o)
  else $error("control: start_o is high for more than a cycle");

  arguments_stay :
  assert property (disable iff (!live) running_q && !start_o |-> $stable(
      {package_addr_o, mode_o, package_beats_o, n_forecasts_o, watchdog_cycles_o}
  ))
  else $error("control: the arguments changed before done_i");

  done_is_expected :
  assert property (disable iff (!live) done_i |-> running_q)
  else $error("control: a run ends that has not begun");

  interrupt_stays :
  assert property (disable iff (!live) interrupt_q |-> interrupt_o)
  else $error("control: the interrupt went without a write");

  end_interrupts :
  assert property (disable iff (!live) end_q |-> interrupt_o)
  else $error("control: a run ends, and the interrupt does not come");
`endif

endmodule

`default_nettype wire
