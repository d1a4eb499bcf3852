// A Python module of your own that hands over an environment in a capsule, with pybind11.
#include <pybind11/pybind11.h>

#include "catch.h"

PYBIND11_MODULE(catch_env, module) {
  module.attr("__fastrl_environment__") =
      pybind11::capsule(fastrl::environment<Catch>(), FASTRL_CAPSULE_NAME);
}
