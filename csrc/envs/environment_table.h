/* What the engine knows of an environment: a table of C functions over plain bytes.
 *
 * Built-in environments, those compiled at run time and those that another module hands over in a
 * capsule all come as this table. C++ code gets it from a struct by fastrl::environment<E>()
 * (kernel.h); anything that can fill in a C struct may do without.
 *
 * Functions that take a range work on places begin, …, end - 1. At place k stands environment
 * ids[k], or k where ids is NULL; rows of actions and outputs are counted by place, states and
 * random streams by environment. They run on several threads at once, for ranges without a common
 * environment, so they keep nothing outside of what they are given.
 *
 * No function lets an exception out. One that takes a fastrl_error may fail: it fills that in and
 * returns, and what it returns is not read.
 */
/* NOLINTBEGIN: C, with the names that C gives. */
#ifndef FASTRL_ENVIRONMENT_TABLE_H
#define FASTRL_ENVIRONMENT_TABLE_H

#include <stddef.h>
#include <stdint.h>

#define FASTRL_ABI_VERSION 4
#define FASTRL_CAPSULE_NAME "fastrl.environment"

#define FASTRL_MAX_FIELDS 12
#define FASTRL_MAX_BOUNDS 16
#define FASTRL_MAX_LABELS 32
#define FASTRL_NAME_SIZE 32
#define FASTRL_MESSAGE_SIZE 1000

#ifdef __cplusplus
extern "C" {
#endif

enum {
  FASTRL_BOOL,
  FASTRL_INT8,
  FASTRL_UINT8,
  FASTRL_INT32,
  FASTRL_INT64,
  FASTRL_FLOAT32,
  FASTRL_FLOAT64
};
enum { FASTRL_BOX, FASTRL_DISCRETE, FASTRL_MULTI_DISCRETE, FASTRL_MULTI_BINARY };
enum { FASTRL_SINGLE, FASTRL_DICT, FASTRL_TUPLE };
enum { FASTRL_OK, FASTRL_REFUSED, FASTRL_FAILED };

/* FASTRL_OK before each call. FASTRL_REFUSED: what the caller gave is wrong, in `create` and
 * `parse_level`. FASTRL_FAILED: all else. */
typedef struct fastrl_error {
  int32_t status;
  /* Of step and observe: where it failed. Places before that are done, those behind it untouched,
   * and called again. */
  int64_t place;
  char message[FASTRL_MESSAGE_SIZE]; /* UTF-8, with '\0' at its end */
} fastrl_error;

/* One array of an observation, an info, or the action. */
typedef struct fastrl_field {
  char name[FASTRL_NAME_SIZE]; /* the key in a dict */
  int32_t dtype;
  int32_t space;
  int32_t ndim; /* of one environment's part; 0: a number */
  int32_t num_bounds;
  int64_t shape[4];
  /* One pair for all elements or one for each. Discrete and multi-discrete: both ends included. */
  double low[FASTRL_MAX_BOUNDS];
  double high[FASTRL_MAX_BOUNDS];
  /* Infos: 0 where a reset has none. */
  int32_t at_reset;
  /* Infos: a reset writes a whole number where a step writes a fraction, as Gymnasium's toy text.
   */
  int32_t whole_at_reset;
} fastrl_field;

/* What an environment is with its options. Zeroed before `describe` fills it in. */
typedef struct fastrl_description {
  int32_t structure; /* of the observation */
  int32_t num_observations;
  fastrl_field observations[FASTRL_MAX_FIELDS];
  fastrl_field action;
  int32_t num_infos;
  fastrl_field infos[FASTRL_MAX_FIELDS];
  int64_t max_episode_steps; /* 0: no limit */
  int32_t reports_success;   /* whether success[] is written and becomes an info */
  int32_t heavy_reset;       /* whether a reset costs more than some microseconds */
  /* Numbers that a reset takes, by name, such as "low". */
  int32_t num_reset_options;
  char reset_options[FASTRL_MAX_FIELDS][FASTRL_NAME_SIZE];
  /* What can be true of a state, bit by bit of `labels`: for reward machines and costs. */
  int32_t num_labels;
  char labels[FASTRL_MAX_LABELS][FASTRL_NAME_SIZE];
  /* Grid worlds: the picture that `cells` draws. */
  int32_t grid_height;
  int32_t grid_width;
  /* Text environments: observations[0] holds tokens, observation_lengths counts them, and action
   * -1 is malformed. */
  int32_t is_text;
  int32_t render_tokens; /* at most, of the whole observation */
  int64_t goal_size;     /* goal environments: numbers in a goal */
} fastrl_description;

/* Where a step or an observation goes, row k at base + k * stride bytes. */
typedef struct fastrl_rows {
  char* base[FASTRL_MAX_FIELDS];
  int64_t stride[FASTRL_MAX_FIELDS];
} fastrl_rows;

typedef struct fastrl_step {
  const int64_t* ids;  /* NULL: place k is environment k */
  const uint8_t* run;  /* by place; 0: touch neither the environment nor its rows */
  const char* actions; /* row k at actions + k * action_stride */
  int64_t action_stride;
  const int32_t* elapsed_steps; /* by environment, this step not counted */
  fastrl_rows observations;
  int32_t* observation_lengths; /* text: by place */
  fastrl_rows infos;
  double* rewards;
  uint8_t* terminated;
  uint8_t* success;
  fastrl_error* error;
} fastrl_step;

/* Where an episode begins: what seed_level takes. */
typedef struct fastrl_level {
  uint64_t seed;
  uint64_t group;
  uint64_t reset;
} fastrl_level;

typedef struct fastrl_begin {
  int64_t count;
  const fastrl_level* levels;
  const int64_t* ids;    /* environment ids[j] begins in levels[j] */
  const int64_t* places; /* and is seen in the row of places[j] */
  const double* options; /* as for reset */
  fastrl_rows observations;
} fastrl_begin;

typedef struct fastrl_solution {
  int32_t distance;     /* fewest actions to success; -1: out of reach, -2: unknown */
  int32_t first_action; /* of them; -1: none */
} fastrl_solution;

typedef struct fastrl_environment {
  uint32_t abi_version;
  uint32_t version; /* of the state; snapshots of another are refused */
  const char* id;
  uint64_t state_size; /* bytes of one packed state */
  uint64_t random_size;
  int32_t lanes;         /* states lie side by side in blocks of so many; 1: packed one by one */
  int32_t numpy_random;  /* whether resets draw from the environment's own stream, as NumPy's */
  int32_t draws_nothing; /* 1: a step takes no number from its random stream; 0: it may */

  /* Params from options (a fastrl::Options*); NULL with a message in `error` if they are wrong. */
  void* (*create)(void* options, fastrl_error* error);
  void (*destroy)(void* params);
  void (*describe)(const void* params, fastrl_description* description, fastrl_error* error);

  /* The random stream of steps, that of a level, and a new one out of two. */
  void (*seed)(void* random, uint64_t seed, uint64_t stream);
  void (*seed_level)(void* random, uint64_t seed, uint64_t group, uint64_t reset);
  void (*fork)(void* random, const void* own, uint64_t place);

  /* One packed state. `options` are description.reset_options, NaN where not given, or NULL. */
  void (*reset)(const void* params, void* random, const double* options, void* state,
                fastrl_error* error);

  void (*step)(const void* params, void* states, void* randoms, int64_t begin, int64_t end,
               const fastrl_step* step);

  /* Of step: ids, run, elapsed_steps, observations and observation_lengths are read; infos are
   * written as after a reset if `at_reset`. The states stay as they are, also where it fails. */
  void (*observe)(const void* params, const void* states, int64_t begin, int64_t end,
                  int32_t at_reset, const fastrl_step* step);

  /* Between blocks and packed states; NULL if lanes = 1. */
  void (*get)(const void* states, int64_t i, void* state);
  void (*put)(void* states, int64_t i, const void* state);

  /* Many episodes at once, or NULL: what seed_level, reset, put and observe do one after another.
   * It cannot fail. */
  void (*begin)(const void* params, void* states, const fastrl_begin* begin);

  /* NULL where an environment has no such thing. All take packed states. */
  int32_t (*valid)(const void* params, const void* state, int32_t running,
                   fastrl_error* error); /* for bytes from outside */
  void (*solve)(const void* params, const void* state, fastrl_solution* solution,
                fastrl_error* error);
  uint64_t (*labels)(const void* params, const void* state, fastrl_error* error);
  void (*cells)(const void* params, const void* state, char* cells, /* grid_height × grid_width */
                fastrl_error* error);
  int32_t (*render)(const void* params, const void* state, int32_t elapsed_steps, int32_t* tokens,
                    fastrl_error* error); /* how many */
  /* A state from a text, for levels drawn by hand. */
  void (*parse_level)(const void* params, const char* text, void* state, fastrl_error* error);
  /* A row of the action space from a text, false if it names none. NULL: by action_token. */
  int32_t (*parse_action)(const void* params, const char* text, size_t size, void* action,
                          fastrl_error* error);
  int32_t (*action_token)(const void* params, int32_t action, fastrl_error* error);
  double (*goal_reward)(const void* params, const float* achieved, const float* desired,
                        fastrl_error* error);
} fastrl_environment;

#ifdef __cplusplus
}
#endif

#endif
/* NOLINTEND */
