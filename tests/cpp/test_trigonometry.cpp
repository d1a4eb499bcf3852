#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
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

constexpr int kAngles = 8;

template <int W>
FASTRL_INLINE void certain_waves_of(const double* x, double* to) {
  using V = WideDoubles<W>;
  for (int i = 0; i < kAngles; i += W) {
    V angle, sine, cosine;
    std::memcpy(&angle, x + i, sizeof(V));
    sine_cosine_or_nan(angle, sine, cosine);
    std::memcpy(to + i, &sine, sizeof(V));
    std::memcpy(to + kAngles + i, &cosine, sizeof(V));
  }
}
using CertainWaves = Compiled<&certain_waves_of<2>, &certain_waves_of<4>, &certain_waves_of<8>>;

struct Certain {
  std::int64_t sines = 0;
  std::int64_t cosines = 0;
};

// The library's bits or NaN, the same in every instruction set.
void check_certain_waves(const std::array<double, kAngles>& x, Certain& certain) {
  using Waves = std::array<double, 2 * kAngles>;
  const auto bits = [](const Waves& waves) {
    return std::bit_cast<std::array<std::uint64_t, 2 * kAngles>>(waves);
  };
  Waves waves;
  Waves wide;
  CertainWaves::portable(x.data(), waves.data());
  if (instruction_set() >= InstructionSet::kX86V3) {
    CertainWaves::v3(x.data(), wide.data());
    CHECK(bits(wide) == bits(waves));
  }
  if (instruction_set() >= InstructionSet::kX86V4) {
    CertainWaves::v4(x.data(), wide.data());
    CHECK(bits(wide) == bits(waves));
  }
  for (std::size_t i = 0; i < kAngles; ++i) {
    const auto is_library = [](double wave, double library, std::int64_t& count) {
      if (std::isnan(wave)) return true;
      ++count;
      return std::bit_cast<std::uint64_t>(wave) == std::bit_cast<std::uint64_t>(library);
    };
    CHECK(is_library(waves[i], std::sin(x[i]), certain.sines));
    CHECK(is_library(waves[kAngles + i], std::cos(x[i]), certain.cosines));
  }
}

// How many angles: FASTRL_TEST_ANGLES, else a million.
std::int64_t num_angles() {
  const char* given = std::getenv("FASTRL_TEST_ANGLES");
  return given != nullptr ? std::strtoll(given, nullptr, 10) : 1'000'000;
}

// In [0, 1), of 53 bits.
double unit(RandomStream& random) {
  const std::uint64_t high = random.next_u32();
  return static_cast<double>((high << 32 | random.next_u32()) >> 11) * 0x1p-53;
}

TEST(certain_sines_and_cosines_have_the_bits_of_the_library) {
  const std::int64_t n = num_angles();
  RandomStream random = RandomStream::seeded(7, static_cast<std::uint64_t>(n));
  Certain certain;
  std::array<double, kAngles> x;
  for (std::int64_t done = 0; done < n; done += kAngles) {
    for (double& angle : x) angle = (2.0 * unit(random) - 1.0) * detail::kFurthest;
    check_certain_waves(x, certain);
  }
  if (detail::kLibraryIsKnown) {
    const auto share = [n](std::int64_t count) {
      return static_cast<double>(count) / static_cast<double>(n);
    };
    CHECK(share(certain.sines) > 0.8 && share(certain.sines) < 0.84);
    CHECK(share(certain.cosines) > 0.92 && share(certain.cosines) < 0.96);
  }
}

TEST(small_and_strange_angles_have_the_bits_of_the_library_or_none) {
  RandomStream random = RandomStream::seeded(8, 9);
  Certain certain;
  std::array<double, kAngles> x;
  for (int power = -1074; power < 1024; ++power) {
    for (int trial = 0; trial < 4; ++trial) {
      for (double& angle : x) {
        const double mantissa = trial == 0 ? 1.0 : 1.0 + unit(random);
        angle = std::ldexp(random.next_u32() % 2 == 0 ? mantissa : -mantissa, power);
      }
      check_certain_waves(x, certain);
    }
  }
  CHECK(!detail::kLibraryIsKnown || (certain.sines > 2000 && certain.cosines > 2000));
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  Certain none;
  check_certain_waves({0.0, -0.0, kInfinity, -kInfinity, NAN, detail::kFurthest, -0.5, 1e300},
                      none);
  CHECK(none.sines == 0 && none.cosines == 0);
  // Doubles around those whose sine or cosine is a power of two or halfway to it.
  for (const double middle : {0x1p-3, 0x1p-26, 0x1p-27, 0x1.6a09e667f3bcdp-27, 0x1p-60,
                              std::asin(0x1p-3), std::asin(0x1p-4)}) {
    double angle = middle;
    for (int i = 0; i < 4000; ++i) angle = std::nextafter(angle, 0.0);
    for (int i = 0; i < 1000; ++i) {
      for (double& next : x) next = angle = std::nextafter(angle, 1.0);
      check_certain_waves(x, certain);
    }
  }
}

}  // namespace
}  // namespace fastrl
