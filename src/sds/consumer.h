// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "sds/events.h"
#include "sds/names.h"
#include "sds/stream.h"

namespace capstan::sds {

// One Envoy process, over all its streams: which bytes it gets when, and what of its answers
// counts. The rules are those of README.md beside this file. `config` and `names` outlive it.
class Consumer {
 public:
  // `tag` is random: it makes every edition of this consumer unlike those of any other agent
  // process.
  Consumer(const Config& config, const Names& names, std::string tag, std::string node_id,
           const Peer& peer);

  // Every event ends in what is due then: answers, and a new wake_at().
  void Published(std::shared_ptr<const Material> material, Moment now, Actions& actions);
  void Adopt(StreamId id, Stream stream, const Request& request, Moment now, Actions& actions);
  // A request that may not be (Stream::Check) ends its stream.
  void Requested(StreamId id, const Request& request, Moment now, Actions& actions);
  void Written(StreamId id, Moment now, Actions& actions);
  void Closed(StreamId id, Moment now, Actions& actions);
  void Woken(Moment now, Actions& actions);

  bool connected() const { return !streams_.empty(); }
  size_t streams() const { return streams_.size(); }
  // When it lost its last stream; only meaningful while not connected.
  absl::Duration left_at() const { return left_at_; }
  // On the monotonic clock; nullopt: nothing is due without an event.
  std::optional<absl::Duration> wake_at() const;
  ConsumerReport Report() const;
  const std::string& id() const { return id_; }

 private:
  struct Offer {
    Edition edition;
    bool sent = false;  // on any stream
    // It was on its way, or there, when something was refused or an answer was lost: an acceptance
    // of it proves nothing.
    bool tainted = false;
  };
  struct Release {
    bool now = false;
    std::string why;
  };

  void Hear(StreamId id, Stream& stream, const Request& request, Moment now, Actions& actions);
  void Refused(const std::string& resource, const std::string& text, Moment now, Actions& actions);
  void Doubt(Moment now);
  void Uncount(Kind kind);
  void StartOver();
  void Leave(Moment now);

  void Advance(bool fresh_material, Moment now, Actions& actions);
  void Renew(bool fresh_material, Moment now, Actions& actions);
  void RenewLeaf(Moment now, Actions& actions);
  Release MayReleaseLeaf(Moment now) const;
  void Send(Actions& actions);
  void Count(Moment now, Actions& actions);

  Offer NewEdition(Kind kind, std::shared_ptr<const Material> material, std::string why);
  bool Differs(Kind kind) const;
  int64_t StreamsFor(const std::string& name) const;
  bool Subscribes(Kind kind) const;
  bool AcceptedByAll(Kind kind) const;
  bool TrustAnswered() const;
  bool RefusedByAny(Kind kind) const;
  bool Expects(Kind kind) const;
  void Note(Actions& actions, Actions::Note::Level level, std::string text) const;

  const Config& config_;
  const Names& names_;
  std::string tag_;
  std::string id_;
  std::string node_id_;
  Peer peer_;

  std::map<StreamId, Stream> streams_;
  std::shared_ptr<const Material> material_;
  uint64_t editions_ = 0;       // made so far
  std::optional<Offer> trust_;  // what every subscription of the kind is to hold
  std::optional<Offer> leaf_;
  std::optional<absl::Duration> retry_at_;
  int failures_ = 0;  // since the last time both kinds counted
  std::optional<absl::Duration> leaf_held_until_;
  // The leaf is due again in new bytes: after the trust, or at this time at the latest.
  std::optional<absl::Duration> leaf_again_by_;
  bool returning_ = false;  // it came with a leaf of its own, of which nothing is known
  // Names whose stream ended though their holder may live, until when. One that comes back says
  // which of our editions it holds; one that does not is another holder.
  std::multimap<std::string, absl::Duration> expected_;
  std::set<std::string> noted_unknown_;
  absl::Duration left_at_ = absl::ZeroDuration();

  // What counts, per kind; reported only when both do.
  std::optional<trust::BundleVersion> counted_trust_;
  std::optional<std::string> counted_leaf_;
  absl::Time counted_at_ = absl::InfinitePast();
  std::optional<ConsumerReport::Nack> last_nack_;
};

}  // namespace capstan::sds
