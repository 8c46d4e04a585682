// SPDX-License-Identifier: Apache-2.0
#include "cluster/certificate_signer.h"

#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/retry_after.h"
#include "base/status.h"

namespace capstan::cluster {
namespace {

constexpr size_t kMostName = 100;  // of what an instance is called

// The leaf and the intermediates, without the bundle behind them: who reads a certificate of the
// API has the roots from elsewhere.
std::string WithoutRoots(const std::vector<std::string>& chain) {
  std::string pem;
  for (size_t i = 0; i + 1 < chain.size(); ++i) absl::StrAppend(&pem, chain[i]);
  return pem;
}

}  // namespace

CertificateSigner::CertificateSigner(kube::Client& client, rpc::ControlPlane& plane, Clock& clock,
                                     Metrics& metrics, Options options)
    : client_(client),
      plane_(plane),
      clock_(clock),
      metrics_(metrics),
      options_(std::move(options)),
      waiting_(metrics.Gauge("capstan_signing_requests_waiting",
                             "approved CertificateSigningRequests that are not answered yet")),
      loop_(clock),
      timer_(loop_),
      watch_(std::make_unique<kube::Watch>(
          client, clock, kube::kSigningRequests,
          kube::Selection{"", "", absl::StrCat("spec.signerName=", options_.signer)},
          WatchHandler())) {
  log::Info("CertificateSigningRequests are signed", {{"signer", options_.signer}});
}

CertificateSigner::~CertificateSigner() {
  watch_.reset();
  loop_.Stop();
}

kube::Watch::Handler CertificateSigner::WatchHandler() {
  return {
      [this](const Json& object) { See(object); },
      [this](const kube::ObjectName& name) {
        Tell([&](SigningRequests& machine, absl::Duration) { machine.Gone(name.name); });
      },
      [this] {
        if (std::exchange(troubled_, false)) {
          log::Info("CertificateSigningRequests are followed again");
        }
      },
      [this](const absl::Status& why) {
        if (std::exchange(troubled_, true)) return;
        log::Warn("CertificateSigningRequests cannot be followed; trying again",
                  {{"why", why.message()}});
      },
  };
}

void CertificateSigner::See(const Json& object) {
  absl::StatusOr<kube::SigningRequest> request = kube::SigningRequestOf(object);
  if (!request.ok()) {
    log::Warn("a CertificateSigningRequest is passed over", {{"why", request.status().message()}});
    return;
  }
  Tell([&](SigningRequests& machine, absl::Duration now) {
    machine.Seen(*std::move(request), now);
  });
}

void CertificateSigner::Tell(
    const std::function<void(SigningRequests&, absl::Duration now)>& event) {
  {
    MutexLock lock(mutex_);
    event(machine_, clock_.Monotonic());
    waiting_.Set(static_cast<double>(machine_.waiting()));
  }
  Poke();
}

void CertificateSigner::Poke() {
  if (poked_.exchange(true)) return;
  loop_.Post([this] {
    poked_ = false;
    Work();
  });
}

void CertificateSigner::Work() {
  SigningRequests::Next next;
  const absl::Duration now = clock_.Monotonic();
  {
    MutexLock lock(mutex_);
    next = machine_.Take(now);
  }
  if (next.turn.has_value()) return Perform(*std::move(next.turn));
  if (next.at == absl::InfiniteDuration()) return timer_.Cancel();
  timer_.Set(next.at - now, [this] { Poke(); });
}

void CertificateSigner::Perform(SigningRequests::Turn turn) {
  if (turn.chain_pem.empty()) {
    auto judged = JudgeSigningRequest(turn.request, options_.trust_domain, options_.max_ttl);
    if (const auto* refusal = std::get_if<Refusal>(&judged)) return Refuse(turn, *refusal);
    if (!Sign(turn, std::get<WantedLeaf>(judged))) return;
  }
  const Json patch = kube::CertificatePatch(turn.request, turn.chain_pem);
  if (!Answer(turn, patch, "issued")) return;
  log::Info("a CertificateSigningRequest has its certificate",
            {{"name", turn.request.name}, {"requester", turn.request.username}});
}

void CertificateSigner::Refuse(const SigningRequests::Turn& turn, const Refusal& refusal) {
  const Json patch = kube::FailedPatch(turn.request, refusal.reason, refusal.message, clock_.Now());
  if (!Answer(turn, patch, "failed")) return;
  log::Warn("a CertificateSigningRequest failed", {{"name", turn.request.name},
                                                   {"requester", turn.request.username},
                                                   {"reason", refusal.reason},
                                                   {"why", refusal.message}});
}

bool CertificateSigner::Sign(SigningRequests::Turn& turn, const WantedLeaf& wanted) {
  const authn::Caller caller{.id = wanted.id, .proof = authn::Caller::Proof::kSigningRequest};
  // Each leaf has a record of its own: one that was signed before a crash may have reached the API
  // server all the same, and must not be forgotten for its successor.
  absl::StatusOr<rpc::IssueResponse> issued =
      plane_.Issue(caller, {.csr = wanted.csr.ToPem(),
                            .ttl = wanted.ttl,
                            .instance = absl::StrCat("csr:", turn.request.name.substr(0, kMostName),
                                                     "@", absl::ToUnixSeconds(clock_.Now()))});
  if (issued.ok()) {
    turn.chain_pem = WithoutRoots(issued->chain);
    return true;
  }
  const absl::Status& why = issued.status();
  if (absl::IsInvalidArgument(why)) {
    Refuse(turn, {"NotSigned", std::string(why.message())});
  } else if (const auto after = RetryAfterOf(why); after.has_value()) {
    Tell([&](SigningRequests& machine, absl::Duration now) { machine.PutOff(turn, *after, now); });
  } else {
    Fail(turn, why);
  }
  return false;
}

bool CertificateSigner::Answer(const SigningRequests::Turn& turn, const Json& patch,
                               const std::string& result) {
  const absl::Status written =
      client_.Patch(kube::kSigningRequests, {"", turn.request.name}, patch, "status").status();
  if (!written.ok()) {
    Fail(turn, written);
    return false;
  }
  if (std::exchange(fails_, false)) log::Info("CertificateSigningRequests are answered again");
  metrics_
      .Counter("capstan_signing_requests_total", "CertificateSigningRequests that were answered",
               {{"result", result}})
      .Increment();
  Tell([&](SigningRequests& machine, absl::Duration) { machine.Answered(turn); });
  return true;
}

void CertificateSigner::Fail(const SigningRequests::Turn& turn, const absl::Status& why) {
  bool news = false;
  Tell(
      [&](SigningRequests& machine, absl::Duration now) { news = machine.Failed(turn, why, now); });
  if (!news) return;
  fails_ = true;
  log::Error("a CertificateSigningRequest cannot be answered; trying again",
             {{"name", turn.request.name}, {"why", why.message()}});
}

}  // namespace capstan::cluster
