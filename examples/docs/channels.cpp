// SPDX-License-Identifier: Apache-2.0
// Producers and a consumer; a channel in a frame; one that keeps the latest value only; and what
// the end of a channel looks like.
#include <cstdio>
#include <string>

#include <weft/weft.hpp>

namespace {

// Only the sending end: out.recv() would not compile.
void produce(const weft::send_chan<int>& out, int from) {
  for (int i = from; i < from + 10; ++i) out.send(i);
}

}  // namespace

int main() {
  return weft::run([] {
    auto numbers = weft::make_chan<int>(4);
    weft::wait_group producers;
    for (int from : {0, 10, 20}) {
      producers.go([=] { produce(numbers, from); });
    }
    weft::fiber closer = weft::spawn([&] {  // whoever knows that all has been sent closes
      producers.wait();
      numbers.close();
    });
    int sum = 0;
    for (int n : numbers) sum += n;
    closer.join();
    std::printf("sum: %d\n", sum);

    weft::channel<int> answer;  // a rendezvous in this frame
    weft::fiber other = weft::spawn([to = weft::send_chan<int>(answer)] { to.send(42); });
    std::printf("answer: %d\n", *answer.recv());
    other.join();

    auto latest = weft::make_chan<std::string>(weft::conflated);
    latest.send("draft");
    latest.send("final");
    std::printf("latest: %s\n", latest.recv()->c_str());
    std::printf("empty: %s\n", latest.try_recv().empty() ? "yes" : "no");
    latest.close();
    std::printf("closed: %s\n", latest.try_recv().closed() ? "yes" : "no");
    try {
      latest.send("too late");
    } catch (const weft::closed_channel& e) {
      std::printf("%s\n", e.what());
    }
  });
}
