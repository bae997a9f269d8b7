#include "golden_set.h"

#include <fstream>
#include <initializer_list>
#include <sstream>
#include <stdexcept>

#include "isa.h"

namespace {

// No golden file comes near this; a larger size is a broken manifest.
constexpr uint64_t kMaxFileBytes = uint64_t(1) << 32;

template <class... Parts>
[[noreturn]] void fail(const std::string& file, Parts... parts) {
  std::ostringstream message;
  message << file << ": ";
  using expand = int[];
  (void)expand{(message << parts, 0)...};
  throw std::runtime_error(message.str());
}

uint64_t byte_count(const std::string& file, std::initializer_list<uint64_t> factors) {
  uint64_t bytes = 1;
  for (uint64_t f : factors) {
    if (f != 0 && bytes > kMaxFileBytes / f) {
      fail(file, "expected at most ", kMaxFileBytes,
           " bytes, the sizes given for it multiply to more");
    }
    bytes *= f;
  }
  return bytes;
}

std::vector<uint8_t> read_file(const std::string& file) {
  std::ifstream stream(file, std::ios::binary | std::ios::ate);
  if (!stream) fail(file, "cannot be opened");
  const std::streamoff end = stream.tellg();
  if (end < 0 || uint64_t(end) > kMaxFileBytes) fail(file, "not a regular file of reasonable size");
  std::vector<uint8_t> bytes(static_cast<size_t>(end));
  stream.seekg(0);
  if (!stream.read(reinterpret_cast<char*>(bytes.data()), end)) fail(file, "cannot be read");
  return bytes;
}

std::vector<uint8_t> read_file(const std::string& file, uint64_t expected_bytes) {
  std::vector<uint8_t> bytes = read_file(file);
  if (bytes.size() != expected_bytes) {
    fail(file, "expected ", expected_bytes, " bytes, found ", bytes.size());
  }
  return bytes;
}

size_t u16_at(const std::vector<uint8_t>& bytes, size_t at) {
  return bytes[at] | bytes[at + 1] << 8;
}
size_t u32_at(const std::vector<uint8_t>& bytes, size_t at) {
  return u16_at(bytes, at) | u16_at(bytes, at + 2) << 16;
}

std::vector<int16_t> to_int16(const std::vector<uint8_t>& bytes, bool wide) {
  std::vector<int16_t> values(bytes.size() / (wide ? 2 : 1));
  for (size_t i = 0; i < values.size(); i++) {
    values[i] = wide ? int16_t(u16_at(bytes, 2 * i)) : int16_t(int8_t(bytes[i]));
  }
  return values;
}

void read_header(GoldenSet& set, const std::string& file) {
  const std::vector<uint8_t>& p = set.package;
  if (p.size() < cmamba::kHeaderBytes) {
    fail(file, "expected a header of ", cmamba::kHeaderBytes, " bytes, found ", p.size());
  }
  set.iterations = u16_at(p, cmamba::kHeaderIterationsAt);
  set.n_sequences = u16_at(p, cmamba::kHeaderNSequencesAt);
  set.n_positions = u16_at(p, cmamba::kHeaderNPositionsAt);
  set.token_bytes = u16_at(p, cmamba::kHeaderTokenBytesAt);
  set.forecast_elements = u16_at(p, cmamba::kHeaderForecastElementsAt);
}

// manifest.txt: `cmamba-golden 1`, `n_forecasts N`, then for each instruction in order
// `index opcode name file rows n dtype`.
void read_manifest(GoldenSet& set) {
  const std::string file = set.folder + "/manifest.txt";
  std::ifstream stream(file);
  if (!stream) fail(file, "cannot be opened");
  std::string line;
  if (!std::getline(stream, line) || line != "cmamba-golden 1") {
    fail(file, "line 1: expected \"cmamba-golden 1\", found \"", line.substr(0, 80), "\"");
  }
  std::getline(stream, line);
  {
    std::istringstream words(line);
    std::string key, rest;
    if (!(words >> key >> set.n_forecasts) || key != "n_forecasts" || words >> rest ||
        set.n_forecasts < 1 || set.n_forecasts > 1000000) {
      fail(file, "line 2: expected \"n_forecasts N\" with N from 1 to 1000000, found \"",
           line.substr(0, 80), "\"");
    }
  }
  set.n_iterations = set.n_forecasts * set.iterations;

  for (size_t number = 3; std::getline(stream, line); number++) {
    std::istringstream words(line);
    GoldenTensor tensor;
    size_t index = 0;
    std::string tensor_file, rest;
    if (!(words >> index >> tensor.opcode >> tensor.name >> tensor_file >> tensor.rows >>
          tensor.n >> tensor.dtype) ||
        words >> rest) {
      fail(file, "line ", number, ": expected \"index opcode name file rows n dtype\", found \"",
           line.substr(0, 120), "\"");
    }
    if (index != set.tensors.size()) {
      fail(file, "line ", number, ": expected index ", set.tensors.size(), ", found ", index);
    }
    if (tensor.dtype != "int8" && tensor.dtype != "int16") {
      fail(file, "line ", number, ": expected dtype int8 or int16, found \"", tensor.dtype, "\"");
    }
    if (tensor_file.empty() || tensor_file[0] == '/' ||
        tensor_file.find("..") != std::string::npos) {
      fail(file, "line ", number, ": expected a file inside the folder, found \"", tensor_file,
           "\"");
    }
    const std::string path = set.folder + "/" + tensor_file;
    const bool wide = tensor.dtype == "int16";
    const uint64_t bytes = byte_count(path,
                                      {set.n_iterations, tensor.rows, tensor.n, wide ? 2u : 1u});
    tensor.values = to_int16(read_file(path, bytes), wide);
    set.tensors.push_back(std::move(tensor));
  }

  const size_t section = cmamba::kHeaderSectionTableAt +
                         cmamba::SECTION_INSTRUCTIONS * cmamba::kHeaderSectionEntryBytes;
  const size_t instructions = u32_at(set.package, section + 4) /
                              cmamba::kSectionElementBytes[cmamba::SECTION_INSTRUCTIONS];
  if (set.tensors.size() != instructions) {
    fail(file, "expected a line for each of the package's ", instructions, " instructions, found ",
         set.tensors.size());
  }
}

}  // namespace

GoldenSet read_golden_set(const std::string& folder) {
  GoldenSet set;
  set.folder = folder;
  set.package = read_file(folder + "/package.bin");
  read_header(set, folder + "/package.bin");
  read_manifest(set);
  const std::string input = folder + "/input.bin";
  set.input = read_file(input, byte_count(input, {set.n_iterations, set.n_sequences,
                                                  set.n_positions, set.token_bytes}));
  const std::string forecast = folder + "/forecast.bin";
  set.forecast = to_int16(
      read_file(forecast, byte_count(forecast, {set.n_iterations, set.n_sequences,
                                                set.forecast_elements, 2})),
      true);
  return set;
}
