// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "authn/certificate.h"
#include "authn/node_proxies.h"
#include "authn/service_accounts.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/random.h"
#include "cluster/bootstrap_places.h"
#include "fleet/fleet.h"
#include "keystore/sealed_keys.h"
#include "rotation/observer.h"
#include "rotation/preflight.h"
#include "rotation/probing.h"
#include "rpc/control_plane.h"
#include "server/ca_source.h"
#include "server/canary_view.h"
#include "server/expiries.h"
#include "server/history_reader.h"
#include "server/pacing.h"
#include "server/population_writer.h"
#include "server/rotation_timer.h"
#include "server/server_metrics.h"
#include "server/subscribers.h"
#include "server/trust_keeper.h"
#include "store/store.h"

namespace capstan::server {

struct ControlPlaneOptions {
  spiffe::TrustDomain trust_domain;
  TrustKeeperOptions keeper;
  std::string listen_address;        // for the status
  std::string advertise_address;     // what agents are told: "HOST:PORT"
  std::shared_ptr<CaSource> source;  // that is followed; null: the CA is built in
  fleet::Limits fleet_limits;
  // Of CAs that are generated for a rotation.
  x509::KeyType generated_key_type = x509::KeyType::kEcdsaP256;
  absl::Duration generated_ttl = absl::Hours(87600);
  double issue_per_second = 0;  // certificates; 0: as many as the signer stands
  // How long after its end a certificate may still ask for its successor; zero: not at all.
  absl::Duration rejoin_grace = absl::ZeroDuration();
  // What is rotated by itself; also how long generated intermediates live.
  rotation::TimerPolicy timer = {};
  // How often it looks at what time itself changes.
  absl::Duration housekeep_every = absl::Seconds(1);
  // Whether the bundle reaches stock agents with the answers to their requests, so that only a new
  // issuer makes them ask; else each change is told them, at the price of a new certificate.
  bool slow_stock_agents = false;
  // Callers with tokens of service accounts; null: there are none. Stopped before the server is,
  // and before the control plane is destroyed.
  std::shared_ptr<authn::ServiceAccounts> service_accounts = nullptr;
  // Which of them ask in the name of pods; null: none do. Stopped as they are.
  std::shared_ptr<authn::NodeProxies> node_proxies = nullptr;
  // Whether this process may still sign: asked for each certificate. Null: it always may.
  std::function<absl::Status()> may_sign = nullptr;
  // Whatever looks through the whole population.
  absl::Duration survey_every() const { return 60 * housekeep_every; }
};

// A leaf that may be signed now: planned, admitted, its expiry reserved, and marked as one whose
// record may not be written yet. Held until the leaf was Remember()ed.
struct Grant {
  std::shared_ptr<const Signing> signing;
  issuance::Plan plan;
  PopulationWriter::Promised promised = {};
};

// What the gRPC services need (rpc/control_plane.h), on top of the trust keeper, the fleet and the
// store.
class ControlPlane : public rpc::ControlPlane, public rotation::Observer {
 public:
  // All that is passed by reference outlives it. `background` runs its timers and has stopped
  // before it is destroyed. `reload` is what the operator's Reload does.
  ControlPlane(ControlPlaneOptions options, store::Store& store, keystore::SealedKeys keys,
               Clock& clock, Random& random, Executor& background, Metrics& metrics);
  ~ControlPlane() override;

  // Reads the state, resumes what a crash interrupted, and starts the timers. has_ca() says whether
  // there is an authority already.
  absl::Status Start();
  bool has_ca() const { return keeper_.signing() != nullptr; }

  // A CA from a source, verified or not: remembered for the status either way.
  absl::StatusOr<Outcome> Offer(const trust::CaSet& set, const Offered& offered);
  void SourceFailed(const absl::Status& why);
  // A source that is halfway through being replaced: said once, and not as an error of the program.
  void SourceIncomplete(const absl::Status& why);
  void SourceFine();
  // Of the istiod at `address`: why its Secret does not show what is in force; ok: it does. Not
  // with a lock held that Lacking() takes.
  void NoteIstiod(const std::string& address, const absl::Status& why);
  trust::ParseOptions parse_options() const;
  // What Reload() calls; set before the first call can come.
  void set_reload(std::function<absl::StatusOr<Outcome>()> reload) { reload_ = std::move(reload); }
  // How far another clock is ahead of ours, where no agent tells of its own; set before Start().
  void set_clock_witness(std::function<std::optional<absl::Duration>()> witness) {
    clock_witness_ = std::move(witness);
  }
  // More that a gate asks for; it outlives every call. Added before Start().
  void AddPlaces(cluster::BootstrapPlaces& places) { places_.push_back(&places); }
  // What agents are told, once the port is known.
  void set_addresses(std::string listen, std::string advertise);

  TrustKeeper& keeper() { return keeper_; }

  // Why no certificate is issued at all; "" where there is no such reason.
  std::string issuance_error() const;

  // Writes down what is still in memory. After it, with nothing under way, the state is clean.
  absl::Status Flush() { return population_.Flush(); }

  std::shared_ptr<const trust::TrustState> trust() const override { return keeper_.trust(); }
  std::shared_ptr<const rpc::ServingCertificate> serving() const override { return serving_.Get(); }
  absl::StatusOr<authn::Caller> Authenticate(const authn::Credentials& shown) override;
  absl::StatusOr<authn::Caller> AuthenticateForCredential(const authn::Credentials& shown) override;
  void AuthenticateForCertificate(const authn::Credentials& shown, bool for_agent,
                                  const Judged& judged) override;
  void Impersonate(const authn::Caller& caller, const std::string& identity,
                   const Judged& judged) override;
  absl::StatusOr<std::vector<std::string>> TrustHistory(const trust::BundleVersion& held) override;
  absl::StatusOr<rpc::IssueResponse> Issue(const authn::Caller& caller,
                                           const rpc::IssueRequest& request) override;
  // What Issue() does before and after the signature. Every leaf that a Grant led to is
  // Remember()ed before it is given out.
  absl::StatusOr<Grant> GrantFor(const authn::Caller& caller, const rpc::IssueRequest& request,
                                 absl::Time now);
  absl::Status Remember(const authn::Caller& caller, const rpc::IssueRequest& request,
                        const fleet::Leaf& leaf, absl::Time now);
  // What IssueProbe() does for a caller whom it believes; `whom` is for the log.
  absl::StatusOr<std::vector<std::string>> SignProbe(const std::string& whom,
                                                     const std::string& csr_pem,
                                                     const std::string& authority_id);
  absl::StatusOr<std::vector<std::string>> IssueProbe(const authn::Caller& caller,
                                                      const std::string& csr_pem,
                                                      const std::string& authority_id) override;
  absl::StatusOr<int64_t> Connected(const authn::Caller& caller,
                                    const fleet::v1::Hello& hello) override;
  absl::Status Reported(const authn::Caller& caller, const std::string& instance,
                        int64_t generation, const fleet::v1::Report& report) override;
  void Disconnected(const authn::Caller& caller, const std::string& instance,
                    int64_t generation) override;
  absl::StatusOr<int64_t> StockConnected(const authn::Caller& caller,
                                         const std::string& instance) override;
  absl::Status StockReported(const authn::Caller& caller, const std::string& instance,
                             int64_t generation, const rpc::StockReport& report) override;
  // What was read of a stock agent's Envoy; nullopt: it is gone.
  void Saw(const fleet::Key& key, std::optional<fleet::Sighting> sighting);
  std::shared_ptr<const pcds::Resource> stock_roots() const override { return stock_.Get(); }
  double issue_budget() const override;
  std::shared_ptr<const fleet::v1::TrustUpdate> update() const override;
  std::shared_ptr<const fleet::v1::TrustUpdate> UpdateFor(
      const spiffe::SpiffeId& id) const override;
  std::shared_ptr<void> Subscribe(std::function<void()> changed) override;
  rotation::Observation Observe(const rotation::Gate& gate, absl::Time now) override;
  std::map<std::string, rotation::Baseline> Baselines(absl::Time now) override;
  control::v1::Status GetStatus() override;
  control::v1::ListFleetResponse ListFleet() override;
  absl::StatusOr<control::v1::ReloadResponse> Reload() override;
  absl::StatusOr<control::v1::CreateTokenResponse> CreateToken(
      const control::v1::CreateTokenRequest& request) override;
  absl::StatusOr<control::v1::Rotation> GetRotation() override;
  absl::StatusOr<control::v1::RotationPlan> PlanRotation(
      const control::v1::StartRotationRequest& request) override;
  absl::StatusOr<control::v1::Rotation> StartRotation(
      const control::v1::StartRotationRequest& request) override;
  absl::StatusOr<control::v1::Rotation> SteerRotation(
      const control::v1::SteerRotationRequest& request) override;
  absl::StatusOr<control::v1::ListRotationsResponse> ListRotations() override;

 private:
  std::string SourceName() const { return options_.source ? options_.source->name() : "built-in"; }
  // What agents are told, made at one moment.
  struct Updates {
    std::shared_ptr<const fleet::v1::TrustUpdate> everybody;
    std::optional<trust::Canary> canary;
    std::shared_ptr<const fleet::v1::TrustUpdate> for_canary;  // null without one
  };
  struct Signed {
    issuance::Issued issued;
    std::vector<std::string> chain;
    int64_t sequence = 0;  // of the bundle in it
    PopulationWriter::Promised promised;
  };
  absl::Status Admit(const authn::Caller& caller, const rpc::IssueRequest& request, absl::Time now);
  absl::Status CheckMaySign() const;
  absl::StatusOr<authn::Caller> Judge(const authn::Credentials& shown);
  absl::StatusOr<authn::Caller> Believed(absl::StatusOr<authn::Caller> caller,
                                         const authn::Credentials& shown);
  authn::RejoinTerms Terms() const;
  absl::Status CheckRejoin(const authn::Caller& caller, const rpc::IssueRequest& request) const;
  absl::StatusOr<Signed> SignFor(const authn::Caller& caller, const rpc::IssueRequest& request,
                                 const x509::Csr& csr, absl::Time now);
  absl::StatusOr<rpc::IssueResponse> IssueForToken(const authn::Caller& caller,
                                                   const rpc::IssueRequest& request,
                                                   const x509::Csr& csr, absl::Time now);
  store::PopulationRecord RecordFor(const authn::Caller& caller, const rpc::IssueRequest& request,
                                    const fleet::Leaf& leaf, absl::Time now) const;
  absl::Status RememberIssued(const store::PopulationRecord& record);
  absl::StatusOr<rotation::PreflightInput> PreflightOf(const trust::CaSet& set);
  absl::StatusOr<std::optional<trust::Canary>> CanaryFor(
      const control::v1::StartRotationRequest& request, const trust::CaSet& set) const;
  CanaryView ViewOf(const trust::Canary& canary, absl::Time now) const;
  absl::StatusOr<trust::CaSet> Wanted(const control::v1::StartRotationRequest& request);
  absl::Status TakeReport(const fleet::Key& key, int64_t generation, fleet::Report report);
  void RestorePopulation(const std::vector<store::PopulationRecord>& records);
  bool NoteSource(const absl::Status& why);
  void Changed();
  // Something was seen that may open a gate: soon, and for many at once.
  void AdvanceSoon() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PublishUpdate() ABSL_EXCLUSIVE_LOCKS_REQUIRED(publishing_);
  void PublishStockRoots(const trust::TrustState& trust) ABSL_EXCLUSIVE_LOCKS_REQUIRED(publishing_);
  void RefreshProbing();
  absl::StatusOr<control::v1::Rotation> BeginRotation(
      const control::v1::StartRotationRequest& request, Offered offered);
  std::optional<rotation::TimerFacts> TimerFactsAt(absl::Time now);
  void RunRotationTimer();
  void WatchIssuance(const rotation::Situation& situation, absl::Time now);
  void SurveyTheFleet();
  void Housekeep();
  absl::Status ForgetTheExpired();
  void UpdateMetrics();

  ControlPlaneOptions options_;
  store::Store& store_;
  Clock& clock_;
  Random& random_;
  Executor& background_;
  ServerMetrics metrics_;
  Pacing pacing_;
  RotationTimer timer_;
  absl::Mutex beginning_;  // one rotation at a time is begun
  Subscribers subscribers_;
  PopulationWriter population_;
  std::function<absl::StatusOr<Outcome>()> reload_;
  std::function<std::optional<absl::Duration>()> clock_witness_;
  std::vector<cluster::BootstrapPlaces*> places_;

  HistoryReader history_;
  Published<rpc::ServingCertificate> serving_;
  Published<Updates> updates_;
  Published<pcds::Resource> stock_;  // what stock agents are told
  // Taken where updates_ is made, so that the latest trust and the latest probing meet in it.
  mutable absl::Mutex publishing_;
  rotation::Probing probing_ ABSL_GUARDED_BY(publishing_);

  mutable absl::Mutex mutex_;
  fleet::Fleet fleet_ ABSL_GUARDED_BY(mutex_);
  std::string listen_address_ ABSL_GUARDED_BY(mutex_);
  std::string advertise_address_ ABSL_GUARDED_BY(mutex_);
  std::string source_error_ ABSL_GUARDED_BY(mutex_);
  absl::Time source_error_since_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  control::v1::Istiod istiod_ ABSL_GUARDED_BY(mutex_);  // without an address: there is none
  std::string maintenance_error_ ABSL_GUARDED_BY(mutex_);
  std::string issuance_error_ ABSL_GUARDED_BY(mutex_);

  std::atomic<bool> advancing_ = false;
  Timer housekeeping_;  // background_ only, as are the next
  absl::Duration forget_at_ = absl::ZeroDuration();
  absl::Duration survey_at_ = absl::ZeroDuration();
  Survey survey_;
  TrustKeeper keeper_;  // last: it calls Changed()
};

}  // namespace capstan::server
