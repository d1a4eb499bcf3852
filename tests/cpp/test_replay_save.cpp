// A buffer's saves while others use it; what is loaded is the buffer at one moment of the save.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "check.h"
#include "replay/joint_state.h"
#include "replay/replay_buffer.h"
#include "temporary_folder.h"

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

ReplayBuffer::Destination in_memory() {
  ReplayBuffer::Destination to;
  to.options = options();
  return to;
}

// Rows come seven at a time, so a moment has no part of these.
void check_loaded(ReplayBuffer& loaded, const std::vector<RowStream>& streams) {
  CHECK(loaded.counters().num_added >= loaded.size());
  for (std::int64_t lane = 0; lane < kLanes; ++lane) {
    const RowStream& stream = streams[static_cast<std::size_t>(2 * lane)];
    CHECK(stream.last % 7 == 0);
    for (std::int64_t row = stream.first; row < stream.last; ++row) {
      std::vector<std::int64_t> values(kNumbers);
      loaded.gather_rows({&lane, 1}, {&row, 1}, 0, reinterpret_cast<std::byte*>(values.data()));
      CHECK(std::ranges::count(values, row) == kNumbers);
    }
  }
}

TEST(a_buffer_is_saved_while_threads_use_it) {
  const testing::TemporaryFolder temporary;
  const std::string& path = temporary.path;
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
    check_loaded(*ReplayBuffer::load(in_memory(), folder, nothing_else), folder.streams());
  }
  stop = true;
  for (std::thread& writer : writers) writer.join();
}

TEST(several_buffers_are_saved_together_while_threads_use_them) {
  const testing::TemporaryFolder folder;
  ReplayBuffer first({}, options());
  ReplayBuffer second({}, options());
  std::atomic<bool> stop = false;
  std::vector<std::thread> writers;
  for (ReplayBuffer* buffer : {&first, &second}) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) add(*buffer, lane, 0, 7);
    writers.emplace_back([&, buffer] {
      for (std::int64_t row = 7; !stop; row += 7) {
        for (std::int64_t lane = 0; lane < kLanes; ++lane) add(*buffer, lane, row, 7);
      }
    });
  }
  Saver saver;
  for (int turn = 0; turn < 10; ++turn) {
    std::vector<std::unique_ptr<LiveState>> parts;
    for (ReplayBuffer* buffer : {&first, &second}) parts.push_back(buffer->live("", {}));
    const std::byte other{7};
    const std::vector<Blob> others{{"other", {&other, 1}}};
    JointState joint("Pair", "{}", std::move(parts), others);
    saver.save(folder.path, joint);
    const SavedFolder saved("load", folder.path, "Pair");
    const auto streams = part_streams(saved.streams(), 2);
    std::vector<std::string> seen;
    const std::vector<ReplayBuffer::Destination> to{in_memory(), in_memory()};
    const auto loaded =
        ReplayBuffer::load_parts(to, saved, [&](const std::string& name, std::uint64_t size) {
          seen.push_back(name);
          return nothing_else(name, size);
        });
    CHECK(streams && loaded.size() == 2);
    for (std::size_t i = 0; i < 2; ++i) check_loaded(*loaded[i], (*streams)[i]);
    CHECK(seen == std::vector<std::string>{"other"});
  }
  stop = true;
  for (std::thread& writer : writers) writer.join();
}

TEST(parts_that_do_not_fit_are_refused_and_leave_no_file) {
  const testing::TemporaryFolder folder;
  ReplayBuffer buffer({}, options());
  add(buffer, 1, 0, 10);
  std::vector<std::unique_ptr<LiveState>> parts(2);
  for (std::unique_ptr<LiveState>& part : parts) part = buffer.live("", {});
  JointState joint("Pair", "{}", std::move(parts), {});
  Saver().save(folder.path, joint);
  const auto refused = [&](const std::vector<ReplayBuffer::Destination>& to) {
    try {
      const SavedFolder saved("load", folder.path, "Pair");
      ReplayBuffer::load_parts(to, saved, nothing_else);
      return false;
    } catch (const std::invalid_argument& error) {
      return std::string(error.what()).starts_with("load: `path` must hold a buffer of the layout");
    }
  };
  CHECK(refused({in_memory()}));
  CHECK(refused({in_memory(), in_memory(), in_memory()}));
  std::vector<ReplayBuffer::Destination> to{in_memory(), in_memory()};
  for (std::size_t i = 0; i < 2; ++i) {
    to[i].place = {MemoryKind::kFile, folder.path + "/rows." + std::to_string(i)};
  }
  to[1].options.rows_per_lane = 9;
  CHECK(refused(to));
  CHECK(!fs::exists(to[0].place.name) && !fs::exists(to[1].place.name));
  to[1].options = options();
  CHECK(!refused(to));
}

TEST(a_save_of_another_layout_is_refused_whole) {
  const testing::TemporaryFolder temporary;
  const std::string& path = temporary.path;
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
}

}  // namespace
}  // namespace fastrl
