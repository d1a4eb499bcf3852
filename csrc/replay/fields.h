// What one step consists of, and where its bytes lie.
//
// The small fields of a step are packed into one row, observations first, so that a step and the
// next observation are one short run of bytes. Large fields lie apart, one array each: a row is
// then not spread over pages. Either way the bytes of field f at slot s are at start_f + s
// stride_f.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace fastrl {

enum class FieldRole : std::int32_t { kObservation, kReward, kDiscount, kOther };
enum class StackPadding : std::int32_t { kFirst, kZeros };

// Plain bytes: the record is also what a file and shared memory say of the field.
struct Field {
  static constexpr int kMaxDimensions = 8;

  char name[64];   // path of a nested field, parts joined by '/'
  char dtype[16];  // as NumPy writes it, "<f4"
  FieldRole role;
  std::int32_t num_dimensions;
  std::int64_t shape[kMaxDimensions];  // of one step's value, without the stack
  std::int64_t item_bytes;
  std::int64_t bytes;  // of one step's value
  std::int64_t stack;  // 1: none; else so many values, the newest last, are one observation
  StackPadding padding;
  std::int32_t reserved;

  bool is_observation() const { return role == FieldRole::kObservation; }
  bool is_double() const { return item_bytes == 8; }  // of rewards and discounts
};

// What the buffer itself knows of a row, behind its fields.
struct RowHeader {
  // kEvicted is for a lane's newest row, which cannot be drawn yet. Older rows never change.
  enum Flag : std::uint32_t { kTerminated = 1, kTruncated = 2, kFinal = 4, kEvicted = 8 };

  std::uint32_t episode;  // low bits of the episode's number in its lane
  std::uint32_t flags;

  bool ends_episode() const { return (flags & (kTerminated | kTruncated)) != 0; }
  bool is_final() const { return (flags & kFinal) != 0; }
};

class Rows {
 public:
  // Fields of more bytes lie apart.
  static constexpr std::int64_t kMaxPackedBytes = 512;

  static std::size_t memory_size(std::span<const Field> fields, std::int64_t capacity);
  Rows(std::byte* memory, std::span<const Field> fields, std::int64_t capacity);

  // A field's bytes at slot s begin at start + s · stride.
  struct Place {
    std::byte* start;
    std::size_t stride;
    bool apart;
    std::byte* at(std::int64_t slot) const {
      return start + static_cast<std::size_t>(slot) * stride;
    }
  };

  std::size_t row_bytes() const { return row_bytes_; }
  const std::byte* row(std::int64_t slot) const {
    return rows_ + static_cast<std::size_t>(slot) * row_bytes_;
  }
  RowHeader& header(std::int64_t slot) const {
    return *reinterpret_cast<RowHeader*>(rows_ + static_cast<std::size_t>(slot + 1) * row_bytes_ -
                                         sizeof(RowHeader));
  }
  // All that there is of a slot: its row, and its part of each array apart.
  struct Area {
    std::byte* start;
    std::size_t stride;
  };
  std::vector<Area> areas() const;
  // How many bytes of a row its observations take, which come first.
  std::size_t observation_bytes() const { return observation_bytes_; }
  const Place& place(std::size_t field) const { return places_[field]; }

 private:
  std::byte* rows_;
  std::size_t row_bytes_;
  std::size_t observation_bytes_ = 0;
  std::vector<Place> places_;
};

}  // namespace fastrl
