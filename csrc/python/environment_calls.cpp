// Calls of VectorEnv's methods that are answered without Python's code for them.
#include <array>
#include <exception>

#include "python/environment.h"
#include "python/native_first.h"

namespace fastrl::python {
namespace {

PyObject* interned(const char* text) {
  PyObject* name = PyUnicode_InternFromString(text);
  if (name == nullptr) throw nb::python_error();
  return name;
}

// As Python sees what a bound function throws.
void set_error(const std::exception_ptr& error) {
  const nb::object thrower = nb::cpp_function([error] { std::rethrow_exception(error); });
  Py_XDECREF(PyObject_CallNoArgs(thrower.ptr()));
}

// The `_native` of a VectorEnv, if that is what `self` is.
nb::object native_of(PyObject* self) {
  static PyObject* const name = interned("_native");
  static const nb::handle type = nb::type<Environment>();
  nb::object native = nb::steal(PyObject_GetAttr(self, name));
  if (!native.is_valid()) PyErr_Clear();
  if (native.is_valid() && !native.type().is(type)) native.reset();
  return native;
}

// step_into(self, actions, *, observations, rewards, terminated, truncated)
PyObject* step_into(PyObject* const* args, Py_ssize_t num_args, PyObject* names) {
  constexpr std::size_t kNamed = 4;
  static const std::array<PyObject*, kNamed> known = {
      interned("observations"), interned("rewards"), interned("terminated"), interned("truncated")};
  if (num_args != 2 || names == nullptr || PyTuple_GET_SIZE(names) != Py_ssize_t{kNamed}) {
    return nullptr;
  }
  std::array<PyObject*, kNamed> arrays{};
  for (std::size_t i = 0; i < kNamed; ++i) {
    PyObject* name = PyTuple_GET_ITEM(names, static_cast<Py_ssize_t>(i));
    // Names in a program's text are interned; the order is the usual one first.
    std::size_t k = i;
    if (name != known[k]) {
      for (k = 0; k < kNamed && name != known[k];) ++k;
      if (k == kNamed) return nullptr;
    }
    arrays[k] = args[2 + i];
  }
  const nb::object native = native_of(args[0]);
  if (!native.is_valid()) return nullptr;
  auto& env = *nb::inst_ptr<Environment>(native);
  // A dict is Python's to take apart.
  if (env.engine().description().structure == FASTRL_DICT) return nullptr;
  if (env.step_into(args[1], arrays[0], arrays[1], arrays[2], arrays[3], env.into())) {
    return Py_NewRef(Py_None);
  }
  return nullptr;
}

template <Attempt kAttempt>
PyObject* guarded(PyObject* const* args, Py_ssize_t num_args, PyObject* names) {
  try {
    return kAttempt(args, num_args, names);
  } catch (...) {
    set_error(std::current_exception());
    return nullptr;
  }
}

}  // namespace

void bind_calls(nb::module_& m) {
  m.def("native_step_into",
        [](nb::callable method) { return native_first(method, guarded<step_into>); });
}

}  // namespace fastrl::python
