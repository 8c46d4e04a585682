// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace capstan {

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

// A small HTTP/1.1 server for what operators and Prometheus read: GET only, exact paths.
class HttpServer {
 public:
  // Called from the server's own threads.
  using Handler = std::function<HttpResponse()>;

  // `address` is "IP:port"; port 0 takes a free one. 404 for other paths, 405 for other methods.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(
      const std::string& address, const std::map<std::string, Handler>& handlers);
  virtual ~HttpServer() = default;
  virtual int port() const = 0;
};

}  // namespace capstan
