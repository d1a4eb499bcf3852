#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.h"
#include "core/check.h"
#include "core/random.h"
#include "file_faults.h"
#include "replay/checksum.h"
#include "replay/manifest.h"
#include "replay/segments.h"

namespace fastrl {
namespace {

using testing::PowerLoss;
using testing::RefusingFiles;
using testing::VolatileDisk;
namespace fs = std::filesystem;

constexpr char kKind[] = "Model";
constexpr SegmentOptions kOptions{.segment_bytes = 1024, .lock_seconds = 0.0};

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// A folder of its own that vanishes with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "fastrl-segments-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    top_ = name;
    path = top_ + "/deep/save";
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { fs::remove_all(top_); }

  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(path)) {
      found.push_back(entry.path().filename().string());
    }
    std::ranges::sort(found);
    return found;
  }

  std::string path;

 private:
  std::string top_;
};

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

Model load(const std::string& path, FileSystem& files = system_files()) {
  return Model::loaded(SavedFolder("load", path, kKind, files, kOptions));
}

// What loading throws, or nothing.
std::string complaint(const std::string& path) {
  try {
    load(path);
  } catch (const std::invalid_argument& error) {
    return error.what();
  } catch (const FileError& error) {
    return error.what();
  }
  return {};
}

std::vector<std::byte> slurp(const std::string& path) {
  std::vector<std::byte> bytes(fs::file_size(path));
  std::ifstream(path, std::ios::binary)
      .read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return bytes;
}

void spill(const std::string& path, std::span<const std::byte> bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(crc32c_has_the_published_values_on_every_instruction_set) {
  // RFC 3720, appendix B.4.
  const std::vector<std::byte> zeros(32);
  const std::vector<std::byte> ones(32, std::byte{0xff});
  CHECK(crc32c(zeros) == 0x8a9136aa);
  CHECK(crc32c(ones) == 0x62a8ab43);
  CHECK(crc32c(bytes_of("123456789")) == 0xe3069283);
  CHECK(crc32c({}) == 0);

  std::vector<std::byte> bytes(20000);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(mix64(i));
  for (const std::size_t size :
       std::vector<std::size_t>{0, 1, 7, 8, 9, 1023, 3071, 3072, 3073, 6144, 9999, 20000}) {
    for (const std::size_t start : std::vector<std::size_t>{0, 1, 5}) {
      const auto part =
          std::span(bytes).subspan(std::min(start, size)).first(size - std::min(start, size));
      const std::uint32_t whole = crc32c(InstructionSet::kPortable, part);
      CHECK(whole == crc32c(instruction_set(), part));
      const auto head = part.first(part.size() / 3);
      CHECK(whole == crc32c(part.subspan(head.size()), crc32c(head)));
    }
  }
}

TEST(saves_are_loaded_as_they_were) {
  TemporaryFolder folder;
  Model model;
  Saver saver(system_files(), kOptions);
  saver.save(folder.path, model.state());
  CHECK(load(folder.path).equals(model));  // empty
  for (int i = 0; i < 300; ++i) {
    model.advance();
    saver.save(folder.path, model.state());
    if (i % 7 == 0) CHECK(load(folder.path).equals(model));
  }
  CHECK(load(folder.path).equals(Model::at(300)));
  const SavedFolder opened("load", folder.path, kKind);
  CHECK(opened.layout() == "{\"rings\": 3}");
}

// One stream of rows of 100 bytes.
SavedState plain_rows(std::vector<std::byte>& memory, std::int64_t first, std::int64_t last) {
  return {.kind = kKind,
          .layout = {},
          .streams = {{1, 100, first, last, last}},
          .blobs = {},
          .rows = [&memory, first](std::uint64_t, std::int64_t from, std::int64_t to) {
            return std::span(memory).subspan(static_cast<std::size_t>(from - first) * 100,
                                             static_cast<std::size_t>(to - from) * 100);
          }};
}

TEST(a_save_writes_what_is_new) {
  TemporaryFolder folder;
  std::vector<std::byte> memory(100 * 100000);
  Saver saver;
  SaveReport report = saver.save(folder.path, plain_rows(memory, 0, 50000));
  CHECK(report.rows_written == 50000);
  report = saver.save(folder.path, plain_rows(memory, 0, 50100));
  CHECK(report.rows_written == 100);
  CHECK(report.bytes_written < 11000);
  CHECK(report.segments_kept == 1);
  report = saver.save(folder.path, plain_rows(memory, 0, 50100));
  CHECK(report.rows_written == 0);
  // Rows that are gone take their segments along.
  report = saver.save(folder.path, plain_rows(memory, 50050, 50200));
  CHECK(report.rows_written == 100);
  CHECK(report.segments_kept == 1);
  CHECK(folder.names().size() == 3);
}

TEST(many_small_saves_leave_few_files_and_write_each_row_a_few_times) {
  TemporaryFolder folder;
  std::vector<std::byte> memory(100 * 200000);
  Saver saver(system_files(), {.segment_bytes = 1 << 20, .lock_seconds = 0.0});
  std::int64_t written = 0;
  constexpr std::int64_t kSaves = 300;
  constexpr std::int64_t kRows = 600;  // 60 kB a save
  for (std::int64_t i = 1; i <= kSaves; ++i) {
    written += saver.save(folder.path, plain_rows(memory, 0, i * kRows)).rows_written;
  }
  const auto files = static_cast<std::int64_t>(folder.names().size());
  CHECK(files < 35 + 2 * 9);  // 18 MB in segments of half a MiB at least, and some small ones
  CHECK(written < 3 * kSaves * kRows);
}

TEST(old_rows_vanish_segment_by_segment) {
  // The streams' shares of a segment are of one age.
  TemporaryFolder folder;
  std::vector<std::byte> memory(100 * 2000);
  SavedState state = plain_rows(memory, 0, 1000);
  state.streams.push_back({2, 100, 0, 1000, 1000});
  Saver saver(system_files(), {.segment_bytes = 20000, .lock_seconds = 0.0});
  CHECK(saver.save(folder.path, state).segments_written == 10);
  for (RowStream& stream : state.streams) stream.first = 500;
  CHECK(saver.save(folder.path, state).segments_kept == 5);
  CHECK(folder.names().size() == 6);
}

// Goes on with every row that is read.
class LiveModel final : public LiveState {
 public:
  explicit LiveModel(bool goes_on) : goes_on_(goes_on) {}

  Model model;
  Model frozen;

  std::vector<RowStream> streams() override { return seen_ = model.state().streams; }

  std::span<std::byte> copy(std::uint64_t id, std::int64_t first, std::int64_t) override {
    if (goes_on_) model.advance();
    const SavedState now = model.state();
    if (std::ranges::find(now.streams, id, &RowStream::id) != now.streams.end()) {
      const auto row = now.rows(id, first, first + 1);
      copied_.assign(row.begin(), row.end());
    } else {
      copied_.assign(std::ranges::find(seen_, id, &RowStream::id)->row_size, std::byte{});
    }
    return copied_;
  }

  SavedState freeze(std::span<const RowStream>) override {
    if (goes_on_) model.advance();
    frozen = model;
    return frozen.state();
  }

 private:
  bool goes_on_;
  std::vector<RowStream> seen_;
  std::vector<std::byte> copied_;
};

TEST(a_state_that_goes_on_is_saved_as_it_was_at_one_moment) {
  TemporaryFolder folder;
  Saver saver(system_files(), kOptions);
  LiveModel live(true);
  for (int i = 0; i < 40; ++i) {
    saver.save(folder.path, live);
    const Model loaded_model = load(folder.path);
    CHECK(loaded_model.equals(live.frozen));
    CHECK(loaded_model.equals(Model::at(live.frozen.step())));
  }
  CHECK(live.model.step() > 200);  // rings went round while they were read
}

TEST(a_state_that_stands_still_is_saved_once) {
  TemporaryFolder folder;
  Saver saver(system_files(), kOptions);
  LiveModel live(false);
  live.model = Model::at(30);
  saver.save(folder.path, live);
  const SaveReport report = saver.save(folder.path, live);
  CHECK(report.rows_written == 3);  // the newest of each, which may change
  CHECK(load(folder.path).equals(live.model));
}

TEST(two_folders_take_turns) {
  TemporaryFolder a;
  TemporaryFolder b;
  Model model;
  Saver saver(system_files(), kOptions);
  std::uint64_t bytes = 0;
  for (int i = 0; i < 40; ++i) {
    model.advance();
    const std::string& path = i % 2 == 0 ? a.path : b.path;
    bytes += saver.save(path, model.state()).bytes_written;
    CHECK(load(path).equals(model));
  }
  CHECK(load(a.path).equals(Model::at(39)));
  // Each got only what was new to it.
  TemporaryFolder fresh;
  CHECK(bytes / 40 < saver.save(fresh.path, model.state()).bytes_written);
}

TEST(nobody_writes_where_another_reads_or_writes) {
  TemporaryFolder folder;
  Model model = Model::at(5);
  Saver saver(system_files(), kOptions);
  saver.save(folder.path, model.state());
  const auto refused = [&](auto use) {
    try {
      use();
      return false;
    } catch (const FileError& error) {
      return error.code() == EWOULDBLOCK && contains(error.what(), folder.path);
    }
  };
  {
    const SavedFolder reader("load", folder.path, kKind, system_files(), kOptions);
    CHECK(load(folder.path).equals(model));
    CHECK(refused([&] { saver.save(folder.path, model.state()); }));
  }
  {
    const auto writer = system_files().lock(folder.path, true, 0.0);
    CHECK(refused([&] { saver.save(folder.path, model.state()); }));
    CHECK(refused([&] { load(folder.path); }));
  }
  saver.save(folder.path, model.state());
}

TEST(whoever_loads_goes_on_incrementally_until_another_does) {
  TemporaryFolder folder;
  std::vector<std::byte> memory(100 * 3000);
  Saver ours;
  ours.save(folder.path, plain_rows(memory, 0, 1000));
  Saver theirs;
  theirs.adopt(SavedFolder("load", folder.path, kKind));
  CHECK(theirs.save(folder.path, plain_rows(memory, 0, 1010)).rows_written == 10);
  CHECK(ours.save(folder.path, plain_rows(memory, 0, 1020)).rows_written == 1020);
  CHECK(theirs.save(folder.path, plain_rows(memory, 0, 1020)).rows_written == 1020);
  CHECK(theirs.save(folder.path, plain_rows(memory, 0, 1030)).rows_written == 10);
}

TEST(a_segment_that_somebody_removed_is_written_again) {
  TemporaryFolder folder;
  Saver saver;
  std::vector<std::byte> memory(100 * 100);
  saver.save(folder.path, plain_rows(memory, 0, 100));
  fs::remove(folder.path + "/" + segment_name(1));
  CHECK(saver.save(folder.path, plain_rows(memory, 0, 100)).rows_written == 100);
}

TEST(leftovers_are_removed_and_other_files_are_not) {
  TemporaryFolder folder;
  Model model = Model::at(3);
  Saver saver(system_files(), kOptions);
  saver.save(folder.path, model.state());
  const auto names = folder.names();
  const std::vector<std::string> left_over = {"segment-00000000000000ff.fastrl",
                                              "segment-0000000000000100.fastrl.tmp",
                                              "manifest.fastrl.tmp"};
  const std::vector<std::string> not_ours = {"notes.txt", "segment-1.fastrl",
                                             "segment-00000000000000ff.fastrl.old"};
  for (const std::string& name : left_over) spill(folder.path + "/" + name, bytes_of("left"));
  for (const std::string& name : not_ours) spill(folder.path + "/" + name, bytes_of("other"));
  CHECK(load(folder.path).equals(model));
  saver.save(folder.path, model.state());
  CHECK(load(folder.path).equals(model));
  CHECK(folder.names().size() <= names.size() + 4);  // and one segment with the newest rows
  for (const std::string& name : left_over) CHECK(!fs::exists(folder.path + "/" + name));
  for (const std::string& name : not_ours) CHECK(fs::exists(folder.path + "/" + name));
}

TEST(a_refusal_of_any_operation_loses_nothing) {
  for (const bool full : {false, true}) {
    std::int64_t refusals = 0;
    for (std::int64_t at = 0;; ++at) {
      TemporaryFolder folder;
      RefusingFiles files(system_files());
      Saver saver(files, kOptions);
      Model model;
      for (int i = 0; i < 12; ++i) {
        model.advance();
        saver.save(folder.path, model.state());
      }
      const Model before = model;
      model.advance();
      const Model after = model;
      files.count = 0;
      files.refuse_at = at;
      files.refuse_all_later = full;
      bool refused = false;
      try {
        saver.save(folder.path, model.state());
      } catch (const FileError& error) {
        refused = true;
        CHECK(error.code() == ENOSPC);
        CHECK(contains(error.what(), folder.path));
        CHECK(contains(error.what(), "No space left on device"));
      }
      CHECK(model.equals(after));
      const Model found = load(folder.path);
      CHECK(refused ? found.equals(before) || found.equals(after) : found.equals(after));
      const bool done = files.count <= at;
      refusals += refused ? 1 : 0;

      files.refuse_at = RefusingFiles::kNever;
      files.refuse_all_later = false;
      saver.save(folder.path, model.state());
      CHECK(load(folder.path).equals(after));
      // Nothing is left lying about: every file is one of a save of this size.
      const auto names = folder.names();
      CHECK(std::ranges::none_of(names, [](const auto& name) { return name.ends_with(".tmp"); }));
      CHECK(names.size() < 20);
      if (done) break;
    }
    CHECK(refusals > 15);
  }
}

TEST(what_a_full_disk_refused_is_taken_away_again) {
  TemporaryFolder folder;
  RefusingFiles files(system_files());
  Saver saver(files, kOptions);
  Model model = Model::at(5);
  saver.save(folder.path, model.state());
  const auto names = folder.names();
  model.advance();
  for (std::int64_t at = 5;; ++at) {
    files.count = 0;
    files.refuse_at = at;
    try {
      saver.save(folder.path, model.state());
      break;
    } catch (const FileError& error) {
      // Except by a rename that says it failed: who knows, and the next save cleans up.
      if (contains(error.what(), "manifest.fastrl'")) continue;
      if (load(folder.path).step() == 5) CHECK(folder.names() == names);
    }
  }
}

TEST(a_refusal_while_loading_is_told) {
  TemporaryFolder folder;
  Model model = Model::at(12);
  Saver(system_files(), kOptions).save(folder.path, model.state());
  std::int64_t refusals = 0;
  for (std::int64_t at = 0;; ++at, ++refusals) {
    RefusingFiles files(system_files());
    files.refuse_at = at;
    try {
      CHECK(load(folder.path, files).equals(model));
      break;
    } catch (const FileError& error) {
      CHECK(contains(error.what(), folder.path));
    }
  }
  CHECK(refusals > 5);
}

TEST(a_loss_of_power_at_any_operation_leaves_a_committed_state) {
  constexpr std::int64_t kSaves = 14;
  std::int64_t operations = 0;
  {
    VolatileDisk disk;
    Saver saver(disk, kOptions);
    Model model;
    for (std::int64_t i = 0; i < kSaves; ++i) {
      model.advance();
      saver.save("/save", model.state());
    }
    operations = disk.count;
  }
  std::vector<Model> models;
  for (std::int64_t step = 0; step <= kSaves + 2; ++step) models.push_back(Model::at(step));
  for (std::int64_t at = 0; at < operations; ++at) {
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
      VolatileDisk disk;
      disk.lose_power_at = at;
      std::int64_t committed = 0;
      try {
        Saver saver(disk, kOptions);
        Model model;
        for (std::int64_t i = 0; i < kSaves; ++i) {
          model.advance();
          saver.save("/save", model.state());
          committed = model.step();
        }
      } catch (const PowerLoss&) {
        CHECK(committed < kSaves);
      }
      std::mt19937_64 random(static_cast<std::uint64_t>(at) * 8 + seed);
      disk.power_on(random);
      std::int64_t found = 0;
      try {
        const SavedFolder folder("load", "/save", kKind, disk, kOptions);
        Model model = Model::loaded(folder);
        found = model.step();
        CHECK(model.equals(models[static_cast<std::size_t>(found)]));
        // And it goes on from there.
        Saver saver(disk, kOptions);
        saver.adopt(folder);
        model.advance();
        saver.save("/save", model.state());
        CHECK(load("/save", disk).equals(models[static_cast<std::size_t>(found) + 1]));
      } catch (const FileError& error) {
        CHECK(error.code() == ENOENT);  // before the first commit
      } catch (const std::invalid_argument& error) {
        std::fprintf(stderr, "power lost at operation %d: %s\n", static_cast<int>(at),
                     error.what());
        CHECK(false);
        return;
      }
      CHECK(found == committed || found == committed + 1);
    }
  }
}

TEST(a_killed_process_leaves_a_committed_state) {
  TemporaryFolder folder;
  Model model = Model::at(1);
  Saver(system_files(), kOptions).save(folder.path, model.state());
  std::mt19937_64 random(5);  // NOLINT(bugprone-random-generator-seed): the same each time
  std::int64_t last = 1;
  for (int kill_number = 0; kill_number < 100; ++kill_number) {
    int channel[2];
    CHECK(::pipe(channel) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
      Saver saver(system_files(), kOptions);
      Model mine;
      {
        const SavedFolder opened("load", folder.path, kKind, system_files(), kOptions);
        saver.adopt(opened);
        mine = Model::loaded(opened);
      }
      for (;;) {
        mine.advance();
        saver.save(folder.path, mine.state());
        const std::int64_t step = mine.step();
        if (::write(channel[1], &step, sizeof(step)) < 0) ::_exit(1);
      }
    }
    ::close(channel[1]);
    // Once it has saved, at any moment of the next saves.
    std::int64_t step = 0;
    CHECK(::read(channel[0], &step, sizeof(step)) == sizeof(step));
    std::int64_t reported = step;
    ::usleep(static_cast<useconds_t>(random() % 3000));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    while (::read(channel[0], &step, sizeof(step)) == sizeof(step)) reported = step;
    ::close(channel[0]);
    const Model found = load(folder.path);
    CHECK(found.step() == reported || found.step() == reported + 1);
    CHECK(found.equals(Model::at(found.step())));
    last = found.step();
  }
  CHECK(last > 100);
}

TEST(the_system_refuses_with_its_own_words) {
  Model model = Model::at(2);
  const auto said = [&](const std::string& path) {
    try {
      Saver(system_files(), kOptions).save(path, model.state());
    } catch (const FileError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  TemporaryFolder folder;
  Saver saver(system_files(), kOptions);
  saver.save(folder.path, model.state());
  const std::string file = folder.path + "/" + kManifestName;
  CHECK(said(file) == concat("cannot make the folder '", file, "': Not a directory"));
  CHECK(said(file + "/x") == concat("cannot make the folder '", file, "/x': Not a directory"));
  CHECK(contains(complaint(folder.path + "/x"), "/x': No such file or directory"));
  fs::create_directory(folder.path + "/x");
  CHECK(contains(complaint(folder.path + "/x"), "manifest.fastrl': No such file or directory"));

  // A limit on the size of files stands for a disk that is full in the middle of a write.
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{300, 300};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    model.advance();
    ::_exit(contains(said(folder.path), "File too large") ? 0 : 1);
  }
  int status = 1;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
  CHECK(load(folder.path).equals(Model::at(2)));
}

TEST(any_damage_to_any_file_is_told_with_its_name) {
  TemporaryFolder folder;
  Model model;
  Saver saver(system_files(), kOptions);
  for (int i = 0; i < 5; ++i) {
    model.advance();
    saver.save(folder.path, model.state());
  }
  const auto told = [&](const std::string& name) {
    const std::string text = complaint(folder.path);
    const auto number = segment_number(name);
    const std::string part = number ? concat("segment ", *number, " whose file '") : "manifest '";
    return text.starts_with("load: `path` must hold an undamaged save, got ") &&
           contains(text, concat(part, folder.path, "/", name));
  };
  const auto names = folder.names();
  CHECK(names.size() >= 4);
  for (const std::string& name : names) {
    const std::string path = folder.path + "/" + name;
    const auto bytes = slurp(path);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      auto flipped = bytes;
      flipped[i] ^= static_cast<std::byte>(1 << (i % 8));
      spill(path, flipped);
      CHECK(told(name));
    }
    for (const std::size_t size : {std::size_t{0}, std::size_t{10}, bytes.size() - 1}) {
      spill(path, std::span(bytes).first(size));
      CHECK(told(name));
    }
    auto longer = bytes;
    longer.push_back(std::byte{0});
    spill(path, longer);
    CHECK(told(name));
    fs::remove(path);
    CHECK(name == kManifestName ? contains(complaint(folder.path), "No such file") : told(name));
    spill(path, bytes);
    CHECK(load(folder.path).equals(model));
  }
  // A file of another segment, whole in itself.
  const std::string first = folder.path + "/" + names[1];
  const auto bytes = slurp(first);
  spill(first, slurp(folder.path + "/" + names[2]));
  CHECK(told(names[1]));
  spill(first, bytes);

  // A folder whose manifest is beyond reading is saved to all the same.
  spill(folder.path + "/" + kManifestName, bytes_of("beyond reading"));
  model.advance();
  saver.save(folder.path, model.state());
  CHECK(load(folder.path).equals(model));
  CHECK(folder.names().size() < names.size() + 2);
}

TEST(a_block_that_is_damaged_is_named) {
  TemporaryFolder folder;
  std::vector<std::byte> memory(100 * 40000);
  Saver().save(folder.path, plain_rows(memory, 0, 40000));
  const std::string path = folder.path + "/" + segment_name(1);
  auto bytes = slurp(path);
  bytes[kSegmentHeaderBytes + 2 * kBlockBytes + 17] ^= std::byte{1};
  spill(path, bytes);
  try {
    SavedFolder("load", folder.path, kKind).read(plain_rows(memory, 0, 40000).rows, {});
    CHECK(false);
  } catch (const std::invalid_argument& error) {
    CHECK(contains(error.what(), "in block 2, the 1048576 bytes from 2097184"));
  }
}

// The manifest with some of its bytes changed and the checksum made to fit.
std::vector<std::byte> resealed(std::vector<std::byte> bytes) {
  constexpr std::size_t kChecksum = 12;
  constexpr std::size_t kSize = 16;
  const std::uint64_t size = bytes.size();
  std::memcpy(bytes.data() + kSize, &size, sizeof(size));
  std::memset(bytes.data() + kChecksum, 0, 4);
  const std::uint32_t checksum = crc32c(bytes);
  std::memcpy(bytes.data() + kChecksum, &checksum, 4);
  return bytes;
}

TEST(another_format_or_kind_is_told) {
  TemporaryFolder folder;
  Model model = Model::at(3);
  Saver(system_files(), kOptions).save(folder.path, model.state());
  try {
    const SavedFolder saved("load", folder.path, "TrajectoryStore");
    CHECK(false);
  } catch (const std::invalid_argument& error) {
    CHECK(contains(error.what(),
                   "load: `path` must hold a saved TrajectoryStore, got a saved Model"));
  }
  const std::string path = folder.path + "/" + kManifestName;
  auto bytes = slurp(path);
  bytes[8] = std::byte{2};
  spill(path, resealed(bytes));
  CHECK(contains(complaint(folder.path), "it is of format 2, this version reads 1"));
}

TEST(a_forged_manifest_cannot_do_harm) {
  TemporaryFolder folder;
  Model model = Model::at(9);
  Saver(system_files(), kOptions).save(folder.path, model.state());
  const std::string path = folder.path + "/" + kManifestName;
  const auto sound = slurp(path);
  CHECK(resealed(sound) == sound);
  std::mt19937_64 random(3);  // NOLINT(bugprone-random-generator-seed): the same each time
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    auto bytes = sound;
    const std::size_t changes = 1 + random() % 3;
    for (std::size_t change = 0; change < changes; ++change) {
      const std::size_t at = 40 + random() % (bytes.size() - 40);
      bytes[at] = random() % 2 == 0 ? static_cast<std::byte>(random()) : std::byte{0xff};
    }
    if (random() % 4 == 0) bytes.resize(40 + random() % (bytes.size() - 40));
    try {
      decode(resealed(bytes));
    } catch (const std::invalid_argument&) {
      ++refused;
    }
  }
  CHECK(refused > 10000);
}

TEST(a_state_that_contradicts_itself_is_refused_before_anything_is_written) {
  TemporaryFolder folder;
  std::vector<std::byte> memory(1000);
  const auto said = [&](const RowStream& stream) {
    SavedState state = plain_rows(memory, 0, 10);
    state.streams.push_back(stream);
    try {
      Saver().save(folder.path, state);
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(said({1, 100, 0, 10, 10}) ==
        "save: `streams` must not contradict themselves, got stream 1 twice");
  CHECK(contains(said({2, 0, 0, 10, 10}), "stream 2 with rows of no size"));
  CHECK(contains(said({2, 8, 5, 4, 4}), "stream 2 with rows from 5 to 4, sealed before 4"));
  CHECK(contains(said({2, 8, 0, 4, 5}), "sealed before 5"));
  CHECK(contains(said({2, ~0ull, 0, 4, 4}), "more bytes than 64 bits can count"));
  CHECK(!fs::exists(folder.path));

  SavedState state = plain_rows(memory, 0, 10);
  state.rows = [&](std::uint64_t, std::int64_t, std::int64_t) {
    return std::span(memory).first(7);
  };
  try {
    Saver().save(folder.path, state);
    CHECK(false);
  } catch (const std::logic_error& error) {
    CHECK(contains(error.what(), "rows 0 to 10 of stream 1 lie in 7 bytes"));
  }
  CHECK(folder.names().empty());
}

}  // namespace
}  // namespace fastrl
