// SPDX-License-Identifier: Apache-2.0
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/obj_mac.h>
#include <openssl/sha.h>

#include <array>
#include <bit>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/strings.h"
#include "x509/der.h"
#include "x509/key.h"
#include "x509/lazy.h"
#include "x509/oid.h"
#include "x509/openssl.h"

namespace capstan::x509 {
namespace {

enum class Family { kRsa, kEc, kEd25519, kDsa, kOther };

constexpr std::string_view kEd25519 = "\x2b\x65\x70";
constexpr std::string_view kDsa = "\x2a\x86\x48\xce\x38\x04\x01";
constexpr size_t kEd25519Octets = 32;

struct Curve {
  std::string_view oid;
  std::string_view name;  // Go's
  const char* group;      // OpenSSL's
  size_t field_octets;
};
constexpr std::array<Curve, 4> kCurves = {{
    {oid::kP256, "P-256", SN_X9_62_prime256v1, 32},
    {oid::kP384, "P-384", SN_secp384r1, 48},
    {{"\x2b\x81\x04\x00\x23", 5}, "P-521", SN_secp521r1, 66},
    {{"\x2b\x81\x04\x00\x21", 5}, "P-224", SN_secp224r1, 28},
}};

// Algorithms that OpenSSL 3.0 cannot use, under the names `step` gives them.
struct NamedAlgorithm {
  std::string_view oid;
  std::string_view name;
};
constexpr std::array<NamedAlgorithm, 3> kUnusable = {{
    {"\x60\x86\x48\x01\x65\x03\x04\x03\x11", "ML-DSA-44"},
    {"\x60\x86\x48\x01\x65\x03\x04\x03\x12", "ML-DSA-65"},
    {"\x60\x86\x48\x01\x65\x03\x04\x03\x13", "ML-DSA-87"},
}};

// Envoy's BoringSSL takes exponents of at most 33 bits, Go of 31.
constexpr int kMaxExponentBits = 31;
constexpr uint64_t kMinExponent = 65537;

int BitLength(std::string_view big_endian) {
  while (!big_endian.empty() && big_endian.front() == 0) {
    big_endian.remove_prefix(1);
  }
  if (big_endian.empty()) {
    return 0;
  }
  return static_cast<int>(big_endian.size() - 1) * 8 +
         std::bit_width(static_cast<uint8_t>(big_endian.front()));
}

bool IsOdd(std::string_view big_endian) {
  return (big_endian.back() & 1) != 0;
}

absl::StatusOr<std::string_view> ReadPositive(der::Reader& reader, std::string_view what) {
  CAPSTAN_ASSIGN_OR_RETURN(der::Item item, reader.Read(der::kInteger, what));
  CAPSTAN_ASSIGN_OR_RETURN(std::string_view octets, der::IntegerValue(reader, item, what));
  if ((static_cast<uint8_t>(octets[0]) & 0x80) != 0 || BitLength(octets) == 0) {
    return reader.ErrorAt(item.full, absl::StrCat(what, " is not positive"));
  }
  return octets;
}

PkeyPtr DecodeEcPoint(const char* group, std::string_view point) {
  const PkeyCtxPtr context(EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
  OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, const_cast<char*>(group), 0),
      OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, const_cast<char*>(point.data()),
                                        point.size()),
      OSSL_PARAM_construct_end(),
  };
  EVP_PKEY* key = nullptr;
  if (context == nullptr || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, parameters) != 1) {
    ERR_clear_error();
    return nullptr;
  }
  return PkeyPtr(key);
}

}  // namespace

struct PublicKey::Parsed {
  std::string spki;
  std::string_view key_octets;  // of the subjectPublicKey bits, inside `spki`
  Family family = Family::kOther;
  std::string description;
  const Curve* curve = nullptr;
  std::string_view rsa_modulus;  // inside `spki`
  std::string_view rsa_exponent;

  // An uncompressed point of a curve we know.
  bool IsPlainPoint() const {
    return curve != nullptr && key_octets.size() == 1 + 2 * curve->field_octets;
  }

  EVP_PKEY* Decoded() const {
    const auto decode = [this] {
      // From its parts, because the generic decoder takes five times as long.
      return IsPlainPoint() ? DecodeEcPoint(curve->group, key_octets)
                            : Decode<PkeyPtr, d2i_PUBKEY>(spki);
    };
    return key.Get(decode).get();
  }

  absl::Status Read();

 private:
  absl::Status ReadRsa(der::Reader bits);
  absl::Status ReadEc(der::Reader parameters, const der::Reader& origin, const der::Item& bits);
  absl::Status ReadDsa(der::Reader parameters);

  Lazy<PkeyPtr> key;
};

absl::Status PublicKey::Parsed::Read() {
  der::Reader outer(spki);
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader info, outer.Enter(der::kSequence, "public key"));
  CAPSTAN_RETURN_IF_ERROR(outer.ExpectEnd("public key"));
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader algorithm, info.Enter(der::kSequence, "key algorithm"));
  CAPSTAN_ASSIGN_OR_RETURN(der::Item oid, algorithm.Read(der::kObjectId, "key algorithm"));
  CAPSTAN_RETURN_IF_ERROR(der::CheckObjectId(algorithm, oid, "key algorithm"));
  der::Reader parameters = algorithm;
  if (!algorithm.empty()) {
    CAPSTAN_RETURN_IF_ERROR(algorithm.ReadAny("key algorithm parameters").status());
    CAPSTAN_RETURN_IF_ERROR(algorithm.ExpectEnd("key algorithm parameters"));
  }
  CAPSTAN_ASSIGN_OR_RETURN(der::Item bits, info.Read(der::kBitString, "public key bits"));
  CAPSTAN_RETURN_IF_ERROR(info.ExpectEnd("public key bits"));
  CAPSTAN_ASSIGN_OR_RETURN(key_octets, der::OctetsValue(info, bits, "public key bits"));

  if (oid.content == oid::kRsa) {
    return ReadRsa(info.Inside({der::kBitString, key_octets, key_octets}));
  }
  if (oid.content == oid::kEc) {
    return ReadEc(parameters, info, bits);
  }
  if (oid.content == kDsa) {
    return ReadDsa(parameters);
  }
  if (oid.content == kEd25519) {
    family = Family::kEd25519;
    description = "Ed25519 256";
    return key_octets.size() == kEd25519Octets
               ? absl::OkStatus()
               : info.ErrorAt(bits.full, "an Ed25519 key has 32 bytes");
  }
  description = "Unknown";
  for (const NamedAlgorithm& known : kUnusable) {
    if (oid.content == known.oid) {
      description = std::string(known.name);
    }
  }
  return absl::OkStatus();
}

absl::Status PublicKey::Parsed::ReadRsa(der::Reader bits) {
  family = Family::kRsa;
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader fields, bits.Enter(der::kSequence, "RSA key"));
  CAPSTAN_RETURN_IF_ERROR(bits.ExpectEnd("RSA key"));
  CAPSTAN_ASSIGN_OR_RETURN(rsa_modulus, ReadPositive(fields, "RSA modulus"));
  CAPSTAN_ASSIGN_OR_RETURN(rsa_exponent, ReadPositive(fields, "RSA exponent"));
  CAPSTAN_RETURN_IF_ERROR(fields.ExpectEnd("RSA exponent"));
  // Whole bytes of the modulus: Go's crypto/rsa Size() * 8.
  description = absl::StrCat("RSA ", (BitLength(rsa_modulus) + 7) / 8 * 8);
  return absl::OkStatus();
}

absl::Status PublicKey::Parsed::ReadEc(der::Reader parameters, const der::Reader& origin,
                                       const der::Item& bits) {
  family = Family::kEc;
  if (parameters.NextTag() != der::kObjectId) {
    description = "ECDSA";  // explicit curve parameters, which RFC 5480 forbids
    return absl::OkStatus();
  }
  CAPSTAN_ASSIGN_OR_RETURN(der::Item oid, parameters.Read(der::kObjectId, "curve"));
  CAPSTAN_RETURN_IF_ERROR(der::CheckObjectId(parameters, oid, "curve"));
  for (const Curve& known : kCurves) {
    if (oid.content == known.oid) {
      curve = &known;
    }
  }
  if (curve == nullptr) {
    description = absl::StrCat("ECDSA ", oid::ToShortName(oid.content));
    return absl::OkStatus();
  }
  description = absl::StrCat("ECDSA ", curve->name);
  const size_t n = curve->field_octets;
  const uint8_t form = key_octets.empty() ? 0 : static_cast<uint8_t>(key_octets[0]);
  const bool well_formed = (form == 4 && key_octets.size() == 1 + 2 * n) ||
                           ((form == 2 || form == 3) && key_octets.size() == 1 + n);
  return well_formed ? absl::OkStatus()
                     : origin.ErrorAt(bits.full,
                                      absl::StrCat("the public key is no point of ", curve->name));
}

absl::Status PublicKey::Parsed::ReadDsa(der::Reader parameters) {
  family = Family::kDsa;
  description = "DSA";
  if (parameters.empty()) {
    return absl::OkStatus();  // inherited from the issuer (RFC 3279 section 2.3.2)
  }
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader fields, parameters.Enter(der::kSequence, "DSA parameters"));
  CAPSTAN_RETURN_IF_ERROR(ReadPositive(fields, "P of the DSA parameters").status());
  CAPSTAN_ASSIGN_OR_RETURN(std::string_view q, ReadPositive(fields, "Q of the DSA parameters"));
  absl::StrAppend(&description, " ", BitLength(q));
  return absl::OkStatus();
}

absl::StatusOr<PublicKey> PublicKey::ParseSpki(std::string_view der) {
  auto parsed = std::make_shared<Parsed>();
  parsed->spki = std::string(der);
  CAPSTAN_RETURN_IF_ERROR(parsed->Read());
  return PublicKey(std::move(parsed));
}

const std::string& PublicKey::spki_der() const {
  return parsed_->spki;
}

std::string PublicKey::KeyId() const {
  std::string digest(SHA_DIGEST_LENGTH, '\0');
  SHA1(Bytes(parsed_->key_octets), parsed_->key_octets.size(), MutableBytes(digest));
  return digest;
}

std::string PublicKey::Description() const {
  return parsed_->description;
}

std::optional<KeyType> PublicKey::type() const {
  if (parsed_->curve != nullptr) {
    if (parsed_->curve->oid == oid::kP256) return KeyType::kEcdsaP256;
    if (parsed_->curve->oid == oid::kP384) return KeyType::kEcdsaP384;
  }
  switch (BitLength(parsed_->rsa_modulus)) {
    case 2048:
      return KeyType::kRsa2048;
    case 3072:
      return KeyType::kRsa3072;
    case 4096:
      return KeyType::kRsa4096;
    default:
      return std::nullopt;
  }
}

absl::Status PublicKey::CheckAcceptable() const {
  const auto refuse = [&](std::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("the key (", Description(), ") ", why,
                     ": use RSA of 2048 to 4096 bits, ECDSA P-256 or ECDSA P-384"));
  };
  if (parsed_->family == Family::kRsa) {
    const int bits = BitLength(parsed_->rsa_modulus);
    if (bits < 2048 || bits > 4096) {
      return refuse(absl::StrCat("has ", bits, " bits"));
    }
    uint64_t exponent = 0;
    for (const char c : parsed_->rsa_exponent) {
      exponent = exponent << 8 | static_cast<uint8_t>(c);
    }
    if (BitLength(parsed_->rsa_exponent) > kMaxExponentBits || exponent < kMinExponent ||
        !IsOdd(parsed_->rsa_exponent) || !IsOdd(parsed_->rsa_modulus)) {
      return refuse("has an RSA exponent or modulus that peers refuse");
    }
  } else if (parsed_->curve == nullptr ||
             (parsed_->curve->oid != oid::kP256 && parsed_->curve->oid != oid::kP384)) {
    return refuse("is of a kind that not every peer accepts");
  } else if (!parsed_->IsPlainPoint()) {
    return refuse("is a compressed point, which Go does not read");
  }
  return get() != nullptr ? absl::OkStatus() : refuse("is malformed");
}

EVP_PKEY* PublicKey::get() const {
  return parsed_->Decoded();
}

}  // namespace capstan::x509
