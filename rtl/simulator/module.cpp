// Python module of the simulator. Compiled once for each build of the RTL; CMAMBA_MODULE is the
// name. rtl/simulator/__init__.py is the interface to use.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <mutex>

#include "simulator.h"

namespace py = pybind11;

namespace {

using Bytes = py::array_t<uint8_t, py::array::c_style>;

// A simulator that several threads may use: calls follow one another, and Python runs on meanwhile.
class Shared {
 public:
  Shared(uint64_t memory_base, size_t memory_bytes, const std::vector<std::string>& arguments,
         uint64_t seed)
      : simulator_(memory_base, memory_bytes, arguments, seed) {}

  template <class Function>
  auto call(const Function& function) {
    const py::gil_scoped_release release;
    const std::lock_guard<std::mutex> lock(mutex_);
    return function(simulator_);
  }

  Simulator& unlocked() { return simulator_; }

 private:
  std::mutex mutex_;
  Simulator simulator_;
};

py::tuple to_arrays(const std::vector<Beat>& beats) {
  const auto n = static_cast<py::ssize_t>(beats.size());
  py::array_t<uint8_t> data({n, py::ssize_t(kBeatBytes)});
  py::array_t<bool> last(n);
  py::array_t<uint64_t> cycle(n);
  for (py::ssize_t i = 0; i < n; i++) {
    std::memcpy(data.mutable_data(i, 0), beats[i].data, kBeatBytes);
    last.mutable_at(i) = beats[i].last;
    cycle.mutable_at(i) = beats[i].cycle;
  }
  return py::make_tuple(data, last, cycle);
}

// A property that one pair of member functions reads and writes.
template <class T>
auto reads(T (Simulator::*get)() const) {
  return [get](Shared& s) { return s.call([get](Simulator& m) { return (m.*get)(); }); };
}

template <class T>
auto writes(void (Simulator::*set)(T)) {
  return [set](Shared& s, T value) { s.call([&](Simulator& m) { (m.*set)(value); }); };
}

}  // namespace

PYBIND11_MODULE(CMAMBA_MODULE, m) {
  py::register_local_exception<ProtocolError>(m, "ProtocolError", PyExc_RuntimeError);

  m.attr("INTERRUPT") = int(Simulator::kInterrupt);
  m.attr("SENT") = int(Simulator::kSent);
  m.attr("PACKET") = int(Simulator::kPacket);
  m.attr("FULL") = int(Simulator::kFull);

  py::class_<Shared>(m, "Simulator", py::module_local())
      .def(py::init<uint64_t, size_t, std::vector<std::string>, uint64_t>(), py::arg("memory_base"),
           py::arg("memory_bytes"), py::arg("arguments"), py::arg("seed"))
      .def("reset", [](Shared& s) { s.call([](Simulator& m) { m.reset(); }); })
      .def("write_register",
           [](Shared& s, uint32_t address, uint32_t value, unsigned strobe) {
             s.call([&](Simulator& m) { m.write_register(address, value, strobe); });
           })
      .def("read_register",
           [](Shared& s, uint32_t address) {
             return s.call([&](Simulator& m) { return m.read_register(address); });
           })
      .def("run",
           [](Shared& s, uint64_t max_cycles, unsigned events) {
             return s.call([&](Simulator& m) { return m.run(max_cycles, events); });
           })
      .def("send",
           [](Shared& s, const Bytes& data, bool last) {
             const uint8_t* bytes = data.data();
             const size_t n = data.nbytes();
             s.call([&](Simulator& m) { m.send(bytes, n, last); });
           })
      .def("withdraw", [](Shared& s) { s.call([](Simulator& m) { m.withdraw(); }); })
      .def("receive",
           [](Shared& s, size_t limit, bool packet) {
             return to_arrays(s.call([&](Simulator& m) { return m.receive(limit, packet); }));
           })
      .def("set_failing",
           [](Shared& s, uint64_t address, uint64_t bytes) {
             s.call([&](Simulator& m) { m.set_failing(address, bytes); });
           })
      .def("set_stalls",
           [](Shared& s, double ar, double r, double in, double out) {
             s.call([&](Simulator& m) { m.set_stalls({ar, r, in, out}); });
           })
      .def("set_room", writes(&Simulator::set_room))
      .def("set_stop_at_last", writes(&Simulator::set_stop_at_last))
      .def("set_memory_latency", writes(&Simulator::set_memory_latency))
      .def("room", reads(&Simulator::room))
      .def("to_send", reads(&Simulator::to_send))
      .def("received", reads(&Simulator::received))
      .def("cycles", reads(&Simulator::cycles))
      .def("beats_read", reads(&Simulator::beats_read))
      .def("packet_start", reads(&Simulator::packet_start))
      .def("interrupt", reads(&Simulator::interrupt))
      // What Python and the accelerator both see, without a copy.
      .def("memory", [](const py::object& self) {
        AddressSpace& memory = self.cast<Shared&>().unlocked().memory();
        return py::array_t<uint8_t>(static_cast<py::ssize_t>(memory.bytes()), memory.data(), self);
      });
}
