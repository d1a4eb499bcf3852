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

  explicit Pool(int size) : size_(size), shares_(static_cast<std::size_t>(size)) {}

  int size() const { return size_.load(std::memory_order_relaxed); }

  void resize(int size) {
    const std::scoped_lock lock(caller_);
    stop_workers();
    size_.store(size, std::memory_order_relaxed);
    shares_ = std::vector<Share>(static_cast<std::size_t>(size));
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
    work(0, generation_.load(std::memory_order_relaxed));
    inside_parallel_for = false;
    wait_for_workers();
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

 private:
  // The neighboring chunks that belong to one thread, so that the data of a loop that runs again
  // and again stays in the caches of the same cores; who is done takes from the others' shares. A
  // ticket is (generation, chunks left). Counting down lets a late worker see that a job is over
  // without reading the job, which may already be the next one.
  struct alignas(64) Share {
    std::atomic<std::uint64_t> ticket{0};
  };
  static constexpr int kRemainingBits = 40;
  static constexpr std::uint64_t kRemainingMask = (std::uint64_t{1} << kRemainingBits) - 1;

  static std::uint64_t ticket(std::uint64_t generation, std::int64_t remaining) {
    return generation << kRemainingBits | static_cast<std::uint64_t>(remaining);
  }

  // The first chunk of a thread's share; the caller's is never empty.
  std::int64_t share_begin(int thread) const {
    return (thread * job_.num_chunks + size() - 1) / size();
  }

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
    const std::uint64_t generation = generation_.load(std::memory_order_relaxed) + 1;
    for (int i = 0; i < size(); ++i) {
      const std::int64_t chunks = share_begin(i + 1) - share_begin(i);
      shares_[static_cast<std::size_t>(i)].ticket.store(ticket(generation, chunks),
                                                        std::memory_order_release);
    }
    generation_.store(generation, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) generation_.notify_all();
  }

  // Takes chunks of this generation until none is left: the thread's own, then the others'.
  void work(int thread, std::uint64_t generation) {
    for (int i = 0; i < size(); ++i) take_share((thread + i) % size(), generation);
  }

  void take_share(int owner, std::uint64_t generation) {
    std::atomic<std::uint64_t>& left = shares_[static_cast<std::size_t>(owner)].ticket;
    std::uint64_t seen = left.load(std::memory_order_acquire);
    while (true) {
      const std::uint64_t remaining = seen & kRemainingMask;
      if (seen != ticket(generation, static_cast<std::int64_t>(remaining)) || remaining == 0)
        return;
      if (!left.compare_exchange_weak(seen, seen - 1, std::memory_order_acq_rel)) continue;
      run_chunk(share_begin(owner + 1) - static_cast<std::int64_t>(remaining));
      if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
      seen = left.load(std::memory_order_acquire);
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

  void worker_loop(int thread) {
    inside_parallel_for = true;
    std::uint64_t seen = 0;
    while (!stopping_.load(std::memory_order_acquire)) {
      std::uint64_t generation = generation_.load(std::memory_order_acquire);
      for (int i = 0; i < kSpins && generation == seen; ++i) {
        pause_briefly();
        generation = generation_.load(std::memory_order_acquire);
      }
      if (generation != seen) {
        seen = generation;
        work(thread, seen);
        continue;
      }
      sleepers_.fetch_add(1, std::memory_order_seq_cst);
      if (!stopping_.load(std::memory_order_acquire)) {
        generation_.wait(seen, std::memory_order_seq_cst);
      }
      sleepers_.fetch_sub(1, std::memory_order_seq_cst);
    }
  }

  void start_workers() {
    stopping_.store(false, std::memory_order_release);
    for (int i = 1; i < size(); ++i) workers_.emplace_back([this, i] { worker_loop(i); });
  }

  void stop_workers() {
    stopping_.store(true, std::memory_order_release);
    generation_.fetch_add(1, std::memory_order_seq_cst);
    generation_.notify_all();
    for (auto& worker : workers_) worker.join();
    workers_.clear();
  }

  std::atomic<int> size_;
  std::mutex caller_;
  Job job_;
  std::mutex error_lock_;
  std::exception_ptr error_;
  std::int64_t error_chunk_ = 0;
  std::vector<Share> shares_;
  alignas(64) std::atomic<std::uint64_t> generation_{0};
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
