// Copies the values of new rows to where their slots lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/instruction_set.h"
#include "replay/copy.h"
#include "replay/fetch.h"
#include "replay/fields.h"

namespace fastrl {

class RowWriter {
 public:
  RowWriter(const Rows& rows, std::span<const Field> fields);

  // Of which the next rows are: item i of field f is at values[f] + i · its bytes.
  void read_from(std::span<const std::byte* const> values);

  // Asks for the packed rows of neighboring slots, and for the flags of the row before them.
  FASTRL_INLINE void fetch(std::int64_t slot, std::int64_t count) const {
    const std::byte* begin = rows_.row(slot) - sizeof(RowHeader);
    const std::byte* end = rows_.row(slot + count);
    const std::uintptr_t rest = (0 - reinterpret_cast<std::uintptr_t>(end)) % kLinesTogether;
    fetch_to_write(begin, static_cast<std::size_t>(end - begin) + rest);
  }

  FASTRL_INLINE void write(std::int64_t item, std::int64_t slot) const {
    for (const Copy& copy : copies_) {
      copy_bytes(copy.to + static_cast<std::size_t>(slot) * copy.stride,
                 copy.from + static_cast<std::size_t>(item) * copy.bytes, copy.bytes);
    }
  }
  // Items item, item + step, … to neighboring slots.
  void write(std::int64_t item, std::int64_t step, std::int64_t slot, std::int64_t count) const;

 private:
  // Memory gives two neighboring lines for little more than one, and the next row needs the second.
  static constexpr std::uintptr_t kLinesTogether = 128;

  struct Copy {
    const std::byte* from;
    std::size_t bytes;
    std::byte* to;  // of slot 0
    std::size_t stride;
  };

  const Rows& rows_;
  std::vector<Copy> copies_;
};

}  // namespace fastrl
