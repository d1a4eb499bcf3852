#include "replay/fields.h"

namespace fastrl {
namespace {

std::size_t round_up(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

bool lies_apart(const Field& field) { return field.bytes > Rows::kMaxPackedBytes; }

std::size_t stride_apart(const Field& field) {
  return round_up(static_cast<std::size_t>(field.bytes), 64);
}

// Where each packed field begins in a row, and at the end the row's size.
std::vector<std::size_t> packed_offsets(std::span<const Field> fields) {
  std::vector<std::size_t> offsets(fields.size() + 1);
  std::size_t end = 0;
  for (const bool observations : {true, false}) {
    for (std::size_t f = 0; f < fields.size(); ++f) {
      if (lies_apart(fields[f]) || fields[f].is_observation() != observations) continue;
      offsets[f] = end;
      end += static_cast<std::size_t>(fields[f].bytes);
    }
  }
  offsets.back() = round_up(end, sizeof(RowHeader)) + sizeof(RowHeader);
  return offsets;
}

std::size_t size_of_rows(std::size_t row_bytes, std::int64_t capacity) {
  return round_up(row_bytes * static_cast<std::size_t>(capacity), 64);
}

}  // namespace

std::size_t Rows::memory_size(std::span<const Field> fields, std::int64_t capacity) {
  std::size_t bytes = size_of_rows(packed_offsets(fields).back(), capacity);
  for (const Field& field : fields) {
    if (lies_apart(field)) bytes += stride_apart(field) * static_cast<std::size_t>(capacity);
  }
  return bytes;
}

Rows::Rows(std::byte* memory, std::span<const Field> fields, std::int64_t capacity)
    : rows_(memory), row_bytes_(packed_offsets(fields).back()) {
  const std::vector<std::size_t> offsets = packed_offsets(fields);
  std::byte* next = memory + size_of_rows(row_bytes_, capacity);
  for (std::size_t f = 0; f < fields.size(); ++f) {
    if (lies_apart(fields[f])) {
      places_.push_back({next, stride_apart(fields[f]), true});
      next += stride_apart(fields[f]) * static_cast<std::size_t>(capacity);
    } else {
      places_.push_back({memory + offsets[f], row_bytes_, false});
      if (fields[f].is_observation()) {
        observation_bytes_ = offsets[f] + static_cast<std::size_t>(fields[f].bytes);
      }
    }
  }
}

std::vector<Rows::Area> Rows::areas() const {
  std::vector<Area> areas{{rows_, row_bytes_}};
  for (const Place& place : places_) {
    if (place.apart) areas.push_back({place.start, place.stride});
  }
  return areas;
}

}  // namespace fastrl
