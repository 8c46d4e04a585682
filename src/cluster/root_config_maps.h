// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cluster/upkeep.h"
#include "rotation/observation.h"
#include "trust/bundle.h"

namespace capstan::cluster {

inline constexpr std::string_view kRootConfigMap = "istio-ca-root-cert";

// Which namespace's ConfigMap istio-ca-root-cert is to be written next, and which of them do not
// hold a bundle yet: decided from what two watches tell, from the bundle that is wanted and from
// what became of the writes. What a ConfigMap holds is what the watch says, never what was written.
// `now` is monotonic throughout.
class RootConfigMaps {
 public:
  enum class Watched { kNamespaces, kMaps };
  struct Map {
    std::string resource_version;
    std::string digest;     // DigestOf() its root-cert.pem; of another writer's, in our order
    bool labelled = false;  // as Istio labels it
  };
  struct Write {
    std::string ns;
    std::string resource_version;  // of the ConfigMap that is changed; "": it is created
    std::string pem;
    std::string repairs;  // what others did to it; "": nobody did anything
  };
  struct Next {
    std::optional<Write> write;
    absl::Duration at = absl::InfiniteDuration();  // without one: when to ask again
  };
  struct Counts {
    int64_t current = 0;
    int64_t behind = 0;   // to be written, or written and not seen yet
    int64_t failing = 0;  // of those that are not current: the API server refused the last write
    int64_t all() const { return current + behind + failing; }
  };
  struct Done {
    trust::BundleVersion bundle;
    int64_t maps = 0;
    absl::Duration took;
  };
  // What of a failure is news.
  enum class News { kNothing, kNamespaceFails, kServerFails };

  static std::string DigestOf(std::string_view pem);

  // kIstiod: it writes them, and they are only looked at.
  enum class Writer { kUs, kIstiod };
  // A pod sees a ConfigMap's new content no later than `propagation` after it changed.
  explicit RootConfigMaps(absl::Duration propagation, Writer writer = Writer::kUs)
      : propagation_(propagation), writer_(writer) {}

  // A namespace that is to have one, or is not any more.
  void NamespaceSeen(const std::string& ns);
  void NamespaceGone(const std::string& ns);
  void MapSeen(const std::string& ns, Map map, absl::Duration now);
  void MapGone(const std::string& ns, absl::Duration now);
  // True: from now on everything is known that there is; said once.
  bool Synced(Watched what);
  void Trouble(Watched what, std::string why);
  void Want(const trust::BundleVersion& version, std::string pem, absl::Duration now);

  // Namespaces that have none go first. What is given out is under way until Written() or Failed().
  Next Take(absl::Duration now);
  void Written(const std::string& ns, absl::Duration now);
  News Failed(const std::string& ns, const absl::Status& why, absl::Duration now);

  // Who keeps a gate shut that asks for this bundle, ordered by name.
  std::vector<rotation::Holder> Lacking(const trust::BundleVersion& bundle,
                                        absl::Duration now) const;
  Counts Count() const;
  // Once for each bundle, when all hold it.
  std::optional<Done> TakeDone(absl::Duration now);
  const trust::BundleVersion& wanted() const { return version_; }

 private:
  struct Place {
    bool there = false;  // a namespace that is to have one
    bool made = false;   // while it was looked at: nobody in it has seen what was before
    std::optional<Map> map;
    absl::Duration since;   // when its content was seen first
    bool original = false;  // it never had another content
    Upkeep upkeep;
  };
  struct Watching {
    bool synced = false;
    std::string trouble;
  };

  bool synced() const { return watching_[0].synced && watching_[1].synced; }
  const std::string& trouble() const;
  bool Holds(const Place& place) const;
  bool Right(const Place& place) const {
    return Holds(place) && (place.map->labelled || writer_ == Writer::kIstiod);
  }
  void ForgetIfNothing(std::map<std::string, Place>::iterator known);
  News NoteFailure(Place& place, const absl::Status& why, absl::Duration now);
  std::string WhyLacking(const std::string& ns, const Place& place, absl::Duration now) const;

  const absl::Duration propagation_;
  const Writer writer_;
  trust::BundleVersion version_;
  std::string pem_;
  std::string digest_;
  absl::Duration wanted_since_;
  bool done_ = false;  // and said so
  std::map<std::string, Place> places_;
  std::array<Watching, 2> watching_;
  // The API server, whatever the namespace.
  absl::Duration paused_until_ = -absl::InfiniteDuration();
  int server_failures_ = 0;
  std::string server_error_;
};

}  // namespace capstan::cluster
