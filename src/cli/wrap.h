// SPDX-License-Identifier: Apache-2.0
// Text in so many columns of a terminal. Characters of UTF-8 count, not bytes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace capstan::cli {

size_t TextWidth(std::string_view text);

// Cut to `columns`; what is cut ends with `mark`, which is one column wide.
std::string Fit(const std::string& text, size_t columns, std::string_view mark = "…");

// The same, cut in the middle: of a long name the end tells most.
std::string FitMiddle(const std::string& text, size_t columns, std::string_view mark = "…");

// Broken at blanks into lines of at most `columns`. A longer word stands alone, whole.
std::vector<std::string> WrapLines(const std::string& text, size_t columns);

// The same, each line after `indent` blanks and ended.
std::string Paragraph(const std::string& text, size_t indent, size_t columns = 80);

}  // namespace capstan::cli
