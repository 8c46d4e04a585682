// SPDX-License-Identifier: Apache-2.0
#include "keystore/sealed_keys.h"

#include <sys/stat.h>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/files.h"
#include "base/status.h"
#include "x509/seal.h"

namespace capstan::keystore {
namespace {

constexpr size_t kKeyBytes = 32;
constexpr size_t kNonceBytes = 12;

std::string Context(const trust::AuthorityId& id) {
  return absl::StrCat("capstan authority key ", id.hex());
}

absl::Status CheckPrivate(const std::string& path) {
  struct stat st;
  if (stat(path.c_str(), &st) == 0 && (st.st_mode & 0077) != 0) {
    return absl::FailedPreconditionError(
        absl::StrFormat("the seal key %s is open to others (mode %04o); run chmod 600 %s", path,
                        st.st_mode & 07777, path));
  }
  return absl::OkStatus();
}

absl::StatusOr<Secret> ParseSealKey(std::string text, const std::string& path) {
  std::string hex(absl::StripAsciiWhitespace(text));
  WipeBytes(text);
  const bool good =
      hex.size() == 2 * kKeyBytes && hex.find_first_not_of("0123456789abcdef") == std::string::npos;
  Secret key(good ? absl::HexStringToBytes(hex) : "");
  WipeBytes(hex);
  if (!good) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is no seal key: it must hold ",
                                                   2 * kKeyBytes, " lower-case hex digits"));
  }
  return key;
}

}  // namespace

absl::StatusOr<SealedKeys> SealedKeys::Open(const std::string& path, IfMissing if_missing,
                                            Random& random) {
  if (!FileExists(path)) {
    if (if_missing == IfMissing::kFail) {
      return absl::NotFoundError(
          absl::StrCat("the seal key ", path,
                       " is missing and the state holds keys sealed under it; put it back "
                       "from a backup, or name it with --seal-key"));
    }
    std::string fresh = random.Bytes(kKeyBytes);
    std::string text = absl::StrCat(absl::BytesToHexString(fresh), "\n");
    WipeBytes(fresh);
    absl::Status written = WriteFileAtomically(path, text, 0600, Overwrite::kRefuse);
    WipeBytes(text);
    CAPSTAN_RETURN_IF_ERROR(written);
  }
  CAPSTAN_RETURN_IF_ERROR(CheckPrivate(path));
  CAPSTAN_ASSIGN_OR_RETURN(std::string text, ReadFile(path, 4096));
  CAPSTAN_ASSIGN_OR_RETURN(Secret key, ParseSealKey(std::move(text), path));
  return SealedKeys(path, std::move(key));
}

absl::StatusOr<std::string> SealedKeys::Seal(const trust::AuthorityId& id,
                                             const x509::PrivateKey& key, Random& random) const {
  return x509::Seal(key_, random.Bytes(kNonceBytes), Context(id), key.ToPkcs8Pem());
}

absl::StatusOr<x509::PrivateKey> SealedKeys::Unseal(const trust::AuthorityId& id,
                                                    std::string_view sealed) const {
  absl::StatusOr<Secret> pem = x509::Unseal(key_, Context(id), sealed);
  if (!pem.ok()) {
    return Annotate(pem.status(), absl::StrCat("the key of authority ", id.hex(),
                                               " does not open with the seal key ", path_,
                                               " (is it the one that belongs to this state?)"));
  }
  return x509::PrivateKey::ParsePem(pem->Reveal());
}

}  // namespace capstan::keystore
