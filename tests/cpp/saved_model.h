// What tests save: rings of rows that can be compared with ones that never were saved.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "check.h"
#include "core/random.h"
#include "replay/manifest.h"
#include "replay/segments.h"

namespace fastrl::testing {

inline constexpr char kKind[] = "Model";
inline constexpr SegmentOptions kOptions{.segment_bytes = 1024, .lock_seconds = 0.0};

inline std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// Rings whose every byte follows from the number of steps that were taken, so that what is loaded
// can be compared with a model that never was saved. The newest row still changes.
class Model {
 public:
  Model() {
    add_ring(7, 24, 50);
    add_ring(9, 5, 20);
    add_ring(1000, 3, 40);
  }

  void advance() {
    ++step_;
    // One stream comes and goes.
    if (step_ % 10 == 0) {
      rings_.pop_back();
      add_ring(1000 + static_cast<std::uint64_t>(step_ / 10), 3, 40);
    }
    for (Ring& ring : rings_) {
      RowStream& stream = ring.stream;
      const auto id = static_cast<std::int64_t>(stream.id);
      stream.last += step_ == 1 ? 60 : (step_ * 7 + id) % 6;
      stream.first = std::max<std::int64_t>(0, stream.last - ring.capacity);
      const std::int64_t begin = std::max(stream.sealed, stream.first);
      stream.sealed = std::max(stream.sealed, stream.last - 1);
      for (std::int64_t row = begin; row < stream.last; ++row) fill(ring, row);
    }
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      weights_[i] = static_cast<std::byte>(mix64(static_cast<std::uint64_t>(step_) * 977 + i));
    }
  }

  SavedState state() {
    const auto counter = std::as_bytes(std::span(&step_, 1));
    SavedState state{.kind = kKind,
                     .layout = "{\"rings\": 3}",
                     .streams = {},
                     .blobs = {{"step", counter}, {"weights", weights_}, {"nothing", {}}},
                     .rows = memory()};
    for (const Ring& ring : rings_) state.streams.push_back(ring.stream);
    return state;
  }

  static Model loaded(const SavedFolder& folder) {
    Model model;
    model.rings_.clear();
    for (const RowStream& stream : folder.streams()) {
      model.add_ring(stream.id, stream.row_size, stream.id == 7 ? 50 : stream.id == 9 ? 20 : 40);
      model.rings_.back().stream = stream;
    }
    folder.read(model.memory(), [&](const std::string& name, std::uint64_t size) {
      if (name == "step") return std::as_writable_bytes(std::span(&model.step_, 1));
      CHECK(name == "weights" ? size == model.weights_.size() : name == "nothing");
      return std::span(model.weights_).first(size);
    });
    return model;
  }

  bool equals(const Model& other) const {
    if (step_ != other.step_ || weights_ != other.weights_) return false;
    return std::ranges::equal(rings_, other.rings_, [](const Ring& a, const Ring& b) {
      if (std::memcmp(&a.stream, &b.stream, sizeof(RowStream)) != 0) return false;
      for (std::int64_t row = a.stream.first; row < a.stream.last; ++row) {
        if (!std::ranges::equal(a.row(row), b.row(row))) return false;
      }
      return true;
    });
  }

  std::int64_t step() const { return step_; }

  static Model at(std::int64_t step) {
    Model model;
    while (model.step_ < step) model.advance();
    return model;
  }

 private:
  struct Ring {
    RowStream stream;
    std::int64_t capacity;
    std::vector<std::byte> memory;

    std::span<const std::byte> row(std::int64_t number) const {
      return std::span(memory).subspan(
          static_cast<std::size_t>(number % capacity) * stream.row_size, stream.row_size);
    }
  };

  void add_ring(std::uint64_t id, std::uint64_t row_size, std::int64_t capacity) {
    rings_.push_back({{id, row_size, 0, 0, 0},
                      capacity,
                      std::vector<std::byte>(row_size * static_cast<std::size_t>(capacity))});
  }

  void fill(Ring& ring, std::int64_t row) const {
    // A row that is not sealed also depends on the step.
    const std::int64_t salt = row < ring.stream.sealed ? 0 : step_;
    auto* out =
        ring.memory.data() + static_cast<std::size_t>(row % ring.capacity) * ring.stream.row_size;
    for (std::uint64_t i = 0; i < ring.stream.row_size; ++i) {
      out[i] = static_cast<std::byte>(mix64(
          ring.stream.id * 131 + static_cast<std::uint64_t>(row * 1009 + salt * 7) + (i << 40)));
    }
  }

  RowMemory memory() {
    return [this](std::uint64_t id, std::int64_t first, std::int64_t last) {
      const auto ring = std::ranges::find(rings_, id, [](const Ring& r) { return r.stream.id; });
      const std::int64_t slot = first % ring->capacity;
      const std::int64_t count = std::min(last - first, ring->capacity - slot);
      return std::span(ring->memory)
          .subspan(static_cast<std::size_t>(slot) * ring->stream.row_size,
                   static_cast<std::size_t>(count) * ring->stream.row_size);
    };
  }

  std::int64_t step_ = 0;
  std::vector<Ring> rings_;
  std::array<std::byte, 64> weights_{};
};

inline Model load(const std::string& path, FileSystem& files = system_files()) {
  return Model::loaded(SavedFolder("load", path, kKind, files, kOptions));
}

// What loading throws, or nothing.
inline std::string complaint(const std::string& path) {
  return error_of([&] { load(path); });
}

// One stream of rows of 100 bytes.
inline SavedState plain_rows(std::vector<std::byte>& memory, std::int64_t first,
                             std::int64_t last) {
  return {.kind = kKind,
          .layout = {},
          .streams = {{1, 100, first, last, last}},
          .blobs = {},
          .rows = [&memory, first](std::uint64_t, std::int64_t from, std::int64_t to) {
            return std::span(memory).subspan(static_cast<std::size_t>(from - first) * 100,
                                             static_cast<std::size_t>(to - from) * 100);
          }};
}

}  // namespace fastrl::testing
