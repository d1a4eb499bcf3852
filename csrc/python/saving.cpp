// Folders of saved objects, and objects that are nothing but named bytes.
#include "python/saving.h"

#include <cstring>
#include <span>

namespace fastrl::python {

std::vector<Blob> blobs_of(const NamedBlobs& named) {
  std::vector<Blob> blobs;
  for (const auto& [name, address, size] : named) {
    blobs.push_back({name, {pointer<const std::byte>(address), size}});
  }
  return blobs;
}

nb::tuple report_of(const SaveReport& report) {
  return nb::make_tuple(report.bytes_written, report.rows_written, report.segments_kept,
                        report.segments_written);
}

BlobMemory LoadedBlobs::memory() {
  return [this](const std::string& name, std::uint64_t size) {
    auto& bytes = blobs_.emplace_back(name, std::vector<std::byte>(size)).second;
    return std::span(bytes);
  };
}

nb::dict LoadedBlobs::taken() {
  nb::dict made;
  while (!blobs_.empty()) {
    const auto& [name, bytes] = blobs_.front();
    made[name.c_str()] = nb::bytearray(bytes.data(), bytes.size());
    blobs_.pop_front();
  }
  return made;
}

void bind_saving(nb::module_& m) {
  nb::class_<BoundFolder>(m, "SavedFolder")
      .def(nb::init<std::string, std::string, std::string>(), nb::arg("function"), nb::arg("path"),
           nb::arg("kind"), nb::call_guard<nb::gil_scoped_release>())
      .def_prop_ro("layout", [](const BoundFolder& self) { return self.folder().layout(); })
      .def("blobs", [](const BoundFolder& self) {
        LoadedBlobs blobs;
        {
          const nb::gil_scoped_release released;
          self.folder().read(
              [](std::uint64_t, std::int64_t, std::int64_t) { return std::span<std::byte>(); },
              blobs.memory());
        }
        return blobs.taken();
      });
  m.def(
      "save_blobs",
      [](const std::string& path, const std::string& kind, const std::string& layout,
         const NamedBlobs& blobs) {
        return BoundSaver({}, "save_states").save([&](Saver& saver) {
          return saver.save(path, {.kind = kind,
                                   .layout = layout,
                                   .streams = {},
                                   .blobs = blobs_of(blobs),
                                   .rows = {}});
        });
      },
      nb::arg("path"), nb::arg("kind"), nb::arg("layout"), nb::arg("blobs"));
}

}  // namespace fastrl::python
