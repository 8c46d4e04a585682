// SPDX-License-Identifier: Apache-2.0
#include "rpc/server_credentials.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "base/log.h"

namespace capstan::rpc {
namespace {

// What a TLS context was made of.
struct Loaded {
  int64_t serving_generation = 0;
  trust::BundleVersion bundle;
  friend bool operator==(const Loaded&, const Loaded&) = default;
};

class Reloading final : public grpc::ServerCredentials {
 public:
  explicit Reloading(const ControlPlane& plane) : plane_(plane) {
    credentials_ = grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(
            GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_BUT_DONT_VERIFY, &Reloading::Fetch, this));
  }
  ~Reloading() override { grpc_server_credentials_release(credentials_); }

  // Callers are authenticated by the services, which know the method.
  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  static grpc_ssl_certificate_config_reload_status Fetch(
      void* self, grpc_ssl_server_certificate_config** config) {
    return static_cast<Reloading*>(self)->FetchNew(config);
  }

  // gRPC calls this under a lock of its own per port; ours is for several ports.
  grpc_ssl_certificate_config_reload_status FetchNew(grpc_ssl_server_certificate_config** config) {
    const std::shared_ptr<const ServingCertificate> serving = plane_.serving();
    const std::shared_ptr<const trust::TrustState> trust = plane_.trust();
    if (serving == nullptr || trust == nullptr) {
      return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_FAIL;
    }
    std::lock_guard lock(mutex_);
    const Loaded wanted{serving->generation, trust->version};
    if (loaded_ == wanted) {
      return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    }
    std::string key(serving->key_pem.Reveal());  // NUL-terminated for the C interface
    grpc_ssl_pem_key_cert_pair pair{key.c_str(), serving->chain_pem.c_str()};
    *config = grpc_ssl_server_certificate_config_create(trust->bundle.ToPem().c_str(), &pair, 1);
    WipeBytes(key);
    if (*config == nullptr) {
      return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_FAIL;
    }
    loaded_ = wanted;
    log::Info("serving certificate loaded",
              {{"generation", wanted.serving_generation}, {"bundle", wanted.bundle.ToString()}});
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  const ControlPlane& plane_;
  grpc_server_credentials* credentials_ = nullptr;
  std::mutex mutex_;
  std::optional<Loaded> loaded_;
};

}  // namespace

std::shared_ptr<grpc::ServerCredentials> ReloadingServerCredentials(const ControlPlane& plane) {
  return std::make_shared<Reloading>(plane);
}

}  // namespace capstan::rpc
