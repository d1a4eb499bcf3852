// What this build is and what it runs on.
#include <nanobind/stl/string.h>

#include "core/instruction_set.h"
#include "core/thread_pool.h"
#include "python/bind.h"
#ifdef FASTRL_WITH_CUDA
#include "cuda/devices.h"
#endif

namespace fastrl::python {
namespace {

nb::dict cuda_info() {
  nb::dict info;
#ifdef FASTRL_WITH_CUDA
  const cuda::Devices found = cuda::list_devices();
  info["runtime_version"] = found.runtime_version;
  info["error"] = found.error;
  nb::list devices;
  for (const cuda::Device& device : found.devices) {
    nb::dict entry;
    entry["name"] = device.name;
    entry["compute_capability"] = nb::make_tuple(device.major, device.minor);
    entry["memory_bytes"] = device.memory_bytes;
    devices.append(entry);
  }
  info["devices"] = devices;
#endif
  return info;
}

}  // namespace

void bind_build(nb::module_& m) {
  m.def(
      "instruction_set", [] { return std::string(name(instruction_set())); },
      "The SIMD form that the kernels run in.");
  m.def("num_threads", &num_threads, "Threads that work on one call, the caller included.");
  m.def("set_num_threads", &set_num_threads, nb::arg("n"), nb::call_guard<nb::gil_scoped_release>(),
        "Set how many threads work on one call, from 1 to 1024. Results do not depend on it. The\n"
        "default is FASTRL_NUM_THREADS, or the cores that this process may use.");
  m.def("compiler", [] { return std::string(__VERSION__); });
  m.def("cuda_info", &cuda_info, nb::sig("def cuda_info() -> dict[str, object]"),
        "Empty when built without CUDA.");
}

}  // namespace fastrl::python
