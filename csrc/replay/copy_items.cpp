#include "replay/copy_items.h"

#include "core/instruction_set.h"
#include "replay/copy.h"

namespace fastrl {
namespace {

template <std::size_t kBytes>
FASTRL_INLINE void copy_of_size(const std::byte* const* rows, std::size_t offset, std::int64_t n,
                                std::byte* to) {
  for (std::int64_t i = 0; i < n; ++i, to += kBytes) copy_exactly<kBytes>(to, rows[i] + offset);
}

// Of parts that one move does not exceed.
template <std::size_t kMove>
FASTRL_INLINE void copy_by(const std::byte* const* rows, std::size_t offset, std::size_t bytes,
                           std::int64_t n, std::byte* to) {
  for (std::int64_t i = 0; i < n; ++i, to += bytes) {
    const std::byte* from = rows[i] + offset;
    for (std::size_t at = 0; at + kMove < bytes; at += kMove) {
      copy_exactly<kMove>(to + at, from + at);
    }
    copy_exactly<kMove>(to + bytes - kMove, from + bytes - kMove);
  }
}

template <std::size_t kWidest>
FASTRL_INLINE void copy_all(const std::byte* const* rows, std::size_t offset, std::size_t bytes,
                            std::int64_t n, std::byte* to) {
  switch (bytes) {
    case 1:
      return copy_of_size<1>(rows, offset, n, to);
    case 2:
      return copy_of_size<2>(rows, offset, n, to);
    case 4:
      return copy_of_size<4>(rows, offset, n, to);
    case 8:
      return copy_of_size<8>(rows, offset, n, to);
    default:
      break;
  }
  if constexpr (kWidest >= 64) {
    if (bytes >= 64) return copy_by<64>(rows, offset, bytes, n, to);
  }
  if constexpr (kWidest >= 32) {
    if (bytes >= 32) return copy_by<32>(rows, offset, bytes, n, to);
  }
  if (bytes >= 16) return copy_by<16>(rows, offset, bytes, n, to);
  if (bytes >= 8) return copy_by<8>(rows, offset, bytes, n, to);
  if (bytes >= 4) return copy_by<4>(rows, offset, bytes, n, to);
  if (bytes > 0) copy_by<1>(rows, offset, bytes, n, to);
}

}  // namespace

void copy_items(const std::byte* const* rows, std::size_t offset, std::size_t bytes, std::int64_t n,
                std::byte* to) {
  Compiled<&copy_all<16>, &copy_all<32>, &copy_all<64>>::run(rows, offset, bytes, n, to);
}

}  // namespace fastrl
