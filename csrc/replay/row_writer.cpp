#include "replay/row_writer.h"

#include <algorithm>

namespace fastrl {
namespace {

// Rows that are written field by field before the next ones: they stay in the first-level cache.
constexpr std::int64_t kBlock = 32;

struct Strided {
  const std::byte* from;
  std::size_t from_stride;
  std::byte* to;
  std::size_t to_stride;
};

template <std::size_t kBytes>
void copy_values(const Strided& at, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    copy_exactly<kBytes>(at.to + static_cast<std::size_t>(i) * at.to_stride,
                         at.from + static_cast<std::size_t>(i) * at.from_stride);
  }
}

void copy_values(const Strided& at, std::int64_t count, std::size_t bytes) {
  switch (bytes) {
    case 1:
      return copy_values<1>(at, count);
    case 4:
      return copy_values<4>(at, count);
    case 8:
      return copy_values<8>(at, count);
    default:
      break;
  }
  for (std::int64_t i = 0; i < count; ++i) {
    copy_bytes(at.to + static_cast<std::size_t>(i) * at.to_stride,
               at.from + static_cast<std::size_t>(i) * at.from_stride, bytes);
  }
}

}  // namespace

RowWriter::RowWriter(const Rows& rows, std::span<const Field> fields) : rows_(rows) {
  for (std::size_t f = 0; f < fields.size(); ++f) {
    copies_.push_back({nullptr, static_cast<std::size_t>(fields[f].bytes), rows.place(f).start,
                       rows.place(f).stride});
  }
}

void RowWriter::read_from(std::span<const std::byte* const> values) {
  for (std::size_t f = 0; f < copies_.size(); ++f) copies_[f].from = values[f];
}

void RowWriter::write(std::int64_t item, std::int64_t step, std::int64_t slot,
                      std::int64_t count) const {
  for (std::int64_t done = 0; done < count; done += kBlock) {
    for (const Copy& copy : copies_) {
      const auto first = static_cast<std::size_t>(item + done * step);
      copy_values({copy.from + first * copy.bytes, static_cast<std::size_t>(step) * copy.bytes,
                   copy.to + static_cast<std::size_t>(slot + done) * copy.stride, copy.stride},
                  std::min(kBlock, count - done), copy.bytes);
    }
  }
}

}  // namespace fastrl
