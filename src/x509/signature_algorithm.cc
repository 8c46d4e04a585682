// SPDX-License-Identifier: Apache-2.0
#include "x509/signature_algorithm.h"

#include <openssl/err.h>

#include <algorithm>
#include <array>

#include "absl/strings/match.h"
#include "base/status.h"
#include "base/strings.h"
#include "x509/oid.h"
#include "x509/openssl.h"

namespace capstan::x509 {
namespace {

struct Algorithm {
  std::string_view oid;
  std::string_view name;
  int key_type;               // EVP_PKEY_…
  const EVP_MD* (*digest)();  // null: not one digest with one kind of key
};

constexpr std::array<Algorithm, 14> kAlgorithms = {{
    {"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x02", "MD2-RSA", EVP_PKEY_RSA, nullptr},
    {"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04", "MD5-RSA", EVP_PKEY_RSA, EVP_md5},
    {"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05", "SHA1-RSA", EVP_PKEY_RSA, EVP_sha1},
    {"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b", "SHA256-RSA", EVP_PKEY_RSA, EVP_sha256},
    {"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c", "SHA384-RSA", EVP_PKEY_RSA, EVP_sha384},
    {"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d", "SHA512-RSA", EVP_PKEY_RSA, EVP_sha512},
    {"\x2a\x86\x48\xce\x38\x04\x03", "DSA-SHA1", EVP_PKEY_DSA, EVP_sha1},
    {"\x60\x86\x48\x01\x65\x03\x04\x03\x02", "DSA-SHA256", EVP_PKEY_DSA, EVP_sha256},
    {"\x2a\x86\x48\xce\x3d\x04\x01", "ECDSA-SHA1", EVP_PKEY_EC, EVP_sha1},
    {"\x2a\x86\x48\xce\x3d\x04\x03\x02", "ECDSA-SHA256", EVP_PKEY_EC, EVP_sha256},
    {"\x2a\x86\x48\xce\x3d\x04\x03\x03", "ECDSA-SHA384", EVP_PKEY_EC, EVP_sha384},
    {"\x2a\x86\x48\xce\x3d\x04\x03\x04", "ECDSA-SHA512", EVP_PKEY_EC, EVP_sha512},
    {"\x2b\x65\x70", "Ed25519", EVP_PKEY_ED25519, nullptr},
    {"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a", "RSAPSS", EVP_PKEY_RSA, nullptr},
}};
constexpr std::string_view kRsaPss = kAlgorithms.back().oid;

struct PssHash {
  std::string_view oid;
  std::string_view name;
  std::string_view salt_octets;  // as long as the hash: the content of its INTEGER
};
constexpr std::array<PssHash, 3> kPssHashes = {{
    {"\x60\x86\x48\x01\x65\x03\x04\x02\x01", "SHA256-RSAPSS", "\x20"},
    {"\x60\x86\x48\x01\x65\x03\x04\x02\x02", "SHA384-RSAPSS", "\x30"},
    {"\x60\x86\x48\x01\x65\x03\x04\x02\x03", "SHA512-RSAPSS", "\x40"},
}};
constexpr std::string_view kMgf1 = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08";

// RSASSA-PSS-params (RFC 4055 section 3.1): [0] hash, [1] MGF1 with a hash, [2] salt length.
struct PssParameters {
  std::string_view hash;
  std::string_view mask_hash;
  std::string_view salt_octets;
};

absl::StatusOr<PssParameters> ReadPssParameters(der::Reader& algorithm) {
  PssParameters read;
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader fields, algorithm.Enter(der::kSequence, "parameters"));
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader tagged, fields.Enter(der::Constructed(0), "hash"));
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader hash, tagged.Enter(der::kSequence, "hash"));
  CAPSTAN_ASSIGN_OR_RETURN(der::Item hash_oid, hash.Read(der::kObjectId, "hash"));
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader mask, fields.Enter(der::Constructed(1), "mask"));
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader mgf, mask.Enter(der::kSequence, "mask"));
  CAPSTAN_ASSIGN_OR_RETURN(der::Item mgf_oid, mgf.Read(der::kObjectId, "mask"));
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader mgf_hash, mgf.Enter(der::kSequence, "mask hash"));
  CAPSTAN_ASSIGN_OR_RETURN(der::Item mgf_hash_oid, mgf_hash.Read(der::kObjectId, "mask hash"));
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader salt, fields.Enter(der::Constructed(2), "salt length"));
  CAPSTAN_ASSIGN_OR_RETURN(der::Item length, salt.Read(der::kInteger, "salt length"));
  read.hash = hash_oid.content;
  read.mask_hash = mgf_oid.content == kMgf1 ? mgf_hash_oid.content : "";
  read.salt_octets = length.content;
  return read;
}

// Go names only the combinations of TLS 1.3: one hash throughout, and a salt of its length.
std::string PssName(der::Reader& algorithm) {
  const auto read = ReadPssParameters(algorithm);
  for (const PssHash& known : kPssHashes) {
    if (read.ok() && read->hash == known.oid && read->mask_hash == known.oid &&
        read->salt_octets == known.salt_octets) {
      return std::string(known.name);
    }
  }
  return "RSAPSS";
}

// The object identifier of an AlgorithmIdentifier; `fields` is left after it. "" if it is none.
std::string_view OidOf(std::string_view algorithm_der, std::optional<der::Reader>& fields) {
  der::Reader outer(algorithm_der);
  auto inside = outer.Enter(der::kSequence, "algorithm");
  if (!inside.ok()) {
    return "";
  }
  const auto oid = inside->Read(der::kObjectId, "algorithm");
  fields = *inside;
  return oid.ok() ? oid->content : "";
}

const Algorithm* Find(std::string_view oid) {
  const auto found = std::find_if(kAlgorithms.begin(), kAlgorithms.end(),
                                  [&](const Algorithm& known) { return known.oid == oid; });
  return found == kAlgorithms.end() ? nullptr : found;
}

}  // namespace

absl::StatusOr<std::string_view> ReadAlgorithm(der::Reader& reader, std::string_view what) {
  CAPSTAN_ASSIGN_OR_RETURN(der::Item item, reader.Read(der::kSequence, what));
  der::Reader fields = reader.Inside(item);
  CAPSTAN_ASSIGN_OR_RETURN(der::Item oid, fields.Read(der::kObjectId, what));
  CAPSTAN_RETURN_IF_ERROR(der::CheckObjectId(fields, oid, what));
  if (!fields.empty()) {
    CAPSTAN_RETURN_IF_ERROR(fields.ReadAny(what).status());
    CAPSTAN_RETURN_IF_ERROR(fields.ExpectEnd(what));
  }
  return item.full;
}

std::string SignatureAlgorithmName(std::string_view algorithm_der) {
  std::optional<der::Reader> fields;
  const std::string_view oid = OidOf(algorithm_der, fields);
  if (oid == kRsaPss) {
    return PssName(*fields);
  }
  const Algorithm* known = Find(oid);
  return known == nullptr ? oid::ToDotted(oid) : std::string(known->name);
}

std::optional<bool> VerifySignature(const Signed& envelope, const PublicKey& key) {
  return VerifySignature(envelope.algorithm_der, envelope.body.full, envelope.signature, key);
}

std::optional<bool> VerifySignature(std::string_view algorithm_der, std::string_view message,
                                    std::string_view signature, const PublicKey& key) {
  std::optional<der::Reader> fields;
  const Algorithm* algorithm = Find(OidOf(algorithm_der, fields));
  if (algorithm == nullptr || algorithm->digest == nullptr) {
    return std::nullopt;
  }
  if (key.get() == nullptr || EVP_PKEY_get_base_id(key.get()) != algorithm->key_type) {
    return false;
  }
  const MdCtxPtr context(EVP_MD_CTX_new());
  const bool verifies =
      EVP_DigestVerifyInit(context.get(), nullptr, algorithm->digest(), nullptr, key.get()) == 1 &&
      EVP_DigestVerify(context.get(), Bytes(signature), signature.size(), Bytes(message),
                       message.size()) == 1;
  ERR_clear_error();
  return verifies;
}

bool IsBroken(std::string_view signature_algorithm) {
  return absl::StrContains(signature_algorithm, "SHA1") ||
         absl::StartsWith(signature_algorithm, "MD");
}

bool GoVerifies(std::string_view signature_algorithm) {
  const bool listed =
      std::any_of(kAlgorithms.begin(), kAlgorithms.end(), [&](const Algorithm& known) {
        return known.oid != kRsaPss && known.name == signature_algorithm;
      });
  return (listed || absl::EndsWith(signature_algorithm, "-RSAPSS")) &&
         !IsBroken(signature_algorithm) && !absl::StartsWith(signature_algorithm, "DSA");
}

}  // namespace capstan::x509
