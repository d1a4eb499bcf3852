#include "core/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "core/check.h"

namespace fastrl {
namespace {

// About 20 µs: long enough to catch the next call of a hot loop, short next to a time slice.
constexpr int kSpins = 2000;

thread_local bool inside_parallel_for = false;

inline void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

int available_cores() {
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof(cores), &cores) == 0) return std::max(1, CPU_COUNT(&cores));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int default_num_threads() {
  const char* text = std::getenv("FASTRL_NUM_THREADS");
  if (text == nullptr || *text == '\0') return available_cores();
  char* end = nullptr;
  const long n = std::strtol(text, &end, 10);
  if (*end != '\0' || n < 1 || n > 1024) {
    fail_value("fastrl", "FASTRL_NUM_THREADS", "be a whole number from 1 to 1024",
               concat("'", text, "'"));
  }
  return static_cast<int>(n);
}

struct Job {
  detail::ChunkBody body = nullptr;
  void* context = nullptr;
  std::int64_t n = 0;
  std::int64_t grain = 1;
  std::int64_t num_chunks = 0;
};

class Pool {
 public:
  static Pool& instance() {
    static std::once_flag once;
    std::call_once(once, [] {
      current() = std::make_unique<Pool>(default_num_threads()).release();
      // A forked child has none of the threads. It gets a fresh pool; the old one is left behind,
      // because its locks may be held by threads that no longer exist.
      pthread_atfork(nullptr, nullptr, [] {
        const int n = current()->size_.load(std::memory_order_relaxed);
        current() = std::make_unique<Pool>(n).release();
      });
    });
    return *current();
  }

  explicit Pool(int size) : size_(size) {}

  int size() const { return size_.load(std::memory_order_relaxed); }

  void resize(int size) {
    const std::scoped_lock lock(caller_);
    stop_workers();
    size_.store(size, std::memory_order_relaxed);
  }

  void run(const Job& job) {
    const bool alone = inside_parallel_for || job.num_chunks <= 1 || size() <= 1;
    std::unique_lock lock(caller_, std::defer_lock);
    if (alone || !lock.try_lock()) {
      run_alone(job);
      return;
    }
    if (workers_.empty()) start_workers();
    publish(job);
    inside_parallel_for = true;
    work(ticket_.load(std::memory_order_relaxed) >> kRemainingBits);
    inside_parallel_for = false;
    wait_for_workers();
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

 private:
  // A ticket is (generation, chunks left). Counting down lets a late worker see that a job is over
  // without reading the job, which may already be the next one.
  static constexpr int kRemainingBits = 40;
  static constexpr std::uint64_t kRemainingMask = (std::uint64_t{1} << kRemainingBits) - 1;

  static Pool*& current() {
    static Pool* pool = nullptr;
    return pool;
  }

  static void run_alone(const Job& job) {
    std::exception_ptr error;
    for (std::int64_t begin = 0; begin < job.n; begin += job.grain) {
      try {
        job.body(job.context, begin, std::min(job.n, begin + job.grain));
      } catch (...) {
        if (!error) error = std::current_exception();
      }
    }
    if (error) std::rethrow_exception(error);
  }

  void publish(const Job& job) {
    job_ = job;
    error_chunk_ = job.num_chunks;
    unfinished_.store(job.num_chunks, std::memory_order_relaxed);
    const std::uint64_t generation =
        (ticket_.load(std::memory_order_relaxed) >> kRemainingBits) + 1;
    ticket_.store(generation << kRemainingBits | static_cast<std::uint64_t>(job.num_chunks),
                  std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) ticket_.notify_all();
  }

  // Takes chunks of this generation until none is left.
  void work(std::uint64_t generation) {
    std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
    while (true) {
      const std::uint64_t remaining = ticket & kRemainingMask;
      if (ticket >> kRemainingBits != generation || remaining == 0) return;
      if (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel)) continue;
      run_chunk(job_.num_chunks - static_cast<std::int64_t>(remaining));
      if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
      ticket = ticket_.load(std::memory_order_acquire);
    }
  }

  void run_chunk(std::int64_t chunk) {
    const std::int64_t begin = chunk * job_.grain;
    try {
      job_.body(job_.context, begin, std::min(job_.n, begin + job_.grain));
    } catch (...) {
      const std::scoped_lock lock(error_lock_);
      if (chunk < error_chunk_) {
        error_chunk_ = chunk;
        error_ = std::current_exception();
      }
    }
  }

  void wait_for_workers() {
    for (int i = 0; i < kSpins; ++i) {
      if (unfinished_.load(std::memory_order_acquire) == 0) return;
      pause_briefly();
    }
    for (auto left = unfinished_.load(std::memory_order_acquire); left != 0;
         left = unfinished_.load(std::memory_order_acquire)) {
      unfinished_.wait(left, std::memory_order_acquire);
    }
  }

  void worker_loop() {
    inside_parallel_for = true;
    std::uint64_t seen = 0;
    while (!stopping_.load(std::memory_order_acquire)) {
      std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
      for (int i = 0; i < kSpins && !has_work(ticket, seen); ++i) {
        pause_briefly();
        ticket = ticket_.load(std::memory_order_acquire);
      }
      if (has_work(ticket, seen)) {
        seen = ticket >> kRemainingBits;
        work(seen);
        continue;
      }
      sleepers_.fetch_add(1, std::memory_order_seq_cst);
      ticket = ticket_.load(std::memory_order_seq_cst);
      if (!has_work(ticket, seen) && !stopping_.load(std::memory_order_acquire)) {
        ticket_.wait(ticket, std::memory_order_seq_cst);
      }
      sleepers_.fetch_sub(1, std::memory_order_seq_cst);
    }
  }

  static bool has_work(std::uint64_t ticket, std::uint64_t seen) {
    return ticket >> kRemainingBits != seen && (ticket & kRemainingMask) != 0;
  }

  void start_workers() {
    stopping_.store(false, std::memory_order_release);
    for (int i = 1; i < size(); ++i) workers_.emplace_back([this] { worker_loop(); });
  }

  void stop_workers() {
    stopping_.store(true, std::memory_order_release);
    const std::uint64_t generation =
        (ticket_.load(std::memory_order_relaxed) >> kRemainingBits) + 1;
    ticket_.store(generation << kRemainingBits, std::memory_order_seq_cst);
    ticket_.notify_all();
    for (auto& worker : workers_) worker.join();
    workers_.clear();
  }

  std::atomic<int> size_;
  std::mutex caller_;
  Job job_;
  std::mutex error_lock_;
  std::exception_ptr error_;
  std::int64_t error_chunk_ = 0;
  alignas(64) std::atomic<std::uint64_t> ticket_{0};
  alignas(64) std::atomic<std::int64_t> unfinished_{0};
  alignas(64) std::atomic<int> sleepers_{0};
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> workers_;
};

}  // namespace

int num_threads() { return Pool::instance().size(); }

void set_num_threads(int n) {
  if (n < 1 || n > 1024) {
    fail_value("set_num_threads", "n", "be from 1 to 1024", concat(n));
  }
  if (inside_parallel_for) {
    throw std::runtime_error("set_num_threads: must not be called from inside a parallel loop");
  }
  Pool::instance().resize(n);
}

void detail::run_chunks(std::int64_t n, std::int64_t grain, ChunkBody body, void* context) {
  if (n <= 0) return;
  grain = std::max<std::int64_t>(grain, 1);
  Pool::instance().run({body, context, n, grain, (n + grain - 1) / grain});
}

}  // namespace fastrl
