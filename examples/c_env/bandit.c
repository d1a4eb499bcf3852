/* A bandit of four arms in plain C: whatever can fill in this table can be an environment.
 *
 * Each episode draws the arms' chances; 20 pulls. Observation: how many pulls are left. Without
 * C++ an environment has no options of its own.
 */
#include <fastrl/envs/environment_table.h>
#include <stdlib.h>

enum { kArms = 4, kPulls = 20 };

typedef struct {
  double chance[kArms];
  int64_t left;
} State;

/* SplitMix64: a state of one number, any of them good. */
static uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

static double uniform(uint64_t* random) {
  *random += 0x9E3779B97F4A7C15u;
  return (double)(mix(*random) >> 11) * 0x1p-53;
}

static void* create(void* options, fastrl_error* error) {
  (void)options, (void)error;
  return malloc(1); /* parameters; there are none, but NULL would be a failure */
}

static void describe(const void* params, fastrl_description* d, fastrl_error* error) {
  (void)params, (void)error;
  d->num_observations = 1;
  d->observations[0] = (fastrl_field){
      .dtype = FASTRL_INT64, .space = FASTRL_DISCRETE, .num_bounds = 1, .high = {kPulls}};
  d->action = (fastrl_field){
      .dtype = FASTRL_INT64, .space = FASTRL_DISCRETE, .num_bounds = 1, .high = {kArms - 1}};
}

static void seed(void* random, uint64_t seed, uint64_t stream) {
  *(uint64_t*)random = mix(mix(seed) + 2 * stream);
}

static void seed_level(void* random, uint64_t seed, uint64_t group, uint64_t reset) {
  *(uint64_t*)random = mix(mix(mix(seed) + 2 * group + 1) + reset);
}

static void fork_stream(void* random, const void* own, uint64_t place) {
  *(uint64_t*)random = mix(*(uint64_t*)random ^ mix(*(const uint64_t*)own + place));
}

static void reset(const void* params, void* random, const double* options, void* state,
                  fastrl_error* error) {
  (void)params, (void)options, (void)error;
  State* s = state;
  for (int arm = 0; arm < kArms; ++arm) s->chance[arm] = uniform(random);
  s->left = kPulls;
}

static void observe(const void* params, const void* states, int64_t begin, int64_t end,
                    int32_t at_reset, const fastrl_step* io) {
  (void)params, (void)at_reset;
  for (int64_t k = begin; k < end; ++k) {
    if (!io->run[k]) continue;
    const int64_t i = io->ids ? io->ids[k] : k;
    *(int64_t*)(io->observations.base[0] + k * io->observations.stride[0]) =
        ((const State*)states)[i].left;
  }
}

static void step(const void* params, void* states, void* randoms, int64_t begin, int64_t end,
                 const fastrl_step* io) {
  for (int64_t k = begin; k < end; ++k) {
    if (!io->run[k]) continue;
    const int64_t i = io->ids ? io->ids[k] : k;
    State* s = (State*)states + i;
    const int64_t arm = *(const int64_t*)(io->actions + k * io->action_stride);
    io->rewards[k] = uniform((uint64_t*)randoms + i) < s->chance[arm];
    io->terminated[k] = --s->left == 0;
  }
  observe(params, states, begin, end, 0, io);
}

const fastrl_environment* fastrl_environment_table(void) {
  static const fastrl_environment table = {.abi_version = FASTRL_ABI_VERSION,
                                           .version = 1,
                                           .id = "CBandit-v0",
                                           .state_size = sizeof(State),
                                           .random_size = sizeof(uint64_t),
                                           .lanes = 1,
                                           .create = create,
                                           .destroy = free,
                                           .describe = describe,
                                           .seed = seed,
                                           .seed_level = seed_level,
                                           .fork = fork_stream,
                                           .reset = reset,
                                           .step = step,
                                           .observe = observe};
  return &table;
}
