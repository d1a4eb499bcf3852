// Parts of rows that lie anywhere, side by side in an array.
//
// Cost      each byte is read once and written once, in moves as wide as the part and the
//           instruction set allow; the last move of a part overlaps the one before it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastrl {

// Bytes offset, …, offset + bytes - 1 of each of n rows.
void copy_items(const std::byte* const* rows, std::size_t offset, std::size_t bytes, std::int64_t n,
                std::byte* to);

}  // namespace fastrl
