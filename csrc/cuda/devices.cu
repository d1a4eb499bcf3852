#include <cuda_runtime.h>

#include "cuda/devices.h"

namespace fastrl::cuda {

Devices list_devices() {
  Devices found;
  cudaRuntimeGetVersion(&found.runtime_version);
  int count = 0;
  if (const cudaError_t status = cudaGetDeviceCount(&count); status != cudaSuccess) {
    found.error = cudaGetErrorString(status);
    return found;
  }
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    if (const cudaError_t status = cudaGetDeviceProperties(&properties, i); status != cudaSuccess) {
      found.error = cudaGetErrorString(status);
      return found;
    }
    found.devices.push_back({properties.name, properties.major, properties.minor,
                             static_cast<long long>(properties.totalGlobalMem)});
  }
  return found;
}

}  // namespace fastrl::cuda
