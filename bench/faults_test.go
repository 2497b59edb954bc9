package bench

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/assetplatform/assetplatform/internal/backup"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/test/services"
)

const (
	faultObjects = 10
	faultSize    = 1000            // bytes of each
	faultBound   = 3 * time.Minute // for a program that hangs
	olderBy      = time.Hour       // the clock of the source is slow
	faultsPage   = "../docs/backup-faults.md"
	ours         = "assetplatform"
)

// BenchmarkBackupFaults does to buckets what befalls them, and tells what programs that copy them make of it. docs/backup-faults.md is what
// it prints: it fails where that differs, and UPDATE_FAULTS=1 writes it.
func BenchmarkBackupFaults(b *testing.B) {
	f := &faults{B: b, program: build(b)}
	f.sourceEmptied()
	f.dumpDies()
	f.objectNeverArrives()
	f.sameSize()
	f.bitRot()
	f.destinationHangs()
	f.targetNotEmpty()
	page := f.page()
	if os.Getenv("UPDATE_FAULTS") != "" {
		write(b, faultsPage, []byte(page))
	}
	there, err := os.ReadFile(faultsPage)
	if err != nil {
		b.Fatal(err)
	}
	if string(there) != page {
		b.Errorf("docs/backup-faults.md is not what make bench-faults writes:\n%s", page)
	}
	b.ReportMetric(0, "ns/op") // says nothing here
}

// faults are what was seen.
type faults struct {
	*testing.B
	program string
	rows    []faultRow
}

// faultRow is what a program made of a fault.
type faultRow struct {
	fault, command string
	status         string // exit status; empty: it was killed
	left           string
	harm           bool // something is not as it should be
}

// copied is a bucket, with a database that refers to its objects, and another one for the copy.
type copied struct {
	*backups
	f  *faults
	to config.Bucket
}

func (f *faults) newCopied() *copied {
	f.Helper()
	c := &copied{newBackups(f.B, f.program, services.SharedPostgres(f)), f, services.SharedS3(f).Bucket(f)}
	sizes := make([]int64, faultObjects)
	for i := range sizes {
		sizes[i] = faultSize
	}
	c.put(f.B, sizes)
	c.fill(f.B, faultObjects)
	return c
}

// behind puts a proxy before the buckets, which see shows each request first.
func (c *copied) behind(see func(http.ResponseWriter, *http.Request) (answered bool)) {
	c.f.Helper()
	c.source.Endpoint = services.Front(c.f, c.source.Endpoint, see)
	c.to.Endpoint = c.source.Endpoint
	c.env = append(c.env, config.S3Endpoint.Name+"="+c.source.Endpoint)
}

// syncTool is a program, and how it copies, as its makers mean it.
type syncTool struct {
	name, command string
	sync          func(c *copied) *exec.Cmd
	back          func(c *copied) *exec.Cmd
	pipe          func(c *copied, key string) *exec.Cmd // stdin into an object; nil: it does not need that
	pipeCommand   string
}

var syncTools = []syncTool{
	{"aws", "aws s3 sync --delete", func(c *copied) *exec.Cmd {
		return awsCLI(c.f, c.source, "s3", "sync", "--delete", "s3://"+c.source.Name, "s3://"+c.to.Name)
	}, func(c *copied) *exec.Cmd {
		return awsCLI(c.f, c.source, "s3", "sync", "--delete", "s3://"+c.to.Name, "s3://"+c.source.Name)
	}, func(c *copied, key string) *exec.Cmd {
		return awsCLI(c.f, c.to, "s3", "cp", "-", "s3://"+c.to.Name+"/"+key)
	}, "aws s3 cp -"},
	{"s5cmd", "s5cmd sync --delete", func(c *copied) *exec.Cmd {
		return s5cmd(c.f, c.source, "sync", "--delete", "s3://"+c.source.Name+"/*", "s3://"+c.to.Name+"/")
	}, func(c *copied) *exec.Cmd {
		return s5cmd(c.f, c.source, "sync", "--delete", "s3://"+c.to.Name+"/*", "s3://"+c.source.Name+"/")
	}, func(c *copied, key string) *exec.Cmd {
		return s5cmd(c.f, c.to, "pipe", "s3://"+c.to.Name+"/"+key)
	}, "s5cmd pipe"},
	{"rclone", "rclone sync", func(c *copied) *exec.Cmd {
		return rclone(c.f, c.source, c.to, "sync", "from:"+c.source.Name, "from:"+c.to.Name)
	}, func(c *copied) *exec.Cmd {
		return rclone(c.f, c.source, c.to, "sync", "from:"+c.to.Name, "from:"+c.source.Name)
	}, func(c *copied, key string) *exec.Cmd {
		return rclone(c.f, c.source, c.to, "rcat", "to:"+c.to.Name+"/"+key)
	}, "rclone rcat"},
	{ours, "assetplatform backup create", func(c *copied) *exec.Cmd {
		return c.command(c.to, "create")
	}, func(c *copied) *exec.Cmd {
		return c.command(c.to, "restore")
	}, nil, ""},
}

// ran runs a command to its end, which comes at the latest after faultBound, and tells its exit status.
func (f *faults) ran(cmd *exec.Cmd) (status string, took time.Duration) {
	log := &services.Log{}
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		f.Error(err)
		return "", 0
	}
	var killed atomic.Bool
	bound := time.AfterFunc(faultBound, func() {
		killed.Store(true)
		_ = cmd.Process.Kill() // fails only if it has ended
	})
	_ = cmd.Wait() // the status tells
	bound.Stop()
	f.Logf("%s: %v\n%s", cmd, cmd.ProcessState, log)
	if killed.Load() {
		return "", time.Since(began)
	}
	return strconv.Itoa(cmd.ProcessState.ExitCode()), time.Since(began)
}

// must runs a command that meets no fault yet.
func (f *faults) must(cmd *exec.Cmd) {
	f.Helper()
	if status, _ := f.ran(cmd); status != "0" {
		f.Fatalf("%s: exit status %s", cmd, status)
	}
}

func (f *faults) note(fault, command, status, left string, harm bool) {
	f.rows = append(f.rows, faultRow{fault, command, status, left, harm})
}

// sums are the SHA-256s of what a bucket has.
func (f *faults) sums(bucket config.Bucket) map[[sha256.Size]byte]bool {
	f.Helper()
	found := map[[sha256.Size]byte]bool{}
	for _, key := range services.SharedS3(f).Keys(f, bucket.Name) {
		if !strings.HasPrefix(key, "upload:") {
			found[sha256.Sum256(f.get(bucket, key))] = true
		}
	}
	return found
}

func (f *faults) get(bucket config.Bucket, key string) []byte {
	f.Helper()
	object, err := services.SharedS3(f).Client().GetObject(f.Context(), &s3.GetObjectInput{Bucket: &bucket.Name, Key: &key})
	if err != nil {
		f.Fatal(err)
	}
	defer object.Body.Close()
	body, err := io.ReadAll(object.Body)
	if err != nil {
		f.Fatal(err)
	}
	return body
}

// left tells how many of the objects the copy has.
func (c *copied) left() int {
	c.f.Helper()
	found, n := c.f.sums(c.to), 0
	for _, want := range c.contents {
		if found[want.sha256] {
			n++
		}
	}
	return n
}

// sets tells what our program says that the destination has.
func (c *copied) sets() string {
	c.f.Helper()
	cmd := c.command(c.to, "list")
	var out bytes.Buffer
	cmd.Stdout = &out
	c.f.must(cmd)
	var l backup.Listing
	if err := json.Unmarshal(out.Bytes(), &l); err != nil {
		c.f.Fatal(err)
	}
	verified := 0
	for _, s := range l.Sets {
		if s.Verified() {
			verified++
		}
	}
	return fmt.Sprintf("%d verified, %d not, %d without a manifest", verified, len(l.Sets)-verified, len(l.Unfinished))
}

// outcome notes what is left of the copy, and of the sets where it is ours.
func (c *copied) outcome(fault, command, status string, tool syncTool) {
	c.f.Helper()
	n := c.left()
	left := fmt.Sprintf("%d of %d objects", n, faultObjects)
	if tool.name == ours {
		left += "; sets: " + c.sets()
	}
	c.f.note(fault, command, status, left, n < faultObjects)
}

// page is docs/backup-faults.md.
func (f *faults) page() string {
	f.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, `# What is left of a backup

Programs that copy buckets, and assetplatform backup, meet the same faults. Each fault is done to a bucket of %d objects of its own and
the copy of it, on a real S3 server (versitygw %s) with a proxy before it where that is to refuse, lose or hang. This page is not
written by hand: make bench-faults runs bench/faults_test.go, which writes it, and make bench fails where it sees something else.

%s. Each runs as its makers mean it for a mirror:
`+"`aws s3 sync --delete FROM TO`, `s5cmd sync --delete FROM/* TO/`, `rclone sync FROM TO`"+`. None of them knows a database, which is why
F2 has it dumped by a pipeline of a plain sh. A fault counts as noticed if the exit status is not 0. Objects are counted by the SHA-256
of their bytes. What assetplatform leaves is a backup if there is a verified set; one that is not is never restored unless it is asked
for. A program that still waits is ended after %s.
`, faultObjects, f.versionOf(os.Getenv("VERSITYGW"), "github.com/versity/versitygw"), f.versions(), short(faultBound))
	order := map[string]int{}
	for i, row := range f.rows {
		if _, known := order[row.fault]; !known {
			order[row.fault] = i
		}
	}
	slices.SortStableFunc(f.rows, func(x, y faultRow) int { return order[x.fault] - order[y.fault] })
	last := ""
	for _, row := range f.rows {
		if row.fault != last {
			fmt.Fprintf(&text, "\n## %s\n\n| program | exit status | noticed | what is left |\n|---|---|---|---|\n", row.fault)
			last = row.fault
		}
		status, noticed := row.status, "yes"
		switch {
		case row.status == "":
			status, noticed = "killed", "no"
		case row.status == "0" && row.harm:
			noticed = "**no**"
		case row.status == "0":
			noticed = "nothing to notice"
		}
		fmt.Fprintf(&text, "| %s | %s | %s | %s |\n", row.command, status, noticed, row.left)
	}
	return text.String()
}

// versions are those of the programs.
func (f *faults) versions() string {
	f.Helper()
	out, err := exec.Command("/usr/bin/aws", "--version").Output() // aws-cli/2.9.19 Python/...
	if err != nil {
		f.Fatal(err)
	}
	aws, _, _ := strings.Cut(strings.TrimPrefix(string(out), "aws-cli/"), " ")
	return fmt.Sprintf("aws is Debian's, %s; s5cmd %s; rclone %s", aws,
		f.versionOf(built(f, "s5cmd", "s5cmd"), "github.com/peak/s5cmd/v2"), f.versionOf(built(f, "rclone", "rclone"), "github.com/rclone/rclone"))
}

// versionOf is the version of a module of which a program was made.
func (f *faults) versionOf(program, module string) string {
	f.Helper()
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		f.Fatal(err)
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == module {
			return m.Version
		}
	}
	f.Fatalf("%s has no module %s", program, module)
	return ""
}
