// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cluster/upkeep.h"
#include "rotation/observation.h"
#include "trust/bundle.h"

namespace capstan::cluster {

// The name of a ClusterTrustBundle, as the API server takes it.
class ClusterTrustBundleName {
 public:
  // "NAME", or "DOMAIN:PATH:NAME" of the signer DOMAIN/PATH.
  static absl::StatusOr<ClusterTrustBundleName> Parse(std::string_view text);
  const std::string& name() const { return name_; }
  const std::string& signer() const { return signer_; }  // "DOMAIN/PATH"; "": of none

 private:
  ClusterTrustBundleName(std::string_view name, std::string signer)
      : name_(name), signer_(std::move(signer)) {}
  std::string name_;
  std::string signer_;
};

// What a watch's trouble is, and what to do about it where the API is not served.
std::string WhyNotFollowed(const absl::Status& why);

// When a ClusterTrustBundle is to be written, and whether pods have what it holds: decided from
// what a watch tells, from the bundle that is wanted and from what became of the writes. `now` is
// monotonic throughout.
class ClusterTrustBundle {
 public:
  struct Write {
    std::string resource_version;  // of the object that is changed; "": it is created
    std::string pem;
    std::string repairs;  // what others did to it; "": nobody did anything
  };
  struct Next {
    std::optional<Write> write;
    absl::Duration at = absl::InfiniteDuration();  // without one: when to ask again
  };
  struct Done {
    trust::BundleVersion bundle;
    absl::Duration took;
  };
  enum class State { kCurrent, kBehind, kFailing };

  // A pod sees a new content no later than `propagation` after it changed.
  ClusterTrustBundle(ClusterTrustBundleName name, absl::Duration propagation)
      : name_(std::move(name)), propagation_(propagation) {}

  void Seen(std::string resource_version, std::string_view pem, absl::Duration now);
  void Gone(absl::Duration now);
  // True: from now on it is known whether it is there; said once.
  bool Synced();
  void Trouble(std::string why) { trouble_ = std::move(why); }
  void Want(const trust::BundleVersion& version, const trust::Bundle& bundle, absl::Duration now);

  // What is given out is under way until Written() or Failed().
  Next Take(absl::Duration now);
  void Written(absl::Duration now) { upkeep_.Written(now); }
  // True: that is news.
  bool Failed(const absl::Status& why, absl::Duration now) { return upkeep_.Failed(why, now); }

  // Who keeps a gate shut that asks for this bundle.
  std::vector<rotation::Holder> Lacking(const trust::BundleVersion& bundle,
                                        absl::Duration now) const;
  State state() const;
  // Once for each bundle, when it is held.
  std::optional<Done> TakeDone(absl::Duration now);
  const trust::BundleVersion& wanted() const { return version_; }

 private:
  struct Object {
    std::string resource_version;
    std::string pem;  // canonical, where it is a bundle
  };
  bool Right() const { return object_.has_value() && !version_.empty() && object_->pem == pem_; }

  const ClusterTrustBundleName name_;
  const absl::Duration propagation_;
  trust::BundleVersion version_;
  std::string pem_;
  absl::Duration wanted_since_;
  bool done_ = false;  // and said so
  std::optional<Object> object_;
  absl::Duration since_;  // when its content was seen first
  Upkeep upkeep_;
  bool synced_ = false;
  std::string trouble_;
};

}  // namespace capstan::cluster
