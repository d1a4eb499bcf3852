// Which of the compiled forms of a kernel runs here.
//
// A kernel with SIMD forms is written once as an always-inline function. Compiled<kernel> has one
// entry point per instruction set that inlines it, so the compiler vectorizes the same lines three
// times, and nothing built for a newer processor can leak into code that an older one runs.
#pragma once

#if defined(__x86_64__)
#define FASTRL_TARGET_V3 __attribute__((target("arch=x86-64-v3")))
#if defined(__clang__)  // knows the width as a command-line option only
#define FASTRL_TARGET_V4 __attribute__((target("arch=x86-64-v4")))
#else
#define FASTRL_TARGET_V4 __attribute__((target("arch=x86-64-v4,prefer-vector-width=512")))
#endif
#else
#define FASTRL_TARGET_V3
#define FASTRL_TARGET_V4
#endif
#define FASTRL_INLINE [[gnu::always_inline]] inline

namespace fastrl {

enum class InstructionSet { kPortable, kX86V3, kX86V4 };

// The best one that this processor has. FASTRL_INSTRUCTION_SET=portable|x86-64-v3|x86-64-v4 asks
// for a lesser one, read at the first call.
InstructionSet instruction_set();

// "portable", "x86-64-v3" (AVX2) or "x86-64-v4" (AVX-512).
const char* name(InstructionSet set);

// The three entry points of an always-inline function, or of three where the kernel's lines depend
// on the width of a register. Inside a class template GCC 12 needs the whole &Class::kernel<4>.
template <auto kPortable, auto kV3 = kPortable, auto kV4 = kV3>
struct Compiled;

template <typename Result, typename... Args, Result (*kPortable)(Args...), Result (*kV3)(Args...),
          Result (*kV4)(Args...)>
struct Compiled<kPortable, kV3, kV4> {
  static Result portable(Args... args) { return kPortable(args...); }
  FASTRL_TARGET_V3 static Result v3(Args... args) { return kV3(args...); }
  FASTRL_TARGET_V4 static Result v4(Args... args) { return kV4(args...); }

  static auto for_this_processor() {
    switch (instruction_set()) {
      case InstructionSet::kX86V4:
        return v4;
      case InstructionSet::kX86V3:
        return v3;
      case InstructionSet::kPortable:
        break;
    }
    return portable;
  }

  // Chooses at the first call.
  static Result run(Args... args) {
    static const auto chosen = for_this_processor();
    return chosen(args...);
  }
};

}  // namespace fastrl
