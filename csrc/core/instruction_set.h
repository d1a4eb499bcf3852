// Which of the compiled forms of a kernel runs here.
//
// A kernel with SIMD forms is written once as an always-inline template. One entry point per
// instruction set inlines it, so the compiler vectorizes the same lines three times, and nothing
// built for a newer processor can leak into code that an older one runs.
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

}  // namespace fastrl
