// A mutex that lies in shared memory and survives the death of a process that holds it.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <system_error>

namespace fastrl {

// What is written before this is there before what is written after it, for who looks at the memory
// of a process that was killed: the compiler must not exchange them, the processor does not.
inline void in_this_order() { std::atomic_signal_fence(std::memory_order_seq_cst); }

class ProcessMutex {
 public:
  // By whoever made the memory, and by the first to open it after all others are gone: a mutex in a
  // file may name a thread of an earlier boot as its holder.
  void initialize() {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&mutex_, &attributes);
    pthread_mutexattr_destroy(&attributes);
  }

  // Where the last holder died with it, what it guards may be half written: that must say so.
  void lock() {
    const int error = pthread_mutex_lock(&mutex_);
    if (error == EOWNERDEAD) {
      pthread_mutex_consistent(&mutex_);
    } else if (error != 0) {
      throw std::system_error(error, std::generic_category(), "mutex");
    }
  }

  void unlock() { pthread_mutex_unlock(&mutex_); }

 private:
  pthread_mutex_t mutex_;
};

}  // namespace fastrl
