#include "core/instruction_set.h"

#include <cstdlib>
#include <string>

#include "core/check.h"

namespace fastrl {
namespace {

InstructionSet best_of_this_processor() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  if (v4) return InstructionSet::kX86V4;
  if (v3) return InstructionSet::kX86V3;
#endif
  return InstructionSet::kPortable;
}

InstructionSet chosen() {
  const InstructionSet best = best_of_this_processor();
  const char* text = std::getenv("FASTRL_INSTRUCTION_SET");
  if (text == nullptr || *text == '\0') return best;
  for (int i = 0; i <= static_cast<int>(best); ++i) {
    const auto set = static_cast<InstructionSet>(i);
    if (std::string(text) == name(set)) return set;
  }
  fail_value("fastrl", "FASTRL_INSTRUCTION_SET",
             concat("be portable, x86-64-v3 or x86-64-v4 and at most what this processor has (",
                    name(best), ")"),
             concat("'", text, "'"));
}

}  // namespace

InstructionSet instruction_set() {
  static const InstructionSet set = chosen();
  return set;
}

const char* name(InstructionSet set) {
  switch (set) {
    case InstructionSet::kX86V3:
      return "x86-64-v3";
    case InstructionSet::kX86V4:
      return "x86-64-v4";
    case InstructionSet::kPortable:
      break;
  }
  return "portable";
}

}  // namespace fastrl
