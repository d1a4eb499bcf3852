// What the bindings of saved objects share.
#pragma once

#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "python/bind.h"
#include "replay/segments.h"

namespace fastrl::python {

// Name, address and size of each, which the caller keeps.
using NamedBlobs = std::vector<std::tuple<std::string, std::uintptr_t, std::size_t>>;
std::vector<Blob> blobs_of(const NamedBlobs& named);

// bytes_written, rows_written, segments_kept, segments_written.
nb::tuple report_of(const SaveReport& report);

// Blobs that only Python knows of, read to memory of their own.
class LoadedBlobs {
 public:
  BlobMemory memory();
  // As a dict of bytearrays, once.
  nb::dict taken();

 private:
  std::list<std::pair<std::string, std::vector<std::byte>>> blobs_;
};

// An object's Saver; its saves take turns.
class BoundSaver {
 public:
  explicit BoundSaver(const SegmentOptions& options = {}, const char* function = "save")
      : options_(options), function_(function), saver_(system_files(), options, function) {}
  void adopt(const SavedFolder& folder) { saver_.adopt(folder); }
  // Forgets all saves: the object has become another one.
  void reset() {
    const std::scoped_lock lock(mutex_);
    saver_ = Saver(system_files(), options_, function_);
  }

  template <typename Save>
  nb::tuple save(Save save) {
    SaveReport report;
    {
      const nb::gil_scoped_release released;
      const std::scoped_lock lock(mutex_);
      report = save(saver_);
    }
    return report_of(report);
  }

 private:
  std::mutex mutex_;
  SegmentOptions options_;
  const char* function_;
  Saver saver_;
};

class BoundFolder {
 public:
  BoundFolder(std::string function, const std::string& path, const std::string& kind)
      : function_(std::move(function)), folder_(function_.c_str(), path, kind) {}
  const SavedFolder& folder() const { return folder_; }

 private:
  std::string function_;
  SavedFolder folder_;
};

}  // namespace fastrl::python
