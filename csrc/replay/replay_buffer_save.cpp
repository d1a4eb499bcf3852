// ReplayBuffer: saved while others use it.
//
// Each lane's rows are a stream, and so is its part of every array apart. A row never changes once
// a newer one is in its lane, so it is written once to a folder. Everything else is written whole.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "replay/replay_buffer.h"
#include "replay/replay_buffer_guard.h"

namespace fastrl {
namespace {

constexpr std::size_t kCopied = 1 << 20;  // under the mutex at once

}  // namespace

std::vector<MemoryPart> ReplayBuffer::parts() {
  constexpr std::size_t kCounters = offsetof(BufferHeader, num_added);
  std::byte* const start = memory_.data();
  std::vector<MemoryPart> parts{
      {"counters", start + kCounters, sizeof(BufferHeader) - kCounters},
      {"lanes", start + layout_.lanes, layout_.drawable - layout_.lanes},
      {"drawable", start + layout_.drawable, DrawableRows::memory_size(options_.capacity())},
      {"limiter", start + layout_.limiter, Limiter::memory_size()}};
  for (std::size_t i = 0; i < samplers_.size(); ++i) {
    const SamplerOptions& of = options_.samplers[i];
    parts.push_back({concat("samplers/", of.name), start + layout_.samplers[i],
                     Sampler::memory_size(of, options_.capacity(), options_.num_lanes)});
  }
  return parts;
}

std::vector<RowStream> ReplayBuffer::streams() {
  const std::vector<Rows::Area> areas = rows_.areas();
  std::vector<RowStream> streams;
  streams.reserve(static_cast<std::size_t>(options_.num_lanes) * areas.size());
  for (std::int64_t lane = 0; lane < options_.num_lanes; ++lane) {
    const std::int64_t rows = lanes_.num_rows(lane);
    // The newest two rows of an open episode may yet change: it may be cut off.
    const std::int64_t first = lanes_.oldest_row(lane);
    const bool open = lanes_.lane(lane).state != LaneState::kBetween;
    for (const Rows::Area& area : areas) {
      streams.push_back({.id = streams.size(),
                         .row_size = area.stride,
                         .first = first,
                         .last = rows,
                         .sealed = open ? std::max(rows - 2, first) : rows});
    }
  }
  return streams;
}

std::span<std::byte> ReplayBuffer::rows_of(std::uint64_t stream, std::int64_t first,
                                           std::int64_t last) {
  const std::vector<Rows::Area> areas = rows_.areas();
  const Rows::Area& area = areas[stream % areas.size()];
  const auto lane = static_cast<std::int64_t>(stream / areas.size());
  const std::int64_t position = first % options_.rows_per_lane;
  const std::int64_t count = std::min(last - first, options_.rows_per_lane - position);
  const std::int64_t slot = lane * options_.rows_per_lane + position;
  return {area.start + static_cast<std::size_t>(slot) * area.stride,
          static_cast<std::size_t>(count) * area.stride};
}

class ReplayBuffer::Live final : public LiveState {
 public:
  Live(ReplayBuffer& buffer, std::string layout, std::span<const Blob> others)
      : buffer_(buffer), layout_(std::move(layout)), others_(others) {}

  std::string kind() const override { return "ReplayBuffer"; }

  std::vector<RowStream> streams() override {
    const Guard guard(buffer_);
    return buffer_.streams();
  }

  std::span<std::byte> copy(std::uint64_t stream, std::int64_t first, std::int64_t last) override {
    const Guard guard(buffer_);
    const std::size_t row = buffer_.rows_.areas()[stream % buffer_.rows_.areas().size()].stride;
    const auto most = std::max<std::int64_t>(static_cast<std::int64_t>(kCopied / row), 1);
    const auto rows = buffer_.rows_of(stream, first, std::min(last, first + most));
    copied_.assign(rows.begin(), rows.end());
    return copied_;
  }

  SavedState freeze(std::span<const RowStream> written) override {
    const std::vector<MemoryPart> parts = buffer_.parts();
    std::size_t bytes = 0;
    for (const MemoryPart& part : parts) bytes += part.size;
    // Touched before the mutex is taken, so that under it nothing is but copied.
    blobs_.resize(bytes);
    newest_.resize(bytes_after(streams(), written));

    SavedState state{.kind = kind(),
                     .layout = layout_,
                     .streams = {},
                     .blobs = {others_.begin(), others_.end()},
                     .rows = {}};
    const Guard guard(buffer_);
    state.streams = buffer_.streams();
    std::byte* to = blobs_.data();
    for (const MemoryPart& part : parts) {
      std::memcpy(to, part.data, part.size);
      state.blobs.push_back({part.name, {to, part.size}});
      to += part.size;
    }
    newest_.resize(bytes_after(state.streams, written));
    std::byte* row = newest_.data();
    for (std::size_t i = 0; i < state.streams.size(); ++i) {
      const RowStream& stream = state.streams[i];
      copies_.push_back({row, first_after(stream, written[i])});
      for (std::int64_t first = copies_.back().first; first < stream.last;) {
        const auto rows = buffer_.rows_of(stream.id, first, stream.last);
        row = std::ranges::copy(rows, row).out;
        first += static_cast<std::int64_t>(rows.size() / stream.row_size);
      }
    }
    state.rows = [this, streams = state.streams](std::uint64_t id, std::int64_t first,
                                                 std::int64_t last) {
      const std::size_t size = streams[id].row_size;
      return std::span(
          copies_[id].data + static_cast<std::size_t>(first - copies_[id].first) * size,
          static_cast<std::size_t>(last - first) * size);
    };
    return state;
  }

 private:
  struct Copy {
    std::byte* data;
    std::int64_t first;  // the number of the first row there
  };

  static std::int64_t first_after(const RowStream& stream, const RowStream& written) {
    return std::max(stream.first, written.last);
  }
  static std::size_t bytes_after(std::span<const RowStream> streams,
                                 std::span<const RowStream> written) {
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < streams.size(); ++i) {
      const std::int64_t rows = streams[i].last - first_after(streams[i], written[i]);
      bytes += static_cast<std::size_t>(rows) * streams[i].row_size;
    }
    return bytes;
  }

  ReplayBuffer& buffer_;
  std::string layout_;
  std::span<const Blob> others_;
  std::vector<std::byte> copied_;
  std::vector<std::byte> blobs_;
  std::vector<std::byte> newest_;  // rows, stream by stream
  std::vector<Copy> copies_;       // by stream
};

SaveReport ReplayBuffer::save(Saver& saver, const std::string& path, const std::string& layout,
                              std::span<const Blob> others) {
  Live live(*this, layout, others);
  return saver.save(path, live);
}

std::unique_ptr<LiveState> ReplayBuffer::live(const std::string& layout,
                                              std::span<const Blob> others) {
  return std::make_unique<Live>(*this, layout, others);
}

}  // namespace fastrl
