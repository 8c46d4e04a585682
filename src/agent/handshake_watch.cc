// SPDX-License-Identifier: Apache-2.0
#include "agent/handshake_watch.h"

#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "envoy/admin.h"

namespace capstan::agent {

HandshakeWatch::HandshakeWatch(Ports ports) : ports_(std::move(ports)), again_(ports_.executor) {}

void HandshakeWatch::Start() {
  Read();
}

void HandshakeWatch::Read() {
  ports_.blocking.Post(
      [this, alive = std::weak_ptr<char>(alive_), read = ports_.read, &executor = ports_.executor] {
        absl::StatusOr<int64_t> answer = read();
        executor.Post([this, alive, answer = std::move(answer)] {
          if (!alive.expired()) OnRead(answer);
        });
      });
}

void HandshakeWatch::OnRead(const absl::StatusOr<int64_t>& answer) {
  again_.Set(kEvery, [this] { Read(); });
  // An Envoy that does not answer tells nothing; an old number would say that all is well.
  const std::optional<int64_t> failed = answer.ok() ? std::optional(*answer) : std::nullopt;
  if (!answer.ok() && !std::exchange(said_, true)) {
    log::Warn("the Envoy does not tell its failed handshakes",
              {{"why", answer.status().message()}});
  }
  if (answer.ok() && std::exchange(said_, false)) {
    log::Info("the Envoy tells its failed handshakes again");
  }
  if (std::exchange(failed_, failed) != failed) ports_.changed();
}

std::function<absl::StatusOr<int64_t>()> ReadFromAdmin(const std::string& address) {
  const envoy::AdminClient admin(
      address, {.connect_timeout = absl::Seconds(1), .timeout = absl::Seconds(3)});
  return [admin]() -> absl::StatusOr<int64_t> {
    CAPSTAN_ASSIGN_OR_RETURN(const envoy::Counters counters, admin.Stats("ssl\\.fail_verify_"));
    return static_cast<int64_t>(envoy::CountTls(counters).verify_failures);
  };
}

}  // namespace capstan::agent
