// ReplayBuffer: what was saved, alone or with others, in new memory.
#include <algorithm>
#include <list>
#include <utility>

#include "core/check.h"
#include "replay/joint_state.h"
#include "replay/replay_buffer.h"

namespace fastrl {
namespace {

[[noreturn]] void fail_contents(const std::string& what) {
  fail_value("load", "path", "hold a buffer of the layout that it names", what);
}

}  // namespace

// New memory that becomes a buffer once all of it was read. Else nothing stays of it.
class ReplayBuffer::Loading {
 public:
  explicit Loading(const Destination& to)
      : place_(to.place),
        buffer_(new ReplayBuffer(Memory::create(to.place, BufferLayout(to.options).total),
                                 to.options)) {}
  ~Loading() {
    if (buffer_ == nullptr) return;
    buffer_.reset();
    if (place_.kind == MemoryKind::kFile) Memory::remove(place_);
  }
  Loading(const Loading&) = delete;
  Loading& operator=(const Loading&) = delete;

  void begin(std::vector<RowStream> saved) {
    buffer_->initialize();
    saved_ = std::move(saved);
    buffer_->check_streams(saved_);
    missing_ = buffer_->parts();
  }

  std::span<std::byte> rows(std::uint64_t stream, std::int64_t first, std::int64_t last) {
    return buffer_->rows_of(stream, first, last);
  }

  // Nothing where the buffer has no such part.
  std::optional<std::span<std::byte>> blob(const std::string& name, std::uint64_t size) {
    const auto part = std::ranges::find(missing_, name, &MemoryPart::name);
    if (part == missing_.end()) return std::nullopt;
    if (part->size != size) fail_contents(concat(size, " bytes of '", name, "'"));
    const std::span<std::byte> memory(part->data, part->size);
    missing_.erase(part);
    return memory;
  }

  void check() {
    if (!missing_.empty()) fail_contents(concat("no '", missing_.front().name, "'"));
    buffer_->check_lanes(saved_);
  }

  std::unique_ptr<ReplayBuffer> taken() {
    mark_complete(buffer_->memory_.data());
    buffer_->memory_.admit_others();
    return std::move(buffer_);
  }

 private:
  MemoryPlace place_;
  std::unique_ptr<ReplayBuffer> buffer_;
  std::vector<RowStream> saved_;
  std::vector<MemoryPart> missing_;
};

std::unique_ptr<ReplayBuffer> ReplayBuffer::load(const Destination& to, const SavedFolder& saved,
                                                 const BlobMemory& others) {
  Loading loading(to);
  loading.begin(saved.streams());
  saved.read([&](std::uint64_t stream, std::int64_t first,
                 std::int64_t last) { return loading.rows(stream, first, last); },
             [&](const std::string& name, std::uint64_t size) {
               const auto own = loading.blob(name, size);
               return own ? *own : others(name, size);
             });
  loading.check();
  return loading.taken();
}

std::vector<std::unique_ptr<ReplayBuffer>> ReplayBuffer::load_parts(std::span<const Destination> to,
                                                                    const SavedFolder& saved,
                                                                    const BlobMemory& others) {
  const auto streams = part_streams(saved.streams(), to.size());
  if (!streams) fail_contents("rows of others");
  std::list<Loading> loading;
  std::vector<Loading*> parts;
  for (std::size_t i = 0; i < to.size(); ++i) {
    parts.push_back(&loading.emplace_back(to[i]));
    parts.back()->begin((*streams)[i]);
  }
  saved.read(
      [&](std::uint64_t stream, std::int64_t first, std::int64_t last) {
        const PartStream of = PartStream::of(stream);
        return parts[of.part]->rows(of.id, first, last);
      },
      [&](const std::string& name, std::uint64_t size) {
        const auto of = part_name(name);
        if (of && of->first < parts.size()) {
          if (const auto own = parts[of->first]->blob(of->second, size)) return *own;
        }
        return others(name, size);
      });
  for (Loading& one : loading) one.check();
  std::vector<std::unique_ptr<ReplayBuffer>> loaded;
  for (Loading& one : loading) loaded.push_back(one.taken());
  return loaded;
}

void ReplayBuffer::check_streams(std::span<const RowStream> saved) {
  const bool fits =
      std::ranges::equal(streams(), saved, [&](const RowStream& a, const RowStream& b) {
        return a.id == b.id && a.row_size == b.row_size &&
               b.last - b.first <= options_.rows_per_lane;
      });
  if (!fits) fail_contents("rows of another one");
}

void ReplayBuffer::check_lanes(std::span<const RowStream> saved) {
  for (std::int64_t lane = 0; lane < options_.num_lanes; ++lane) {
    const Lane& at = lanes_.lane(lane);
    const bool is_one = at.generation >= 0 && at.generation >> 32 == 0 &&
                        at.position < options_.rows_per_lane && at.episode >= 0 &&
                        at.state <= LaneState::kEnded && at.first_kept >= 0 &&
                        at.first_kept <= lanes_.num_rows(lane);
    if (!is_one) fail_contents(concat("a lane ", lane, " that contradicts itself"));
  }
  const bool fits =
      std::ranges::equal(streams(), saved, [](const RowStream& a, const RowStream& b) {
        return a.first == b.first && a.last == b.last && a.sealed == b.sealed;
      });
  if (!fits) fail_contents("other rows than its lanes say");
}

}  // namespace fastrl
