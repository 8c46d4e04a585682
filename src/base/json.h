// SPDX-License-Identifier: Apache-2.0
// JSON from others, so of any size of trouble.
#pragma once

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace capstan {

// Keeps the order of members, as whoever wrote it had them.
using Json = nlohmann::ordered_json;

// InvalidArgument with the byte of the error and `what` it is; nesting deeper than 100 is refused,
// so that recursion over the result is bounded.
absl::StatusOr<Json> ParseJson(std::string_view text, std::string_view what);

// The member of an object, or null where `value` is no object or has no such member.
const Json* Member(const Json& value, std::string_view name);
// The member of the member …, or null.
const Json* MemberAt(const Json& value, std::initializer_list<std::string_view> path);
// The text that is there; "" where there is none, or something else.
std::string TextAt(const Json& value, std::initializer_list<std::string_view> path);

}  // namespace capstan
