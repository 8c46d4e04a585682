// SPDX-License-Identifier: Apache-2.0
#include "mesh/traffic.h"

#include <curl/curl.h>

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "mesh/process.h"

namespace capstan::mesh {
namespace {

size_t Discard(char*, size_t size, size_t count, void*) {
  return size * count;
}

std::string Now() {
  return absl::FormatTime("%H:%M:%E3SZ", RealClock().Now(), absl::UTCTimeZone());
}

}  // namespace

Traffic::Traffic(const Options& options) : options_(options) {
  for (int i = 0; i < options_.clients; ++i) clients_.emplace_back([this] { RunClient(); });
}

Traffic::~Traffic() {
  Stop();
}

void Traffic::RunClient() {
  std::unique_ptr<CURL, void (*)(CURL*)> curl(curl_easy_init(), curl_easy_cleanup);
  curl_easy_setopt(curl.get(), CURLOPT_URL, options_.url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_FORBID_REUSE, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT_MS, 10000L);
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_PROXY, "");
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, &Discard);
  const absl::Duration interval = absl::Seconds(options_.clients / options_.requests_per_second);
  absl::Duration next = RealClock().Monotonic();
  while (!stop_) {
    CURLcode code = curl_easy_perform(curl.get());
    long status = 0;
    curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
    ++requests_;
    if (code != CURLE_OK) {
      Fail(curl_easy_strerror(code));
    } else if (status != 200) {
      Fail(absl::StrCat("HTTP ", status));
    }
    // A slow answer is not made up for by a burst.
    next = std::max(next + interval, RealClock().Monotonic() - interval);
    if (absl::Duration wait = next - RealClock().Monotonic(); wait > absl::ZeroDuration())
      Pause(wait);
  }
}

void Traffic::Fail(const std::string& what) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (failed_++ == 0) first_failure_ = absl::StrCat(Now(), " ", what);
}

Traffic::Count Traffic::count() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return {.requests = requests_, .failed = failed_, .first_failure = first_failure_};
}

void Traffic::Stop() {
  stop_ = true;
  for (std::thread& client : clients_) {
    if (client.joinable()) client.join();
  }
}

}  // namespace capstan::mesh
