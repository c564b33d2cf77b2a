// SPDX-License-Identifier: Apache-2.0
// The fixed parts of an answer's head: status line and date.
#include <array>
#include <cstdio>
#include <ctime>

#include "http/response_writer.hpp"

namespace weft::inline v0::http::detail {

std::string_view reason_phrase(int status) noexcept {
  switch (status) {
    case 100:
      return "Continue";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 205:
      return "Reset Content";
    case 206:
      return "Partial Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 303:
      return "See Other";
    case 304:
      return "Not Modified";
    case 307:
      return "Temporary Redirect";
    case 308:
      return "Permanent Redirect";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 406:
      return "Not Acceptable";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 410:
      return "Gone";
    case 411:
      return "Length Required";
    case 412:
      return "Precondition Failed";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 416:
      return "Range Not Satisfiable";
    case 417:
      return "Expectation Failed";
    case 422:
      return "Unprocessable Content";
    case 426:
      return "Upgrade Required";
    case 428:
      return "Precondition Required";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "";
  }
}

void append_status_line(std::string& out, int status) {
  if (status == 200) {
    out.append("HTTP/1.1 200 OK\r\n");
    return;
  }
  const std::array<char, 4> code{static_cast<char>('0' + status / 100),
                                 static_cast<char>('0' + status / 10 % 10),
                                 static_cast<char>('0' + status % 10), ' '};
  out.append("HTTP/1.1 ").append(code.data(), code.size());
  out.append(reason_phrase(status)).append("\r\n");
}

std::string_view date_cache::now() noexcept {
  // The coarse clock is a read of shared memory, and a second is coarse enough.
  timespec ts{};
  clock_gettime(CLOCK_REALTIME_COARSE, &ts);
  return at(ts.tv_sec);
}

std::string_view date_cache::at(std::time_t now) noexcept {
  if (now != second_) {
    static constexpr std::array<const char*, 7> days{"Sun", "Mon", "Tue", "Wed",
                                                     "Thu", "Fri", "Sat"};
    static constexpr std::array<const char*, 12> months{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    std::tm t{};
    gmtime_r(&now, &t);
    std::snprintf(text_, sizeof text_, "%s, %02d %s %04d %02d:%02d:%02d GMT",
                  days[static_cast<std::size_t>(t.tm_wday)], t.tm_mday % 100,
                  months[static_cast<std::size_t>(t.tm_mon)], (t.tm_year + 1900) % 10000,
                  t.tm_hour % 100, t.tm_min % 100, t.tm_sec % 100);
    second_ = now;
  }
  return {text_, 29};
}

}  // namespace weft::inline v0::http::detail
