#include "python/output_ring.h"

#include <map>

namespace fastrl::python {

void OutputSet::settle() {
  std::map<PyObject*, Py_ssize_t> counts;
  for (const nb::object& array : observations) ++counts[array.ptr()];
  for (const nb::object* array : {&rewards, &terminated, &truncated, &stepped, &informed}) {
    ++counts[array->ptr()];
  }
  if (!lengths.is_none()) ++counts[lengths.ptr()];
  for (const Info& info : infos) {
    ++counts[info.array.ptr()];
    ++counts[info.mask.ptr()];
  }
  held_.assign(counts.begin(), counts.end());
}

nb::object OutputSet::observation() const {
  if (structure == FASTRL_SINGLE) return observations[0];
  if (structure == FASTRL_DICT) {
    nb::dict made;
    for (std::size_t i = 0; i < observations.size(); ++i) made[keys[i]] = observations[i];
    return made;
  }
  nb::object made = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(observations.size())));
  for (std::size_t i = 0; i < observations.size(); ++i) {
    PyTuple_SetItem(made.ptr(), static_cast<Py_ssize_t>(i),
                    nb::object(observations[i]).release().ptr());
  }
  return made;
}

nb::dict OutputSet::info_dict() const {
  nb::dict made;
  for (const Info& info : infos) {
    PyDict_SetItem(made.ptr(), info.key.ptr(), info.array.ptr());
    PyDict_SetItem(made.ptr(), info.mask_key.ptr(), info.mask.ptr());
  }
  return made;
}

OutputSet& OutputRing::acquire() {
  for (const nb::object& set : sets_) {
    auto& candidate = nb::cast<OutputSet&>(set);
    if (!candidate.is_free()) continue;
    last_ = set;
    return candidate;
  }
  nb::object made = make_();
  if (sets_.size() == kSize) sets_.erase(sets_.begin());
  sets_.push_back(made);
  last_ = made;
  return nb::cast<OutputSet&>(made);
}

}  // namespace fastrl::python
