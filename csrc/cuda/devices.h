// The CUDA devices of this machine. The only header that code outside csrc/cuda may include.
#pragma once

#include <string>
#include <vector>

namespace fastrl::cuda {

struct Device {
  std::string name;
  int major = 0;
  int minor = 0;
  long long memory_bytes = 0;
};

struct Devices {
  int runtime_version = 0;  // 13000 is 13.0
  std::string error;        // why there are none, as the CUDA runtime says it
  std::vector<Device> devices;
};

Devices list_devices();

}  // namespace fastrl::cuda
