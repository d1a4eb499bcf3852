#include "python/replay_batches.h"

#include <utility>

namespace fastrl::python {
namespace {

nb::dict copy_of(const nb::dict& shown) {
  auto copy = nb::steal<nb::dict>(PyDict_Copy(shown.ptr()));
  if (!copy.is_valid()) nb::raise_python_error();
  for (const auto [name, value] : shown) {
    if (PyDict_CheckExact(value.ptr())) copy[name] = copy_of(nb::borrow<nb::dict>(value));
  }
  return copy;
}

}  // namespace

BatchSet::BatchSet(nb::dict shown, const nb::list& values, const nb::list& next_values,
                   const nb::dict& rest)
    : shown_(std::move(shown)) {
  for (const nb::handle array : values) arrays_.values.push_back(address_of(array));
  for (const nb::handle array : next_values) arrays_.next_values.push_back(address_of(array));
  const auto other = [&](const char* name) { return address_of(rest[name]); };
  arrays_.discounts = other("discounts");
  arrays_.discounts_are_double =
      nb::cast<std::int64_t>(rest["discounts"].attr("itemsize")) == sizeof(double);
  arrays_.terminated = reinterpret_cast<std::uint8_t*>(other("terminated"));
  arrays_.truncated = reinterpret_cast<std::uint8_t*>(other("truncated"));
  if (rest.contains("lengths")) {
    arrays_.lengths = reinterpret_cast<std::int64_t*>(other("lengths"));
  }
  arrays_.handles = reinterpret_cast<std::uint64_t*>(other("handles"));
  arrays_.probabilities = reinterpret_cast<double*>(other("probabilities"));
  arrays_.importance_weights = reinterpret_cast<float*>(other("importance_weights"));
}

std::byte* BatchSet::address_of(nb::handle array) {
  if (array.is_none()) return nullptr;
  // From here and from the dict that is shown.
  held_.push_back({nb::borrow(array), 2});
  const auto address = nb::cast<std::uintptr_t>(array.attr("__array_interface__")["data"][0]);
  return pointer<std::byte>(address);
}

nb::dict BatchSet::hand_out() const { return copy_of(shown_); }

nb::object BatchRing::acquire() {
  for (const nb::object& set : sets_) {
    // A thread that has acquired it may not have handed out its arrays yet.
    const bool is_acquired = Py_REFCNT(set.ptr()) > 1;
    if (!is_acquired && nb::cast<BatchSet&>(set).is_free()) return set;
  }
  nb::object made = make_();
  if (sets_.size() == kMaxSize) sets_.erase(sets_.begin());
  sets_.push_back(made);
  return made;
}

void bind_replay_batches(nb::module_& m) {
  nb::class_<BatchSet>(m, "BatchSet")
      .def(nb::init<nb::dict, const nb::list&, const nb::list&, const nb::dict&>());
  nb::class_<BatchRing>(m, "BatchRing").def(nb::init<nb::callable>());
}

}  // namespace fastrl::python
