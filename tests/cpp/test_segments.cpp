#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "check.h"
#include "replay/manifest.h"
#include "replay/segments.h"
#include "saved_model.h"
#include "temporary_folder.h"

namespace fastrl {
namespace {

using testing::bytes_of;
using testing::kKind;
using testing::kOptions;
using testing::load;
using testing::Model;
using testing::plain_rows;
using testing::spill;
using testing::TemporaryFolder;
namespace fs = std::filesystem;

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

  std::string kind() const override { return kKind; }

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

TEST(a_folder_of_another_kind_is_refused_and_stays) {
  TemporaryFolder folder;
  std::vector<std::byte> memory(100 * 100);
  Saver(system_files(), {}, "save_it").save(folder.path, plain_rows(memory, 0, 100));
  const auto before = folder.names();
  SavedState other = plain_rows(memory, 0, 50);
  other.kind = "other";
  const std::string message =
      error_of([&] { Saver(system_files(), {}, "save_it").save(folder.path, other); });
  CHECK(message == "save_it: `path` must be a folder for a saved other, got '" + folder.path +
                       "', which holds a saved " + kKind);
  CHECK(folder.names() == before);
  SavedFolder("load", folder.path, kKind).read(plain_rows(memory, 0, 100).rows, {});
}

TEST(a_folder_for_some_objects_is_for_no_others) {
  TemporaryFolder folder;
  std::vector<std::byte> memory(100 * 100);
  SavedState state = plain_rows(memory, 0, 100);
  state.kind = "Pair of 'a', 'b'";
  Saver().save(folder.path, state);
  CHECK(SavedFolder("load", folder.path, "Pair").streams().size() == 1);
  CHECK(contains(error_of([&] { SavedFolder("load", folder.path, "Pa").id(); }),
                 "saved Pair of 'a'"));
  state.kind = "Pair of 'a', 'c'";
  CHECK(contains(error_of([&] { Saver().save(folder.path, state); }), "saved Pair of 'a', 'b'"));
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

}  // namespace
}  // namespace fastrl
