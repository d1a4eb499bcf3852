// CRC32C (Castagnoli), the checksum of everything that a save writes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/instruction_set.h"

namespace fastrl {

// The checksum of `bytes`; with `before`, that of the bytes that `before` is the checksum of,
// followed by these. With SSE4.2, which all but the portable set have, in hardware.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before = 0);

// The same by the instructions of a set that this processor has: equal for all of them.
std::uint32_t crc32c(InstructionSet set, std::span<const std::byte> bytes,
                     std::uint32_t before = 0);

}  // namespace fastrl
