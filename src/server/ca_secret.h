// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/event_loop.h"
#include "base/json.h"
#include "kube/client.h"
#include "kube/watch.h"
#include "server/ca_source.h"

namespace capstan::server {

// What names a Secret in --cacerts: "secret:NAMESPACE/NAME". nullopt: a directory's path.
// InvalidArgument: it begins so, and does not go on so.
absl::StatusOr<std::optional<kube::ObjectName>> SecretNamed(std::string_view cacerts);

// The CA files that are the data of a Secret. Istio's own self-signed CA (istio-ca-secret) has an
// empty cert-chain.pem: its chain is itself.
absl::StatusOr<trust::CaFiles> FilesOfSecret(const Json& secret);

// Whether what it holds was written, or claimed, by capstand: an annotation says so, and of which
// bytes.
bool IsOurs(const Json& secret);

// A Kubernetes Secret: `cacerts` as Istio's users make it, istio-ca-secret, or one of the type
// kubernetes.io/tls as cert-manager writes it.
class CaSecret final : public CaSource {
 public:
  // kInForce: istiod takes it, so it shows what is in force; what others write there is a wish.
  enum class Shows { kWish, kInForce };
  // `client` and `clock` outlive it.
  CaSecret(kube::Client& client, kube::ObjectName secret, Clock& clock, Shows shows = Shows::kWish);
  const std::string& name() const override { return name_; }
  std::string kind() const override { return "secret"; }
  const kube::ObjectName& secret() const { return secret_; }

  absl::StatusOr<trust::CaFiles> Read() override;
  // What it holds as a wish; nullopt: nobody's, it only shows what is in force.
  absl::StatusOr<std::optional<trust::CaFiles>> ReadWish();
  absl::StatusOr<std::optional<trust::CaFiles>> WishIn(const Json& secret) const;
  // Asks the API server whether we may patch it; the answer is good for a minute.
  absl::Status CheckWritable() override;
  // Aborted: somebody else wrote it at the same moment.
  absl::Status Write(const trust::CaFiles& files) override;
  bool shows_what_is_in_force() const override { return shows_ == Shows::kInForce; }
  // The same, where it still has this resourceVersion; then IsOurs() holds of it.
  absl::Status Show(const trust::CaFiles& files, const std::string& resource_version);
  // Makes IsOurs() hold of what is there, which stays as it is.
  absl::Status Claim(const Json& secret);

 private:
  absl::Status AskWhetherWritable();

  kube::Client& client_;
  const kube::ObjectName secret_;
  const std::string name_;
  Clock& clock_;
  const Shows shows_;
  absl::Mutex mutex_;
  std::optional<absl::Status> writable_ ABSL_GUARDED_BY(mutex_);
  absl::Duration asked_ ABSL_GUARDED_BY(mutex_);
};

// Follows a CaSecret by a watch. A Secret changes as one, so nothing has to settle: what is gone
// for a moment (`kubectl delete` and `create`) is offered as no files at all, and changes nothing.
// Where it shows what is in force, what is ours is not offered.
class SecretFollower final : public CaFollower {
 public:
  // All that is passed by reference outlives it. `offer` is called on a thread of its own, and so
  // is `no_wish`, where there is nothing to offer.
  SecretFollower(kube::Client& client, CaSecret& source, Clock& clock, Offer offer,
                 std::function<void()> no_wish);
  ~SecretFollower() override;
  absl::StatusOr<Outcome> ReloadNow() override;

 private:
  using Wish = absl::StatusOr<std::optional<trust::CaFiles>>;
  void Post(Wish wish);
  absl::StatusOr<Outcome> Take();

  CaSecret& source_;
  const Offer offer_;
  const std::function<void()> no_wish_;
  EventLoop loop_;
  // The loop's.
  Wish wish_ = std::nullopt;
  Timer retry_;
  // The watch's.
  Wish seen_ = trust::CaFiles();
  std::unique_ptr<kube::Watch> watch_;
};

}  // namespace capstan::server
