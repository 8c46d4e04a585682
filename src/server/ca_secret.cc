// SPDX-License-Identifier: Apache-2.0
#include "server/ca_secret.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "server/ca_directory.h"

namespace capstan::server {
namespace {

constexpr std::string_view kPrefix = "secret:";
constexpr char kOurs[] = "capstan.dev/in-force";  // the annotation: of which data it is true
// What was refused is offered again: time alone may mend it (a certificate not yet valid).
constexpr absl::Duration kRetry = absl::Seconds(30);
constexpr absl::Duration kWritableFor = absl::Minutes(1);

absl::Status NotOursToWrite(const kube::ObjectName& secret, std::string_view why) {
  return absl::FailedPreconditionError(
      absl::StrCat("capstand follows the Secret ", kube::ToString(secret), " and cannot write it (",
                   why, "): put the new CA there yourself: kubectl create secret generic ",
                   secret.name, " -n ", secret.ns,
                   " --from-file=DIR --dry-run=client -o yaml | kubectl replace -f - . The same "
                   "gates hold then"));
}

}  // namespace

absl::StatusOr<std::optional<kube::ObjectName>> SecretNamed(std::string_view cacerts) {
  if (!absl::ConsumePrefix(&cacerts, kPrefix)) return std::nullopt;
  std::optional<kube::ObjectName> name = kube::ParseObjectName(cacerts);
  if (name.has_value()) return name;
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", kPrefix, cacerts, "\" names no Secret: write secret:NAMESPACE/NAME, such as ",
      "secret:istio-system/cacerts"));
}

absl::StatusOr<trust::CaFiles> FilesOfSecret(const Json& secret) {
  trust::CaFiles files;
  const Json* data = Member(secret, "data");
  if (data == nullptr || !data->is_object()) return files;
  for (const std::string& name : trust::CaFileNames()) {
    const Json* value = Member(*data, name);
    if (value == nullptr) continue;
    std::string bytes;
    if (!value->is_string() ||
        !absl::Base64Unescape(value->get_ref<const std::string&>(), &bytes)) {
      return absl::InvalidArgumentError(absl::StrCat("data.", name, " is no base64"));
    }
    files[name] = std::move(bytes);
  }
  if (const auto chain = files.find("cert-chain.pem");
      chain != files.end() && chain->second.empty() &&
      TextAt(secret, {"type"}) == "istio.io/ca-root") {
    chain->second = files["ca-cert.pem"];
  }
  return files;
}

bool IsOurs(const Json& secret) {
  const Json* ours = MemberAt(secret, {"metadata", "annotations", kOurs});
  const absl::StatusOr<trust::CaFiles> files = FilesOfSecret(secret);
  return ours != nullptr && files.ok() && *ours == absl::BytesToHexString(DigestOf(*files));
}

CaSecret::CaSecret(kube::Client& client, kube::ObjectName secret, Clock& clock, Shows shows)
    : client_(client),
      secret_(std::move(secret)),
      name_(absl::StrCat(kPrefix, kube::ToString(secret_))),
      clock_(clock),
      shows_(shows) {}

absl::StatusOr<trust::CaFiles> CaSecret::Read() {
  const absl::StatusOr<Json> secret = client_.Get(kube::kSecrets, secret_);
  if (absl::IsNotFound(secret.status())) return trust::CaFiles();
  CAPSTAN_RETURN_IF_ERROR(secret.status());
  return FilesOfSecret(*secret);
}

absl::StatusOr<std::optional<trust::CaFiles>> CaSecret::WishIn(const Json& secret) const {
  if (shows_what_is_in_force() && IsOurs(secret)) return std::nullopt;
  return FilesOfSecret(secret);
}

absl::StatusOr<std::optional<trust::CaFiles>> CaSecret::ReadWish() {
  const absl::StatusOr<Json> secret = client_.Get(kube::kSecrets, secret_);
  if (absl::IsNotFound(secret.status())) return trust::CaFiles();
  CAPSTAN_RETURN_IF_ERROR(secret.status());
  return WishIn(*secret);
}

absl::Status CaSecret::CheckWritable() {
  absl::MutexLock lock(&mutex_);
  const absl::Duration now = clock_.Monotonic();
  if (!writable_.has_value() || now - asked_ > kWritableFor) {
    writable_ = AskWhetherWritable();
    asked_ = now;
  }
  if (!writable_->ok() || shows_ == Shows::kWish) return *writable_;
  CAPSTAN_ASSIGN_OR_RETURN(Json secret, client_.Get(kube::kSecrets, secret_));
  if (IsOurs(secret)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the Secret ", kube::ToString(secret_),
                   ", which istiod takes, does not show what is in force (capstand's log says "
                   "why): a rotation could not be told to istiod step by step"));
}

absl::Status CaSecret::AskWhetherWritable() {
  const Json review = {{"apiVersion", "authorization.k8s.io/v1"},
                       {"kind", kube::kSelfSubjectAccessReviews.kind},
                       {"spec",
                        {{"resourceAttributes",
                          {{"namespace", secret_.ns},
                           {"verb", "patch"},
                           {"resource", kube::kSecrets.plural},
                           {"name", secret_.name}}}}}};
  CAPSTAN_ASSIGN_OR_RETURN(Json answer,
                           client_.Create(kube::kSelfSubjectAccessReviews, {}, review));
  const Json* allowed = MemberAt(answer, {"status", "allowed"});
  if (allowed == nullptr || !allowed->is_boolean() || !allowed->get<bool>()) {
    return NotOursToWrite(secret_, "our service account may not patch it");
  }
  const absl::StatusOr<Json> secret = client_.Get(kube::kSecrets, secret_);
  if (!secret.ok()) return NotOursToWrite(secret_, Std(secret.status().message()));
  const Json* immutable = Member(*secret, "immutable");
  if (immutable != nullptr && immutable->is_boolean() && immutable->get<bool>()) {
    return NotOursToWrite(secret_, "it is immutable");
  }
  if (TextAt(*secret, {"type"}) == "kubernetes.io/tls") {
    return NotOursToWrite(secret_,
                          "it is of the type kubernetes.io/tls, as another program writes it");
  }
  return absl::OkStatus();
}

absl::Status CaSecret::Write(const trust::CaFiles& files) {
  CAPSTAN_ASSIGN_OR_RETURN(Json secret, client_.Get(kube::kSecrets, secret_));
  return Show(files, kube::Metadata(secret, "resourceVersion"));
}

absl::Status CaSecret::Claim(const Json& secret) {
  CAPSTAN_ASSIGN_OR_RETURN(const trust::CaFiles files, FilesOfSecret(secret));
  const Json patch = {{"metadata",
                       {{"resourceVersion", kube::Metadata(secret, "resourceVersion")},
                        {"annotations", {{kOurs, absl::BytesToHexString(DigestOf(files))}}}}}};
  return client_.Patch(kube::kSecrets, secret_, patch).status();
}

absl::Status CaSecret::Show(const trust::CaFiles& files, const std::string& resource_version) {
  Json patch = {{"metadata", {{"resourceVersion", resource_version}}}};
  if (shows_ == Shows::kInForce) {
    patch["metadata"]["annotations"][kOurs] = absl::BytesToHexString(DigestOf(files));
  }
  for (const std::string& name : trust::CaFileNames()) {
    const auto file = files.find(name);
    patch["data"][name] = file == files.end() ? Json() : Json(absl::Base64Escape(file->second));
  }
  return client_.Patch(kube::kSecrets, secret_, patch).status();
}

SecretFollower::SecretFollower(kube::Client& client, CaSecret& source, Clock& clock, Offer offer,
                               std::function<void()> no_wish)
    : source_(source),
      offer_(std::move(offer)),
      no_wish_(std::move(no_wish)),
      loop_(clock),
      retry_(loop_) {
  const kube::ObjectName& secret = source.secret();
  log::Info(absl::StrCat("Added cacerts Secret watcher for ", kube::ToString(secret)));
  watch_ = std::make_unique<kube::Watch>(
      client, clock, kube::kSecrets,
      kube::Selection{secret.ns, "", absl::StrCat("metadata.name=", secret.name)},
      kube::Watch::Handler{
          [this](const Json& object) { Post(seen_ = source_.WishIn(object)); },
          [this](const kube::ObjectName&) { Post(seen_ = trust::CaFiles()); },
          [this] { Post(seen_); },
          [this](const absl::Status& why) { Post(why); },
      });
}

SecretFollower::~SecretFollower() {
  watch_.reset();
  loop_.Stop();
}

void SecretFollower::Post(Wish wish) {
  loop_.Post([this, wish = std::move(wish)] {
    wish_ = wish;
    (void)Take();
  });
}

absl::StatusOr<Outcome> SecretFollower::Take() {
  absl::StatusOr<Outcome> outcome = Outcome();
  if (wish_.ok() && !wish_->has_value()) {
    no_wish_();
  } else {
    outcome = offer_(wish_.ok() ? absl::StatusOr<trust::CaFiles>(**wish_) : wish_.status());
  }
  if (outcome.ok()) {
    retry_.Cancel();
  } else {
    retry_.Set(kRetry, [this] { (void)Take(); });
  }
  return outcome;
}

absl::StatusOr<Outcome> SecretFollower::ReloadNow() {
  absl::StatusOr<Outcome> outcome = absl::UnavailableError("capstand is shutting down");
  (void)loop_.RunAndWait([&] {
    wish_ = source_.ReadWish();
    outcome = Take();
  });
  return outcome;
}

}  // namespace capstan::server
