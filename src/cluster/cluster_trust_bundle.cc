// SPDX-License-Identifier: Apache-2.0
#include "cluster/cluster_trust_bundle.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/strings.h"

namespace capstan::cluster {
namespace {

using rotation::Holder;

constexpr size_t kLongestLabel = 63;
constexpr size_t kLongestName = 253;

bool IsNameOf(std::string_view text, size_t longest) {
  const auto good = [](char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c); };
  return !text.empty() && text.size() <= longest && good(text.front()) && good(text.back()) &&
         std::all_of(text.begin(), text.end(), [&](char c) { return good(c) || c == '-'; });
}

// RFC 1123, as Kubernetes takes it. The labels of a domain are bounded, those of a name are not.
bool IsSubdomain(std::string_view text, size_t longest_label = kLongestName) {
  if (text.size() > kLongestName) return false;
  const std::vector<std::string> labels = absl::StrSplit(text, '.');
  return std::all_of(labels.begin(), labels.end(),
                     [&](const std::string& label) { return IsNameOf(label, longest_label); });
}

}  // namespace

absl::StatusOr<ClusterTrustBundleName> ClusterTrustBundleName::Parse(std::string_view text) {
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  if (parts.size() == 1 && IsSubdomain(text)) return ClusterTrustBundleName(text, "");
  if (parts.size() == 3 && IsSubdomain(parts[0], kLongestLabel) &&
      absl::StrContains(parts[0], '.') && IsSubdomain(parts[1]) && IsSubdomain(parts[2])) {
    return ClusterTrustBundleName(text, absl::StrCat(parts[0], "/", parts[1]));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", text,
      "\" names no ClusterTrustBundle: write NAME, or DOMAIN:PATH:NAME for one of the signer "
      "DOMAIN/PATH, such as istio.io:istiod-ca:root-cert; each of lower-case letters, digits, "
      "'-' and '.'"));
}

std::string WhyNotFollowed(const absl::Status& why) {
  if (!absl::IsNotFound(why)) return std::string(why.message());
  return absl::StrCat(
      "the API server does not serve ClusterTrustBundles (certificates.k8s.io/v1beta1): start "
      "kube-apiserver with --feature-gates=ClusterTrustBundle=true and "
      "--runtime-config=certificates.k8s.io/v1beta1/clustertrustbundles=true, or leave "
      "cluster-trust-bundle out: ",
      why.message());
}

void ClusterTrustBundle::Seen(std::string resource_version, std::string_view pem,
                              absl::Duration now) {
  const bool was_right = Right();
  const absl::StatusOr<trust::Bundle> bundle = trust::Bundle::ParsePem(pem);
  std::string content = bundle.ok() ? bundle->ToPem() : std::string(pem);
  if (!object_.has_value() || object_->pem != content) since_ = now;
  object_ = Object{std::move(resource_version), std::move(content)};
  upkeep_.Looked();
  if (Right()) {
    upkeep_.Right();
  } else if (was_right) {
    upkeep_.Spoilt("its trustBundle was changed", now);
  }
}

void ClusterTrustBundle::Gone(absl::Duration now) {
  const bool was_right = Right();
  object_.reset();
  upkeep_.Looked();
  if (was_right) {
    upkeep_.Spoilt("it was deleted", now);
  } else {
    upkeep_.Unblocked(now);
  }
}

bool ClusterTrustBundle::Synced() {
  trouble_.clear();
  return !std::exchange(synced_, true);
}

void ClusterTrustBundle::Want(const trust::BundleVersion& version, const trust::Bundle& bundle,
                              absl::Duration now) {
  version_ = version;
  pem_ = bundle.ToPem();
  wanted_since_ = now;
  done_ = false;
  upkeep_.WantsOther();
}

ClusterTrustBundle::Next ClusterTrustBundle::Take(absl::Duration now) {
  Next next;
  if (!synced_ || version_.empty() || Right() || upkeep_.writing()) return next;
  if (upkeep_.due() > now) {
    next.at = upkeep_.due();
  } else {
    next.write =
        Write{object_.has_value() ? object_->resource_version : "", pem_, upkeep_.Begin(now)};
  }
  return next;
}

std::vector<Holder> ClusterTrustBundle::Lacking(const trust::BundleVersion& bundle,
                                                absl::Duration now) const {
  const std::string what = absl::StrCat("the ClusterTrustBundle ", name_.name());
  const auto keeps = [&](std::string name, auto... why) -> std::vector<Holder> {
    return {{Holder::Kind::kBootstrap, std::move(name), absl::StrCat(why...)}};
  };
  if (!synced_ || !trouble_.empty()) {
    return keeps("cluster-trust-bundle", what,
                 synced_ ? " cannot be followed: " : " is not known yet: ",
                 trouble_.empty() ? "the API server has not told of it" : trouble_);
  }
  const std::string name = absl::StrCat("cluster-trust-bundle:", name_.name());
  if (version_.lineage != bundle.lineage || version_.sequence < bundle.sequence) {
    return keeps(name, what, " is not written for bundle ", bundle.sequence, " yet");
  }
  if (!Right()) {
    return keeps(name, what, " does not hold bundle ", version_.sequence,
                 " yet: ", upkeep_.error().empty() ? "it is being written" : upkeep_.error());
  }
  const std::string why = WhyNotInPods(what, version_.sequence, now - since_, propagation_);
  return why.empty() ? std::vector<Holder>() : keeps(name, why);
}

ClusterTrustBundle::State ClusterTrustBundle::state() const {
  return Right() ? State::kCurrent : upkeep_.error().empty() ? State::kBehind : State::kFailing;
}

std::optional<ClusterTrustBundle::Done> ClusterTrustBundle::TakeDone(absl::Duration now) {
  if (done_ || !synced_ || !Right()) return std::nullopt;
  done_ = true;
  return Done{version_, now - wanted_since_};
}

}  // namespace capstan::cluster
