// The one pool of worker threads of this process.
//
// Work over [0, n) is cut into chunks of `grain` items. The cut depends on n and grain only, so a
// reduction that keeps one partial per chunk gives the same bits for any number of threads. The
// caller works too, workers spin for a bounded time and then sleep, and nobody waits for a chunk
// that has not been started: a busy machine slows the pool down but never stalls it.
#pragma once

#include <cstdint>
#include <type_traits>

namespace fastrl {

// The number of threads that work on a parallel_for, the caller included.
int num_threads();

// Changes that number, n ≥ 1. Waits for running work. Results do not depend on it.
void set_num_threads(int n);

namespace detail {
using ChunkBody = void (*)(void* context, std::int64_t begin, std::int64_t end);
void run_chunks(std::int64_t n, std::int64_t grain, ChunkBody body, void* context);
}  // namespace detail

// Calls body(begin, end) for consecutive ranges of at most `grain` items that cover [0, n). A call
// from inside a body, or while another thread uses the pool, runs on the calling thread alone. The
// exception of the lowest failing chunk is rethrown after all chunks have ended.
template <typename Body>
void parallel_for(std::int64_t n, std::int64_t grain, Body&& body) {
  if (n <= grain) {  // nothing to hand out
    if (n > 0) body(std::int64_t{0}, n);
    return;
  }
  using Plain = std::remove_reference_t<Body>;
  detail::run_chunks(
      n, grain,
      [](void* context, std::int64_t begin, std::int64_t end) {
        (*static_cast<Plain*>(context))(begin, end);
      },
      const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace fastrl
