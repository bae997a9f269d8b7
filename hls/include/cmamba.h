// The accelerator: load a package, run forecasts. docs/instruction_set.md says what they do.
#pragma once

#include "memory.h"
#include "units.h"

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
// otherwise only the last one. A run in which nothing completes for `watchdog_cycles` ends with
// TIMEOUT, in a simulation as soon as nothing can complete any more.
Error run_forecasts(const beat_t* package, hls::stream<axis_t>& s_axis, hls::stream<axis_t>& m_axis,
                    unsigned n_forecasts, bool tlast_each, unsigned watchdog_cycles, Memory& memory,
                    Counters& counters);

// Registers that can only be read, in words of 32 bits at the addresses of the RTL's
// (rtl/regs/cmamba_regs.rdl). Behind each, Vitis HLS has a word of its own.
constexpr int kStatusWords = 20;
constexpr int kCapabilityWords = 18;
constexpr int kSpaceWords = 12;
using status_t = word_t<32 * kStatusWords>;
using capabilities_t = word_t<32 * kCapabilityWords>;
using spaces_t = word_t<32 * kSpaceWords>;

// From VERSION on: version, error, entries, cycles, two words of nothing, busy of each unit.
status_t status_of(Error error, const Counters& counters);

// From TILE on: parallelism and capacities of the build.
capabilities_t capabilities_of_build();

// From SPACE_0 on: elements of its activation memories.
spaces_t spaces_of_build();

}  // namespace cmamba

// The top function of the hardware. Its registers, in the order of the arguments:
//   mode                1 load, 2 run; bit 8 (TLAST_EACH) asks for TLAST after every forecast
//   package_beats       size of the package in 16-byte beats, rounded up
//   n_forecasts         forecasts of a run
//   watchdog_cycles     a run in which nothing completes for so many cycles ends with TIMEOUT
//   status              from 0x40: version, error of the call, and counters of the last run, which
//                       a load leaves; written when a call ends
//   capabilities        from 0xA0: parallelism and capacities of the build
//   spaces              from 0x100: elements of its activation memories
void cmamba_top(const cmamba::beat_t* gmem, hls::stream<cmamba::axis_t>& s_axis,
                hls::stream<cmamba::axis_t>& m_axis, unsigned mode, unsigned package_beats,
                unsigned n_forecasts, unsigned watchdog_cycles, cmamba::status_t* status,
                cmamba::capabilities_t* capabilities, cmamba::spaces_t* spaces);

namespace cmamba {
using ::cmamba_top;
}
