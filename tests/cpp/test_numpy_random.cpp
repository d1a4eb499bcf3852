// Golden values are those of numpy.random.default_rng in NumPy 2.4.
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "check.h"
#include "core/numpy_random.h"

namespace fastrl {
namespace {

static_assert(std::is_trivially_copyable_v<NumpyRandom>);
static_assert(std::has_unique_object_representations_v<NumpyRandom>);

constexpr double kFirst = [] {
  NumpyRandom random = NumpyRandom::seeded(0);
  return random.random();
}();
static_assert(kFirst == 0x1.461fd79fb3850p-1);

TEST(numpy_random_starts_as_default_rng) {
  struct Golden {
    std::uint64_t seed;
    std::uint64_t state[2];
    std::uint64_t increment[2];
    std::uint64_t raw[3];
    double random[2];
  };
  constexpr Golden kGolden[] = {
      {0,
       {0x1aa1b5345996452d, 0x09585eb7a69561e3},
       {0x418ddadb3af71a82, 0x588133bc447873a9},
       {0xa30febcfd9c2825f, 0x4510bdf882d9d721, 0x0a7d3da94ecde8b8},
       {0x1.0ec9ed84d0bc0p-6, 0x1.a064f4f059bcap-1}},
      {7,
       {0x9d0aecc4e7b18891, 0x9ae2415a6b292038},
       {0xc4751896ce8acebf, 0x66887f5ac070d959},
       {0xa00641a9f1e54a8b, 0xe5afcdbcaf266a95, 0xc693565f940af962},
       {0x1.cd396d5eab510p-3, 0x1.335eca6438dd4p-2}},
      {(1ull << 32) + 5,
       {0x2931d0c6dbee79bf, 0xece8058fe085a345},
       {0x271168ffcdb9ee72, 0xbdd751b35ac873c3},
       {0xc6323ec321deb8d1, 0x78814821c73a0583, 0xb22536d8e0ec17c0},
       {0x1.a21138e9b260bp-1, 0x1.136c781ba1813p-1}},
      {~0ull,
       {0xddc419442aebde79, 0x4d8b0a3b048acdb0},
       {0x37762aacb3cc854f, 0x4ed623c7d18951ed},
       {0xae163a7a8c47568f, 0xd86659f5f3382359, 0x01e52b195bc2d24a},
       {0x1.ca04d55e33445p-1, 0x1.081eecc4d67f8p-3}},
  };
  for (const Golden& golden : kGolden) {
    NumpyRandom random = NumpyRandom::seeded(golden.seed);
    CHECK(random.state_high == golden.state[0] && random.state_low == golden.state[1]);
    CHECK(random.increment_high == golden.increment[0]);
    CHECK(random.increment_low == golden.increment[1]);
    for (const std::uint64_t raw : golden.raw) CHECK(random.next_u64() == raw);
    for (const double expected : golden.random) CHECK(random.random() == expected);
  }
}

TEST(numpy_random_draws_as_choice_and_integers) {
  // One stream throughout: choice(13) keeps half a word across the draws of doubles between.
  NumpyRandom random = NumpyRandom::seeded(42);
  for (const int expected : {1, 10, 8, 5, 5, 11, 1, 9, 2, 1, 6, 12}) {
    CHECK(random.below(13) == static_cast<std::uint64_t>(expected));
  }
  CHECK(random.random() == 0x1.85b41a5f78b48p-1);
  CHECK(random.below(13) == 9);
  CHECK(random.uniform(-0.05, 0.05) == -0x1.30a639518ec3dp-5);
  CHECK(random.below(1) == 0);
  CHECK(random.below(1ull << 32) == 3376120483);
  CHECK(random.below(3ull << 30) == 2705018386);
  CHECK(random.below((1ull << 40) + 3) == 407696739201);
  CHECK(random.below((1ull << 63) - 1) == 8547898282882222422);
}

TEST(numpy_random_rejects_where_numpy_does) {
  // A quarter of all words is rejected, so any slip shows in the sum.
  NumpyRandom random = NumpyRandom::seeded(1);
  std::uint64_t sum = 0;
  for (int i = 0; i < 100000; ++i) sum = sum * 31 + random.below(3ull << 30);
  CHECK(sum == 0xf8d6f1e565a30aff);
}

TEST(numpy_random_levels_are_spawned) {
  NumpyRandom random = NumpyRandom::of_level(5, 3, 1ull << 33);
  CHECK(random.random() == 0x1.91852fd471c18p-2);
  CHECK(random.below(1000) == 395);
}

TEST(numpy_random_forks_depend_on_all_they_are_given) {
  const NumpyRandom copied = NumpyRandom::of_steps(3, 4);
  CHECK(copied == NumpyRandom::seeded(7));
  NumpyRandom later = copied;
  later.next_u64();
  NumpyRandom half_later = copied;
  half_later.next_u32();
  const NumpyRandom fork = NumpyRandom::fork_of(copied, copied, 0);
  CHECK(fork == NumpyRandom::fork_of(copied, copied, 0));
  CHECK(fork != copied);
  CHECK(fork != NumpyRandom::fork_of(copied, copied, 1));
  CHECK(fork != NumpyRandom::fork_of(copied, later, 0));
  CHECK(fork != NumpyRandom::fork_of(later, copied, 0));
  CHECK(NumpyRandom::fork_of(copied, later, 0) != NumpyRandom::fork_of(copied, half_later, 0));
}

TEST(numpy_random_of_any_bytes_ends_its_draws) {
  NumpyRandom random;
  random.increment_low = 0;
  for (int i = 0; i < 100; ++i) {
    CHECK(random.below(13) < 13);
    CHECK(random.below((1ull << 40) - 1) < (1ull << 40) - 1);
  }
}

}  // namespace
}  // namespace fastrl
