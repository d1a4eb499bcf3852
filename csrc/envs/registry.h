// The environments that come with the library. Each folder beside this file lists its own.
#pragma once

#include <span>

#include "envs/environment_table.h"

namespace fastrl {

// One id: its exact form and, where it has one, the SIMD form in float32.
struct RegisteredEnvironment {
  const fastrl_environment* exact;
  const fastrl_environment* fast = nullptr;
};

std::span<const RegisteredEnvironment> classic_control();
std::span<const RegisteredEnvironment> decisions();
std::span<const RegisteredEnvironment> goals();
std::span<const RegisteredEnvironment> grids();
std::span<const RegisteredEnvironment> text_games();
std::span<const RegisteredEnvironment> toy_text();

}  // namespace fastrl
