// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace capstan::mesh {

// A steady load of GET requests, each on a TCP connection of its own, until stopped. A request that
// is not answered with 200 in 10 s has failed; nothing is tried again.
class Traffic {
 public:
  struct Options {
    std::string url;
    int clients = 4;
    double requests_per_second = 160;  // of all clients together
  };
  struct Count {
    int64_t requests = 0;
    int64_t failed = 0;
    std::string first_failure;  // what was wrong with the first that failed
  };

  explicit Traffic(const Options& options);
  ~Traffic();

  Count count() const;
  // Ends after the requests that are under way.
  void Stop();

 private:
  void RunClient();
  void Fail(const std::string& what);

  const Options options_;
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> requests_{0};
  mutable std::mutex mutex_;
  int64_t failed_ = 0;
  std::string first_failure_;
  std::vector<std::thread> clients_;
};

}  // namespace capstan::mesh
