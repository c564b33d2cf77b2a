// SPDX-License-Identifier: Apache-2.0
#include "sync/stray_exception.hpp"

#include <weft/fiber.hpp>
#include "runtime/debug.hpp"
#include "runtime/ledger.hpp"

namespace weft::inline v0::detail {

void report_stray_exception(const char* who, const void* site,
                            const std::exception_ptr& exception) noexcept {
  if (report_caught(exception)) return;
  const site_text text = describe_site(site);
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& e) {
    log_format("weft: %s: a task of %s:%u threw: %s", who, text.file, text.line, e.what());
  } catch (...) {
    log_format("weft: %s: a task of %s:%u threw something", who, text.file, text.line);
  }
}

}  // namespace weft::inline v0::detail
