// SPDX-License-Identifier: Apache-2.0
#include "x509/oid.h"

#include <openssl/objects.h>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "x509/der.h"
#include "x509/openssl.h"

namespace capstan::x509::oid {
namespace {

ObjectPtr ToObject(std::string_view content) {
  return Decode<ObjectPtr, d2i_ASN1_OBJECT>(der::Element(der::kObjectId, content));
}

}  // namespace

absl::StatusOr<std::string> FromText(std::string_view text) {
  const ObjectPtr object(OBJ_txt2obj(std::string(text).c_str(), /*no_name=*/0));
  if (object == nullptr || OBJ_length(object.get()) == 0) {
    return OpenSslError(absl::StatusCode::kInvalidArgument,
                        absl::StrCat("\"", text,
                                     "\" is no object identifier OpenSSL knows; write it "
                                     "with dots (1.2.3)"));
  }
  return std::string(reinterpret_cast<const char*>(OBJ_get0_data(object.get())),
                     OBJ_length(object.get()));
}

std::string ToDotted(std::string_view content) {
  const ObjectPtr object = ToObject(content);
  if (object == nullptr) {
    return "malformed";
  }
  std::string text(OBJ_obj2txt(nullptr, 0, object.get(), /*no_name=*/1) + 1, '\0');
  OBJ_obj2txt(text.data(), static_cast<int>(text.size()), object.get(), /*no_name=*/1);
  text.pop_back();  // the terminator
  return text;
}

std::string ToShortName(std::string_view content) {
  const ObjectPtr object = ToObject(content);
  const int nid = object == nullptr ? NID_undef : OBJ_obj2nid(object.get());
  return nid == NID_undef ? ToDotted(content) : OBJ_nid2sn(nid);
}

}  // namespace capstan::x509::oid
