// The accelerator: load a package, run forecasts. docs/instruction_set.md says what they do.
#pragma once

#include "memory.h"

namespace cmamba {

// Values of `mode`.
constexpr unsigned kModeLoad = 1;
constexpr unsigned kModeRun = 2;
constexpr unsigned kModeTlastEach = 1u << 8;

// Beats behind `gmem` in co-simulation, where a testbench has to provide that many: 4 MiB, more
// than any package whose weights fit the chip.
constexpr int kGmemDepth = 1 << 18;

// Copies and checks a package of at most `package_beats` beats. On any error nothing is loaded.
Error load_package(const beat_t* package, unsigned package_beats, Memory& memory);

// Runs the loaded program `n_forecasts` times. `package` is what was loaded: weight tiles that the
// chip has no room for are read from there. With `tlast_each` every forecast ends with TLAST,
// otherwise only the last one. `entries` counts the schedule entries that were executed.
Error run_forecasts(const beat_t* package, hls::stream<axis_t>& s_axis, hls::stream<axis_t>& m_axis,
                    unsigned n_forecasts, bool tlast_each, Memory& memory, uint64_t& entries);

}  // namespace cmamba

// The top function of the hardware. Its registers, in the order of the arguments:
//   mode                1 load, 2 run; bit 8 (TLAST_EACH) asks for TLAST after every forecast
//   package_beats       size of the package in 16-byte beats, rounded up
//   n_forecasts         forecasts of a run
//   version             major << 16 | minor version of the instruction set
//   error               code of the call, 0 is success
//   entries             schedule entries that the last run has executed; a load leaves it
//   capability_tile     tile_in | tile_out << 16
//   capability_weights  weight tiles that stay on the chip
//   capability_features longest row of a result
void cmamba_top(const cmamba::beat_t* gmem, hls::stream<cmamba::axis_t>& s_axis,
                hls::stream<cmamba::axis_t>& m_axis, unsigned mode, unsigned package_beats,
                unsigned n_forecasts, unsigned* version, unsigned* error, uint64_t* entries,
                unsigned* capability_tile, unsigned* capability_weights,
                unsigned* capability_features);

namespace cmamba {
using ::cmamba_top;
}
