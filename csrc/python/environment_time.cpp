// Taking environments out of their batch, putting them back, and going back in time.
#include "python/array_view.h"
#include "python/environment.h"

namespace fastrl::python {

void bind_time(nb::class_<Environment>& c) {
  c.def("snapshot",
        [](Environment& self, std::uintptr_t ids, std::int64_t n) {
          return self.alone("snapshot", [&](VectorEnv& engine) {
            return engine.snapshot(view<std::int64_t>(ids, n));
          });
        })
      .def("restore",
           [](Environment& self, const Snapshot& snapshot, std::uintptr_t ids, std::int64_t n,
              int rng) {
             self.alone("restore", [&](VectorEnv& engine) {
               engine.restore(snapshot, view<std::int64_t>(ids, n), static_cast<RngMode>(rng));
             });
           })
      .def("branch",
           [](Environment& self, std::uintptr_t sources, std::int64_t num_sources,
              std::uintptr_t targets, std::int64_t num_targets, int rng) {
             self.alone("branch", [&](VectorEnv& engine) {
               engine.branch(view<std::int64_t>(sources, num_sources),
                             view<std::int64_t>(targets, num_targets), static_cast<RngMode>(rng));
             });
           })
      .def("rewind",
           [](Environment& self, std::uintptr_t ids, std::int64_t n, std::int64_t steps, int rng) {
             self.alone("rewind", [&](VectorEnv& engine) {
               engine.rewind(view<std::int64_t>(ids, n), steps, static_cast<RngMode>(rng));
             });
           })
      .def("rewindable",
           [](Environment& self, std::uintptr_t steps) {
             self.alone("rewindable_steps", [&](VectorEnv& engine) {
               engine.rewindable(pointer<std::int32_t>(steps));
             });
           })
      .def("state_hash",
           [](Environment& self, std::uintptr_t ids, std::int64_t n, std::uintptr_t hashes) {
             self.alone("state_hash", [&](VectorEnv& engine) {
               engine.state_hash(view<std::int64_t>(ids, n), pointer<std::uint64_t>(hashes));
             });
           })
      .def("labels",
           [](Environment& self, std::uintptr_t ids, std::int64_t n, std::uintptr_t labels) {
             self.alone("labels", [&](VectorEnv& engine) {
               engine.labels(view<std::int64_t>(ids, n), pointer<std::uint64_t>(labels));
             });
           })
      .def("solve",
           [](Environment& self, const Snapshot& snapshot, std::uintptr_t solutions) {
             self.alone("solve", [&](VectorEnv& engine) {
               engine.solve(snapshot, pointer<Solution>(solutions));
             });
           })
      .def("episodes", [](Environment& self, std::uintptr_t elapsed, std::uintptr_t returns) {
        self.alone("episodes", [&](VectorEnv& engine) {
          engine.episodes(pointer<std::int32_t>(elapsed), pointer<double>(returns));
        });
      });
}

}  // namespace fastrl::python
