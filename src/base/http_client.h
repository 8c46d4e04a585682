// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/secret.h"

namespace capstan {

// Whom a server must be, and who we are.
struct HttpTls {
  std::string ca_pem;           // what its certificate must chain to; "": the system's roots
  std::string server_name;      // what its certificate must name; "": the URL's host
  std::string certificate_pem;  // ours, leaf first; "": none
  Secret key_pem;
};

struct HttpRequest {
  std::string method = "GET";
  std::string url;                   // http or https
  std::string unix_socket;           // connects to this path instead of the URL's host
  std::vector<std::string> headers;  // "Name: value"
  std::optional<Secret> bearer;      // "Authorization: Bearer …"
  std::string body;
  HttpTls tls;
  absl::Duration connect_timeout = absl::Seconds(5);
  absl::Duration timeout = absl::Seconds(10);  // of the whole, connecting included
  size_t max_bytes = 64 << 20;                 // a longer answer is ResourceExhausted
};

struct HttpReply {
  int status = 0;
  std::string body;
  std::optional<absl::Duration> retry_after = {};  // as the header says, in seconds
  std::optional<absl::Time> date = {};             // the server's clock, to the second
};

// Calls HTTP servers. Ignores proxies of the environment, follows no redirect, speaks TLS 1.2 and
// newer. Any status is a reply; the errors are: Unavailable where nobody answers, or no longer;
// DeadlineExceeded; ResourceExhausted; Unauthenticated where the server's certificate or ours is
// refused; Internal. Messages name the URL without its query.
class HttpClient {
 public:
  HttpClient();
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Blocks; any thread. Connections stay open for the calls that follow.
  absl::StatusOr<HttpReply> Call(const HttpRequest& request);

 private:
  struct Handle;
  std::unique_ptr<Handle> Take();
  void Give(std::unique_ptr<Handle> handle);

  Mutex mutex_;
  std::vector<std::unique_ptr<Handle>> idle_ ABSL_GUARDED_BY(mutex_);
};

// One long answer, read as it comes: a watch.
class HttpStream {
 public:
  // `clock` measures silence.
  explicit HttpStream(Clock& clock);
  ~HttpStream();
  HttpStream(const HttpStream&) = delete;
  HttpStream& operator=(const HttpStream&) = delete;

  // Blocks until the answer ends; one at a time. The body of a 200 goes to `take` piece by piece
  // (false: enough of it), that of another status into the reply. `request.timeout` holds until
  // the answer begins. DeadlineExceeded: nothing came for `silence`. Cancelled: Stop().
  absl::StatusOr<HttpReply> Run(const HttpRequest& request, absl::Duration silence,
                                const std::function<bool(std::string_view)>& take);
  // Any thread: ends what runs, and whatever would run after it.
  void Stop();

 private:
  struct Handle;
  Clock& clock_;
  std::unique_ptr<Handle> handle_;
  std::atomic<bool> stopped_ = false;
};

// `text` for use inside a query or a path: all but RFC 3986's unreserved characters as %XX.
std::string UrlEscape(std::string_view text);

}  // namespace capstan
