package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/assetplatform/assetplatform/internal/backup"
)

// progress tells how far long work is: on a terminal in one line that changes, elsewhere in a JSON line for each step and minute.
type progress struct {
	log *slog.Logger

	mu       sync.Mutex
	terminal io.Writer // nil: it is none
	lines    io.Writer
	steps    []stepProgress // of now, in the order in which they began
}

// stepProgress is what was last heard of a step, and when it was last told.
type stepProgress struct {
	backup.Progress
	heard, told time.Time
}

func newProgress(to io.Writer, level slog.Level) *progress {
	p := &progress{lines: to}
	if file, ok := to.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		p.terminal = to
	}
	p.log = newLogger(to, level)
	return p
}

const (
	// How often progress is told.
	terminalPause = 100 * time.Millisecond
	linePause     = time.Minute
	// stepOver is how long after its last word a step counts as over, where others go on.
	stepOver = time.Second
)

func (p *progress) report(now backup.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := slices.IndexFunc(p.steps, func(s stepProgress) bool { return s.Step == now.Step })
	if at < 0 {
		at = len(p.steps)
		p.steps = append(p.steps, stepProgress{})
	}
	s := &p.steps[at]
	s.Progress, s.heard = now, time.Now()
	pause := linePause
	if p.terminal != nil {
		pause = terminalPause
	}
	last := now.Total > 0 && now.Done == now.Total
	if s.heard.Sub(s.told) < pause && !last {
		return
	}
	if s.told = s.heard; p.terminal == nil {
		_ = json.NewEncoder(p.lines).Encode(now) // a log that is full is no reason to stop
		return
	}
	p.steps = slices.DeleteFunc(p.steps, func(other stepProgress) bool { return now.Step != other.Step && time.Since(other.heard) > stepOver })
	var line []string
	for _, s := range p.steps {
		of := ""
		if s.Total > 0 {
			of = fmt.Sprintf(" of %d (%d %%)", s.Total, 100*s.Done/s.Total)
		}
		line = append(line, fmt.Sprintf("%s: %d%s %s", s.Step, s.Done, of, s.Unit))
	}
	fmt.Fprint(p.terminal, "\r\033[K"+strings.Join(line, "; "))
}

// end leaves the line.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal != nil && len(p.steps) > 0 {
		fmt.Fprint(p.terminal, "\r\033[K")
	}
}

// databaseName is the name in a database's URL.
func databaseName(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(u.Path, "/")
}
