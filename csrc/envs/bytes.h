// Memory that environments lie in, as plain bytes.
#pragma once

#include <cstddef>
#include <cstring>
#include <new>
#include <type_traits>
#include <vector>

namespace fastrl {

// Arrays of different threads' chunks keep out of each other's cache lines.
template <typename T>
struct CacheLineAllocator {
  using value_type = T;
  static constexpr std::align_val_t kAlignment{64};
  CacheLineAllocator() = default;
  template <typename U>
  explicit CacheLineAllocator(const CacheLineAllocator<U>&) {}
  T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), kAlignment)); }
  void deallocate(T* p, std::size_t) { ::operator delete(p, kAlignment); }
  friend bool operator==(const CacheLineAllocator&, const CacheLineAllocator&) { return true; }
};
using Bytes = std::vector<std::byte, CacheLineAllocator<std::byte>>;

// As memcpy. Of a few words a call, whose size the compiler does not know, costs more than the
// copy.
inline void copy_bytes(std::byte* to, const std::byte* from, std::size_t size) {
  if (size % 8 != 0 || size > 128) {
    std::memcpy(to, from, size);
    return;
  }
  for (std::size_t i = 0; i < size; i += 8) std::memcpy(to + i, from + i, 8);
}

// Calls loop(size) with a size that the compiler knows where it is a few words: for loops of
// copies.
template <typename Loop>
void with_known_size(std::size_t size, Loop&& loop) {
  switch (size) {
#define FASTRL_KNOWN(bytes) \
  case bytes:               \
    return loop(std::integral_constant<std::size_t, bytes>{})
    FASTRL_KNOWN(8);
    FASTRL_KNOWN(16);
    FASTRL_KNOWN(24);
    FASTRL_KNOWN(32);
    FASTRL_KNOWN(40);
    FASTRL_KNOWN(48);
    FASTRL_KNOWN(56);
    FASTRL_KNOWN(64);
#undef FASTRL_KNOWN
    default:
      return loop(size);
  }
}

}  // namespace fastrl
