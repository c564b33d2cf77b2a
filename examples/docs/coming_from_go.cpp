// SPDX-License-Identifier: Apache-2.0
// Four workers square numbers until told to stop. Each comment is the same in Go.
#include <cstdio>
#include <optional>

#include <weft/weft.hpp>

namespace {

// func square(ctx context.Context, in <-chan int, out chan<- int)
void square(const weft::context& ctx, const weft::recv_chan<int>& in,
            const weft::send_chan<int>& out) {
  for (bool more = true; more;) {
    // select { case n := <-in: out <- n * n; case <-ctx.Done(): return }
    (void)weft::select(weft::on_recv(in, [&](std::optional<int> n) { out.send(*n * *n); }),
                       weft::on_done(ctx, [&] { more = false; }));
  }
}

}  // namespace

int main() {
  // func main() {
  return weft::run([] {
    // ctx, cancel := context.WithCancel(context.Background()); defer cancel()
    auto [request, cancel] = weft::with_cancel(weft::background());
    const weft::context ctx = request;
    // numbers, squares := make(chan int), make(chan int, 8)
    auto numbers = weft::make_chan<int>();
    auto squares = weft::make_chan<int>(8);
    // var wg sync.WaitGroup
    weft::wait_group wg;
    // for range 4 { wg.Go(func() { square(ctx, numbers, squares) }) }
    for (int i = 0; i < 4; ++i) {
      wg.go([=] { square(ctx, numbers, squares); });
    }
    // wg.Go(func() { for n := 1; n <= 100; n++ { numbers <- n } })
    wg.go([=] {
      for (int n = 1; n <= 100; ++n) numbers.send(n);
    });
    // sum := 0; for range 100 { sum += <-squares }
    int sum = 0;
    for (int i = 0; i < 100; ++i) sum += *squares.recv();
    // cancel()
    cancel();
    // wg.Wait()
    wg.wait();
    // fmt.Println(sum)
    std::printf("%d\n", sum);
  });
}
