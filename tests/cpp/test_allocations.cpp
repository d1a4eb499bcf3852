// A step asks for no memory once it has run: every call of malloc in this program is counted.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "batch_arrays.h"
#include "check.h"
#include "core/thread_pool.h"
#include "envs/asynchronous.h"
#include "envs/vector_env.h"

// The sanitizers bring their own malloc, and only glibc lets its own be called by another name.
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define FASTRL_COUNTS_ALLOCATIONS 1
#else
#define FASTRL_COUNTS_ALLOCATIONS 0
#endif

namespace {

std::atomic<std::int64_t> num_allocations{0};

}  // namespace

#if FASTRL_COUNTS_ALLOCATIONS
// operator new ends here, too: libstdc++ takes its memory from these.
// NOLINTBEGIN(bugprone-reserved-identifier, readability-identifier-naming): glibc's names
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t n, std::size_t size);
void* __libc_realloc(void* p, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

__attribute__((visibility("default"))) void* malloc(std::size_t size) {
  num_allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_malloc(size);
}
__attribute__((visibility("default"))) void* calloc(std::size_t n, std::size_t size) {
  num_allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_calloc(n, size);
}
__attribute__((visibility("default"))) void* realloc(void* p, std::size_t size) {
  num_allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_realloc(p, size);
}
__attribute__((visibility("default"))) void* aligned_alloc(std::size_t alignment,
                                                           std::size_t size) {
  num_allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_memalign(alignment, size);
}
}
// NOLINTEND(bugprone-reserved-identifier, readability-identifier-naming)
#endif

namespace fastrl {
namespace {

template <typename Call>
std::int64_t allocations_of(Call&& call) {
  const std::int64_t before = num_allocations.load();
  call();
  return num_allocations.load() - before;
}

TEST(allocations_are_counted) {
  if (FASTRL_COUNTS_ALLOCATIONS == 0) return;
  std::vector<std::byte> plain;
  Bytes aligned;
  CHECK(allocations_of([&] { plain.resize(100); }) == 1);
  CHECK(allocations_of([&] { aligned.resize(100); }) == 1);
}

void check_environment(const std::string& id, bool fast, AutoresetMode mode) {
  constexpr std::int64_t kEnvs = 300;
  constexpr std::int64_t kSteps = 10;
  // Levels are made in advance: a search for a new one has a tree to keep.
  const auto env = make_vector_env(id, fast,
                                   {.num_envs = kEnvs,
                                    .num_levels = 8,
                                    .max_episode_steps = 6,
                                    .autoreset_mode = mode,
                                    .history = 4},
                                   {});
  BatchArrays arrays(*env);
  BatchArrays waiting(*env);
  BatchArrays all(*env, kEnvs * kSteps);
  auto random = RandomStream::seeded(1, 0);
  auto actions = random_actions(*env, kEnvs * kSteps, random);
  const std::int64_t row = kEnvs * row_size(env->description().action);
  const auto ids = all_ids(*env);
  std::vector<std::int64_t> received(kEnvs);
  const std::uint64_t seed = 3;
  env->seed(1, {});

  const auto steps = [&] {
    env->reset({}, {}, arrays.outputs);
    for (std::int64_t t = 0; t < kSteps; ++t) {
      env->step(actions.data() + t * row, {}, arrays.outputs);
    }
  };
  const auto unrolls = [&] {
    env->unroll(kSteps, actions.data(), nullptr, all.outputs);
    env->unroll(kSteps, actions.data(), &seed, all.outputs);
  };
  const auto travels = [&] {
    env->rewind(ids, 2, RngMode::kFork);
    env->observe(ids, arrays.outputs);
  };
  steps();
  unrolls();
  const std::int64_t of_steps = allocations_of(steps);
  const std::int64_t of_unrolls = allocations_of(unrolls);
  travels();
  // Looking at the present builds one mask.
  const std::int64_t of_travels = allocations_of(travels);
  std::int64_t of_sends = 0;
  {
    Asynchronous asynchronous(*env, waiting.outputs);
    const auto sends = [&] {
      for (std::int64_t t = 0; t < kSteps; ++t) {
        asynchronous.send(std::span(ids).first(200), actions.data() + t * row);
        asynchronous.send(std::span(ids).subspan(200), actions.data() + t * row);
        asynchronous.receive(50, -1.0, arrays.outputs, received.data());
        asynchronous.receive(kEnvs - 50, -1.0, arrays.outputs, received.data());
      }
    };
    sends();
    of_sends = allocations_of(sends);
  }
  if (of_steps + of_unrolls + of_sends != 0 || of_travels > 1) {
    std::fprintf(stderr, "%s%s allocates: %lld in steps, %lld unrolled, %lld sent, %lld rewound\n",
                 id.c_str(), fast ? " (fast)" : "", static_cast<long long>(of_steps),
                 static_cast<long long>(of_unrolls), static_cast<long long>(of_sends),
                 static_cast<long long>(of_travels));
  }
  CHECK(of_steps == 0);
  CHECK(of_unrolls == 0);
  CHECK(of_sends == 0);
  CHECK(of_travels <= 1);
}

TEST(no_step_of_any_environment_allocates) {
  if (FASTRL_COUNTS_ALLOCATIONS == 0) return;
  set_num_threads(2);
  for (const std::string& id : environment_ids()) {
    for (const bool fast : {false, true}) {
      if (fast && !has_fast_form(id)) continue;
      check_environment(id, fast, AutoresetMode::kNextStep);
      check_environment(id, fast, AutoresetMode::kSameStep);
    }
  }
}

}  // namespace
}  // namespace fastrl
