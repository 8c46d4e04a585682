// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/executor.h"
#include "lifecycle/ca_client.h"
#include "lifecycle/enrolment.h"
#include "lifecycle/machine.h"
#include "spiffe/spiffe_id.h"
#include "trust/bundle.h"

namespace capstan::lifecycle {

// Performs what one Machine decides. Every method is called from tasks of the executor.
class Driver {
 public:
  struct Options {
    std::string name;  // in logs: "workload certificate"
    Purpose purpose = Purpose::kWorkload;
    spiffe::SpiffeId id;
    std::string instance;  // of the agent; seeds the jitter with `id` and `purpose`
    absl::Duration ttl;
    Policy policy;
  };
  struct Ports {
    Executor& executor;
    Clock& clock;
    CaClient& ca;
    Enrolment& enrolment;
    // What `enrolment` accepted passed every check: serve it. Called before the next request is
    // made.
    std::function<void(const Leaf&)> serve;
    // Something that a report tells has changed: an attempt failed or succeeded.
    std::function<void()> changed;
    // Counts attempts: "issued", "failed", "refused", "untrusted", "put-off".
    std::function<void(const std::string& result)> attempted;
  };

  // `ports` outlive the driver, and so does what they refer to.
  Driver(Options options, Ports ports);

  // Once. `held`: from before a restart, checked by the caller, served already.
  void Start(std::optional<Leaf> held, trust::Bundle bundle);
  bool started() const { return started_; }

  void OnBundle(trust::Bundle bundle);
  void OnDirective(std::optional<Directive> directive);
  void OnReachable();
  // No root of the bundle vouches for what is held: it is replaced as soon as that succeeds.
  void OnDisowned();

  const std::optional<Leaf>& held() const { return machine_.held(); }
  std::optional<absl::Time> renew_at() const { return machine_.renew_at(); }
  // Why the last attempt failed; empty after a success.
  const std::string& last_failure() const { return machine_.last_failure(); }

 private:
  void Feed(const Event& event);
  void Perform(const Request& request);
  void OnAnswer(absl::StatusOr<std::vector<std::string>> answer);
  void Fail(Failed failure);
  Instant Now() const;

  const Options options_;
  const Ports ports_;
  Machine machine_;
  Timer wake_;
  bool started_ = false;
  trust::Bundle bundle_;
  std::optional<Directive> directive_;  // kept for Start()
  std::optional<Leaf> arrived_;         // between the answer and Serve
  // Expires with the driver: answers that come later find nobody.
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace capstan::lifecycle
