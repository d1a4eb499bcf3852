// A mutex that lies in shared memory and survives the death of a process that holds it.
#pragma once

#include <pthread.h>

#include <cerrno>
#include <system_error>

namespace fastrl {

class ProcessMutex {
 public:
  // Once, by whoever made the memory.
  void initialize() {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&mutex_, &attributes);
    pthread_mutexattr_destroy(&attributes);
  }

  // False where the last holder died with it: what it guards may be half written.
  bool lock() {
    const int error = pthread_mutex_lock(&mutex_);
    if (error == 0) return true;
    if (error != EOWNERDEAD) throw std::system_error(error, std::generic_category(), "mutex");
    pthread_mutex_consistent(&mutex_);
    return false;
  }

  void unlock() { pthread_mutex_unlock(&mutex_); }

 private:
  pthread_mutex_t mutex_;
};

}  // namespace fastrl
