#include "envs/fault.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <stdexcept>
#include <string_view>
#include <tuple>
#include <utility>

#include "core/check.h"

namespace fastrl {
namespace {

// How many bytes from `i` on are one character of UTF-8; 0 if none.
std::size_t character_size(std::string_view text, std::size_t i) {
  const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(text[k]); };
  const unsigned char first = byte(i);
  if (first < 0x80) return 1;
  const std::size_t size = first < 0xC2   ? 0
                           : first < 0xE0 ? 2
                           : first < 0xF0 ? 3
                           : first < 0xF5 ? 4
                                          : 0;
  if (size == 0 || i + size > text.size()) return 0;
  for (std::size_t k = i + 1; k < i + size; ++k) {
    if ((byte(k) & 0xC0) != 0x80) return 0;
  }
  // Too long for what it says, half of a pair, or above the last character.
  const unsigned char second = byte(i + 1);
  const bool wrong = (first == 0xE0 && second < 0xA0) || (first == 0xED && second >= 0xA0) ||
                     (first == 0xF0 && second < 0x90) || (first == 0xF4 && second >= 0x90);
  return wrong ? 0 : size;
}

}  // namespace

std::string text_of(const fastrl_error& error) {
  const char* end = std::ranges::find(error.message, '\0');
  const std::string_view written(error.message, static_cast<std::size_t>(end - error.message));
  std::string readable;
  for (std::size_t i = 0; i < written.size();) {
    const std::size_t size = character_size(written, i);
    readable += size == 0 ? "?" : written.substr(i, size);
    i += std::max<std::size_t>(size, 1);
  }
  return readable;
}

void CallError::raise(const char* function, const char* id) const {
  if (status == FASTRL_REFUSED) throw std::invalid_argument(text_of(*this));
  throw std::runtime_error(concat(function, ": ", id, " has failed: ", text_of(*this)));
}

void FaultLog::add(const Faults& faults) {
  const std::scoped_lock lock(mutex_);
  faults_.insert(faults_.end(), faults.begin(), faults.end());
}

Faults FaultLog::take() {
  const std::scoped_lock lock(mutex_);
  std::ranges::sort(faults_, [](const Fault& a, const Fault& b) {
    return std::tie(a.place, a.message) < std::tie(b.place, b.message);
  });
  return std::exchange(faults_, {});
}

void FaultLog::check(const char* function, const char* id, const char* remedy) {
  if (empty()) return;
  const Faults faults = take();
  const std::string others = faults.size() > 1 ? concat(" (and ", faults.size() - 1, " more)") : "";
  throw std::runtime_error(
      concat(function, ": ", fault_message(faults.front(), id, remedy), others));
}

std::string fault_message(const Fault& fault, const char* id, const char* remedy) {
  return concat("environment ", fault.environment, " of ", id, " has failed", remedy, ": ",
                fault.message);
}

}  // namespace fastrl
