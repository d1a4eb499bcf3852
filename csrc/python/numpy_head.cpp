#include "python/numpy_head.h"

#include <cstdint>

namespace fastrl::python {
namespace {

PyTypeObject* find_readable_type() {
  const nb::module_ numpy = nb::module_::import_("numpy");
  const nb::object probe = numpy.attr("zeros")(nb::make_tuple(3, 5), "float32");
  const auto* head = reinterpret_cast<const NumpyHead*>(probe.ptr());
  const auto address = nb::cast<std::uintptr_t>(probe.attr("__array_interface__")["data"][0]);
  const nb::object dtype = numpy.attr("dtype")("float32");
  const bool as_expected =
      head->ndim == 2 && reinterpret_cast<std::uintptr_t>(head->data) == address &&
      head->shape[0] == 3 && head->shape[1] == 5 && head->dtype == dtype.ptr() &&
      head->has(NumpyHead::kContiguous | NumpyHead::kAligned | NumpyHead::kWritable);
  if (!as_expected) return nullptr;
  // The type outlives everything.
  return reinterpret_cast<PyTypeObject*>(nb::object(numpy.attr("ndarray")).release().ptr());
}

}  // namespace

PyTypeObject* readable_array_type() {
  static PyTypeObject* const type = find_readable_type();
  return type;
}

}  // namespace fastrl::python
