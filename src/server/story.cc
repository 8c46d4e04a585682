// SPDX-License-Identifier: Apache-2.0
#include "server/story.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/log.h"

namespace capstan::server::story {
namespace {

std::string Utc(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

std::string Fingerprints(const trust::Bundle& bundle) {
  return absl::StrJoin(bundle.roots(), ",", [](std::string* out, const x509::Certificate& root) {
    out->append(root.FingerprintHex().substr(0, 16));
  });
}

}  // namespace

std::string Line(const x509::Certificate& certificate) {
  return absl::StrCat("x509 cert - Issuer: \"", certificate.Issuer(), "\", Subject: \"",
                      certificate.Subject(), "\", SN: ", certificate.serial().ToHex(),
                      ", NotBefore: \"", Utc(certificate.not_before()), "\", NotAfter: \"",
                      Utc(certificate.not_after()), "\"");
}

void ReloadBegins(const trust::CaSet& set, const std::string& source) {
  if (set.layout == "built-in") return;  // BuiltInCa() said it
  log::Info("Update Capstand cacerts", {{"source", source}, {"issuer", set.authority.id.hex()}});
  if (set.layout == "istio") {
    log::Info("Using istiod file format for signing ca files");
  } else {
    log::Info("Using kubernetes.io/tls secret type for signing ca files");
  }
  if (!set.crls.empty()) log::Info("Detected CRL file", {{"crls", set.crls.size()}});
  for (const std::string& warning : set.warnings) log::Warn(warning, {{"source", source}});
}

void BuiltInCa(const trust::Authority& authority) {
  log::Warn("Use self-signed certificate as the CA certificate",
            {{"why", "the state is empty and no CA is configured (--cacerts)"},
             {"authority", authority.id.hex()}});
  log::Info(Line(authority.certificate));
}

void StepDone(const rotation::Step& step, const rotation::Situation& before) {
  const trust::TrustState& trust = step.after.trust;
  switch (step.kind) {
    case rotation::StepKind::kAddRoots:
    case rotation::StepKind::kDropRoots:
      log::Info("Updating new ROOT-CA",
                {{"step", rotation::StepName(step.kind)}, {"why", step.why}});
      log::Info("Update trust anchor with new root cert",
                {{"bundle", trust.version.ToString()}, {"roots", trust.bundle.roots().size()}});
      log::Info("trustBundle\tupdating Source CapstandCA with certs",
                {{"from", Fingerprints(before.trust.bundle)}, {"to", Fingerprints(trust.bundle)}});
      break;
    case rotation::StepKind::kAddCrls:
    case rotation::StepKind::kDropCrls:
    case rotation::StepKind::kSetCrls:
      log::Info("Updating CRL data", {{"step", rotation::StepName(step.kind)},
                                      {"number", trust.crl_number},
                                      {"crls", trust.crls.size()},
                                      {"why", step.why}});
      break;
    case rotation::StepKind::kSwitchIssuer:
      log::Info(
          "Capstand has detected the newly added intermediate CA and updated its key and certs "
          "accordingly",
          {{"issuer_epoch", trust.issuer_epoch},
           {"issuer", trust.issuer.hex()},
           {"why", step.why}});
      break;
    case rotation::StepKind::kStartCanary:
      log::Info("a new authority signs for the canary first", {{"why", step.why}});
      break;
    case rotation::StepKind::kEndCanary:
      log::Warn("the canary is over", {{"why", step.why}});
      break;
    case rotation::StepKind::kMoveServing:
      log::Info("update root cert and generate new dns certs", {{"why", step.why}});
      break;
    case rotation::StepKind::kRetire:
      log::Info("an authority retires", {{"why", step.why}});
      break;
  }
}

void Certificates(const Serving& serving, const rotation::Situation& situation) {
  std::set<std::string> said;
  auto say = [&](const x509::Certificate& certificate) {
    if (said.insert(certificate.fingerprint()).second) log::Info(Line(certificate));
  };
  say(serving.leaf);
  for (const x509::Certificate& link : serving.authority.intermediates) say(link);
  say(serving.authority.root);
  const trust::Authority& issuer = situation.authorities.at(situation.trust.issuer).authority;
  for (const x509::Certificate& link : issuer.intermediates) say(link);
  say(issuer.root);
  for (const x509::Certificate& root : situation.trust.bundle.roots()) say(root);
}

void ReloadDone(const rotation::Situation& situation) {
  log::Info("Capstand certificates are reloaded", {{"bundle", situation.trust.version.ToString()},
                                                   {"roots", situation.trust.bundle.roots().size()},
                                                   {"issuer", situation.trust.issuer.hex()},
                                                   {"issuer_epoch", situation.trust.issuer_epoch}});
}

}  // namespace capstan::server::story
