// Environments as text and as pictures; actions from texts; goals.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "python/environment.h"

namespace fastrl::python {

void bind_text(nb::class_<Environment>& c) {
  c.def("render",
        [](Environment& self, std::uintptr_t ids, std::int64_t n, std::uintptr_t tokens,
           std::uintptr_t lengths) {
          self.alone("render_text", [&](VectorEnv& engine) {
            engine.render(view<std::int64_t>(ids, n), pointer<std::int32_t>(tokens),
                          pointer<std::int32_t>(lengths));
          });
        })
      .def("cells",
           [](Environment& self, std::uintptr_t ids, std::int64_t n, std::uintptr_t cells) {
             self.alone("render", [&](VectorEnv& engine) {
               engine.cells(view<std::int64_t>(ids, n), pointer<char>(cells));
             });
           })
      // Parsing reads nothing that a step changes, so it does not exclude one.
      .def("parse_actions",
           [](const Environment& self, const std::vector<std::string>& texts, std::uintptr_t rows,
              std::uintptr_t valid) {
             const std::int64_t size = row_size(self.engine().description().action);
             for (std::size_t i = 0; i < texts.size(); ++i) {
               pointer<bool>(valid)[i] = self.engine().parse_action(
                   texts[i], pointer<char>(rows) + static_cast<std::int64_t>(i) * size);
             }
           })
      .def("parse_action_tokens",
           [](const Environment& self, std::uintptr_t tokens, std::uintptr_t lengths,
              std::int64_t n, std::int64_t width, std::uintptr_t rows, std::uintptr_t valid) {
             const std::int64_t size = row_size(self.engine().description().action);
             for (std::int64_t i = 0; i < n; ++i) {
               const auto said =
                   view<std::int32_t>(tokens, n * width)
                       .subspan(static_cast<std::size_t>(i * width),
                                static_cast<std::size_t>(pointer<const std::int32_t>(lengths)[i]));
               pointer<bool>(valid)[i] =
                   self.engine().parse_action_tokens(said, pointer<char>(rows) + i * size);
             }
           })
      .def("goal_rewards", [](const Environment& self, std::int64_t n, std::uintptr_t achieved,
                              std::uintptr_t desired, std::uintptr_t rewards) {
        const nb::gil_scoped_release released;
        self.engine().goal_rewards(n, pointer<const float>(achieved), pointer<const float>(desired),
                                   pointer<double>(rewards));
      });
}

}  // namespace fastrl::python
