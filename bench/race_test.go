package bench

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	raceRounds = 6
	roundTime  = 2 * time.Second
)

// side is one of those whom race compares.
type side struct {
	do func(i int) error // i counts from 0 on and does not come again

	next  atomic.Int64
	rates []float64                // of each round, a second
	cpu   map[string]time.Duration // what processes took for one, by their names
}

// race has the sides do in turn what each does, by so many clients at a time: whatever else the machine does then meets all of them.
// The processes are those whose CPU time is to be measured.
func race(b *testing.B, clients int, processes map[string]int, sides ...*side) {
	b.Helper()
	for _, s := range sides {
		s.round(b, clients, roundTime/4) // the first connections, and what is read from the disk but once
	}
	used := make([]map[string]time.Duration, len(sides))
	done := make([]int, len(sides))
	for round := range raceRounds {
		for turn := range sides {
			i := turn
			if round%2 == 1 { // what one leaves to be done is not always the same one's burden
				i = len(sides) - 1 - turn
			}
			before := cpuTimes(b, processes)
			n, took := sides[i].round(b, clients, roundTime)
			sides[i].rates = append(sides[i].rates, float64(n)/took.Seconds())
			done[i] += n
			if used[i] == nil {
				used[i] = map[string]time.Duration{}
			}
			for name, after := range cpuTimes(b, processes) {
				used[i][name] += after - before[name]
			}
		}
	}
	for i, s := range sides {
		s.cpu = map[string]time.Duration{}
		for name, all := range used[i] {
			s.cpu[name] = all / time.Duration(done[i])
		}
	}
}

// round is one of a race: how many times it was done, and in which time.
func (s *side) round(b *testing.B, clients int, duration time.Duration) (done int, took time.Duration) {
	b.Helper()
	began := time.Now()
	first := s.next.Load()
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for time.Since(began) < duration && !b.Failed() {
				if err := s.do(int(s.next.Add(1) - 1)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
	if b.Failed() {
		b.FailNow()
	}
	return int(s.next.Load() - first), time.Since(began)
}

// rate is how many it did a second.
func (s *side) rate() float64 { return median(slices.Clone(s.rates)) }

// over is the rate over that of another, in the same rounds.
func (s *side) over(other *side) float64 {
	ratios := make([]float64, len(s.rates))
	for i := range ratios {
		ratios[i] = s.rates[i] / other.rates[i]
	}
	return median(ratios)
}

// cpuTimes are the CPU times of processes and their children so far.
func cpuTimes(t testing.TB, processes map[string]int) map[string]time.Duration {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]time.Duration{}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// proc_pid_stat(5): the name, which may hold anything, ends at the last bracket; then come state, ppid ... utime, stime.
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		fields := strings.Fields(string(text[strings.LastIndex(string(text), ")")+1:]))
		parent, _ := strconv.Atoi(fields[1])
		user, _ := strconv.Atoi(fields[11])
		system, _ := strconv.Atoi(fields[12])
		for name, process := range processes {
			if pid == process || parent == process && process != os.Getpid() {
				used[name] += time.Duration(user+system) * time.Second / clockTicks
			}
		}
	}
	return used
}

// clockTicks is in what parts of a second /proc counts, the same on every Linux that Go runs on.
const clockTicks = 100

// browser is a client that keeps as many connections as it needs, and takes what it gets as it is.
var browser = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}

// get reads the whole answer to a GET, and wants it to have so many bytes; -1: any number. header is a list of names and values.
func get(url string, bytes int64, header ...string) error {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := browser.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	n, err := drain(answer.Body)
	if err == nil && answer.StatusCode >= http.StatusMultipleChoices {
		err = fmt.Errorf("GET %s: %s", url, answer.Status)
	}
	if err == nil && bytes >= 0 && n != bytes {
		err = fmt.Errorf("GET %s: %d bytes, not %d", url, n, bytes)
	}
	return err
}

var drainBuffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// drain reads a body to its end, and returns how long it was.
func drain(body io.Reader) (int64, error) {
	buffer := drainBuffers.Get().(*[256 << 10]byte)
	defer drainBuffers.Put(buffer)
	return io.CopyBuffer(struct{ io.Writer }{io.Discard}, body, buffer[:]) // Discard itself would read by small pieces
}
