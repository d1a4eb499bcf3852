// The arrays that steps write, and when they may be written again.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "envs/vector_env.h"
#include "python/bind.h"

namespace fastrl::python {

// One set of arrays. Python makes the arrays and names them; each owns its memory, so that a view
// that a caller makes counts as a reference to it.
struct OutputSet {
  struct Info {
    nb::object key, mask_key, array, mask;
  };

  Outputs outputs;
  std::vector<nb::object> observations;
  std::vector<nb::object> keys;  // of a dict
  std::int32_t structure = FASTRL_SINGLE;
  nb::object rewards, terminated, truncated, stepped, informed;
  nb::object lengths;           // None without text
  nb::object finals;            // keeps the memory of what all sets of a ring write
  std::int64_t generation = 0;  // of the environment's infos
  std::vector<Info> infos;

  // Once all arrays are in place: what is held here counts for nobody else.
  void settle();
  // Whether nobody else holds any of the arrays.
  bool is_free() const {
    for (const auto& [array, references] : held_) {
      if (Py_REFCNT(array) > references) return false;
    }
    return true;
  }

  nb::object observation() const;
  nb::dict info_dict() const;

 private:
  std::vector<std::pair<PyObject*, Py_ssize_t>> held_;
};

// Sets that take turns. A caller that keeps a whole rollout keeps its arrays; the ring need not.
class OutputRing {
 public:
  // `make` is a callable without arguments that returns a new OutputSet.
  explicit OutputRing(nb::callable make) : make_(std::move(make)) {}

  OutputSet& acquire();
  // The set that was acquired last, or None.
  nb::object last() const { return last_; }

 private:
  static constexpr std::size_t kSize = 4;

  nb::callable make_;
  std::vector<nb::object> sets_;
  nb::object last_ = nb::none();
};

}  // namespace fastrl::python
