// Asks for memory ahead of its use, line by line.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/instruction_set.h"

namespace fastrl {

// Must be inlined: GCC takes a function that only fetches for one without effect and drops the
// call. `kWrite` as the builtin has it, `kLocality` 2: into the second-level cache.
template <int kWrite, int kLocality>
FASTRL_INLINE void fetch_lines(const std::byte* data, std::size_t bytes) {
  const std::byte* end = data + bytes;
  for (data -= reinterpret_cast<std::uintptr_t>(data) % 64; data < end; data += 64) {
    __builtin_prefetch(data, kWrite, kLocality);
  }
}

FASTRL_INLINE void fetch(const std::byte* data, std::size_t bytes) {
  fetch_lines<0, 2>(data, bytes);
}

FASTRL_INLINE void fetch_to_write(const std::byte* data, std::size_t bytes) {
  fetch_lines<1, 3>(data, bytes);
}

}  // namespace fastrl
