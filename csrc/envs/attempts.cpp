#include "envs/attempts.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/random.h"
#include "envs/snapshot.h"

namespace fastrl {

std::size_t Attempts::record_size() const {
  const auto counted = options_.retries ? static_cast<std::size_t>(options_.max_attempts) : 0;
  return offsetof(Record, answers) + counted * sizeof(std::uint64_t);
}

// Only as many bytes as the record has: the rest is another wrapper's.
void Attempts::begin(Record& record) const {
  std::memset(static_cast<void*>(&record), 0, record_size());
}

void Attempts::act(Record& record, const void* action, std::size_t size) const {
  if (options_.retries) record.answer = mix64(record.answer ^ hash_bytes(action, size));
}

double Attempts::retry_reward(const Record& record, bool success) const {
  const std::int64_t count = record.attempt + 1;
  std::int64_t distinct = 0;
  for (std::int64_t t = 0; t < count; ++t) {
    const auto* earlier = record.answers + t;
    if (std::find(record.answers, earlier, *earlier) == earlier) ++distinct;
  }
  const double share = static_cast<double>(distinct) / static_cast<double>(count);
  const double right =
      success ? std::pow(options_.decay, static_cast<double>(record.attempt)) : 0.0;
  return right - options_.repeat_penalty * (1.0 - share);
}

Attempts::Outcome Attempts::end(Record& record, bool success, bool final) const {
  const bool stops = final || record.attempt + 1 >= options_.max_attempts ||
                     (success && (options_.retries || options_.until_success));
  if (options_.retries) record.answers[record.attempt] = record.answer;
  if (stops) return {.reward = options_.retries ? retry_reward(record, success) : 0.0};
  ++record.attempt;
  record.answer = 0;
  return {.again = true};
}

bool Attempts::valid(const Record& record) const {
  return record.attempt >= 0 && record.attempt < options_.max_attempts;
}

}  // namespace fastrl
