#include "python/array_view.h"

#include <array>

#include "envs/vector_env.h"
#include "python/numpy_head.h"

namespace fastrl::python {
namespace {

// NumPy's dtypes, each of which there is one of.
struct Dtypes {
  std::array<PyObject*, FASTRL_FLOAT64 + 1> known{};

  Dtypes() {
    const nb::module_ numpy = nb::module_::import_("numpy");
    const char* names[] = {"bool", "int8", "uint8", "int32", "int64", "float32", "float64"};
    for (std::size_t i = 0; i < known.size(); ++i) {
      known[i] = numpy.attr("dtype")(names[i]).release().ptr();
    }
  }
};

const std::array<PyObject*, FASTRL_FLOAT64 + 1>& dtypes() {
  static const Dtypes* loaded = new Dtypes;  // outlives the interpreter's own objects
  return loaded->known;
}

std::int32_t dtype_of_format(const char* format, Py_ssize_t size) {
  const char c = format == nullptr ? 'B' : format[0];
  if (format != nullptr && c != '\0' && format[1] != '\0') return -1;
  switch (c) {
    case '?':
      return FASTRL_BOOL;
    case 'b':
      return FASTRL_INT8;
    case 'B':
      return FASTRL_UINT8;
    case 'i':
    case 'l':
    case 'q':
      return size == 4 ? FASTRL_INT32 : FASTRL_INT64;
    case 'f':
      return FASTRL_FLOAT32;
    case 'd':
      return FASTRL_FLOAT64;
    default:
      return -1;
  }
}

}  // namespace

ArrayView::ArrayView(nb::handle array, std::int32_t dtype, bool writable) {
  if (!view_numpy(array.ptr(), dtype, writable)) view_buffer(array.ptr(), dtype, writable);
}

bool ArrayView::view_numpy(PyObject* array, std::int32_t dtype, bool writable) {
  const NumpyHead* head = numpy_head(array);
  // A dtype that compares equal may be another object: the buffer protocol finds that out.
  if (head == nullptr || head->dtype != dtypes()[static_cast<std::size_t>(dtype)]) return false;
  const int wanted =
      NumpyHead::kContiguous | NumpyHead::kAligned | (writable ? NumpyHead::kWritable : 0);
  if (!head->has(wanted)) return true;
  data_ = head->data;
  ndim_ = head->ndim;
  shape_ = head->shape;
  return true;
}

void ArrayView::view_buffer(PyObject* array, std::int32_t dtype, bool writable) {
  const int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
  held_ = PyObject_GetBuffer(array, &buffer_, flags) == 0;
  if (!held_) {
    PyErr_Clear();
    return;
  }
  if (dtype_of_format(buffer_.format, buffer_.itemsize) != dtype) return;
  data_ = buffer_.buf;
  ndim_ = buffer_.ndim;
  shape_ = buffer_.shape;
}

bool ArrayView::is(const fastrl_field* field, std::int64_t rows) const {
  const int ndim = field != nullptr ? field->ndim : 0;
  if (ndim_ != ndim + 1 || shape_[0] != rows) return false;
  for (int d = 0; d < ndim; ++d) {
    if (shape_[d + 1] != field->shape[d]) return false;
  }
  return true;
}

}  // namespace fastrl::python
