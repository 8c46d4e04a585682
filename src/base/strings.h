// SPDX-License-Identifier: Apache-2.0
// Debian's Abseil is built with a string_view of its own, so that one set of libraries serves C++14
// and C++20 programs; gRPC is linked to it, and so are we. Its functions do not take
// std::string_view. The overloads here do, for the functions this tree uses: they are found
// wherever the original is named and vanish on an Abseil whose string_view is the standard one.
// base/status.h includes this.
#pragma once

#include <concepts>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/base/options.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"

namespace capstan {

inline std::string_view Std(absl::string_view s) {
  return {s.data(), s.size()};
}

#if !defined(ABSL_USES_STD_STRING_VIEW)
inline absl::string_view Absl(std::string_view s) {
  return {s.data(), s.size()};
}

template <typename T>
concept StdStringView = std::same_as<std::remove_cvref_t<T>, std::string_view>;

// The argument as Abseil takes it: only std::string_view is changed.
template <typename T>
decltype(auto) ForAbsl(const T& value) {
  if constexpr (StdStringView<T>) {
    return Absl(value);
  } else {
    return (value);
  }
}
#endif

}  // namespace capstan

#if !defined(ABSL_USES_STD_STRING_VIEW)
namespace absl {

template <typename... T>
requires(capstan::StdStringView<T> || ...) std::string StrCat(const T&... pieces) {
  return absl::StrCat(capstan::ForAbsl(pieces)...);
}

template <typename... T>
requires(capstan::StdStringView<T> || ...) void StrAppend(std::string* to, const T&... pieces) {
  absl::StrAppend(to, capstan::ForAbsl(pieces)...);
}

template <capstan::StdStringView T, typename Delimiter, typename... Rest>
auto StrSplit(T text, Delimiter delimiter, Rest... rest) {
  return absl::StrSplit(capstan::Absl(text), std::move(delimiter), std::move(rest)...);
}

template <capstan::StdStringView T>
std::string_view StripAsciiWhitespace(T text) {
  return capstan::Std(absl::StripAsciiWhitespace(capstan::Absl(text)));
}
template <capstan::StdStringView T>
std::string_view StripLeadingAsciiWhitespace(T text) {
  return capstan::Std(absl::StripLeadingAsciiWhitespace(capstan::Absl(text)));
}
template <capstan::StdStringView T>
std::string_view StripTrailingAsciiWhitespace(T text) {
  return capstan::Std(absl::StripTrailingAsciiWhitespace(capstan::Absl(text)));
}
template <capstan::StdStringView T>
std::string AsciiStrToLower(T text) {
  return absl::AsciiStrToLower(capstan::Absl(text));
}
template <capstan::StdStringView T>
std::string AsciiStrToUpper(T text) {
  return absl::AsciiStrToUpper(capstan::Absl(text));
}

inline bool ConsumePrefix(std::string_view* text, std::string_view prefix) {
  if (!text->starts_with(prefix)) return false;
  text->remove_prefix(prefix.size());
  return true;
}
inline bool ConsumeSuffix(std::string_view* text, std::string_view suffix) {
  if (!text->ends_with(suffix)) return false;
  text->remove_suffix(suffix.size());
  return true;
}
template <capstan::StdStringView T>
std::string_view StripPrefix(T text, std::string_view prefix) {
  ConsumePrefix(&text, prefix);
  return text;
}
template <capstan::StdStringView T>
std::string_view StripSuffix(T text, std::string_view suffix) {
  ConsumeSuffix(&text, suffix);
  return text;
}

template <typename A, typename B>
requires(capstan::StdStringView<A> || capstan::StdStringView<B>) bool StrContains(const A& haystack,
                                                                                  const B& needle) {
  return absl::StrContains(capstan::ForAbsl(haystack), capstan::ForAbsl(needle));
}
template <typename A, typename B>
requires(capstan::StdStringView<A> || capstan::StdStringView<B>) bool StartsWith(const A& text,
                                                                                 const B& prefix) {
  return absl::StartsWith(capstan::ForAbsl(text), capstan::ForAbsl(prefix));
}
template <typename A, typename B>
requires(capstan::StdStringView<A> || capstan::StdStringView<B>) bool EndsWith(const A& text,
                                                                               const B& suffix) {
  return absl::EndsWith(capstan::ForAbsl(text), capstan::ForAbsl(suffix));
}
template <typename A, typename B>
requires(capstan::StdStringView<A> || capstan::StdStringView<B>) bool EqualsIgnoreCase(const A& a,
                                                                                       const B& b) {
  return absl::EqualsIgnoreCase(capstan::ForAbsl(a), capstan::ForAbsl(b));
}

template <capstan::StdStringView T, typename Number>
bool SimpleAtoi(T text, Number* out) {
  return absl::SimpleAtoi(capstan::Absl(text), out);
}
template <capstan::StdStringView T>
bool SimpleAtod(T text, double* out) {
  return absl::SimpleAtod(capstan::Absl(text), out);
}
template <capstan::StdStringView T>
bool ParseDuration(T text, Duration* out) {
  return absl::ParseDuration(capstan::Absl(text), out);
}
template <capstan::StdStringView T>
bool ParseTime(const std::string& format, T text, Time* out, std::string* error) {
  return absl::ParseTime(format, capstan::Absl(text), out, error);
}

template <capstan::StdStringView T>
std::string BytesToHexString(T bytes) {
  return absl::BytesToHexString(capstan::Absl(bytes));
}
template <capstan::StdStringView T>
std::string HexStringToBytes(T hex) {
  return absl::HexStringToBytes(capstan::Absl(hex));
}
template <capstan::StdStringView T>
std::string CHexEscape(T text) {
  return absl::CHexEscape(capstan::Absl(text));
}
template <capstan::StdStringView T>
std::string CEscape(T text) {
  return absl::CEscape(capstan::Absl(text));
}
template <capstan::StdStringView T>
std::string Base64Escape(T bytes) {
  return absl::Base64Escape(capstan::Absl(bytes));
}
template <capstan::StdStringView T>
bool Base64Unescape(T text, std::string* out) {
  return absl::Base64Unescape(capstan::Absl(text), out);
}
template <capstan::StdStringView T>
std::string WebSafeBase64Escape(T bytes) {
  return absl::WebSafeBase64Escape(capstan::Absl(bytes));
}
template <capstan::StdStringView T>
bool WebSafeBase64Unescape(T text, std::string* out) {
  return absl::WebSafeBase64Unescape(capstan::Absl(text), out);
}
template <capstan::StdStringView T>
std::string StrReplaceAll(
    T text, std::initializer_list<std::pair<absl::string_view, absl::string_view>> replacements) {
  return absl::StrReplaceAll(capstan::Absl(text), replacements);
}

template <capstan::StdStringView T>
Status InvalidArgumentError(T message) {
  return absl::InvalidArgumentError(capstan::Absl(message));
}
template <capstan::StdStringView T>
Status FailedPreconditionError(T message) {
  return absl::FailedPreconditionError(capstan::Absl(message));
}
template <capstan::StdStringView T>
Status InternalError(T message) {
  return absl::InternalError(capstan::Absl(message));
}
template <capstan::StdStringView T>
Status NotFoundError(T message) {
  return absl::NotFoundError(capstan::Absl(message));
}
template <capstan::StdStringView T>
Status UnavailableError(T message) {
  return absl::UnavailableError(capstan::Absl(message));
}
template <capstan::StdStringView T>
Status UnauthenticatedError(T message) {
  return absl::UnauthenticatedError(capstan::Absl(message));
}
template <capstan::StdStringView T>
Status PermissionDeniedError(T message) {
  return absl::PermissionDeniedError(capstan::Absl(message));
}
template <capstan::StdStringView T>
Status ResourceExhaustedError(T message) {
  return absl::ResourceExhaustedError(capstan::Absl(message));
}
template <capstan::StdStringView T>
Status ErrnoToStatus(int error, T message) {
  return absl::ErrnoToStatus(error, capstan::Absl(message));
}

}  // namespace absl
#endif
