// Copies of a few bytes: the sizes of numbers and short vectors cost no call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/instruction_set.h"

namespace fastrl {

template <std::size_t kBytes>
FASTRL_INLINE void copy_exactly(std::byte* to, const std::byte* from) {
  std::memcpy(to, from, kBytes);
}

FASTRL_INLINE void copy_bytes(std::byte* to, const std::byte* from, std::size_t bytes) {
  switch (bytes) {
    case 1:
      return copy_exactly<1>(to, from);
    case 2:
      return copy_exactly<2>(to, from);
    case 4:
      return copy_exactly<4>(to, from);
    case 8:
      return copy_exactly<8>(to, from);
    default:
      break;
  }
  if (bytes < 16 || bytes > 512) {
    std::memcpy(to, from, bytes);
    return;
  }
  for (std::size_t at = 0; at + 16 < bytes; at += 16) copy_exactly<16>(to + at, from + at);
  // The last sixteen may overlap those before.
  copy_exactly<16>(to + bytes - 16, from + bytes - 16);
}

}  // namespace fastrl
