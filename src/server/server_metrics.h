// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/metrics.h"
#include "rotation/step.h"
#include "server/trust_keeper.h"

namespace capstan::server {

// capstand's metrics. Those that istiod has too keep its names (citadel_server_…), so that existing
// dashboards and alerts go on.
class ServerMetrics {
 public:
  explicit ServerMetrics(Metrics& metrics);

  void Requested() { csr_count_.Increment(); }
  void AuthenticationFailed() { authentication_failures_.Increment(); }
  void Issued() { issued_.Increment(); }
  void Rejoined() { rejoins_.Increment(); }
  void Refused(const absl::Status& why);
  void Reloaded(bool ok);
  void SourceState(bool ok) { source_ok_.Set(ok ? 1 : 0); }
  void StoreState(bool ok) { store_ok_.Set(ok ? 1 : 0); }
  void Trust(const rotation::Situation& situation, absl::Time serving_not_after, absl::Time now);
  // ExpiryGauges().
  void Expiries(const std::map<GaugeSet::Labels, double>& expiries) { expiries_.Set(expiries); }
  // Whether the issuer can sign nothing that would verify.
  void IssuanceStopped(bool stopped) { issuance_stopped_.Set(stopped ? 1 : 0); }
  // The rotation that runs, or ran last.
  void Rotation(const std::optional<RotationView>& view);
  void Refusing(int64_t consumers) { refusing_.Set(static_cast<double>(consumers)); }
  void Fleet(int64_t connected, int64_t population, size_t waiting);

 private:
  Metrics& metrics_;
  prometheus::Counter& csr_count_;
  prometheus::Counter& authentication_failures_;
  prometheus::Counter& parsing_errors_;
  prometheus::Counter& issued_;
  prometheus::Counter& rejoins_;
  prometheus::Gauge& root_expiry_timestamp_;
  prometheus::Gauge& root_expiry_seconds_;
  prometheus::Gauge& chain_expiry_timestamp_;
  prometheus::Gauge& chain_expiry_seconds_;
  prometheus::Gauge& serving_expiry_seconds_;
  prometheus::Gauge& bundle_sequence_;
  prometheus::Gauge& bundle_roots_;
  prometheus::Gauge& issuer_epoch_;
  prometheus::Gauge& crl_number_;
  prometheus::Gauge& crl_expiry_seconds_;
  prometheus::Gauge& source_ok_;
  prometheus::Gauge& store_ok_;
  prometheus::Gauge& connected_;
  prometheus::Gauge& population_;
  prometheus::Gauge& waiting_;
  GaugeSet expiries_;
  prometheus::Gauge& issuance_stopped_;
  prometheus::Gauge& rotation_running_;
  prometheus::Gauge& rotation_paused_;
  prometheus::Gauge& rotation_started_;
  prometheus::Gauge& rotation_phase_since_;
  prometheus::Gauge& passed_over_;
  GaugeSet holders_;
  prometheus::Gauge& refusing_;
};

}  // namespace capstan::server
