// SPDX-License-Identifier: Apache-2.0
#include "agent/run.h"

#include <atomic>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "agent/agent.h"
#include "agent/endpoints.h"
#include "agent/file_delivery.h"
#include "agent/sds_delivery.h"
#include "agent/starting_point.h"
#include "agent/state_directory.h"
#include "authn/join_file.h"
#include "base/event_loop.h"
#include "base/files.h"
#include "base/http_server.h"
#include "base/log.h"
#include "base/status.h"
#include "rpc/library_log.h"

namespace capstan::agent {
namespace {

absl::StatusOr<std::optional<authn::JoinFile>> ReadJoinFile(const std::string& path) {
  if (path.empty()) return std::nullopt;
  auto text = ReadFile(path);
  if (absl::IsNotFound(text.status())) return std::nullopt;  // used and cleared away
  if (!text.ok()) return text.status();
  auto join = authn::ParseJoinFile(*text);
  WipeBytes(*text);
  if (!join.ok()) return Annotate(join.status(), path);
  return std::optional<authn::JoinFile>(*std::move(join));
}

absl::StatusOr<StartingPoint> ReadStartingPoint(const Options& options, const StateDirectory& state,
                                                Clock& clock) {
  Found found{.state_dir = options.state_dir, .join_path = options.join_file};
  CAPSTAN_ASSIGN_OR_RETURN(found.membership, state.LoadMembership());
  CAPSTAN_ASSIGN_OR_RETURN(found.trust, state.LoadTrust());
  found.credential = state.LoadCredential();
  found.join = ReadJoinFile(options.join_file);
  return FindStartingPoint(found, clock.Now());
}

// The SDS server tells from its own thread; one task at a time is enough to hear of everything.
class ConsumerSignal {
 public:
  ConsumerSignal(Executor& executor, std::function<void()> changed)
      : executor_(executor), changed_(std::move(changed)) {}
  void Raise() {
    if (raised_.exchange(true)) return;
    executor_.Post([this] {
      raised_ = false;
      changed_();
    });
  }

 private:
  Executor& executor_;
  const std::function<void()> changed_;
  std::atomic<bool> raised_ = false;
};

}  // namespace

absl::Status Run(const Options& options, const std::function<void()>& wait_for_stop) {
  rpc::RouteLibraryLogs();
  Clock& clock = RealClock();
  Random& random = SystemRandom();
  CAPSTAN_ASSIGN_OR_RETURN(const std::unique_ptr<StateDirectory> state,
                           StateDirectory::Open(options.state_dir));
  CAPSTAN_ASSIGN_OR_RETURN(const std::string instance, state->Instance(random));
  CAPSTAN_ASSIGN_OR_RETURN(StartingPoint start, ReadStartingPoint(options, *state, clock));

  Metrics metrics;
  CAPSTAN_ASSIGN_OR_RETURN(auto sds_server, rpc::SdsServer::Start({.socket_path = options.socket,
                                                                   .id = start.membership.spiffe_id,
                                                                   .peer_uids = options.socket_uids,
                                                                   .metrics = &metrics},
                                                                  clock, random));
  SdsDelivery sds(std::move(sds_server));
  std::vector<Delivery*> deliveries = {&sds};
  std::unique_ptr<FileDelivery> files;
  if (!options.output_dir.empty()) {
    CAPSTAN_ASSIGN_OR_RETURN(files, FileDelivery::Open(options.output_dir, clock));
    deliveries.push_back(files.get());
  }

  EventLoop loop(clock);
  EventLoop probing(clock);  // handshakes block; ends before what it posts to
  auto agent = std::make_unique<Agent>(
      Agent::Options{.instance = instance,
                     .ttl = options.ttl,
                     .credential_ttl = options.credential_ttl,
                     .key_type = options.key_type,
                     .probes = options.probes,
                     .read_failed_verifications = options.envoy_admin.empty()
                                                      ? nullptr
                                                      : ReadFromAdmin(options.envoy_admin)},
      std::move(start), Agent::Environment{loop, clock, metrics, *state, deliveries, &probing});
  ConsumerSignal consumers(loop, [&agent] {
    if (agent) agent->OnConsumersChanged();
  });
  sds.server().OnConsumersChanged([&consumers] { consumers.Raise(); });

  absl::Status started;
  std::unique_ptr<HttpServer> http;
  loop.RunAndWait([&] { started = agent->Start(); });
  if (started.ok() && !options.http.empty()) {
    auto listening = HttpServer::Start(options.http, Endpoints(*agent, metrics, clock));
    started = listening.status();
    if (listening.ok()) http = *std::move(listening);
  }
  if (started.ok()) {
    log::Info("serving SDS", {{"socket", options.socket}});
    wait_for_stop();
    log::Info("stopping", {{"why", "asked to; consumers keep the secrets they have"}});
  }

  // Whoever calls into the agent goes first.
  http.reset();
  sds.server().Stop();
  loop.RunAndWait([&] { agent.reset(); });
  probing.Stop();
  loop.Stop();
  return started;
}

}  // namespace capstan::agent
