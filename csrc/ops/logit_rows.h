// Rows of logits: capped, read to their last element, and shared out to the threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/instruction_set.h"
#include "core/thread_pool.h"
#include "ops/lanes.h"
#include "ops/log_probs.h"

namespace fastrl {

// y = softcap tanh(x / softcap). Gives the slope dy/dx too where it is asked for.
template <class L>
FASTRL_INLINE void cap(float softcap, typename L::Floats& y, typename L::Floats* slope) {
  y = y * (1.0f / softcap);
  L::tanh(y);
  if (slope != nullptr) *slope = 1.0f - y * y;
  y = y * softcap;
}

// The elements past the last full pack of 2 W, followed by -inf.
template <class L, class Element>
struct Tail {
  typename Element::Storage elements[2 * L::kWidth];

  FASTRL_INLINE Tail(const typename Element::Storage* from, std::int64_t count) {
    for (auto& element : elements) element = Element::kLowest;
    std::memcpy(elements, from, static_cast<std::size_t>(count) * sizeof(*elements));
  }
};

template <class Pass, class L, class Element, bool kCapped>
FASTRL_INLINE void compute_rows(const Pass& pass, std::int64_t begin, std::int64_t end) {
  for (std::int64_t r = begin; r < end; ++r) pass.template compute<L, Element, kCapped>(r);
}

template <class Pass, class Element>
auto compiled_rows(bool capped) {
  using Capped = Compiled<&compute_rows<Pass, PortableLanes, Element, true>,
                          &compute_rows<Pass, X86V3Lanes, Element, true>,
                          &compute_rows<Pass, X86V4Lanes, Element, true>>;
  using Plain = Compiled<&compute_rows<Pass, PortableLanes, Element, false>,
                         &compute_rows<Pass, X86V3Lanes, Element, false>,
                         &compute_rows<Pass, X86V4Lanes, Element, false>>;
  return capped ? Capped::for_this_processor() : Plain::for_this_processor();
}

template <class Pass>
auto compiled_rows(const LogitsView& logits) {
  const bool capped = logits.softcap != 0.0f;
  switch (logits.type) {
    case FloatType::kBFloat16:
      return compiled_rows<Pass, BFloat16>(capped);
    case FloatType::kFloat16:
      return compiled_rows<Pass, Float16>(capped);
    case FloatType::kFloat32:
      break;
  }
  return compiled_rows<Pass, Float32>(capped);
}

// Calls pass.compute<Lanes, Element, kCapped>(r), which is always inlined, for each row.
template <class Pass>
void for_each_row(const LogitsView& logits, const Pass& pass) {
  // About 100 µs of work for a thread to take at a time.
  const auto chunk = std::max<std::int64_t>(1, (std::int64_t{1} << 18) / logits.vocab_size);
  const auto rows = compiled_rows<Pass>(logits);
  parallel_for(logits.rows, chunk,
               [&](std::int64_t begin, std::int64_t end) { rows(pass, begin, end); });
}

}  // namespace fastrl
