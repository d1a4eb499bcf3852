// How a state is saved: rows, blobs, manifest, and what is not needed any more.
#include <algorithm>
#include <optional>
#include <random>
#include <unordered_set>
#include <utility>

#include "core/check.h"
#include "replay/manifest.h"
#include "replay/row_ranges.h"
#include "replay/segment_files.h"
#include "replay/segments.h"

namespace fastrl {
namespace {

constexpr std::size_t kRememberedSaves = 256;  // more folders than that get everything again

// Removes our files that the manifest, which must be on the disk for good, does not name. What
// cannot be removed is tried again by the next save.
void remove_unneeded(FileSystem& files, const std::string& folder,
                     const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    try {
      files.remove(join(folder, name));
    } catch (const FileError&) {
      continue;
    }
  }
}

std::vector<std::string> unneeded(const std::vector<std::string>& listed,
                                  const Manifest& manifest) {
  std::unordered_set<std::string> needed;
  for (const Segment& segment : manifest.segments) needed.insert(segment_name(segment.number));
  needed.insert(segment_name(manifest.blob_segment.number));
  std::vector<std::string> names;
  for (const std::string& name : listed) {
    const bool ours = segment_number(name) || name == concat(kManifestName, kTemporary);
    if (ours && !needed.contains(name)) names.push_back(name);
  }
  return names;
}

// The entropy is asked for each time: a forked process must not go on in the same series.
SaveId random_id() {
  std::random_device device;
  SaveId id{};
  for (std::uint64_t& part : id) part = std::uint64_t{device()} << 32 | device();
  return id;
}

void check_streams(std::span<const RowStream> streams) {
  const std::string wrong = contradiction(streams);
  if (!wrong.empty()) fail_value("save", "streams", "not contradict themselves", wrong);
}

// Those of their rows that never change.
std::vector<RowStream> sealed_parts(std::vector<RowStream> streams) {
  check_streams(streams);
  for (RowStream& stream : streams) {
    stream.sealed = stream.last = std::max(stream.first, stream.sealed);
  }
  return streams;
}

// One save: a folder under its lock, and what has been written to it so far.
class Writing {
 public:
  Writing(const char* function, FileSystem& files, const std::string& path,
          const SegmentOptions& options, std::span<const SaveId> ancestors, const std::string& kind)
      : files_(files), path_(path), options_(options), lock_(lock()), listed_(files.list(path)) {
    bool legible = true;
    try {
      before_ = read_manifest(files, path).value_or(Manifest{});
    } catch (const std::invalid_argument&) {
      legible = false;  // all of it is replaced, once there is something better
    }
    if (!before_.kind.empty() && before_.kind != kind) {
      fail_value(function, "path", concat("be a folder for a saved ", kind),
                 concat("'", path, "', which holds a saved ", before_.kind));
    }
    if (legible) {
      // What a crash or a failure has left, first: it takes space on a full disk. The manifest that
      // we see may not be on the disk yet, and the one that is may name other files.
      if (const auto names = unneeded(listed_, before_); !names.empty()) {
        files.sync_folder(path);
        remove_unneeded(files, path, names);
      }
    }
    known_ = legible && std::ranges::find(ancestors, before_.id) != ancestors.end();
    next_.id = random_id();
    next_.kind = kind;
    if (known_) {
      next_.streams = before_.streams;
      next_.segments = before_.segments;
    }
    for (const std::string& name : listed_) {
      number_ = std::max(number_, segment_number(name).value_or(0));
    }
    last_kept_ = number_;
  }

  // What of these streams' rows is on the disk.
  const std::vector<RowStream>& streams() const { return next_.streams; }

  std::uint64_t missing_bytes(std::span<const RowStream> streams) const {
    return bytes_of(missing_rows(held(streams), streams), streams);
  }

  // Writes what is missing of these streams' rows, and with `merges` small segments together.
  void write_rows(std::span<const RowStream> streams, const RowMemory& rows, bool merges) {
    next_.segments = held(streams);
    next_.streams.assign(streams.begin(), streams.end());
    if (merges) {
      drop_small(next_.segments, streams, missing_bytes(streams), options_.segment_bytes);
    }
    auto fresh = (options_.streams_apart ? cut_apart : cut)(
        missing_rows(next_.segments, streams), streams,
        std::max<std::uint64_t>(options_.segment_bytes, 1));
    for (Segment& segment : fresh) {
      SegmentWriter writer = begin(segment);
      for (const Piece& piece : segment.pieces) {
        writer.append_rows(streams[piece.stream], piece, rows);
        report_.rows_written += piece.last - piece.first;
      }
      writer.seal();
      next_.segments.push_back(std::move(segment));
    }
  }

  void write_blobs(std::span<const Blob> blobs) {
    for (const Blob& blob : blobs) {
      next_.blobs.emplace_back(blob.name, blob.bytes.size());
      next_.blob_segment.size += blob.bytes.size();
    }
    if (next_.blob_segment.size == 0) {
      next_.blob_segment.number = ++number_;
      return;
    }
    SegmentWriter writer = begin(next_.blob_segment);
    for (const Blob& blob : blobs) writer.append(blob.bytes);
    writer.seal();
  }

  void commit(const SavedState& state, std::vector<SaveId>& ancestors) {
    next_.layout = state.layout;
    report_.segments_written = static_cast<std::int64_t>(written_.size());
    report_.segments_kept = std::ranges::count_if(
        next_.segments, [&](const Segment& segment) { return segment.number <= last_kept_; });
    written_.emplace_back(kManifestName);
    NewFile file(files_, path_, kManifestName);
    const auto bytes = encode(next_);
    file.write(bytes);
    file.close();
    report_.bytes_written += bytes.size();
    files_.sync_folder(path_);  // the segments' names
    // From here on the folder may hold either manifest.
    ancestors.push_back(next_.id);
    committing_ = true;
    file.rename();
    files_.sync_folder(path_);
    if (known_) std::erase(ancestors, before_.id);
    if (ancestors.size() > kRememberedSaves) ancestors.erase(ancestors.begin());
  }

  // After a commit, and no reason to fail any more.
  SaveReport tidy_up() {
    try {
      remove_unneeded(files_, path_, unneeded(files_.list(path_), next_));
    } catch (const FileError&) {
      return report_;
    }
    return report_;
  }

  // After a failure.
  void take_away() {
    if (committing_) return;
    for (const std::string& name : written_) {
      if (name != kManifestName) remove_unneeded(files_, path_, {name});
      remove_unneeded(files_, path_, {name + kTemporary});
    }
  }

 private:
  std::unique_ptr<FolderLock> lock() {
    files_.make_folder(path_);
    return files_.lock(path_, true, options_.lock_seconds);
  }

  SegmentWriter begin(Segment& segment) {
    segment.number = ++number_;
    written_.push_back(segment_name(segment.number));
    report_.bytes_written += kSegmentHeaderBytes + segment.size;
    return {files_, path_, segment};
  }

  // The segments with these streams' rows, as far as their files are there.
  std::vector<Segment> held(std::span<const RowStream> streams) const {
    auto segments = still_needed(next_.segments, next_.streams, streams);
    std::erase_if(segments, [&](const Segment& segment) {
      const auto size = files_.size(join(path_, segment_name(segment.number)));
      return size != kSegmentHeaderBytes + segment.size;
    });
    return segments;
  }

  FileSystem& files_;
  const std::string& path_;
  const SegmentOptions& options_;
  std::unique_ptr<FolderLock> lock_;
  std::vector<std::string> listed_;
  Manifest before_;
  bool known_ = false;  // what is there is an earlier save of this state
  Manifest next_;
  std::uint64_t number_ = 0;     // the last one in use
  std::uint64_t last_kept_ = 0;  // of earlier saves' numbers
  std::vector<std::string> written_;
  bool committing_ = false;
  SaveReport report_;
};

}  // namespace

template <typename Write>
SaveReport Saver::save_by(const std::string& path, const std::string& kind, Write write) {
  return telling(function_, "be a folder that can be written or made", [&] {
    Writing writing(function_, *files_, path, options_, ancestors_, kind);
    try {
      write(writing);
    } catch (...) {
      writing.take_away();
      throw;
    }
    return writing.tidy_up();
  });
}

SaveReport Saver::save(const std::string& path, const SavedState& state) {
  check_streams(state.streams);
  return save_by(path, state.kind, [&](auto& writing) {
    writing.write_rows(state.streams, state.rows, true);
    writing.write_blobs(state.blobs);
    writing.commit(state, ancestors_);
  });
}

SaveReport Saver::save(const std::string& path, LiveState& state) {
  const RowMemory copy = [&](std::uint64_t stream, std::int64_t first, std::int64_t last) {
    return state.copy(stream, first, last);
  };
  return save_by(path, state.kind(), [&](auto& writing) {
    std::vector<RowStream> sealed = sealed_parts(state.streams());
    std::uint64_t missing = writing.missing_bytes(sealed);
    for (bool first = true;; first = false) {
      writing.write_rows(sealed, copy, first);
      sealed = sealed_parts(state.streams());
      const std::uint64_t before = std::exchange(missing, writing.missing_bytes(sealed));
      // Whoever adds faster than the disk writes is not waited for.
      if (missing <= options_.copied_bytes || missing > before / 2) break;
    }
    const SavedState frozen = state.freeze(writing.streams());
    check_streams(frozen.streams);
    writing.write_rows(frozen.streams, frozen.rows, false);
    writing.write_blobs(frozen.blobs);
    writing.commit(frozen, ancestors_);
  });
}

}  // namespace fastrl
