// Taking environments out of their batch, putting them back, and going back in time.
#include "python/array_view.h"
#include "python/environment.h"

namespace fastrl::python {
namespace {

// Ids as Python's `_named` gives them: None for all, one number, or an array [n] of int64.
class ChosenIds {
 public:
  explicit ChosenIds(nb::handle ids) {
    if (ids.is_none()) return;
    if (PyLong_Check(ids.ptr())) {
      one_ = nb::cast<std::int64_t>(ids);
      ids_.emplace(&one_, 1);
      return;
    }
    static const ArrayLayout layout(FASTRL_INT64, ArrayLayout::kAnyRows, false);
    array_.emplace(ids, layout);
    if (!array_->is_as_wanted()) {
      throw nb::type_error("ids must be None, an integer or an array of int64");
    }
    ids_.emplace(reinterpret_cast<const std::int64_t*>(array_->data()),
                 static_cast<std::size_t>(array_->num_rows()));
  }

  Selection of(const VectorEnv& engine) const {
    return ids_ ? Selection(*ids_) : Selection::all(engine.num_envs());
  }

 private:
  std::int64_t one_ = 0;
  std::optional<ArrayView> array_;
  std::optional<std::span<const std::int64_t>> ids_;
};

}  // namespace

void bind_time(nb::class_<Environment>& c) {
  c.def(
       "snapshot",
       [](Environment& self, nb::handle ids) {
         const ChosenIds chosen(ids);
         return self.alone("snapshot",
                           [&](VectorEnv& engine) { return engine.snapshot(chosen.of(engine)); });
       },
       nb::arg().none())
      .def(
          "restore",
          [](Environment& self, const Snapshot& snapshot, nb::handle ids, int rng) {
            const ChosenIds chosen(ids);
            self.alone("restore", [&](VectorEnv& engine) {
              engine.restore(snapshot, chosen.of(engine), static_cast<RngMode>(rng));
            });
          },
          nb::arg(), nb::arg().none(), nb::arg())
      .def(
          "branch",
          [](Environment& self, nb::handle sources, nb::handle targets, int rng) {
            const ChosenIds from(sources);
            const ChosenIds to(targets);
            self.alone("branch", [&](VectorEnv& engine) {
              engine.branch(from.of(engine), to.of(engine), static_cast<RngMode>(rng));
            });
          },
          nb::arg().none(), nb::arg().none(), nb::arg())
      .def(
          "rewind",
          [](Environment& self, std::int64_t steps, nb::handle ids, int rng) {
            const ChosenIds chosen(ids);
            self.alone("rewind", [&](VectorEnv& engine) {
              engine.rewind(chosen.of(engine), steps, static_cast<RngMode>(rng));
            });
          },
          nb::arg(), nb::arg().none(), nb::arg())
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
