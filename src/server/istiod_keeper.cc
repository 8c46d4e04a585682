// SPDX-License-Identifier: Apache-2.0
#include "server/istiod_keeper.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "base/status.h"
#include "base/strings.h"
#include "pcds/resource.h"
#include "server/ca_directory.h"
#include "server/host.h"
#include "server/observe.h"
#include "x509/handshake.h"
#include "x509/verify.h"

namespace capstan::server {
namespace {

using rotation::GateKind;
using rotation::Holder;

constexpr absl::Duration kRetry = absl::Seconds(5);
constexpr absl::Duration kLookEvery = absl::Seconds(2);
constexpr char kRoots[] = "root-cert.pem";

Holder Keeps(std::string name, std::string why) {
  return {Holder::Kind::kBootstrap, std::move(name), std::move(why)};
}

}  // namespace

SecretTask TaskFor(const std::optional<trust::CaSet>& held, bool ours, const trust::CaSet& in_force,
                   const std::string& desired) {
  const std::string digest = held.has_value() ? held->ContentDigest() : "";
  if (!ours && digest != desired) return SecretTask::kLeave;
  if (digest != in_force.ContentDigest()) return SecretTask::kShow;
  return ours ? SecretTask::kNothing : SecretTask::kClaim;
}

trust::CaFiles FilesForIstiod(const trust::CaSet& in_force, const trust::TrustState& trust,
                              const std::string& before) {
  trust::CaFiles files = FilesOfSet(in_force);
  const std::vector<std::string> roots = pcds::ResourceOf(trust).roots;
  files[kRoots] = absl::StrJoin(roots, "");
  if (files[kRoots] == before) files[kRoots] += roots.back();
  return files;
}

IstiodKeeper::IstiodKeeper(kube::Client& client, CaSecret& secret, ControlPlane& plane,
                           Clock& clock, Options options)
    : secret_(secret),
      plane_(plane),
      clock_(clock),
      options_(std::move(options)),
      served_(absl::UnavailableError("it was not looked at yet")),
      loop_(clock),
      retry_(loop_),
      look_(loop_),
      subscription_(plane.Subscribe([this] { loop_.Post([this] { Work(); }); })),
      watch_(std::make_unique<kube::Watch>(
          client, clock, kube::kSecrets,
          kube::Selection{secret.secret().ns, "",
                          absl::StrCat("metadata.name=", secret.secret().name)},
          kube::Watch::Handler{
              [this](const Json& object) { See(object); },
              [this](const kube::ObjectName&) { See(std::nullopt); },
              [this] { loop_.Post([this] { Work(); }); },
              [this](const absl::Status& why) { Trouble(why); },
          })) {
  loop_.Post([this] { LookAtIstiod(); });
}

IstiodKeeper::~IstiodKeeper() {
  subscription_.reset();
  watch_.reset();
  loop_.Stop();
}

void IstiodKeeper::See(std::optional<Json> secret) {
  loop_.Post([this, secret = std::move(secret)] {
    const auto files_of = [](const std::optional<Json>& object) {
      return object.has_value() ? FilesOfSecret(*object).value_or(trust::CaFiles())
                                : trust::CaFiles();
    };
    if (files_of(present_) != files_of(secret)) present_since_ = clock_.Monotonic();
    present_ = secret;
    Work();
  });
}

void IstiodKeeper::Trouble(const absl::Status& why) {
  loop_.Post([this, why] { Say(why); });
}

void IstiodKeeper::Work() {
  const absl::Status kept = Keep();
  // Another writer was first, or what we wrote is not seen yet: the watch brings what is.
  if (!absl::IsAborted(kept)) Say(kept);
  if (kept.ok()) return retry_.Cancel();
  retry_.Set(kRetry, [this] { Work(); });
}

// One line when it begins to fail, and one when it does no more.
void IstiodKeeper::Say(const absl::Status& why) {
  plane_.NoteIstiod(options_.address, why);
  MutexLock lock(mutex_);
  if (trouble_ == Std(why.message())) return;
  const bool was_fine = trouble_.empty();
  trouble_ = std::string(why.message());
  if (!why.ok()) {
    shown_.reset();
    log::Warn("the Secret that istiod takes does not show what is in force; trying again",
              {{"secret", secret_.name()}, {"why", why.message()}});
  } else if (!was_fine) {
    log::Info("the Secret that istiod takes shows what is in force", {{"secret", secret_.name()}});
  }
}

absl::Status IstiodKeeper::Keep() {
  const std::shared_ptr<const trust::TrustState> trust = plane_.trust();
  if (trust == nullptr) return absl::UnavailableError("there is no CA yet");
  if (!present_.has_value()) {
    return absl::NotFoundError(
        "there is no such Secret: create it again, and istiod finds its CA when it starts");
  }
  CAPSTAN_ASSIGN_OR_RETURN(const trust::CaSet in_force, plane_.keeper().InForce());
  const std::optional<store::DesiredRecord> desired = plane_.keeper().desired();
  CAPSTAN_ASSIGN_OR_RETURN(const trust::CaFiles files, FilesOfSecret(*present_));
  const absl::StatusOr<trust::CaSet> held =
      trust::ParseCaSet(files, clock_.Now(), plane_.parse_options());
  const auto set = held.ok() ? std::optional<trust::CaSet>(*held) : std::nullopt;
  switch (TaskFor(set, IsOurs(*present_), in_force, desired.has_value() ? desired->digest : "")) {
    case SecretTask::kNothing:
      break;
    case SecretTask::kClaim:
      return secret_.Claim(*present_);
    case SecretTask::kShow: {
      const auto roots = files.find(kRoots);
      const std::string before = roots == files.end() ? "" : roots->second;
      CAPSTAN_RETURN_IF_ERROR(secret_.Show(FilesForIstiod(in_force, *trust, before),
                                           kube::Metadata(*present_, "resourceVersion")));
      log::Info("the Secret that istiod takes is written",
                {{"secret", secret_.name()},
                 {"sequence", trust->version.sequence},
                 {"roots", trust->bundle.roots().size()},
                 {"issuer", in_force.authority.id.hex()}});
      return absl::OkStatus();
    }
    case SecretTask::kLeave:
      return absl::FailedPreconditionError(
          absl::StrCat("somebody wrote what was not taken over",
                       held.ok() ? "" : absl::StrCat(": ", held.status().message())));
  }
  MutexLock lock(mutex_);
  shown_ = Shown{trust->version.sequence, trust->issuer_epoch, present_since_};
  return absl::OkStatus();
}

// Only a handshake says what istiod made of it.
void IstiodKeeper::LookAtIstiod() {
  const std::optional<RotationView> rotation = plane_.keeper().rotation();
  if (rotation.has_value() && !rotation->record.finished()) {
    x509::HandshakeOptions options;
    options.host = HostOf(options_.address);
    options.port = PortOf(options_.address).value_or(0);
    if (!IsIpAddress(options.host)) options.server_name = options.host;
    options.alpn = {"h2"};
    absl::StatusOr<x509::HandshakeResult> result = x509::Handshake(options);
    MutexLock lock(mutex_);
    if (result.ok()) {
      served_ = std::move(result->served_chain);
    } else {
      served_ = result.status();
    }
  }
  look_.Set(kLookEvery, [this] { LookAtIstiod(); });
}

std::vector<Holder> IstiodKeeper::Lacking(const rotation::Gate& gate, absl::Duration now) {
  std::vector<Holder> holders;
  if (gate.kind == GateKind::kNone) return holders;
  MutexLock lock(mutex_);
  if (std::string why = WhyNotMoved(gate); !why.empty()) {
    holders.push_back(Keeps("istiod", std::move(why)));
  }
  if (std::string why = WhyNotShown(gate, now); !why.empty()) {
    holders.push_back(Keeps(absl::StrCat("istiod:", secret_.name()), std::move(why)));
  }
  return holders;
}

std::string IstiodKeeper::WhyNotShown(const rotation::Gate& gate, absl::Duration now) const {
  const std::shared_ptr<const trust::TrustState> trust = plane_.trust();
  const std::string what = absl::StrCat("the Secret that istiod takes, ", secret_.name());
  if (!shown_.has_value()) {
    return absl::StrCat(what, ", does not show what is in force: ", trouble_);
  }
  if (trust == nullptr || shown_->sequence != gate.bundle.sequence ||
      shown_->issuer_epoch != trust->issuer_epoch) {
    return absl::StrCat(what, ", does not show bundle ", gate.bundle.sequence, " yet");
  }
  const absl::Duration held = now - shown_->since;
  if (held >= options_.propagation) return "";
  return absl::StrCat(what, ", has shown what is in force for ",
                      absl::FormatDuration(absl::Trunc(held, absl::Seconds(10))), " of the ",
                      absl::FormatDuration(options_.propagation),
                      " that kubelet takes to bring it to istiod");
}

// Whether istiod's own certificate needs what is about to leave.
std::string IstiodKeeper::WhyNotMoved(const rotation::Gate& gate) const {
  if (gate.kind != GateKind::kMove || gate.leaving_roots.empty()) return "";
  const std::string what = absl::StrCat("istiod at ", options_.address);
  if (!served_.ok()) {
    return absl::StrCat(what, " shows no certificate: ", served_.status().message());
  }
  std::vector<x509::Certificate> staying;
  const std::shared_ptr<const trust::TrustState> trust = plane_.trust();
  if (trust == nullptr) return "there is no CA yet";
  for (const x509::Certificate& root : trust->bundle.roots()) {
    if (!gate.leaving_roots.contains(root.FingerprintHex())) staying.push_back(root);
  }
  const x509::Verdict verdict = x509::Verify(*served_, staying, clock_.Now());
  if (verdict.status.ok()) return "";
  return absl::StrCat(
      what, " does not show a certificate under a root that stays: ", verdict.status.message());
}

}  // namespace capstan::server
