// SPDX-License-Identifier: Apache-2.0
#include "base/http_server.h"

#include <CivetServer.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace capstan {
namespace {

class Endpoint final : public CivetHandler {
 public:
  Endpoint(std::string path, HttpServer::Handler handler)
      : path_(std::move(path)), handler_(std::move(handler)) {}

  bool handleGet(CivetServer*, mg_connection* connection) override {
    // civetweb routes by prefix.
    if (mg_get_request_info(connection)->local_uri != path_) {
      mg_send_http_error(connection, 404, "%s", "");
      return true;
    }
    HttpResponse response = handler_();
    std::string head = absl::StrCat(
        "HTTP/1.1 ", response.status, " ", mg_get_response_code_text(connection, response.status),
        "\r\nContent-Type: ", response.content_type, "\r\nContent-Length: ", response.body.size(),
        "\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n");
    mg_write(connection, head.data(), head.size());
    mg_write(connection, response.body.data(), response.body.size());
    return true;
  }
  bool handlePost(CivetServer*, mg_connection* connection) override { return Refuse(connection); }
  bool handlePut(CivetServer*, mg_connection* connection) override { return Refuse(connection); }
  bool handleDelete(CivetServer*, mg_connection* connection) override { return Refuse(connection); }

 private:
  static bool Refuse(mg_connection* connection) {
    mg_send_http_error(connection, 405, "%s", "");
    return true;
  }
  const std::string path_;
  const HttpServer::Handler handler_;
};

class CivetHttpServer final : public HttpServer {
 public:
  CivetHttpServer(std::unique_ptr<CivetServer> server,
                  std::vector<std::unique_ptr<Endpoint>> endpoints)
      : endpoints_(std::move(endpoints)), server_(std::move(server)) {}
  ~CivetHttpServer() override { server_->close(); }
  int port() const override { return server_->getListeningPorts().front(); }

 private:
  std::vector<std::unique_ptr<Endpoint>> endpoints_;
  std::unique_ptr<CivetServer> server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(
    const std::string& address, const std::map<std::string, Handler>& handlers) {
  try {
    auto server = std::make_unique<CivetServer>(std::vector<std::string>{
        "listening_ports", address, "num_threads", "4", "enable_keep_alive", "no"});
    std::vector<std::unique_ptr<Endpoint>> endpoints;
    for (const auto& [path, handler] : handlers) {
      endpoints.push_back(std::make_unique<Endpoint>(path, handler));
      server->addHandler(path, endpoints.back().get());
    }
    return std::make_unique<CivetHttpServer>(std::move(server), std::move(endpoints));
  } catch (const CivetException&) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen for HTTP on ", address, ": is the address taken?"));
  }
}

}  // namespace capstan
