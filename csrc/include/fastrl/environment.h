// All that an environment of your own needs. Header-only; compile it as C++20 with
// fastrl.envs.get_include() among the include directories.
//
// An environment is a struct as described in envs/environment.h: State and Params of plain bytes,
// and static functions parse, describe, reset, step and observe. Hand it over in either way:
//
//   FASTRL_ENVIRONMENT(MyEnv)                  once in a file for fastrl.envs.compile("my_env.hpp")
//
//   capsule(fastrl::environment<MyEnv>(), FASTRL_CAPSULE_NAME)
//                                              as __fastrl_environment__ of your own Python module
#pragma once

#include "envs/environment.h"
#include "envs/environment_table.h"
#include "envs/kernel.h"

// Exports the environment from a shared library of its own. Semicolons do no harm.
#define FASTRL_ENVIRONMENT(E)                                                                    \
  static_assert(::fastrl::Dynamics<E>,                                                           \
                #E " needs State and Params of plain bytes, kId, kVersion, parse, reset, step"); \
  static_assert(::fastrl::Environment<E>, #E " needs describe and observe");                     \
  extern "C" __attribute__((visibility("default"))) const fastrl_environment*                    \
  fastrl_environment_table(void) {                                                               \
    return ::fastrl::environment<E>();                                                           \
  }                                                                                              \
  static_assert(true)
