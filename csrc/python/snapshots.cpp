// Snapshots and the vocabulary.
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include "envs/snapshot.h"
#include "envs/vocabulary.h"
#include "python/bind.h"

namespace fastrl::python {

void bind_snapshots(nb::module_& m) {
  nb::class_<Snapshot>(m, "Snapshot")
      .def("__len__", &Snapshot::count)
      .def_prop_ro("id", [](const Snapshot& self) { return self.kind().id; })
      .def_prop_ro("options", [](const Snapshot& self) { return self.kind().options; })
      .def(
          "select",
          [](const Snapshot& self, std::uintptr_t indices, std::int64_t n) {
            return self.select({pointer<const std::int64_t>(indices), static_cast<std::size_t>(n)});
          })
      .def("to_bytes",
           [](const Snapshot& self) {
             const std::string bytes = self.to_bytes();
             return nb::bytes(bytes.data(), bytes.size());
           })
      .def_static(
          "from_bytes",
          [](const nb::bytes& data) {
            return Snapshot::from_bytes({static_cast<const std::byte*>(data.data()), data.size()});
          })
      .def_static("concatenate", [](const std::vector<const Snapshot*>& parts) {
        return Snapshot::concatenate(parts);
      });
}

void bind_vocabulary(nb::module_& m) {
  m.def("tokenize", &tokenize);
  m.def("detokenize", [](const std::vector<std::int32_t>& tokens) { return detokenize(tokens); });
  m.def("detokenize_rows",
        [](std::uintptr_t tokens, std::uintptr_t lengths, std::int64_t n, std::int64_t width) {
          std::vector<std::string> texts;
          for (std::int64_t i = 0; i < n; ++i) {
            texts.push_back(
                detokenize({pointer<const std::int32_t>(tokens) + i * width,
                            static_cast<std::size_t>(pointer<const std::int32_t>(lengths)[i])}));
          }
          return texts;
        });
  m.def("vocabulary", [] {
    std::vector<std::string_view> spellings;
    for (std::int32_t token = 0; token < kVocabularySize; ++token) {
      spellings.push_back(spelling(token));
    }
    return spellings;
  });
}

}  // namespace fastrl::python
