// TrajectoryStore: saved while others use it, and loaded.
//
// A trajectory's tokens never change: they are a stream of blocks, named by its handle, and written
// once to a folder. Everything else is written whole, as far as it was ever used.
#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <unordered_map>
#include <unordered_set>

#include "core/check.h"
#include "replay/trajectory_store.h"

namespace fastrl {
namespace {

constexpr std::int64_t kCopied = 1 << 20;  // bytes under the mutex at once
constexpr std::size_t kLine = 64;          // parts begin and end at lines, with zeros between them

// Up to the last line that is not zero.
std::span<const std::byte> used(const MemoryPart& part) {
  static constexpr std::byte kZeros[kLine] = {};
  std::size_t end = part.size;
  while (end > 0) {
    const std::size_t begin = (end - 1) / kLine * kLine;
    if (std::memcmp(part.data + begin, kZeros, end - begin) != 0) break;
    end = begin;
  }
  return {part.data, end};
}

[[noreturn]] void fail_contents(const std::string& what) {
  fail_value("load", "path", "hold a store of the layout that it names", what);
}

}  // namespace

class TrajectoryStore::Live final : public LiveState {
 public:
  Live(TrajectoryStore& store, const std::string& layout, std::span<const Blob> others)
      : store_(store),
        layout_(layout),
        others_(others),
        row_size_(static_cast<std::size_t>(store.arena_.copy_size())) {}

  std::string kind() const override { return "TrajectoryStore"; }

  std::vector<RowStream> streams() override {
    const std::scoped_lock lock(store_.mutex_);
    return streams_now();
  }

  std::span<std::byte> copy(std::uint64_t stream, std::int64_t first, std::int64_t last) override {
    last = std::min(last, first + std::max<std::int64_t>(kCopied / store_.arena_.copy_size(), 1));
    copied_.resize(static_cast<std::size_t>(last - first) * row_size_);
    const std::scoped_lock lock(store_.mutex_);
    const std::uint32_t slot = store_.slot_of(static_cast<std::int64_t>(stream));
    if (slot != kNone) {
      store_.arena_.copy_out(store_.records_[slot].first_block, first, last, copied_.data());
    }
    return copied_;
  }

  SavedState freeze(std::span<const RowStream> written) override {
    std::unordered_set<std::uint64_t> known;
    for (const RowStream& stream : written) known.insert(stream.id);
    const auto is_new = [&](const RowStream& stream) { return !known.contains(stream.id); };
    // Touched before the mutex is taken for long, so that then nothing is but copied.
    {
      const std::scoped_lock lock(store_.mutex_);
      blobs_.resize(used_bytes());
      newest_.resize(bytes_of(streams_now(), is_new));
    }
    SavedState state{.kind = kind(),
                     .layout = layout_,
                     .streams = {},
                     .blobs = {others_.begin(), others_.end()},
                     .rows = {}};
    const std::scoped_lock lock(store_.mutex_);
    state.streams = streams_now();
    blobs_.resize(used_bytes());
    std::byte* to = blobs_.data();
    for (const MemoryPart& part : store_.blob_parts()) {
      const std::span<const std::byte> bytes = used(part);
      std::memcpy(to, bytes.data(), bytes.size());
      state.blobs.push_back({part.name, {to, bytes.size()}});
      to += bytes.size();
    }
    newest_.resize(bytes_of(state.streams, is_new));
    std::byte* tokens = newest_.data();
    for (const RowStream& stream : state.streams) {
      if (!is_new(stream)) continue;
      const std::uint32_t slot = store_.slot_of(static_cast<std::int64_t>(stream.id));
      store_.arena_.copy_out(store_.records_[slot].first_block, 0, stream.last, tokens);
      copies_.emplace(stream.id, tokens);
      tokens += static_cast<std::size_t>(stream.last) * row_size_;
    }
    state.rows = [this](std::uint64_t stream, std::int64_t first, std::int64_t last) {
      return std::span(copies_.at(stream) + static_cast<std::size_t>(first) * row_size_,
                       static_cast<std::size_t>(last - first) * row_size_);
    };
    return state;
  }

 private:
  std::vector<RowStream> streams_now() const {
    std::vector<RowStream> streams;
    streams.reserve(static_cast<std::size_t>(store_.header_->count));
    for (std::uint32_t slot = store_.header_->oldest; slot != kNone;
         slot = store_.records_[slot].next) {
      const std::int64_t blocks = TokenArena::blocks(store_.records_[slot].length);
      streams.push_back({.id = static_cast<std::uint64_t>(store_.handle(slot)),
                         .row_size = row_size_,
                         .first = 0,
                         .last = blocks,
                         .sealed = blocks});
    }
    return streams;
  }

  std::size_t used_bytes() const {
    std::size_t bytes = 0;
    for (const MemoryPart& part : store_.blob_parts()) bytes += used(part).size();
    return bytes;
  }
  template <typename Wanted>
  std::size_t bytes_of(std::span<const RowStream> streams, Wanted wanted) const {
    std::size_t bytes = 0;
    for (const RowStream& stream : streams) {
      if (wanted(stream)) bytes += static_cast<std::size_t>(stream.last) * row_size_;
    }
    return bytes;
  }

  TrajectoryStore& store_;
  const std::string& layout_;
  std::span<const Blob> others_;
  std::size_t row_size_;
  std::vector<std::byte> copied_;
  std::vector<std::byte> blobs_;
  std::vector<std::byte> newest_;  // tokens that no folder has, one trajectory's after another's
  std::unordered_map<std::uint64_t, std::byte*> copies_;  // by stream
};

SaveReport TrajectoryStore::save(Saver& saver, const std::string& path, const std::string& layout,
                                 std::span<const Blob> others) {
  Live live(*this, layout, others);
  return saver.save(path, live);
}

void TrajectoryStore::load(const SavedFolder& saved, const BlobMemory& others) {
  const std::scoped_lock lock(mutex_);
  const std::uint64_t layout = header_->layout;
  std::vector<MemoryPart> missing = blob_parts();
  // Blocks that have been read and are not where they belong yet.
  struct Run {
    std::uint32_t first_block = 0;
    std::int64_t begin = 0;
    std::int64_t end = 0;
    std::vector<std::byte> bytes;
  } run;
  const auto put = [&] { arena_.copy_in(run.first_block, run.begin, run.end, run.bytes.data()); };
  const auto check_state = [&] {
    if (!missing.empty()) fail_contents(concat("no '", missing.front().name, "'"));
    if (header_->layout != layout) fail_contents("one of other sizes and columns");
  };
  bool any = false;
  saved.read(
      [&](std::uint64_t stream, std::int64_t first, std::int64_t last) {
        any ? put() : check_state();
        any = true;
        const std::uint32_t slot = slot_of(static_cast<std::int64_t>(stream));
        if (slot == kNone || TokenArena::blocks(records_[slot].length) < last) {
          fail_contents(concat("tokens of no trajectory, ", stream));
        }
        run.first_block = records_[slot].first_block;
        run.begin = first;
        run.end = last;
        run.bytes.resize(static_cast<std::size_t>((last - first) * arena_.copy_size()));
        return std::span(run.bytes);
      },
      [&](const std::string& name, std::uint64_t size) -> std::span<std::byte> {
        const auto part = std::ranges::find(missing, name, &MemoryPart::name);
        if (part == missing.end()) return others(name, size);
        if (size > part->size) fail_contents(concat(size, " bytes of '", name, "'"));
        const std::span<std::byte> memory(part->data, size);
        missing.erase(part);
        return memory;
      });
  any ? put() : check_state();
}

// All but the tokens, which are streams.
std::vector<MemoryPart> TrajectoryStore::blob_parts() const {
  std::vector<MemoryPart> parts = parts_.parts();
  std::erase_if(parts, [this](const MemoryPart& part) { return arena_.owns_copied(part.data); });
  return parts;
}

}  // namespace fastrl
