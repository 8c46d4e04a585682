// SPDX-License-Identifier: Apache-2.0
#include "x509/signed.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/strings.h"
#include "x509/signature_algorithm.h"

namespace capstan::x509 {
namespace {

constexpr std::string_view kAlgorithm = "signature algorithm";

}  // namespace

absl::StatusOr<Signed> ReadSigned(std::string_view der, std::string_view what) {
  Signed envelope;
  der::Reader outer(der);
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader fields, outer.Enter(der::kSequence, what));
  CAPSTAN_RETURN_IF_ERROR(outer.ExpectEnd(absl::StrCat("the ", what)));
  CAPSTAN_ASSIGN_OR_RETURN(envelope.body, fields.Read(der::kSequence, absl::StrCat(what, " body")));
  CAPSTAN_ASSIGN_OR_RETURN(envelope.algorithm_der, ReadAlgorithm(fields, kAlgorithm));
  CAPSTAN_ASSIGN_OR_RETURN(der::Item bits, fields.Read(der::kBitString, "signature"));
  CAPSTAN_ASSIGN_OR_RETURN(envelope.signature, der::OctetsValue(fields, bits, "signature"));
  CAPSTAN_RETURN_IF_ERROR(fields.ExpectEnd("the signature"));
  return envelope;
}

absl::Status ReadAlgorithmAgain(der::Reader& body, const Signed& envelope, std::string_view what) {
  CAPSTAN_ASSIGN_OR_RETURN(std::string_view algorithm, ReadAlgorithm(body, kAlgorithm));
  if (algorithm != envelope.algorithm_der) {
    return body.ErrorAt(algorithm,
                        absl::StrCat("the two signature algorithms of the ", what, " differ"));
  }
  return absl::OkStatus();
}

}  // namespace capstan::x509
