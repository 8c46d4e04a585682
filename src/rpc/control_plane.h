// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "authn/caller.h"
#include "base/secret.h"
#include "capstan/control/v1/control.pb.h"
#include "capstan/fleet/v1/fleet.pb.h"
#include "pcds/resource.h"
#include "spiffe/spiffe_id.h"
#include "trust/state.h"
#include "x509/csr.h"

namespace capstan::rpc {

// What the control plane shows to TLS clients. `generation` changes when the rest does.
struct ServingCertificate {
  std::string chain_pem;  // leaf first, without the root
  Secret key_pem;
  int64_t generation = 0;
};

struct IssueRequest {
  std::string csr;         // PEM, as received
  absl::Duration ttl;      // <= 0: the default
  std::string instance;    // of the caller; empty: a client that does not say (stock agents)
  bool for_agent = false;  // the agent's own credential, not what its workload shows
  // Serial of the leaf that the caller holds and wants replaced; "": it says that it holds none;
  // nullopt: it does not say (stock agents).
  std::optional<std::string> replaces;
  // In whose name a node proxy asks, as received: Issue() gets the caller that Impersonate() gave.
  // "": in its own.
  std::string impersonated;
};

struct IssueResponse {
  std::vector<std::string>
      chain;  // PEM: leaf, each intermediate, last the whole bundle as one element
};

// What a stock agent's ADS stream tells: no more than which roots it took.
struct StockReport {
  std::string node_id;
  trust::BundleVersion bundle;  // the last that it accepted; empty: none yet
  std::string refusal;          // why it did not take what was sent last; "": it did
};

// What the gRPC services need of the program behind them. server/ implements it. Every method is
// called from many threads at once and returns without waiting for a peer.
class ControlPlane {
 public:
  virtual ~ControlPlane() = default;

  virtual std::shared_ptr<const trust::TrustState> trust() const = 0;
  virtual std::shared_ptr<const ServingCertificate> serving() const = 0;

  // Verifies what was shown against the bundle of this moment. A certificate beats a token; one
  // that is shown and does not verify is refused even beside a good token. Unauthenticated says
  // why.
  virtual absl::StatusOr<authn::Caller> Authenticate(const authn::Credentials& shown) = 0;

  // The same for who asks for its own credential (IssueRequest.for_agent) and nothing else:
  // besides, a certificate that lapsed within the grace for rejoining, as
  // Proof::kLapsedCertificate.
  virtual absl::StatusOr<authn::Caller> AuthenticateForCredential(
      const authn::Credentials& shown) = 0;

  // For who asks for a certificate: as AuthenticateForCredential() where it is `for_agent`, as
  // Authenticate() else; and besides whoever shows a token of a Kubernetes service account, of
  // which an API server knows whose it is. A certificate that verifies beats the token; beside one
  // that does not, the token decides. `judged` is called once: within this call, or later from a
  // thread of the control plane's. Unavailable: the API server cannot be asked now, and why.
  using Judged = std::function<void(absl::StatusOr<authn::Caller>)>;
  virtual void AuthenticateForCertificate(const authn::Credentials& shown, bool for_agent,
                                          const Judged& judged) {
    judged(for_agent ? AuthenticateForCredential(shown) : Authenticate(shown));
  }

  // `caller` as the identity in whose name it asks for a certificate. `judged` as above.
  // Unauthenticated: it may not; Unavailable: who may is not known now, and why.
  virtual void Impersonate(const authn::Caller& caller, const std::string& identity,
                           const Judged& judged) = 0;

  // The documents of the trust history that lead on from `held`, oldest first, as many as fit in a
  // message. For anybody. InvalidArgument: no version; FailedPrecondition: one that this control
  // plane never gave out.
  virtual absl::StatusOr<std::vector<std::string>> TrustHistory(
      const trust::BundleVersion& held) = 0;

  // One certificate. InvalidArgument: the CSR or the TTL; Unauthenticated: the token was used;
  // PermissionDenied: a lapsed certificate asks for anything but its own successor;
  // FailedPrecondition: no issuer can sign now; Internal: the output did not pass its own check;
  // ResourceExhausted with a time (base/retry_after.h): others come first, come back then.
  virtual absl::StatusOr<IssueResponse> Issue(const authn::Caller& caller,
                                              const IssueRequest& request) = 0;

  // A certificate to probe consumers with, for the CSR's key, as PEM: leaf first, without the root.
  // PermissionDenied: the caller shows no certificate; InvalidArgument: the CSR or the id;
  // FailedPrecondition: the authority is not among those that the update's Probing says are
  // accepted, or cannot sign; Internal: the output did not pass its own check.
  virtual absl::StatusOr<std::vector<std::string>> IssueProbe(const authn::Caller& caller,
                                                              const std::string& csr_pem,
                                                              const std::string& authority_id) = 0;

  // The trust stream of one agent instance. `generation` of Connected() names this stream; a later
  // stream of the same instance supersedes it.
  virtual absl::StatusOr<int64_t> Connected(const authn::Caller& caller,
                                            const fleet::v1::Hello& hello) = 0;
  // PermissionDenied: about another identity than the caller's. ResourceExhausted: too large.
  virtual absl::Status Reported(const authn::Caller& caller, const std::string& instance,
                                int64_t generation, const fleet::v1::Report& report) = 0;
  virtual void Disconnected(const authn::Caller& caller, const std::string& instance,
                            int64_t generation) = 0;

  // The same for the ADS stream of a stock agent, which is no trust stream: it says what
  // StockReport holds, and what it serves is known from the record. Disconnected() ends both kinds.
  virtual absl::StatusOr<int64_t> StockConnected(const authn::Caller& caller,
                                                 const std::string& instance) = 0;
  virtual absl::Status StockReported(const authn::Caller& caller, const std::string& instance,
                                     int64_t generation, const StockReport& report) = 0;
  // What stock agents are told of roots at this moment; null: there is no CA yet. The same object
  // until they are to be told something else.
  virtual std::shared_ptr<const pcds::Resource> stock_roots() const = 0;
  // Certificates that may be asked for in a second: by this, what makes agents ask is spread.
  virtual double issue_budget() const = 0;

  // The update a stream sends for this snapshot, serialized once for all streams.
  virtual std::shared_ptr<const fleet::v1::TrustUpdate> update() const = 0;
  // The one that streams of this identity send: update(), or one that all of a canary share. Both
  // are replaced together.
  virtual std::shared_ptr<const fleet::v1::TrustUpdate> UpdateFor(
      const spiffe::SpiffeId& id) const {
    static_cast<void>(id);
    return update();
  }

  // `changed` is called after every change of trust() or update(), from the changing thread, and
  // only schedules. It is not called any more once the returned handle is destroyed.
  virtual std::shared_ptr<void> Subscribe(std::function<void()> changed) = 0;

  // The operator's calls.
  virtual control::v1::Status GetStatus() = 0;
  virtual control::v1::ListFleetResponse ListFleet() = 0;
  virtual absl::StatusOr<control::v1::ReloadResponse> Reload() = 0;
  virtual absl::StatusOr<control::v1::CreateTokenResponse> CreateToken(
      const control::v1::CreateTokenRequest& request) = 0;
  // Number 0: there was no rotation yet.
  virtual absl::StatusOr<control::v1::Rotation> GetRotation() = 0;
  // Changes nothing. What stands against a rotation is a finding of the plan, not an error.
  virtual absl::StatusOr<control::v1::RotationPlan> PlanRotation(
      const control::v1::StartRotationRequest& request) = 0;
  // InvalidArgument: the CA or the policy; FailedPrecondition: not now, and why.
  virtual absl::StatusOr<control::v1::Rotation> StartRotation(
      const control::v1::StartRotationRequest& request) = 0;
  virtual absl::StatusOr<control::v1::Rotation> SteerRotation(
      const control::v1::SteerRotationRequest& request) = 0;
  virtual absl::StatusOr<control::v1::ListRotationsResponse> ListRotations() = 0;
};

}  // namespace capstan::rpc
