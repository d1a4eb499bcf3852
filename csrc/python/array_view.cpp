#include "python/array_view.h"

#include <array>

#include "envs/vector_env.h"

namespace fastrl::python {
namespace {

// The head of every NumPy array, which NumPy's own inlined macros read: part of its ABI from 1.0 on
// (numpy/ndarraytypes.h, PyArrayObject_fields).
struct NumpyHead {
  PyObject object;
  char* data;
  int ndim;
  Py_ssize_t* shape;
  Py_ssize_t* strides;
  PyObject* base;
  PyObject* dtype;
  int flags;
};
constexpr int kContiguous = 0x0001;
constexpr int kAligned = 0x0100;
constexpr int kWritable = 0x0400;

// NumPy's array type and its dtypes, each of which there is one of.
struct Numpy {
  PyTypeObject* array_type = nullptr;
  std::array<PyObject*, FASTRL_FLOAT64 + 1> dtypes{};

  Numpy() {
    const nb::module_ numpy = nb::module_::import_("numpy");
    const char* names[] = {"bool", "int8", "uint8", "int32", "int64", "float32", "float64"};
    for (std::size_t i = 0; i < dtypes.size(); ++i) {
      dtypes[i] = numpy.attr("dtype")(names[i]).release().ptr();
    }
    // An array whose head says something else than its attributes is not read in place.
    const nb::object probe = numpy.attr("zeros")(nb::make_tuple(3, 5), "float32");
    const auto* head = reinterpret_cast<const NumpyHead*>(probe.ptr());
    const auto address = nb::cast<std::uintptr_t>(probe.attr("__array_interface__")["data"][0]);
    if (head->ndim == 2 && reinterpret_cast<std::uintptr_t>(head->data) == address &&
        head->shape[0] == 3 && head->shape[1] == 5 && head->dtype == dtypes[FASTRL_FLOAT32] &&
        (head->flags & (kContiguous | kAligned | kWritable)) ==
            (kContiguous | kAligned | kWritable)) {
      nb::object type = numpy.attr("ndarray");
      array_type = reinterpret_cast<PyTypeObject*>(type.release().ptr());
    }
  }
};

const Numpy& numpy() {
  static const Numpy* loaded = new Numpy;  // outlives the interpreter's own objects
  return *loaded;
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

ArrayView::ArrayView(nb::handle array, bool writable) {
  if (!view_numpy(array.ptr(), writable)) view_buffer(array.ptr(), writable);
}

bool ArrayView::view_numpy(PyObject* array, bool writable) {
  const Numpy& known = numpy();
  if (Py_TYPE(array) != known.array_type) return false;
  const auto* head = reinterpret_cast<const NumpyHead*>(array);
  const int wanted = kContiguous | kAligned | (writable ? kWritable : 0);
  if ((head->flags & wanted) != wanted) return true;  // and it is nothing that anybody wants
  for (std::size_t i = 0; i < known.dtypes.size(); ++i) {
    if (head->dtype == known.dtypes[i]) dtype_ = static_cast<std::int32_t>(i);
  }
  if (dtype_ < 0) return false;
  data_ = head->data;
  ndim_ = head->ndim;
  shape_ = head->shape;
  return true;
}

void ArrayView::view_buffer(PyObject* array, bool writable) {
  const int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
  held_ = PyObject_GetBuffer(array, &buffer_, flags) == 0;
  if (!held_) {
    PyErr_Clear();
    return;
  }
  dtype_ = dtype_of_format(buffer_.format, buffer_.itemsize);
  data_ = buffer_.buf;
  ndim_ = buffer_.ndim;
  shape_ = buffer_.shape;
}

bool ArrayView::is(std::int32_t dtype, const fastrl_field* field, std::int64_t rows) const {
  if (dtype_ != dtype) return false;
  const int ndim = field != nullptr ? field->ndim : 0;
  if (ndim_ != ndim + 1 || shape_[0] != rows) return false;
  for (int d = 0; d < ndim; ++d) {
    if (shape_[d + 1] != field->shape[d]) return false;
  }
  return true;
}

}  // namespace fastrl::python
