// Saves while the system refuses, loses power, or kills.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.h"
#include "core/check.h"
#include "file_faults.h"
#include "replay/manifest.h"
#include "replay/segments.h"
#include "saved_model.h"
#include "temporary_folder.h"

namespace fastrl {
namespace {

using testing::complaint;
using testing::kKind;
using testing::kOptions;
using testing::load;
using testing::Model;
using testing::PowerLoss;
using testing::RefusingFiles;
using testing::TemporaryFolder;
using testing::VolatileDisk;
namespace fs = std::filesystem;

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
    return error_of([&] { Saver(system_files(), kOptions).save(path, model.state()); });
  };
  TemporaryFolder folder;
  Saver saver(system_files(), kOptions);
  saver.save(folder.path, model.state());
  const std::string file = folder.path + "/" + kManifestName;
  const std::string rule = "save: `path` must be a folder that can be written or made, got ";
  CHECK(said(file) == concat(rule, "a file: '", file, "'"));
  CHECK(said(file + "/x/y") == concat(rule, "a name below a file: '", file, "'"));
  const std::string nothing = "folder with a save, got 'No such file or directory', cannot ";
  CHECK(contains(complaint(folder.path + "/x"), concat(nothing, "open: '", folder.path, "/x'")));
  fs::create_directory(folder.path + "/x");
  CHECK(contains(complaint(folder.path + "/x"), concat(nothing, "load: '", folder.path, "/x/")));

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

}  // namespace
}  // namespace fastrl
