// A buffer's saves while others use it; what is loaded is the buffer at one moment of the save.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "replay/replay_buffer.h"

namespace fastrl {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kLanes = 3;
constexpr std::int64_t kRows = 200;
constexpr std::int64_t kNumbers = 150;  // large enough to lie apart

BufferOptions options() {
  BufferOptions made;
  made.num_lanes = kLanes;
  made.rows_per_lane = kRows;
  Field field{};
  std::strcpy(field.name, "observations");
  field.role = FieldRole::kObservation;
  field.num_dimensions = 1;
  field.shape[0] = kNumbers;
  field.item_bytes = sizeof(std::int64_t);
  field.bytes = kNumbers * field.item_bytes;
  field.stack = 1;
  made.fields = {field};
  SamplerOptions sampler{};
  sampler.kind = SamplerKind::kProportional;
  sampler.priority_start = sampler.priority_end = 0.6;
  sampler.new_value = 1;
  made.samplers = {sampler, sampler};
  std::strcpy(made.samplers[0].name, "a");
  std::strcpy(made.samplers[1].name, "b");
  return made;
}

// Row r of a lane has the number r everywhere.
void add(ReplayBuffer& buffer, std::int64_t lane, std::int64_t first, std::int64_t count) {
  std::vector<std::int64_t> values;
  for (std::int64_t row = first; row < first + count; ++row) {
    values.insert(values.end(), kNumbers, row);
  }
  const std::vector<std::uint8_t> flags(static_cast<std::size_t>(count));
  std::vector<std::uint64_t> handles(flags.size());
  NewRows rows;
  rows.num_steps = count;
  rows.num_lanes = 1;
  rows.lanes = &lane;
  rows.values = {reinterpret_cast<const std::byte*>(values.data())};
  rows.terminated = flags.data();
  rows.truncated = flags.data();
  buffer.add(rows, handles.data());
}

std::span<std::byte> nothing_else(const std::string&, std::uint64_t size) {
  static std::vector<std::byte> ignored;
  ignored.resize(size);
  return ignored;
}

TEST(a_buffer_is_saved_while_threads_use_it) {
  const std::string path = fs::temp_directory_path() / ("fastrl-save-" + std::to_string(getpid()));
  ReplayBuffer buffer({}, options());
  std::atomic<bool> stop = false;
  std::vector<std::thread> writers;
  writers.reserve(kLanes);
  for (std::int64_t lane = 0; lane < kLanes; ++lane) {
    writers.emplace_back([&, lane] {
      for (std::int64_t row = 0; !stop; row += 7) {
        add(buffer, lane, row, 7);
        std::vector<std::uint64_t> handles(40);
        const auto found = std::min<std::int64_t>(buffer.drawable_handles(handles.data(), 40), 40);
        handles.resize(static_cast<std::size_t>(found));
        buffer.update_priorities(handles, std::vector<double>(handles.size(), 0.5), 1);
      }
    });
  }
  Saver saver;
  for (int turn = 0; turn < 25; ++turn) {
    buffer.save(saver, path, "{}", {});
    const SavedFolder folder("load", path, "ReplayBuffer");
    ReplayBuffer::Destination to;
    to.options = options();
    const auto loaded = ReplayBuffer::load(to, folder, nothing_else);
    CHECK(loaded->counters().num_added >= loaded->size());
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      const RowStream& stream = folder.streams()[static_cast<std::size_t>(2 * lane)];
      CHECK(stream.last % 7 == 0);
      for (std::int64_t row = stream.first; row < stream.last; ++row) {
        std::vector<std::int64_t> values(kNumbers);
        loaded->gather_rows({&lane, 1}, {&row, 1}, 0, reinterpret_cast<std::byte*>(values.data()));
        CHECK(std::ranges::count(values, row) == kNumbers);
      }
    }
  }
  stop = true;
  for (std::thread& writer : writers) writer.join();
  fs::remove_all(path);
}

TEST(a_save_of_another_layout_is_refused_whole) {
  const std::string path = fs::temp_directory_path() / ("fastrl-other-" + std::to_string(getpid()));
  const std::string file = path + ".rows";
  ReplayBuffer buffer({}, options());
  add(buffer, 1, 0, 10);
  Saver saver;
  buffer.save(saver, path, "{}", {});
  const auto refused = [&](const BufferOptions& other) {
    try {
      const SavedFolder folder("load", path, "ReplayBuffer");
      ReplayBuffer::Destination to;
      to.place = {MemoryKind::kFile, file};
      to.options = other;
      ReplayBuffer::load(to, folder, nothing_else);
      return false;
    } catch (const std::invalid_argument& error) {
      return std::string(error.what()).starts_with("load: `path` must hold a buffer of the layout");
    }
  };
  BufferOptions other = options();
  other.num_lanes = 4;
  CHECK(refused(other));
  other = options();
  other.rows_per_lane = 9;
  CHECK(refused(other));
  other = options();
  other.rows_per_lane = kRows + 100;
  CHECK(refused(other));
  other = options();
  other.fields[0].bytes -= 64;
  CHECK(refused(other));
  other = options();
  std::strcpy(other.samplers[1].name, "c");
  CHECK(refused(other));
  other = options();
  other.samplers[1].kind = SamplerKind::kRank;
  CHECK(refused(other));
  CHECK(!fs::exists(file));
  fs::remove_all(path);
}

}  // namespace
}  // namespace fastrl
