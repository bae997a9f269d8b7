// Testbench: runs golden folders (see golden_set.h) and compares every tensor of every token, and
// the output stream, with what the integer model computed.
//
//   csim [--outputs-only | --orders N] FOLDER...
//
// Each folder is run twice: with the memories in sight, where a trace gives the result of every
// schedule entry, and through cmamba_top, as the hardware is used. C/RTL co-simulation has only the
// second (--outputs-only), because nothing but the ports of the top exists in RTL. With --orders it
// is run N times more with the memories in sight: the processes of the core take turns by chance,
// with queues of random depths and random pauses. A failure names the order's number.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "cmamba.h"
#include "golden_set.h"

namespace {

using cmamba::axis_t;
using cmamba::beat_t;
using cmamba::kBeatBytes;
using Stream = hls::stream<axis_t>;

// Errors of a kind that are reported in full; the rest are counted.
constexpr size_t kReported = 10;

// C/RTL co-simulation reads as many beats behind gmem as the `depth` of its interface says
// (top.cpp).
constexpr size_t kGmemDepth = 262144;

// What the driver writes into the register, too.
constexpr unsigned kWatchdogCycles = 1000000;

// What became of one folder.
struct Report {
  std::string folder;
  size_t tensors = 0;
  size_t values = 0;
  size_t mismatches = 0;
  double seconds = 0;
  std::vector<std::string> errors;

  bool passed() const { return mismatches == 0 && errors.empty(); }
  void error(const std::string& text) { errors.push_back(text); }
  // At most kReported of many errors of a kind.
  void errors_of(const std::string& kind, const std::vector<std::string>& texts) {
    for (size_t i = 0; i < std::min(texts.size(), kReported); i++) error(texts[i]);
    if (texts.size() > kReported) {
      error(kind + " and " + std::to_string(texts.size() - kReported) + " more");
    }
  }
};

template <class... Args>
std::string format(const char* text, Args... args) {
  char buffer[512];
  std::snprintf(buffer, sizeof buffer, text, args...);
  return buffer;
}

// The values that differ in one tensor, and the first of them.
struct Difference {
  size_t count = 0;
  size_t values = 0;
  size_t iteration = 0, row = 0, channel = 0;
  int expected = 0, got = 0;

  void compare(size_t at_iteration, size_t at_row, size_t at_channel, int want, int have) {
    values++;
    if (want == have) return;
    if (count++ == 0) {
      iteration = at_iteration;
      row = at_row;
      channel = at_channel;
      expected = want;
      got = have;
    }
  }

  std::string describe(const std::string& what, const char* row_name) const {
    return format(
        "%s, iteration %zu, %s %zu, channel %zu: expected %d, got %d (%zu of %zu values differ)",
        what.c_str(), iteration, row_name, row, channel, expected, got, count, values);
  }
};

// Compares each result with the golden tensor of its instruction as soon as it is written.
class TensorCheck {
 public:
  // `order` is written before each finding, where it is not empty.
  TensorCheck(const GoldenSet& golden, const cmamba::Memory& memory, const std::string& order)
      : golden_(golden), memory_(memory), order_name_(order), tensors_(golden.tensors.size()) {
    for (size_t i = 0; i < tensors_.size(); i++) {
      tensors_[i].writes.resize(golden.n_iterations * golden.tensors[i].rows);
    }
  }

  static void trace(void* context, const cmamba::TraceRecord& record) {
    static_cast<TensorCheck*>(context)->check(record);
  }

  void finish(Report& report) const {
    report.errors_of("results with a wrong place or size:", errors_);
    for (size_t i = 0; i < tensors_.size(); i++) {
      const std::vector<uint32_t>& writes = tensors_[i].writes;
      const auto bad = std::find_if(writes.begin(), writes.end(),
                                    [](uint32_t n) { return n != 1; });
      if (bad != writes.end()) {
        const size_t at = bad - writes.begin(), rows = golden_.tensors[i].rows;
        report.error(format("%s, iteration %zu, token %zu: expected one result, got %u",
                            name(i).c_str(), at / rows, at % rows, *bad));
      }
      report.tensors++;
      report.values += tensors_[i].difference.values;
      report.mismatches += tensors_[i].difference.count;
    }
    // In the order of execution: the first is where to look, the others may follow from it.
    std::vector<std::string> differences;
    for (size_t i : order_) {
      differences.push_back(tensors_[i].difference.describe(name(i), "token"));
    }
    report.errors_of("instructions that differ:", differences);
  }

 private:
  struct Tensor {
    std::vector<uint32_t> writes;  // [n_iterations][rows]
    Difference difference;
  };

  std::string name(size_t i) const {
    return order_name_ + format("instruction %zu %s \"%s\"", i, golden_.tensors[i].opcode.c_str(),
                                golden_.tensors[i].name.c_str());
  }

  void check(const cmamba::TraceRecord& r) {
    const size_t i = r.instruction;
    const GoldenTensor& want = golden_.tensors.at(i);
    if (r.iteration >= golden_.n_iterations || size_t(r.row) >= want.rows ||
        size_t(r.n) != want.n) {
      errors_.push_back(
          format("%s, entry %d: expected a row of %zu elements below row %zu, "
                 "got row %d of %d elements",
                 name(i).c_str(), r.entry, want.n, want.rows, r.row, r.n));
      return;
    }
    const size_t row = r.iteration * want.rows + r.row;
    tensors_[i].writes[row]++;
    Difference& difference = tensors_[i].difference;
    const bool first = difference.count == 0;
    for (int c = 0; c < r.n; c++) {
      const int expected = want.values[row * want.n + c];
      const int address = r.address + c * r.stride;
      // Of the copies that differ, one.
      int got = cmamba::peek(memory_, r.space, address);
      for (int copy = 1; copy < cmamba::copies(r.space); copy++) {
        if (got == expected) got = cmamba::peek(memory_, r.space, address, copy);
      }
      difference.compare(r.iteration, r.row, c, expected, got);
    }
    if (first && difference.count > 0) order_.push_back(i);
  }

  const GoldenSet& golden_;
  const cmamba::Memory& memory_;
  std::string order_name_;
  std::vector<Tensor> tensors_;
  std::vector<size_t> order_;  // instructions that differ, in the order in which it was found
  std::vector<std::string> errors_;
};

std::vector<beat_t> to_beats(const std::vector<uint8_t>& bytes) {
  std::vector<beat_t> beats((bytes.size() + kBeatBytes - 1) / kBeatBytes,
                            cmamba::zero_word<8 * kBeatBytes>());
  for (size_t i = 0; i < bytes.size(); i++) {
    cmamba::set_byte(beats[i / kBeatBytes], i % kBeatBytes, bytes[i]);
  }
  return beats;
}

// The tokens of a run, each padded to whole beats, TLAST with the very last one.
void send_tokens(const GoldenSet& golden, Stream& s_axis) {
  const size_t tokens = golden.n_iterations * golden.n_sequences * golden.n_positions;
  for (size_t t = 0; t < tokens; t++) {
    const auto token = golden.input.begin() + t * golden.token_bytes;
    const std::vector<beat_t> beats = to_beats(
        std::vector<uint8_t>(token, token + golden.token_bytes));
    for (size_t b = 0; b < beats.size(); b++) {
      axis_t beat;
      beat.data = beats[b];
      beat.keep = 0xFFFF;
      beat.strb = 0xFFFF;
      beat.last = t + 1 == tokens && b + 1 == beats.size();
      s_axis.write(beat);
    }
  }
}

// Compares what the run sent with the golden forecasts, its length and TLAST included.
void check_forecasts(const GoldenSet& golden, Stream& s_axis, Stream& m_axis, bool tlast_each,
                     const char* run, Report& report) {
  const size_t elements = golden.forecast_elements;
  const size_t beat_elements = kBeatBytes / 2;
  const size_t beats = (elements + beat_elements - 1) / beat_elements;
  const size_t sequences = golden.n_sequences, iterations = golden.n_iterations;
  const std::string what = format("%s, m_axis", run);
  Difference difference;
  std::vector<std::string> side_channels;
  size_t beat_number = 0;
  for (size_t i = 0; i < iterations; i++) {
    const bool forecast_ends = (i + 1) % golden.iterations == 0;
    for (size_t s = 0; s < sequences; s++) {
      for (size_t b = 0; b < beats; b++, beat_number++) {
        if (m_axis.empty()) {
          report.error(format("%s: expected %zu beats, got %zu", what.c_str(),
                              iterations * sequences * beats, beat_number));
          return;
        }
        const axis_t beat = m_axis.read();
        const bool run_ends = i + 1 == iterations;
        const bool last = b + 1 == beats && s + 1 == sequences &&
                          (run_ends || (tlast_each && forecast_ends));
        if (bool(beat.last) != last) {
          side_channels.push_back(format("%s, beat %zu: expected TLAST %d, got %d", what.c_str(),
                                         beat_number, int(last), int(bool(beat.last))));
        }
        if (beat.keep != 0xFFFF) {
          side_channels.push_back(format("%s, beat %zu: expected TKEEP 0xffff, got 0x%x",
                                         what.c_str(), beat_number, unsigned(beat.keep)));
        }
        for (size_t e = 0; e < std::min(beat_elements, elements - b * beat_elements); e++) {
          const unsigned low = cmamba::get_byte(beat.data, 2 * e);
          const unsigned high = cmamba::get_byte(beat.data, 2 * e + 1);
          const size_t element = b * beat_elements + e;
          difference.compare(i, s, element,
                             golden.forecast[(i * sequences + s) * elements + element],
                             int16_t(low | high << 8));
        }
      }
    }
  }
  report.values += difference.values;
  report.mismatches += difference.count;
  if (difference.count > 0) report.error(difference.describe(what, "sequence"));
  report.errors_of("beats with a wrong TLAST or TKEEP:", side_channels);
  if (!m_axis.empty()) {
    report.error(format("%s: expected %zu beats, got more", what.c_str(), beat_number));
  }
  if (!s_axis.empty()) report.error(format("%s: input beats were left over", run));
}

// The functions below the top, with every result compared. `order` is that of the processes.
void run_traced(const GoldenSet& golden, const std::vector<beat_t>& package, uint64_t order,
                Report& report) {
  const std::unique_ptr<cmamba::Memory> memory(new cmamba::Memory);
  cmamba::Error error = cmamba::load_package(package.data(), package.size(), *memory);
  if (error != cmamba::ERROR_OK) {
    report.error(format("load_package: expected error code 0, got %d", int(error)));
    return;
  }
  const std::string run = order == 0 ? "run_forecasts" : format("order %d", int(order));
  TensorCheck check(golden, *memory, order == 0 ? "" : run + ", ");
  memory->trace = TensorCheck::trace;
  memory->trace_context = &check;
  memory->order_seed = order;
  Stream s_axis("s_axis"), m_axis("m_axis");
  send_tokens(golden, s_axis);
  cmamba::Counters counters;
  error = cmamba::run_forecasts(package.data(), s_axis, m_axis, golden.n_forecasts, false,
                                kWatchdogCycles, *memory, counters);
  if (error != cmamba::ERROR_OK) {
    report.error(format("%s: expected error code 0, got %d", run.c_str(), int(error)));
  }
  if (memory->standstill[0] != '\0') {
    report.error(run + ": standstill: " + memory->standstill);
  }
  check.finish(report);
  check_forecasts(golden, s_axis, m_axis, false, run.c_str(), report);
}

// The top, with TLAST after every forecast.
void run_top(const GoldenSet& golden, const std::vector<beat_t>& package, Report& report) {
  std::vector<beat_t> gmem = package;
  if (gmem.size() < kGmemDepth) gmem.resize(kGmemDepth, cmamba::zero_word<8 * kBeatBytes>());
  Stream s_axis("s_axis"), m_axis("m_axis");
  const unsigned modes[] = {cmamba::kModeLoad, cmamba::kModeRun | cmamba::kModeTlastEach};
  for (unsigned mode : modes) {
    if (mode != cmamba::kModeLoad) send_tokens(golden, s_axis);
    cmamba::status_t status;
    cmamba::capabilities_t capabilities;
    cmamba::spaces_t spaces;
    cmamba_top(gmem.data(), s_axis, m_axis, mode, package.size(), golden.n_forecasts,
               kWatchdogCycles, &status, &capabilities, &spaces);
    const unsigned error = cmamba::bits<63, 32>(status);
    if (error != cmamba::ERROR_OK) {
      report.error(format("cmamba_top, mode 0x%x: expected error code 0, got %u", mode, error));
      return;
    }
  }
  check_forecasts(golden, s_axis, m_axis, true, "cmamba_top", report);
}

Report run_folder(const std::string& folder, bool outputs_only, int orders) {
  Report report;
  report.folder = folder;
  const auto start = std::chrono::steady_clock::now();
  try {
    const GoldenSet golden = read_golden_set(folder);
    const std::vector<beat_t> package = to_beats(golden.package);
    for (int order = 0; order <= orders && !outputs_only; order++) {
      run_traced(golden, package, order, report);
    }
    run_top(golden, package, report);
  } catch (const std::exception& error) {
    report.error(error.what());
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  report.seconds = elapsed.count();
  return report;
}

}  // namespace

int main(int argc, char** argv) {
  bool outputs_only = false;
  bool usage_is_wrong = false;
  int orders = 0;
  std::vector<std::string> folders;
  for (int i = 1; i < argc; i++) {
    if (std::strcmp(argv[i], "--outputs-only") == 0) {
      outputs_only = true;
    } else if (std::strcmp(argv[i], "--orders") == 0 && i + 1 < argc) {
      orders = std::atoi(argv[++i]);
      usage_is_wrong |= orders < 1;
    } else if (std::strncmp(argv[i], "--", 2) == 0) {
      usage_is_wrong = true;
    } else {
      folders.push_back(argv[i]);
    }
  }
  if (folders.empty() || usage_is_wrong) {
    std::fprintf(stderr, "usage: csim [--outputs-only | --orders N] GOLDEN_FOLDER...\n");
    return 2;
  }

  std::vector<Report> reports;
  size_t width = std::strlen("package");
  for (const std::string& folder : folders) {
    reports.push_back(run_folder(folder, outputs_only, orders));
    for (const std::string& error : reports.back().errors) {
      std::printf("FAILED %s: %s\n", folder.c_str(), error.c_str());
    }
    width = std::max(width, folder.size());
  }

  size_t failed = 0;
  std::printf("%-*s  %7s  %12s  %10s  %8s\n", int(width), "package", "tensors", "values",
              "mismatches", "seconds");
  for (const Report& r : reports) {
    std::printf("%-*s  %7zu  %12zu  %10zu  %8.2f  %s\n", int(width), r.folder.c_str(), r.tensors,
                r.values, r.mismatches, r.seconds, r.passed() ? "ok" : "FAILED");
    failed += !r.passed();
  }
  std::printf("%zu passed, %zu failed\n", reports.size() - failed, failed);
  return failed == 0 ? 0 : 1;
}
