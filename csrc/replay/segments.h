// Durable saves of a memory that grows by rows: incremental, atomic, checked when read.
//
// A saved state is (1) rows of streams: rows have numbers that only grow, old ones vanish at the
// front, new ones come at the end, as in a ring that wraps around; and (2) blobs, small or dense
// memory written whole each time. A folder holds segment files, each sealed once and never
// changed, and one manifest that says which rows lie where. The manifest's rename is the commit:
// a process killed at any moment, or a machine that loses power, leaves what was committed last.
//
// Cost  a save writes the blobs, the rows that this folder has not got, and now and then small
//       segments together, each row at most once per factor of 9 in size: a folder has a few dozen
//       files and at most the size of the state and of the segments whose rows are half gone.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "replay/files.h"

namespace fastrl {

// Rows [first, last) of so many bytes each. Rows from `sealed` on may still change, and are written
// again by the next save; those before never do. `id` is the caller's: for these rows alone, in
// this object and all that are loaded from its saves. Streams may come and go.
struct RowStream {
  std::uint64_t id = 0;
  std::uint64_t row_size = 0;
  std::int64_t first = 0;
  std::int64_t last = 0;
  std::int64_t sealed = 0;
};

struct Blob {
  std::string name;
  std::span<const std::byte> bytes;
};

// Where rows lie: the memory of row `first` of a stream and of as many after it, at most up to
// `last`, as lie behind one another there. Saving reads it, loading writes it.
using RowMemory = std::function<std::span<std::byte>(std::uint64_t stream, std::int64_t first,
                                                     std::int64_t last)>;
// Where a blob of so many bytes shall be read to: exactly that much memory, good until the next
// call of RowMemory.
using BlobMemory = std::function<std::span<std::byte>(const std::string& name, std::uint64_t size)>;

struct SavedState {
  std::string kind;  // of object, as "ReplayBuffer" or "MixReplay of 'a', 'b'": a folder is for one
  std::string layout;  // what the bytes mean, the caller's text, as JSON
  std::vector<RowStream> streams;
  std::vector<Blob> blobs;
  RowMemory rows;
};

// A state that goes on while it is saved. Most of it is read piece by piece, in passing; only what
// has come since is copied at one moment, and that is the moment that is saved.
class LiveState {
 public:
  virtual ~LiveState() = default;
  virtual std::string kind() const = 0;  // as of SavedState
  // As they are now.
  virtual std::vector<RowStream> streams() = 0;
  // A copy of sealed rows, like RowMemory's, good until the next call. Rows that are gone by now
  // may be anything.
  virtual std::span<std::byte> copy(std::uint64_t stream, std::int64_t first,
                                    std::int64_t last) = 0;
  // The state at one moment, copied: it stays as it is while the object lives. The rows before the
  // last one of each of the `written` streams are not needed any more.
  virtual SavedState freeze(std::span<const RowStream> written) = 0;
};

struct SaveReport {
  std::uint64_t bytes_written = 0;
  std::int64_t rows_written = 0;
  std::int64_t segments_kept = 0;  // of earlier saves
  std::int64_t segments_written = 0;
};

struct SegmentOptions {
  std::uint64_t segment_bytes = 64 << 20;  // rows of one file, about
  double lock_seconds = 60.0;              // to wait for another process at work in the folder
  bool streams_apart = false;              // each in as few segments as can be, one after another
  std::uint64_t copied_bytes = 4 << 20;    // of a live state's rows at its one moment, about
};

using SaveId = std::array<std::uint64_t, 2>;  // random: no two saves have the same

struct Manifest;

// A folder opened to be loaded. No save replaces it while the object lives.
class SavedFolder {
 public:
  // Throws std::invalid_argument where `path` holds no undamaged save of this kind (or of this kind
  // of some objects), FileError where the system refuses. Messages begin with `function`.
  SavedFolder(const char* function, const std::string& path, const std::string& kind,
              FileSystem& files = system_files(), SegmentOptions options = {});
  ~SavedFolder();

  const std::string& layout() const;
  const std::vector<RowStream>& streams() const;
  SaveId id() const;

  // Reads everything, once, the blobs first. Checks each byte of each file, also of those rows that
  // are gone: a file that is missing, truncated or changed throws std::invalid_argument with its
  // name and segment, and what was read by then is worth nothing.
  void read(const RowMemory& rows, const BlobMemory& blobs) const;

 private:
  void read_all(const RowMemory& rows, const BlobMemory& blobs) const;

  const char* function_;
  std::string path_;
  FileSystem& files_;
  std::unique_ptr<FolderLock> lock_;
  std::unique_ptr<Manifest> manifest_;
};

// What an object that is saved remembers from save to save; one for each. A folder that does not
// hold its last save there gets everything. Not for two threads at once.
class Saver {
 public:
  // Messages begin with `function`.
  explicit Saver(FileSystem& files = system_files(), SegmentOptions options = {},
                 const char* function = "save")
      : files_(&files), options_(options), function_(function) {}

  // The state is what was read from there, so a save to that folder adds to it.
  void adopt(const SavedFolder& folder) { ancestors_.push_back(folder.id()); }

  // Commits the state. Throws FileError where the system refuses, std::invalid_argument for a
  // state that contradicts itself and for a folder that holds another kind of object; then the
  // folder still holds what was committed last (or, where only the very last sync failed, this
  // state), the memory is untouched and the save can be tried again. A SavedState must not change
  // meanwhile.
  SaveReport save(const std::string& path, const SavedState& state);
  SaveReport save(const std::string& path, LiveState& state);

 private:
  // All of what `write` does to the folder, or nothing.
  template <typename Write>
  SaveReport save_by(const std::string& path, const std::string& kind, Write write);

  FileSystem* files_;
  SegmentOptions options_;
  const char* function_;
  std::vector<SaveId> ancestors_;  // saves whose sealed rows are the state's, the newest last
};

}  // namespace fastrl
