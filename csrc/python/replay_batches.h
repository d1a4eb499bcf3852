// The arrays of batches, and when they may be written again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "python/bind.h"
#include "replay/gather.h"

namespace fastrl::python {

// One set of arrays. Python makes them; each owns its memory, so that a view that a caller makes
// counts as a reference to it.
class BatchSet {
 public:
  // `shown` is what a batch says of itself: names and arrays, or dicts of them. The lists hold an
  // array per field, or None; `rest` those that are no field's.
  BatchSet(nb::dict shown, const nb::list& values, const nb::list& next_values,
           const nb::dict& rest);

  const BatchArrays& arrays() const { return arrays_; }
  // Whether nobody else holds any of the arrays.
  bool is_free() const {
    for (const auto& [array, references] : held_) {
      if (Py_REFCNT(array.ptr()) > references) return false;
    }
    return true;
  }
  // For a caller: holds the arrays as long as it lives.
  nb::dict hand_out() const;

 private:
  struct Held {
    nb::object array;
    Py_ssize_t references;  // from here
  };

  std::byte* address_of(nb::handle array);

  BatchArrays arrays_;
  nb::dict shown_;
  std::vector<Held> held_;
};

// Sets that take turns. It grows with the number of batches that are in use at once.
class BatchRing {
 public:
  // `make` is a callable without arguments that returns a new BatchSet.
  explicit BatchRing(nb::callable make) : make_(std::move(make)) {}

  // A BatchSet, which the caller keeps while it writes.
  nb::object acquire();

 private:
  static constexpr std::size_t kMaxSize = 16;

  nb::callable make_;
  std::vector<nb::object> sets_;
};

void bind_replay_batches(nb::module_& m);

}  // namespace fastrl::python
