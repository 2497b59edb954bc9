package bench

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
	"github.com/assetplatform/assetplatform/test/services"
)

// copyKey is where a program keeps the copy of an object.
func (c *copied) copyKey(tool syncTool, i int) string {
	if tool.name == ours {
		return fmt.Sprintf("blobs/sha256/%02x/%x", c.contents[i].sha256[:1], c.contents[i].sha256)
	}
	return c.contents[i].key
}

func (f *faults) remove(bucket config.Bucket, keys ...string) {
	f.Helper()
	for _, key := range keys {
		if _, err := services.SharedS3(f).Client().DeleteObject(f.Context(), &s3.DeleteObjectInput{Bucket: &bucket.Name, Key: &key}); err != nil {
			f.Fatal(err)
		}
	}
}

func (f *faults) store(bucket config.Bucket, key string, body []byte) {
	f.Helper()
	if _, err := services.SharedS3(f).Client().PutObject(f.Context(), &s3.PutObjectInput{Bucket: &bucket.Name, Key: &key, Body: bytes.NewReader(body)}); err != nil {
		f.Fatal(err)
	}
}

// sourceEmptied is F1.
func (f *faults) sourceEmptied() {
	for _, tool := range syncTools {
		c := f.newCopied()
		f.must(tool.sync(c))
		f.remove(c.source, services.SharedS3(f).Keys(f, c.source.Name)...)
		status, _ := f.ran(tool.sync(c))
		c.outcome("F1: the source's bucket was emptied, then the next run", tool.command, status, tool)
	}
}

// dumpDies is F2.
func (f *faults) dumpDies() {
	dying := f.TempDir()
	for name, script := range map[string]string{
		"pg_dump":    `if [ "$1" = --version ]; then exec ` + postgresPrograms + `/pg_dump --version; fi; ` + postgresPrograms + `/pg_dump "$@" | head -c 20000; exit 1`,
		"pg_restore": `exec ` + postgresPrograms + `/pg_restore "$@"`,
	} {
		if err := os.WriteFile(filepath.Join(dying, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil { //nolint:gosec // programs
			f.Fatal(err)
		}
	}
	for _, tool := range syncTools {
		c := f.newCopied()
		path, left := "PATH="+dying+":/usr/bin:/bin", ""
		command := tool.command
		cmd := tool.sync(c)
		if tool.pipe != nil {
			put := tool.pipe(c, "dump.sql.gz")
			cmd = exec.Command("/bin/sh", "-c", `pg_dump "$0" | gzip | "$@"`, setting(c.env, config.DatabaseURL.Name))
			cmd.Args, cmd.Env = append(cmd.Args, put.Args...), put.Env
			command = "pg_dump \\| gzip \\| " + tool.pipeCommand
		}
		cmd.Env = append(cmd.Env, path)
		status, _ := f.ran(cmd)
		if tool.pipe == nil {
			left = "sets: " + c.sets()
		} else {
			left = dumpLeft(f.get(c.to, "dump.sql.gz"))
		}
		f.note("F2: pg_dump dies half-way", command, status, left, tool.pipe != nil)
	}
}

// dumpLeft tells what a compressed script is.
func dumpLeft(compressed []byte) string {
	z, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return "no gzip file"
	}
	script, err := io.ReadAll(z)
	switch {
	case err != nil:
		return "a part of a gzip file"
	case bytes.Contains(script, []byte("PostgreSQL database dump complete")):
		return "a whole dump"
	}
	return "a gzip file that is whole, of a dump that has no end"
}

// objectNeverArrives is F4: the destination refuses an object, or takes it and loses it.
func (f *faults) objectNeverArrives() {
	for _, fault := range []struct {
		name   string
		answer func(http.ResponseWriter)
	}{
		{"F4: the destination refuses one object (403)", func(w http.ResponseWriter) {
			http.Error(w, "<Error><Code>AccessDenied</Code></Error>", http.StatusForbidden)
		}},
		{"F4: the destination acknowledges one object (200) and does not have it", func(w http.ResponseWriter) {
			w.Header().Set("ETag", `"00000000000000000000000000000000"`)
			fmt.Fprint(w, `<CopyObjectResult><ETag>"00000000000000000000000000000000"</ETag><LastModified>2026-01-01T00:00:00Z</LastModified></CopyObjectResult>`)
		}},
	} {
		for _, tool := range syncTools {
			c := f.newCopied()
			end := c.to.Name + "/" + c.copyKey(tool, 3)
			c.behind(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, end) {
					return false
				}
				_, _ = io.Copy(io.Discard, r.Body)
				fault.answer(w)
				return true
			})
			status, _ := f.ran(tool.sync(c))
			c.outcome(fault.name, tool.command, status, tool)
		}
	}
}

// sameSize is F6: other bytes of the same size, which a server wrote whose clock is slow. The platform gives them a key of their own.
func (f *faults) sameSize() {
	other := bytes.Repeat([]byte("x"), faultSize)
	for _, tool := range syncTools {
		c := f.newCopied()
		f.must(tool.sync(c))
		key := c.contents[3].key
		if tool.name == ours {
			key = c.refer(other)
		}
		f.store(c.source, key, other)
		services.SharedS3(f).Age(f, c.source.Name, key, olderBy)
		status, _ := f.ran(tool.sync(c))
		found, left := f.sums(c.to), "the old bytes, and not the new ones"
		if found[sha256.Sum256(other)] {
			left = "the new bytes"
			if found[c.contents[3].sha256] {
				left = "both, each under its SHA-256"
			}
		}
		f.note("F6: other bytes of the same size, an hour older, then the next run", tool.command, status, left, !found[sha256.Sum256(other)])
	}
}

// refer makes an asset of bytes, and returns the key that is theirs.
func (c *copied) refer(body []byte) (key string) {
	c.f.Helper()
	db, err := store.Open(setting(c.env, config.DatabaseURL.Name))
	if err != nil {
		c.f.Fatal(err)
	}
	defer db.Close()
	if key, err = db.BeginUpload(c.f.Context(), c.owner); err == nil {
		_, _, _, err = db.CommitUpload(c.f.Context(), store.NewAsset{
			UserID: c.owner, ObjectKey: key, SHA256: sha256.Sum256(body), FileSize: int64(len(body)), OriginalName: "new.png", FileType: store.Image, MIMEType: "image/png",
		})
	}
	if err != nil {
		c.f.Fatal(err)
	}
	return key
}

// bitRot is F7.
func (f *faults) bitRot() {
	const fault = "F7: a byte of the copy is another one"
	for _, tool := range syncTools {
		c := f.newCopied()
		f.must(tool.sync(c))
		services.SharedS3(f).Damage(f, c.to.Name, c.copyKey(tool, 3))
		status, _ := f.ran(tool.sync(c))
		c.outcome(fault+", then the next run", tool.command, status, tool)
		switch tool.name {
		case "rclone":
			status, _ = f.ran(rclone(f, c.source, c.to, "check", "--download", "from:"+c.source.Name, "to:"+c.to.Name))
			c.outcome(fault+", then a check", "rclone check --download", status, tool)
		case ours:
			status, _ = f.ran(c.command(c.to, "verify"))
			c.outcome(fault+", then a check", "assetplatform backup verify", status, tool)
			status, _ = f.ran(tool.sync(c))
			c.outcome(fault+", then a check, then the next run", tool.command, status, tool)
		}
	}
}

// destinationHangs is F13: from the first request on, or once it has taken some objects.
func (f *faults) destinationHangs() {
	var all sync.WaitGroup
	rows := make([]faultRow, 2*len(syncTools))
	for i, tool := range append(syncTools, syncTools...) {
		fault, taken := "F13: the destination hangs", 0
		if i >= len(syncTools) {
			fault, taken = "F13: the destination hangs once it has taken three objects", 3
		}
		c := f.newCopied()
		c.hang(taken)
		cmd := tool.sync(c)
		all.Go(func() {
			status, took := f.ran(cmd)
			left := "ended by itself within " + within(took)
			if status == "" {
				left = "still waiting after " + short(faultBound)
			}
			rows[i] = faultRow{fault, tool.command, status, left, true}
		})
	}
	all.Wait()
	f.rows = append(f.rows, rows...)
}

// hang has the destination answer nothing, or no write after so many objects.
func (c *copied) hang(taken int) {
	ended := make(chan struct{})
	var objects atomic.Int32
	c.behind(func(_ http.ResponseWriter, r *http.Request) bool {
		_, key, there := strings.Cut(r.URL.Path, "/"+c.to.Name+"/")
		if !strings.HasPrefix(r.URL.Path, "/"+c.to.Name) {
			return false
		}
		if taken > 0 && (!there || r.Method != http.MethodPut || !strings.HasPrefix(key, "blobs/") || int(objects.Add(1)) <= taken) {
			return false
		}
		<-ended
		return true
	})
	c.f.Cleanup(func() { close(ended) })
}

// within is the least of some times that is not exceeded.
func within(took time.Duration) string {
	for _, bound := range []time.Duration{10 * time.Second, 30 * time.Second, 90 * time.Second, 150 * time.Second} {
		if took <= bound {
			return short(bound)
		}
	}
	return short(faultBound)
}

func short(d time.Duration) string { return fmt.Sprintf("%d s", d/time.Second) }

// targetNotEmpty is F14: what was backed up is brought back where three objects are newer.
func (f *faults) targetNotEmpty() {
	for _, tool := range syncTools {
		c := f.newCopied()
		f.must(tool.sync(c))
		newer := []string{"blobs/newer-1", "blobs/newer-2", "blobs/newer-3"}
		for _, key := range newer {
			f.store(c.source, key, []byte(key))
		}
		status, _ := f.ran(tool.back(c))
		n := 0
		for _, key := range services.SharedS3(f).Keys(f, c.source.Name) {
			if strings.HasPrefix(key, "blobs/newer-") {
				n++
			}
		}
		command := tool.command + ", the other way"
		if tool.name == ours {
			command = "assetplatform backup restore"
		}
		f.note("F14: restore into a bucket that has three newer objects", command, status, fmt.Sprintf("%d of %d newer objects", n, len(newer)), n < len(newer))
	}
}
