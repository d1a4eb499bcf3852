#include "python/native_first.h"

#include <structmember.h>

#include <array>
#include <cstddef>

namespace fastrl::python {
namespace {

struct NativeFirst {
  PyObject object;
  vectorcallfunc vectorcall;
  PyObject* method;
  Attempt attempt;
};

NativeFirst* cast(PyObject* self) { return reinterpret_cast<NativeFirst*>(self); }

PyObject* call(PyObject* self, PyObject* const* args, std::size_t flagged_args, PyObject* names) {
  PyObject* result = cast(self)->attempt(args, PyVectorcall_NARGS(flagged_args), names);
  if (result != nullptr || PyErr_Occurred() != nullptr) return result;
  return PyObject_Vectorcall(cast(self)->method, args, flagged_args, names);
}

PyObject* bind_to(PyObject* self, PyObject* instance, PyObject*) {
  if (instance == nullptr) return Py_NewRef(self);
  return PyMethod_New(self, instance);
}

PyObject* attribute_of_method(PyObject* self, void* name) {
  return PyObject_GetAttrString(cast(self)->method, static_cast<const char*>(name));
}

// Pickled and copied by its name, as methods are.
PyObject* reduce(PyObject* self, PyObject*) {
  return PyObject_GetAttrString(cast(self)->method, "__qualname__");
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(cast(self)->method);
  return 0;
}

int clear(PyObject* self) {
  Py_CLEAR(cast(self)->method);
  return 0;
}

void deallocate(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  clear(self);
  type->tp_free(self);
  Py_DECREF(type);
}

template <typename Function>
void* slot(Function* function) {
  return reinterpret_cast<void*>(function);
}

PyTypeObject* native_first_type() {
  static PyMemberDef members[] = {
      {"__vectorcalloffset__", T_PYSSIZET, offsetof(NativeFirst, vectorcall), READONLY, nullptr},
      {"__wrapped__", T_OBJECT, offsetof(NativeFirst, method), READONLY, nullptr},
      {},
  };
  static std::array<char[16], 5> names = {"__doc__", "__name__", "__qualname__", "__module__",
                                          "__annotations__"};
  static PyGetSetDef attributes[] = {
      {names[0], attribute_of_method, nullptr, nullptr, names[0]},
      {names[1], attribute_of_method, nullptr, nullptr, names[1]},
      {names[2], attribute_of_method, nullptr, nullptr, names[2]},
      {names[3], attribute_of_method, nullptr, nullptr, names[3]},
      {names[4], attribute_of_method, nullptr, nullptr, names[4]},
      {},
  };
  static PyMethodDef methods[] = {
      {"__reduce__", reduce, METH_NOARGS, nullptr},
      {},
  };
  static PyType_Slot slots[] = {
      {Py_tp_call, slot(PyVectorcall_Call)},
      {Py_tp_descr_get, slot(bind_to)},
      {Py_tp_members, members},
      {Py_tp_methods, methods},
      {Py_tp_getset, attributes},
      {Py_tp_traverse, slot(traverse)},
      {Py_tp_clear, slot(clear)},
      {Py_tp_dealloc, slot(deallocate)},
      {},
  };
  // A method descriptor, so that `env.step_into(…)` makes no bound method.
  static PyType_Spec spec = {"fastrl._core.NativeFirst", sizeof(NativeFirst), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                                 Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                             slots};
  static PyObject* const type = PyType_FromSpec(&spec);
  if (type == nullptr) throw nb::python_error();
  return reinterpret_cast<PyTypeObject*>(type);
}

}  // namespace

nb::object native_first(nb::handle method, Attempt attempt) {
  auto* self = PyObject_GC_New(NativeFirst, native_first_type());
  if (self == nullptr) throw nb::python_error();
  self->vectorcall = call;
  self->method = Py_NewRef(method.ptr());
  self->attempt = attempt;
  PyObject_GC_Track(self);
  return nb::steal(reinterpret_cast<PyObject*>(self));
}

}  // namespace fastrl::python
