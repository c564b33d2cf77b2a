// SPDX-License-Identifier: Apache-2.0

// Goroutines in a blocking read(2), a plain system call on a plain pipe, beside an HTTP server.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const requests = 2000

// Pipes whose reads block, a reader each. The byte that ends a read tells which pipe it was.
type quietPipes struct {
	ends   [][2]int
	isOurs map[uint64]bool // by descriptor: the read end of a pipe of ours
}

func makeQuietPipes(j job) *quietPipes {
	p := &quietPipes{make([][2]int, j.n), map[uint64]bool{}}
	for i := range p.ends {
		err := syscall.Pipe2(p.ends[i][:], syscall.O_CLOEXEC)
		j.expect(err == nil, "no descriptors for the pipes")
		p.isOurs[uint64(p.ends[i][0])] = true
	}
	return p
}

func (p *quietPipes) close() {
	for _, e := range p.ends {
		syscall.Close(e[0])
		syscall.Close(e[1])
	}
}

func (p *quietPipes) readByte(i int) bool {
	var b [1]byte
	n, err := syscall.Read(p.ends[i][0], b[:])
	return n == 1 && err == nil && b[0] == byte(i)
}

func (p *quietPipes) writeBytes(j job) {
	for i, e := range p.ends {
		n, err := syscall.Write(e[1], []byte{byte(i)})
		j.expect(n == 1 && err == nil, "write to a pipe")
	}
}

// Threads of this process that the kernel has in read(2) on one of the pipes.
func (p *quietPipes) inRead() int {
	count := 0
	tasks, _ := filepath.Glob("/proc/self/task/*/syscall")
	for _, task := range tasks {
		text, _ := os.ReadFile(task) // "0 0x5 ...", or "running"
		fields := strings.Fields(string(text))
		if len(fields) < 2 || fields[0] != strconv.Itoa(syscall.SYS_READ) {
			continue
		}
		fd, err := strconv.ParseUint(fields[1], 0, 64)
		if err == nil && p.isOurs[fd] {
			count++
		}
	}
	return count
}

// The count of those about to read is looked at first, as in the weft peer.
func awaitReaders(j job, arrived *int64, p *quietPipes) {
	start := time.Now()
	inTime := func() bool { return time.Since(start) < 30*time.Second }
	for atomic.LoadInt64(arrived) != int64(j.n) && inTime() {
		time.Sleep(time.Millisecond)
	}
	for p.inRead() != j.n && inTime() {
		time.Sleep(time.Millisecond)
	}
	j.expect(inTime(), "not all are in read(2) after 30 s, says /proc/self/task/*/syscall")
}

// Runs weft_http_load, which lies beside this program, and reports what it prints.
func ask(j job, port int) {
	program, _ := os.Executable()
	load := filepath.Join(filepath.Dir(program), "weft_http_load")
	command := exec.Command(load, strconv.Itoa(port), strconv.Itoa(requests))
	command.Stderr = os.Stderr
	out, err := command.Output()
	var p50, p99, max float64
	read, _ := fmt.Sscan(string(out), &p50, &p99, &max)
	j.expect(err == nil && read == 3, "weft_http_load was not answered as it should be")
	j.reportMetric("p50", p50, "ms")
	j.reportMetric("p99", p99, "ms")
	j.reportMetric("max", max, "ms")
}

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "Hello, weft!\n") }

// The ramp is the slowest of the rounds so far: later ones find the threads of the first.
var slowestRampMs float64

func blockingReads(j job) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	j.expect(err == nil, "listen")
	server := &http.Server{Handler: http.HandlerFunc(hello)}
	go func() { _ = server.Serve(ln) }()
	pipes := makeQuietPipes(j)
	var arrived, right int64
	var readers sync.WaitGroup
	readers.Add(j.n)
	start := time.Now()
	for i := 0; i < j.n; i++ {
		i := i
		go func() {
			atomic.AddInt64(&arrived, 1)
			if pipes.readByte(i) {
				atomic.AddInt64(&right, 1)
			}
			readers.Done()
		}()
	}
	awaitReaders(j, &arrived, pipes)
	if ms := float64(time.Since(start).Microseconds()) / 1000; ms > slowestRampMs {
		slowestRampMs = ms
	}
	j.reportMetric("ramp", slowestRampMs, "ms")
	ask(j, ln.Addr().(*net.TCPAddr).Port)
	j.expect(pipes.inRead() == j.n, "a reader has left read(2) before its byte came")
	pipes.writeBytes(j)
	readers.Wait()
	j.expect(right == int64(j.n), "bytes read")
	pipes.close()
	_ = server.Close()
}
