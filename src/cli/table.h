// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace capstan::cli {

// Text in columns: left-aligned, three blanks apart, as wide as the widest cell, no blanks at the
// ends of lines. Width counts characters of UTF-8, not bytes; control characters are shown as '?',
// so that no value can move a terminal's cursor.
class Table {
 public:
  explicit Table(std::vector<std::string> header) { Add(std::move(header)); }
  // As many cells as the header.
  void Add(std::vector<std::string> row);
  bool empty() const { return rows_.size() == 1; }
  std::string Render() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// One line of text as a terminal may show it.
std::string Printable(std::string text);

}  // namespace capstan::cli
