package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/assetplatform/assetplatform/internal/backup"
)

// Of work in two steps at a time each is told at its own pace, its end always, and a terminal shows both.
func TestProgress(t *testing.T) {
	report := func(p *progress) {
		for n := range int64(1000) {
			p.report(backup.Progress{Step: "database", Done: n, Unit: "bytes"})
			p.report(backup.Progress{Step: "blobs", Done: n + 1, Total: 1000, Unit: "objects"})
		}
		p.end()
	}
	var lines, terminal bytes.Buffer
	report(newProgress(&lines, slog.LevelInfo))
	if want := `{"step":"database","done":0,"unit":"bytes"}
{"step":"blobs","done":1,"total":1000,"unit":"objects"}
{"step":"blobs","done":1000,"total":1000,"unit":"objects"}
`; lines.String() != want {
		t.Errorf("%s", &lines)
	}
	report(&progress{terminal: &terminal})
	if shown := strings.Split(terminal.String(), "\r\033[K"); len(shown) > 20 || shown[len(shown)-1] != "" ||
		!strings.HasPrefix(shown[len(shown)-2], "database: ") || !strings.HasSuffix(shown[len(shown)-2], " bytes; blobs: 1000 of 1000 (100 %) objects") {
		t.Errorf("%q", shown)
	}
}
