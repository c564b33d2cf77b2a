// SPDX-License-Identifier: Apache-2.0
#include "runtime/debug.hpp"

#include <unistd.h>

#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>

#include <weft/log.hpp>

namespace weft::inline v0 {
namespace detail {
namespace {

struct option {
  char key[24] = {};
  char value[40] = {};
};

struct option_table {
  std::array<option, 24> entries{};
  std::size_t count = 0;

  option_table() noexcept {
    const char* text = std::getenv("WEFT_DEBUG");
    if (text == nullptr) return;
    while (*text != '\0' && count < entries.size()) {
      const std::size_t length = std::strcspn(text, ",");
      add(text, length);
      text += length;
      if (*text == ',') ++text;
    }
  }

  void add(const char* text, std::size_t length) noexcept {
    const auto* eq = static_cast<const char*>(std::memchr(text, '=', length));
    const std::size_t key_length = eq == nullptr ? length : static_cast<std::size_t>(eq - text);
    option& o = entries[count];
    if (key_length == 0 || key_length >= sizeof(o.key)) return;
    const std::size_t value_length = eq == nullptr ? 0 : length - key_length - 1;
    if (value_length >= sizeof(o.value)) return;
    std::memcpy(o.key, text, key_length);
    o.key[key_length] = '\0';
    if (eq == nullptr) {
      std::memcpy(o.value, "1", 2);
    } else {
      std::memcpy(o.value, eq + 1, value_length);
      o.value[value_length] = '\0';
    }
    ++count;
  }
};

const option_table& options() noexcept {
  static const option_table table;
  return table;
}

struct sink_slot {
  std::mutex mutex;
  log_sink sink;
};

sink_slot& the_sink() noexcept {
  static auto* slot = new sink_slot;  // outlives static destruction: workers may still log
  return *slot;
}

}  // namespace

const char* debug_option(const char* key) noexcept {
  const option_table& table = options();
  for (std::size_t i = 0; i < table.count; ++i) {
    if (std::strcmp(table.entries[i].key, key) == 0) return table.entries[i].value;
  }
  return nullptr;
}

std::int64_t debug_option_int(const char* key, std::int64_t fallback) noexcept {
  const char* text = debug_option(key);
  if (text == nullptr) return fallback;
  char* end = nullptr;
  const long long value = std::strtoll(text, &end, 10);
  return end == text ? fallback : value;
}

std::int64_t parse_duration_ns(const char* text) noexcept {
  char* unit = nullptr;
  const long long n = std::strtoll(text, &unit, 10);
  if (unit == text || n < 0) return -1;
  struct {
    const char* name;
    std::int64_t ns;
  } constexpr units[] = {
      {"", 1'000'000}, {"ns", 1}, {"us", 1'000}, {"ms", 1'000'000}, {"s", 1'000'000'000}};
  for (const auto& u : units) {
    std::int64_t ns = 0;
    if (std::strcmp(unit, u.name) != 0) continue;
    return __builtin_mul_overflow(static_cast<std::int64_t>(n), u.ns, &ns) ? -1 : ns;
  }
  return -1;
}

bool debug_switch(const char* key) noexcept {
#if defined(WEFT_FORCE_MIGRATE) && WEFT_FORCE_MIGRATE
  constexpr int by_default = 1;
#else
  constexpr int by_default = 0;
#endif
  return debug_option_int(key, by_default) != 0;
}

void write_error(const char* text) noexcept {
  std::size_t left = std::strlen(text);
  while (left > 0) {
    const ssize_t n = ::write(STDERR_FILENO, text, left);
    if (n <= 0) return;
    text += n;
    left -= static_cast<std::size_t>(n);
  }
}

void write_error_u64(std::uint64_t value) noexcept {
  char buffer[24];
  char* p = buffer + sizeof(buffer);
  *--p = '\0';
  do {
    *--p = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  write_error(p);
}

void write_error_hex(std::uint64_t value) noexcept {
  char buffer[24];
  char* p = buffer + sizeof(buffer);
  *--p = '\0';
  do {
    *--p = "0123456789abcdef"[value % 16];
    value /= 16;
  } while (value != 0);
  *--p = 'x';
  *--p = '0';
  write_error(p);
}

void log_line(const char* text) noexcept {
  sink_slot& slot = the_sink();
  const std::lock_guard<std::mutex> guard(slot.mutex);
  if (slot.sink) {
    slot.sink(text);
    return;
  }
  std::fprintf(stderr, "%s\n", text);
}

void log_format(const char* format, ...) noexcept {
  char buffer[512];
  std::va_list args;
  va_start(args, format);
  std::vsnprintf(buffer, sizeof(buffer), format, args);
  va_end(args);
  log_line(buffer);
}

}  // namespace detail

void set_log_sink(log_sink sink) {
  detail::sink_slot& slot = detail::the_sink();
  const std::lock_guard<std::mutex> guard(slot.mutex);
  slot.sink = std::move(sink);
}

}  // namespace weft::inline v0
