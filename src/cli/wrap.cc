// SPDX-License-Identifier: Apache-2.0
#include "cli/wrap.h"

#include <algorithm>

#include "base/strings.h"

namespace capstan::cli {
namespace {

bool Begins(char c) {  // a character of UTF-8
  return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
}

// Where the first `characters` of `text`, which has more, end.
size_t BytesOf(std::string_view text, size_t characters) {
  size_t at = 0;
  for (size_t begun = 0; at < text.size(); ++at) {
    if (Begins(text[at]) && ++begun > characters) break;
  }
  return at;
}

}  // namespace

size_t TextWidth(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), Begins));
}

std::string Fit(const std::string& text, size_t columns, std::string_view mark) {
  if (TextWidth(text) <= columns) return text;
  if (columns == 0) return "";
  return absl::StrCat(text.substr(0, BytesOf(text, columns - 1)), mark);
}

std::string FitMiddle(const std::string& text, size_t columns, std::string_view mark) {
  const size_t width = TextWidth(text);
  if (width <= columns) return text;
  if (columns == 0) return "";
  const size_t head = (columns - 1) / 2;
  const size_t tail = columns - 1 - head;
  return absl::StrCat(text.substr(0, BytesOf(text, head)), mark,
                      text.substr(BytesOf(text, width - tail)));
}

std::vector<std::string> WrapLines(const std::string& text, size_t columns) {
  std::vector<std::string> lines;
  size_t width = 0;
  for (const std::string& word :
       std::vector<std::string>(absl::StrSplit(text, ' ', absl::SkipEmpty()))) {
    const size_t more = TextWidth(word);
    if (lines.empty() || width + 1 + more > columns) {
      lines.push_back(word);
      width = more;
    } else {
      absl::StrAppend(&lines.back(), " ", word);
      width += 1 + more;
    }
  }
  return lines;
}

std::string Paragraph(const std::string& text, size_t indent, size_t columns) {
  std::string paragraph;
  for (const std::string& line : WrapLines(text, columns > indent ? columns - indent : 1)) {
    absl::StrAppend(&paragraph, std::string(indent, ' '), line, "\n");
  }
  return paragraph;
}

}  // namespace capstan::cli
