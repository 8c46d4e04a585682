// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/random.h"
#include "base/secret.h"
#include "trust/authority.h"
#include "x509/key.h"

namespace capstan::keystore {

// CA keys at rest: encrypted under one key of 32 bytes that lives in a file of its own, so that
// neither the state database nor a backup of it is enough to sign.
class SealedKeys {
 public:
  enum class IfMissing { kCreate, kFail };

  // Reads the seal key. kCreate makes it (0600) where it is missing; kFail is for a state that has
  // sealed keys already, where a new seal key would only hide that the old one is lost.
  // FailedPrecondition: the file is open to others. InvalidArgument: it is no seal key.
  static absl::StatusOr<SealedKeys> Open(const std::string& path, IfMissing if_missing,
                                         Random& random);

  // `id` is bound to the sealed bytes: they open for that authority only.
  absl::StatusOr<std::string> Seal(const trust::AuthorityId& id, const x509::PrivateKey& key,
                                   Random& random) const;
  // DataLoss: sealed under another key, for another authority, or changed since.
  absl::StatusOr<x509::PrivateKey> Unseal(const trust::AuthorityId& id,
                                          std::string_view sealed) const;

 private:
  SealedKeys(std::string path, Secret key) : path_(std::move(path)), key_(std::move(key)) {}
  std::string path_;
  Secret key_;
};

}  // namespace capstan::keystore
