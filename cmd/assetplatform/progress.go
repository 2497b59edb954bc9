package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
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
	step     string
	told     time.Time
}

func newProgress(to io.Writer, level slog.Level) *progress {
	p := &progress{lines: to}
	if file, ok := to.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		p.terminal = to
	}
	p.log = newLogger(to, level)
	return p
}

// How often progress is told.
const (
	terminalPause = 100 * time.Millisecond
	linePause     = time.Minute
)

func (p *progress) report(now backup.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pause := linePause
	if p.terminal != nil {
		pause = terminalPause
	}
	last := now.Total > 0 && now.Done == now.Total
	if now.Step == p.step && time.Since(p.told) < pause && !last {
		return
	}
	p.step, p.told = now.Step, time.Now()
	if p.terminal == nil {
		_ = json.NewEncoder(p.lines).Encode(now) // a log that is full is no reason to stop
		return
	}
	of := ""
	if now.Total > 0 {
		of = fmt.Sprintf(" of %d (%d %%)", now.Total, 100*now.Done/now.Total)
	}
	fmt.Fprintf(p.terminal, "\r\033[K%s: %d%s %s", now.Step, now.Done, of, now.Unit)
}

// end leaves the line.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal != nil && p.step != "" {
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
