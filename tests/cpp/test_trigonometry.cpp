#include <algorithm>
#include <cmath>
#include <numbers>

#include "check.h"
#include "core/instruction_set.h"
#include "core/random.h"
#include "envs/trigonometry.h"

namespace fastrl {
namespace {

template <int W>
FASTRL_INLINE void trigonometry_of(const float* x, float* to) {
  using V = WideFloats<W>;
  for (int i = 0; i < 16; i += W) {
    const V angle = wide_at<W>(x + i).value;
    V both_sine, both_cosine, one_sine, one_cosine;
    sine_cosine(angle, both_sine, both_cosine);
    sine(angle, one_sine);
    cosine(angle, one_cosine);
    V wrapped = angle;
    wrap_angle(wrapped);
    wide_at<W>(to + i).value = both_sine;
    wide_at<W>(to + 16 + i).value = both_cosine;
    wide_at<W>(to + 32 + i).value = one_sine;
    wide_at<W>(to + 48 + i).value = one_cosine;
    wide_at<W>(to + 64 + i).value = wrapped;
  }
}
using Trigonometry = Compiled<&trigonometry_of<4>, &trigonometry_of<8>, &trigonometry_of<16>>;

TEST(trigonometry_is_within_its_bound_and_equal_everywhere) {
  RandomStream random = RandomStream::seeded(5, 6);
  double worst = 0.0;
  double worst_wrap = 0.0;
  for (int trial = 0; trial < 20000; ++trial) {
    const float span = trial % 2 == 0 ? 8192.0f : 8.0f;
    float x[16];
    for (float& angle : x) angle = (2.0f * random.uniform() - 1.0f) * span;
    float portable[80];
    float wide[80];
    Trigonometry::portable(x, portable);
    if (instruction_set() >= InstructionSet::kX86V3) {
      Trigonometry::v3(x, wide);
      CHECK(std::equal(portable, portable + 80, wide));
    }
    if (instruction_set() >= InstructionSet::kX86V4) {
      Trigonometry::v4(x, wide);
      CHECK(std::equal(portable, portable + 80, wide));
    }
    for (int i = 0; i < 16; ++i) {
      float s, c;
      sine_cosine(x[i], s, c);
      CHECK(s == portable[i] && c == portable[16 + i]);
      const double angle{x[i]};
      worst = std::max({worst, std::fabs(portable[i] - std::sin(angle)),
                        std::fabs(portable[16 + i] - std::cos(angle)),
                        std::fabs(portable[32 + i] - std::sin(angle)),
                        std::fabs(portable[48 + i] - std::cos(angle))});
      const double turn = 2.0 * std::numbers::pi;
      worst_wrap =
          std::max(worst_wrap, std::fabs(std::remainder(double{portable[64 + i]} - angle, turn)));
      CHECK(std::fabs(portable[64 + i]) < 3.1425f);
    }
  }
  CHECK(worst <= 1.3e-7);
  CHECK(worst_wrap <= 4e-7);
}

}  // namespace
}  // namespace fastrl
