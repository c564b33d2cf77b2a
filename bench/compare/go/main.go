// SPDX-License-Identifier: Apache-2.0

// The Go peer of the comparison: `weft_compare_go <workload> <procs> <n>` does the work three times
// and prints one line `name[.metric] value unit` for every figure of every round, as
// ../harness.hpp says. A wrong answer ends the process with code 3.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type job struct {
	name  string
	procs int
	n     int
	round int
}

var startMemory memory

var workloads = map[string]func(job){
	"yield":             yield,
	"spawn_join":        spawnJoin,
	"spawn_outstanding": spawnOutstanding,
	"ping_pong":         pingPong,
	"buffered":          buffered,
	"mpmc":              mpmc,
	"select4":           select4,
	"select_ready":      selectReady,
	"select_empty":      selectEmpty,
	"mutex":             mutexContended,
	"mutex_alone":       mutexAlone,
	"pool":              poolGetPut,
	"sleepers":          sleepers,
	"skynet":            skynet,
	"ring":              ring,
	"sieve":             sieve,
	"fib":               fibForkJoin,
	"parked":            parked,
	"hogs":              hogs,
	"idle":              idle,
	"blocking_reads":    blockingReads,
	"ctx_cancel":        ctxCancel,
	"ctx_cancel_child":  ctxCancelChild,
	"ctx_timeout":       ctxTimeout,
	"ctx_tree":          ctxTree,
	"after_func":        afterFunc,
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "list" {
		for name := range workloads {
			fmt.Println(name)
		}
		return
	}
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: weft_compare_go <workload> <procs> <n>, or: list")
		os.Exit(64)
	}
	startMemory = memoryNow()
	procs, _ := strconv.Atoi(os.Args[2])
	n, _ := strconv.Atoi(os.Args[3])
	if procs <= 0 || n <= 0 {
		fmt.Fprintln(os.Stderr, "procs and n must be positive")
		os.Exit(64)
	}
	runtime.GOMAXPROCS(procs)
	if os.Args[1] == "echo_server" {
		echoServer()
		return
	}
	work, ok := workloads[os.Args[1]]
	if !ok {
		fmt.Fprintln(os.Stderr, "no such workload:", os.Args[1])
		os.Exit(64)
	}
	for round := 1; round <= 3; round++ {
		work(job{os.Args[1], procs, n, round})
	}
}

func (j job) report(value float64, unit string) {
	fmt.Printf("%s %.4g %s\n", j.name, value, unit)
}

func (j job) reportMetric(metric string, value float64, unit string) {
	fmt.Printf("%s.%s %.4g %s\n", j.name, metric, value, unit)
}

func (j job) expect(right bool, what string) {
	if !right {
		fmt.Fprintf(os.Stderr, "%s: wrong answer: %s\n", j.name, what)
		os.Exit(3)
	}
}

func nsPer(start time.Time, ops int) float64 {
	return float64(time.Since(start).Nanoseconds()) / float64(ops)
}

func cpuNs() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return 1e9*float64(u.Utime.Sec+u.Stime.Sec) + 1e3*float64(u.Utime.Usec+u.Stime.Usec)
}

type memory struct{ rss, pageTables float64 }

func (m memory) total() float64 { return m.rss + m.pageTables }

func memoryNow() memory {
	text, _ := os.ReadFile("/proc/self/status")
	var m memory
	for _, line := range strings.Split(string(text), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kb, _ := strconv.ParseFloat(fields[1], 64)
		switch fields[0] {
		case "VmRSS:":
			m.rss = 1024 * kb
		case "VmPTE:":
			m.pageTables = 1024 * kb
		}
	}
	return m
}

func (j job) reportLateness(lateUs []int32) {
	sort.Slice(lateUs, func(a, b int) bool { return lateUs[a] < lateUs[b] })
	at := func(share float64) float64 {
		return float64(lateUs[int(share*float64(len(lateUs)-1))]) / 1000
	}
	j.reportMetric("late_p50", at(0.50), "ms")
	j.reportMetric("late_p99", at(0.99), "ms")
	j.reportMetric("late_max", at(1.00), "ms")
}

// How long sleeper i sleeps: 0 to 1,000 ms, evenly spread, the same in every peer.
func nap(i int) time.Duration {
	return time.Duration((uint64(i)*0x9E3779B97F4A7C15>>33)%1000000) * time.Microsecond
}

func sumBelow(n int) int { return n * (n - 1) / 2 }

func nthPrime(n int) int {
	var primes []int
	for v := 2; len(primes) < n; v++ {
		prime := true
		for _, p := range primes {
			if v%p == 0 {
				prime = false
				break
			}
		}
		if prime {
			primes = append(primes, v)
		}
	}
	return primes[n-1]
}

func fibonacci(n int) int {
	a, b := 0, 1
	for ; n > 0; n-- {
		a, b = b, a+b
	}
	return a
}
