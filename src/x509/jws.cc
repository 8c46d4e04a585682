// SPDX-License-Identifier: Apache-2.0
#include "x509/jws.h"

#include <openssl/err.h>
#include <openssl/rsa.h>

#include <array>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "x509/der.h"
#include "x509/oid.h"
#include "x509/openssl.h"

namespace capstan::x509 {
namespace {

enum class Kind { kRsa, kPss, kEcdsa };
struct Algorithm {
  std::string_view name;
  Kind kind;
  const EVP_MD* (*digest)();
  size_t field_octets = 0;  // with kEcdsa
};
// In the order of JwsAlgorithm.
constexpr std::array<Algorithm, 8> kAlgorithms = {{
    {"RS256", Kind::kRsa, EVP_sha256},
    {"RS384", Kind::kRsa, EVP_sha384},
    {"RS512", Kind::kRsa, EVP_sha512},
    {"PS256", Kind::kPss, EVP_sha256},
    {"PS384", Kind::kPss, EVP_sha384},
    {"PS512", Kind::kPss, EVP_sha512},
    {"ES256", Kind::kEcdsa, EVP_sha256, 32},
    {"ES384", Kind::kEcdsa, EVP_sha384, 48},
}};

bool IsOfKind(const PublicKey& key, const Algorithm& algorithm) {
  const std::optional<KeyType> type = key.type();
  if (algorithm.kind == Kind::kEcdsa) {
    return type == (algorithm.field_octets == 32 ? KeyType::kEcdsaP256 : KeyType::kEcdsaP384);
  }
  return key.get() != nullptr && EVP_PKEY_get_base_id(key.get()) == EVP_PKEY_RSA;
}

absl::StatusOr<PublicKey> Acceptable(const std::string& algorithm, const std::string& bits) {
  CAPSTAN_ASSIGN_OR_RETURN(PublicKey key, PublicKey::ParseSpki(der::Sequence(
                                              der::Sequence(algorithm), der::BitString(bits))));
  CAPSTAN_RETURN_IF_ERROR(key.CheckAcceptable());
  return key;
}

}  // namespace

std::optional<JwsAlgorithm> ParseJwsAlgorithm(std::string_view name) {
  for (size_t i = 0; i < kAlgorithms.size(); ++i) {
    if (kAlgorithms[i].name == name) return static_cast<JwsAlgorithm>(i);
  }
  return std::nullopt;
}

bool VerifyJws(JwsAlgorithm algorithm, std::string_view message, std::string_view signature,
               const PublicKey& key) {
  const Algorithm& how = kAlgorithms[static_cast<size_t>(algorithm)];
  if (!IsOfKind(key, how)) return false;
  std::string form(signature);
  if (how.kind == Kind::kEcdsa) {
    if (signature.size() != 2 * how.field_octets) return false;
    form = der::Sequence(der::UnsignedInteger(signature.substr(0, how.field_octets)),
                         der::UnsignedInteger(signature.substr(how.field_octets)));
  }
  const MdCtxPtr context(EVP_MD_CTX_new());
  EVP_PKEY_CTX* options = nullptr;
  bool verifies =
      EVP_DigestVerifyInit(context.get(), &options, how.digest(), nullptr, key.get()) == 1;
  if (how.kind == Kind::kPss) {
    verifies = verifies && EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING) == 1 &&
               EVP_PKEY_CTX_set_rsa_pss_saltlen(options, RSA_PSS_SALTLEN_DIGEST) == 1;
  }
  verifies = verifies && EVP_DigestVerify(context.get(), Bytes(form), form.size(), Bytes(message),
                                          message.size()) == 1;
  ERR_clear_error();
  return verifies;
}

absl::StatusOr<PublicKey> RsaKeyOf(std::string_view modulus, std::string_view exponent) {
  return Acceptable(
      absl::StrCat(der::Element(der::kObjectId, oid::kRsa), der::Element(der::kNull, "")),
      der::Sequence(der::UnsignedInteger(modulus), der::UnsignedInteger(exponent)));
}

absl::StatusOr<PublicKey> EcKeyOf(std::string_view curve, std::string_view x, std::string_view y) {
  const bool p256 = curve == "P-256";
  const size_t octets = p256 ? 32 : 48;
  if ((!p256 && curve != "P-384") || x.size() != octets || y.size() != octets) {
    return absl::InvalidArgumentError("the key is no point of P-256 or P-384");
  }
  return Acceptable(absl::StrCat(der::Element(der::kObjectId, oid::kEc),
                                 der::Element(der::kObjectId, p256 ? oid::kP256 : oid::kP384)),
                    absl::StrCat("\x04", x, y));
}

}  // namespace capstan::x509
