#include "python/array_view.h"

#include <algorithm>
#include <array>
#include <bit>

#include "envs/vector_env.h"

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
  if (format == nullptr) format = "B";
  constexpr bool kIsLittle = std::endian::native == std::endian::little;
  if (*format == '@' || *format == '=' || *format == (kIsLittle ? '<' : '>')) ++format;
  const char c = *format;
  if (c != '\0' && format[1] != '\0') return -1;
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

ArrayLayout::ArrayLayout(std::int32_t code, std::int64_t rows, bool is_output)
    : type(readable_array_type()),
      numpy_dtype(dtypes()[static_cast<std::size_t>(code)]),
      dtype(code),
      flags(NumpyHead::kContiguous | NumpyHead::kAligned | (is_output ? NumpyHead::kWritable : 0)),
      is_written(is_output),
      bytes(rows * size_of(code)) {
  shape[0] = rows;
}

ArrayLayout::ArrayLayout(const fastrl_field& field, std::int64_t rows, bool is_output)
    : ArrayLayout(field.dtype, rows, is_output) {
  ndim = field.ndim + 1;
  std::copy_n(field.shape, field.ndim, shape.begin() + 1);
  bytes = rows * row_size(field);
}

void ArrayView::view_buffer(PyObject* array, const ArrayLayout& wanted) {
  const int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (wanted.is_written ? PyBUF_WRITABLE : 0);
  held_ = PyObject_GetBuffer(array, &buffer_, flags) == 0;
  if (!held_) {
    PyErr_Clear();
    return;
  }
  if (dtype_of_format(buffer_.format, buffer_.itemsize) != wanted.dtype ||
      !wanted.has_shape(buffer_.ndim, buffer_.shape)) {
    return;
  }
  data_ = static_cast<std::byte*>(buffer_.buf);
  num_rows_ = buffer_.shape[0];
}

}  // namespace fastrl::python
