// Saves that are damaged, forged, or contradict themselves.
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.h"
#include "core/check.h"
#include "replay/checksum.h"
#include "replay/manifest.h"
#include "replay/segments.h"
#include "saved_model.h"
#include "temporary_folder.h"

namespace fastrl {
namespace {

using testing::bytes_of;
using testing::complaint;
using testing::kKind;
using testing::kOptions;
using testing::load;
using testing::Model;
using testing::plain_rows;
using testing::slurp;
using testing::spill;
using testing::TemporaryFolder;
namespace fs = std::filesystem;

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
  const std::string told = error_of(
      [&] { SavedFolder("load", folder.path, kKind).read(plain_rows(memory, 0, 40000).rows, {}); });
  CHECK(contains(told, "in block 2, the 1048576 bytes from 2097184"));
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
  CHECK(contains(error_of([&] { SavedFolder("load", folder.path, "TrajectoryStore").id(); }),
                 "load: `path` must hold a saved TrajectoryStore, got a saved Model"));
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
    return error_of([&] { Saver().save(folder.path, state); });
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
  CHECK(error_of([&] { Saver().save(folder.path, state); }) ==
        "rows 0 to 10 of stream 1 lie in 7 bytes");
  CHECK(folder.names().empty());
}

}  // namespace
}  // namespace fastrl
